//! One connection, from its first frame to its close.
//!
//! Stored events are read in order of their numbers, from the store while they are old and from the hub's memory once they are new: the
//! same cursor walks over both, so there is no seam at which one could be lost or shown twice. A queue of 1000 frames stands between
//! that and the network; who lets it run full is closed and comes back with the last cursor.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use domain::event::Name;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::Instant,
};

use super::{
    Credential,
    frames::{Asked, Closing, Told},
    is_shown,
    subscription::{Subscription, envelope},
    visible,
};
use crate::{
    http::{
        State,
        actor::Actor,
        error::ApiError,
        routes::{calls, events},
    },
    outbox::{LiveEvent, Patterns, Published},
};

/// Frames that wait for the network at most.
const QUEUE: usize = 1000;
/// Live events are dropped while more than this waits.
const HALF: usize = QUEUE / 2;
/// Stored events of one read.
const PAGE: i64 = 200;
/// Subscriptions of one connection.
const SUBSCRIPTIONS: usize = 20;
/// How often the clocks below, the credential and the node's state are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Between two pings; two unanswered ones end it.
const PING: Duration = Duration::from_secs(20);
/// How long a connection may stay without a subscription.
const IDLE: Duration = Duration::from_secs(30);
/// How long a replay waits for a client that does not read, and a close for the network.
const STALLED: Duration = Duration::from_secs(30);

struct Connection {
    state: State,
    actor: Actor,
    credential: Credential,
    subscriptions: Vec<Subscription>,
    out: mpsc::Sender<Message>,
    /// Since when there is no subscription.
    idle_since: Instant,
    pinged: Instant,
    unanswered: u32,
}

/// Serves a connection until either side closes it.
pub(super) async fn run(state: State, actor: Actor, credential: Credential, socket: WebSocket) {
    let (sink, stream) = socket.split();
    let (out, queue) = mpsc::channel(QUEUE);
    let (end, ended) = watch::channel(None);
    let writer = tokio::spawn(write(sink, queue, ended));
    let now = Instant::now();
    let connection = Connection {
        state,
        actor,
        credential,
        subscriptions: Vec::new(),
        out,
        idle_since: now,
        pinged: now,
        unanswered: 0,
    };
    let closing = connection.serve(stream).await;
    end.send_replace(Some(closing));
    let _ = tokio::time::timeout(STALLED, writer).await;
}

/// Puts frames on the network; after the end only the close.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Message>,
    mut ended: watch::Receiver<Option<Option<Closing>>>,
) {
    let closing = loop {
        let frame = tokio::select! {
            biased;
            changed = ended.wait_for(Option::is_some) => break changed.ok().and_then(|end| *end).flatten(),
            frame = queue.recv() => frame,
        };
        let Some(frame) = frame else { break None };
        // The end must be heard also while the network takes nothing.
        tokio::select! {
            sent = sink.send(frame) => if sent.is_err() { return },
            changed = ended.wait_for(Option::is_some) => break changed.ok().and_then(|end| *end).flatten(),
        }
    };
    if let Some(closing) = closing {
        let frame = CloseFrame { code: closing.code(), reason: closing.reason().into() };
        let _ = sink.send(Message::Close(Some(frame))).await;
    }
    let _ = sink.close().await;
}

impl Connection {
    /// Returns why we close; none when the client did.
    async fn serve(mut self, mut stream: SplitStream<WebSocket>) -> Option<Closing> {
        let mut head = self.state.app.hub.watch();
        let mut live = self.state.app.hub.live();
        let mut tick = tokio::time::interval(TICK);
        loop {
            let step = tokio::select! {
                frame = stream.next() => match frame {
                    Some(Ok(Message::Text(text))) => self.asked(&text).await,
                    Some(Ok(Message::Pong(_))) => { self.unanswered = 0; Ok(()) }
                    Some(Ok(Message::Ping(_))) => Ok(()),
                    Some(Ok(Message::Binary(_))) => Err(Closing::BadFrame),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                },
                _ = head.changed() => self.advance().await,
                event = live.recv() => self.show(event),
                _ = tick.tick() => self.look().await,
                () = self.out.closed() => return None,
            };
            if let Err(closing) = step {
                return Some(closing);
            }
        }
    }

    async fn asked(&mut self, text: &str) -> Result<(), Closing> {
        match serde_json::from_str(text).map_err(|_| Closing::BadFrame)? {
            Asked::Ping { t } => self.tell(&Told::Pong { t }),
            Asked::Unsubscribe { id } => {
                self.subscriptions.retain(|subscription| subscription.id != id);
                if self.subscriptions.is_empty() {
                    self.idle_since = Instant::now();
                }
                self.tell(&Told::Unsubscribed { id: &id })
            }
            Asked::Subscribe { id, types, call_id, agent_id, after, after_seq, live } => {
                let types = Patterns::new(types);
                let missed = after.is_some() || after_seq.is_some();
                let asked = Wish { id: &id, types, call_id, agent_id, after, after_seq, live };
                match self.subscription(asked).await {
                    Ok(subscription) => self.begin(subscription, missed).await,
                    Err(Refused { code, message, oldest }) => {
                        self.tell(&Told::Error { id: &id, code, message: &message, oldest })
                    }
                }
            }
        }
    }

    /// Checks what a subscription asks for.
    async fn subscription(&self, wish: Wish<'_>) -> Result<Subscription, Refused> {
        if !(1..=64).contains(&wish.id.len()) || self.subscriptions.iter().any(|other| other.id == wish.id) {
            return Err(Refused::new("invalid_id", "an id has 1 to 64 characters and is not in use"));
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS {
            return Err(Refused::new("too_many", "a connection has at most 20 subscriptions"));
        }
        wish.types.check().map_err(|unknown| Refused::new("invalid_types", unknown.to_string()))?;
        let call = match &wish.call_id {
            None => None,
            Some(text) => {
                let id = text.parse().map_err(|_| Refused::not_found())?;
                calls::find(&self.state, &self.actor, id).await?;
                Some(id)
            }
        };
        let store = &self.state.app.store;
        let purged = store.purged(self.actor.tenant).await?;
        let last = store.last_published().await?;
        let cursor = match (&wish.after, wish.after_seq) {
            (Some(_), Some(_)) => return Err(Refused::new("invalid_cursor", "after and after_seq exclude each other")),
            (None, Some(_)) if call.is_none() => {
                return Err(Refused::new("invalid_cursor", "after_seq needs a call_id"));
            }
            (None, Some(_)) => purged,
            (None, None) => last,
            (Some(text), None) => {
                let after = events::cursor(text, last)?;
                if after < purged {
                    let oldest = Some((purged + 1).to_string());
                    let message = "events before the oldest cursor are no longer kept".to_owned();
                    return Err(Refused { code: "cursor_expired", message, oldest });
                }
                after
            }
        };
        Ok(Subscription {
            id: wish.id.to_owned(),
            types: wish.types,
            call,
            agent: wish.agent_id,
            live: wish.live.unwrap_or(true),
            after_seq: wish.after_seq.unwrap_or(0),
            cursor,
            replaying: true,
            dropped: 0,
        })
    }

    /// Answers a subscription and shows what it has missed.
    async fn begin(&mut self, subscription: Subscription, missed: bool) -> Result<(), Closing> {
        let Subscription { cursor, call, after_seq, .. } = subscription;
        let replaying = if missed {
            let Actor { tenant, livemode, .. } = self.actor;
            let counted = self.state.app.store.count_published(tenant, livemode, call, cursor, after_seq).await;
            counted.map_err(|_| Closing::Draining)?
        } else {
            0
        };
        self.tell(&Told::Subscribed { id: &subscription.id, cursor: cursor.to_string(), replaying })?;
        self.subscriptions.push(subscription);
        self.catch_up(self.subscriptions.len() - 1).await
    }

    /// Shows every subscription what is new.
    async fn advance(&mut self) -> Result<(), Closing> {
        for n in 0..self.subscriptions.len() {
            self.catch_up(n).await?;
        }
        Ok(())
    }

    /// Shows a subscription everything up to the head.
    async fn catch_up(&mut self, n: usize) -> Result<(), Closing> {
        let Actor { tenant, livemode, .. } = self.actor;
        loop {
            let Subscription { cursor, call, replaying, .. } = self.subscriptions[n];
            let head = self.state.app.hub.head();
            if let Some(events) = self.state.app.hub.after(cursor) {
                for published in events {
                    self.offer(n, &published, replaying).await?;
                }
                if replaying {
                    self.subscriptions[n].replaying = false;
                    let id = self.subscriptions[n].id.clone();
                    self.tell(&Told::Live { id: &id })?;
                }
                return Ok(());
            }
            // A store that does not answer is asked again when the head moves or the client comes back.
            let page = self.state.app.store.published(tenant, livemode, call, cursor, PAGE).await;
            let page = page.map_err(|_| Closing::Draining)?;
            for published in &page {
                self.offer(n, published, true).await?;
            }
            if (page.len() as i64) < PAGE {
                let cursor = &mut self.subscriptions[n].cursor;
                *cursor = head.max(*cursor);
            }
        }
    }

    /// Shows an event if it is wanted. A replay goes at the client's pace; what happens now does not wait for it.
    async fn offer(&mut self, n: usize, published: &Published, patient: bool) -> Result<(), Closing> {
        let Self { actor, subscriptions, out, state, .. } = self;
        let subscription = &mut subscriptions[n];
        subscription.cursor = published.seq;
        if published.tenant != actor.tenant || published.event.livemode != actor.livemode {
            return Ok(());
        }
        if published.event.kind == Name::KeyRevoked.as_str() {
            // Revoked on another node, perhaps; the next look at our own credential must not believe what was true before.
            let key = published.event.data.get("key_id").and_then(|id| id.as_str()?.parse().ok());
            key.into_iter().for_each(|key| state.keys.forget(key));
        }
        if !is_shown(published, actor) || !subscription.wants(published) {
            return Ok(());
        }
        let event = visible(&published.event, actor);
        let frame = Message::text(Told::Event { id: &subscription.id, event: &event }.text());
        if patient {
            match tokio::time::timeout(STALLED, out.send(frame)).await {
                Ok(_) => Ok(()),
                Err(_) => Err(Closing::Slow),
            }
        } else {
            put(out, frame)
        }
    }

    /// Shows a live event, or counts it as lost while the client is behind.
    fn show(&mut self, event: Result<Arc<LiveEvent>, broadcast::error::RecvError>) -> Result<(), Closing> {
        let event = match event {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                self.subscriptions.iter_mut().filter(|one| one.live).for_each(|one| one.dropped += lost);
                return Ok(());
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        };
        let Self { actor, subscriptions, out, .. } = self;
        for subscription in subscriptions.iter_mut().filter(|one| one.wants_live(&event, actor)) {
            if out.capacity() < HALF {
                subscription.dropped += 1;
                continue;
            }
            let id = &subscription.id;
            if subscription.dropped > 0 {
                put(out, Message::text(Told::Gap { id, dropped_live: subscription.dropped }.text()))?;
                subscription.dropped = 0;
            }
            put(out, Message::text(Told::Event { id, event: &envelope(&event) }.text()))?;
        }
        Ok(())
    }

    /// What time does to a connection.
    async fn look(&mut self) -> Result<(), Closing> {
        let now = Instant::now();
        if self.subscriptions.is_empty() && now - self.idle_since >= IDLE {
            return Err(Closing::Silent);
        }
        if self.state.app.switchboard.health().draining {
            return Err(Closing::Draining);
        }
        if now - self.pinged >= PING {
            if self.unanswered >= 2 {
                return Err(Closing::Silent);
            }
            self.pinged = now;
            self.unanswered += 1;
            put(&self.out, Message::Ping(Vec::new().into()))?;
        }
        self.credential.still(&self.state, "events:read").await
    }

    fn tell(&self, told: &Told<'_>) -> Result<(), Closing> {
        put(&self.out, Message::text(told.text()))
    }
}

/// Queues a frame without waiting.
fn put(out: &mpsc::Sender<Message>, frame: Message) -> Result<(), Closing> {
    match out.try_send(frame) {
        // The other side is gone; the loop sees it too.
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        Err(mpsc::error::TrySendError::Full(_)) => Err(Closing::Slow),
    }
}

/// A subscription that is asked for.
struct Wish<'a> {
    id: &'a str,
    types: Patterns,
    call_id: Option<String>,
    agent_id: Option<String>,
    after: Option<String>,
    after_seq: Option<i64>,
    live: Option<bool>,
}

/// Why there is no subscription.
struct Refused {
    code: &'static str,
    message: String,
    oldest: Option<String>,
}

impl Refused {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), oldest: None }
    }

    fn not_found() -> Self {
        ApiError::not_found().into()
    }
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::new(error.code, error.message)
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        ApiError::from(error).into()
    }
}
