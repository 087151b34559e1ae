//! The one file that reaches out to vendors: WebSockets and streamed HTTP, with time-outs, back-off and counters.
//!
//! A provider is a codec ([`Protocol`], [`Model`]): it says what to send and what an answer means, and
//! never sees a socket or a clock. Everything that can hang, break or be refused is met here, once.

pub mod fault;
pub mod hearing;
pub mod settings;
pub mod sse;
pub mod usage;
pub mod voice;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::TcpStream,
    runtime::{self, Handle},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Error as WsError, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue, Request},
        protocol::WebSocketConfig,
    },
};
use tracing::{debug, info, warn};

pub use self::fault::{Fault, Limits};
use self::usage::Usage;
use crate::{
    Gen,
    llm::{LlmCommand, LlmEvent, LlmLink},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Commands that may wait for a link: ten seconds of audio, far above what a healthy one lets stand.
const QUEUE: usize = 512;
/// The largest message that is taken from a vendor.
const LARGEST: usize = 4 << 20;
/// A socket that has lived for so long was a good one, even if nothing was asked of it.
const GOOD: Duration = Duration::from_secs(10);
/// How long a closed link may still deliver what the vendor has left.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a connection goes and what it shows at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Scheme, host, path and query; holds no key.
    pub url: String,
    /// Among them the key.
    pub headers: Vec<(&'static str, String)>,
}

/// A message towards a vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Usually JSON.
    Text(String),
    /// Usually audio.
    Binary(Bytes),
    /// Asks whether the other end lives.
    Ping,
}

/// What a protocol wants done after it was told something.
#[derive(Debug)]
pub struct Outbox<E> {
    /// To the vendor; thrown away while there is no socket.
    pub frames: Vec<Frame>,
    /// To the conversation.
    pub events: Vec<E>,
    /// Messages of the vendor that made no sense.
    pub strange: u64,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self { frames: Vec::new(), events: Vec::new(), strange: 0 }
    }
}

/// What a protocol waits for, and so which limit applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The first message of an answer.
    FirstByte,
    /// The next message of an answer.
    Next,
}

/// A vendor's protocol over one WebSocket, without the socket: told what happens, it says what to do.
pub trait Protocol: Send + 'static {
    /// From the conversation.
    type Command: Send + 'static;
    /// To the conversation.
    type Event: Send + 'static;
    /// Without sending for so long, `keep_alive` is sent.
    const KEEP_ALIVE: Duration;

    /// Where to connect.
    fn door(&self) -> Door;
    /// There is a new socket, for which nothing has been sent yet.
    fn handle_open(&mut self, took: Duration, out: &mut Outbox<Self::Event>);
    /// The conversation wants something; `online` tells whether there is a socket.
    fn handle_command(&mut self, command: Self::Command, online: bool, out: &mut Outbox<Self::Event>);
    /// A text message came; an error gives the socket up.
    fn handle_text(&mut self, text: &str, out: &mut Outbox<Self::Event>) -> Result<(), Fault>;
    /// The socket is gone, or there was none to be had; called once for each failure. After the `last` one there is no other.
    fn handle_lost(&mut self, fault: &Fault, last: bool, out: &mut Outbox<Self::Event>);
    /// Whether the vendor owes an answer.
    fn waiting(&self) -> Option<Wait>;
    /// What keeps an idle socket open.
    fn keep_alive(&self) -> Option<Frame>;
    /// What ends a socket in good manners.
    fn farewell(&self) -> Option<Frame>;
    /// What a close of the vendor means.
    fn judge_close(&self, code: Option<u16>, reason: &str) -> Fault {
        Fault::closed(code, reason)
    }
    /// The link gives up.
    fn down(fault: &Fault) -> Self::Event;
}

/// Opens a link at once; the connection is made behind it, on the current tokio runtime.
pub fn open<P: Protocol>(
    protocol: P,
    name: &str,
    usage: Arc<Usage>,
    limits: Limits,
) -> (mpsc::Sender<P::Command>, mpsc::UnboundedReceiver<P::Event>) {
    let (commands, receiver) = mpsc::channel(QUEUE);
    let (sender, events) = mpsc::unbounded_channel();
    let session = Session { protocol, commands: receiver, events: sender, limits, usage, name: name.to_owned() };
    tokio::spawn(session.run());
    (commands, events)
}

/// The conversation has let go of its link.
struct Released;

struct Session<P: Protocol> {
    protocol: P,
    commands: mpsc::Receiver<P::Command>,
    events: mpsc::UnboundedSender<P::Event>,
    limits: Limits,
    usage: Arc<Usage>,
    name: String,
}

/// How a socket ended.
enum End {
    Released,
    Lost { fault: Fault, healthy: bool },
}

impl<P: Protocol> Session<P> {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let connecting = connect(self.protocol.door(), self.limits.connect());
            let fault = match self.meanwhile(connecting).await {
                Err(Released) => return,
                Ok(Ok(socket)) => {
                    self.usage.add(|usage| &usage.connects, 1);
                    let took = started.elapsed();
                    debug!(link = self.name, took_ms = took.as_millis() as u64, "connected");
                    match self.converse(socket, took).await {
                        End::Released => return,
                        End::Lost { fault, healthy } => {
                            failures = if healthy { 0 } else { failures };
                            fault
                        }
                    }
                }
                Ok(Err(fault)) => fault,
            };
            failures += 1;
            self.usage.add(|usage| &usage.failures, 1);
            let mut out = Outbox::default();
            let last = !fault.retry || failures >= self.limits.attempts;
            self.protocol.handle_lost(&fault, last, &mut out);
            if last {
                warn!(link = self.name, failures, retry = fault.retry, "down: {fault}");
                out.events.push(P::down(&fault));
            } else {
                info!(link = self.name, failures, "lost, connecting again: {fault}");
            }
            if self.deliver(&mut out).is_err() || last {
                return;
            }
            let pause = self.limits.backoff(failures, fault.after);
            if self.meanwhile(tokio::time::sleep(pause)).await.is_err() {
                return;
            }
        }
    }

    /// Waits for something while there is no socket, and takes commands all the while.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Released> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv() => {
                    let mut out = Outbox::default();
                    self.protocol.handle_command(command.ok_or(Released)?, false, &mut out);
                    self.deliver(&mut out)?;
                }
            }
        }
    }

    fn deliver(&self, out: &mut Outbox<P::Event>) -> Result<(), Released> {
        self.usage.add(|usage| &usage.strange, std::mem::take(&mut out.strange));
        out.events.drain(..).try_for_each(|event| self.events.send(event).map_err(|_| Released))
    }

    async fn converse(&mut self, mut socket: Socket, took: Duration) -> End {
        let opened = Instant::now();
        let (mut sent, mut heard) = (opened, opened);
        let (mut asked, mut progress, mut pinged, mut healthy) = (None, opened, false, false);
        let mut out = Outbox::default();
        self.protocol.handle_open(took, &mut out);
        loop {
            if !out.frames.is_empty() {
                sent = Instant::now();
                if let Err(fault) = push(&mut socket, &mut out.frames, self.limits.stall()).await {
                    return End::Lost { fault, healthy };
                }
            }
            if self.deliver(&mut out).is_err() {
                return self.leave(socket).await;
            }
            let wait = self.protocol.waiting();
            let now = Instant::now();
            match (wait, asked) {
                (Some(Wait::FirstByte), None) => (asked, progress) = (Some(now), now),
                (Some(Wait::FirstByte), Some(_)) => {}
                // Cancelled before its first byte.
                (_, Some(_)) => asked = None,
                (None, None) => progress = now,
                (Some(Wait::Next), None) => {}
            }
            let overdue = wait.map(|wait| {
                progress + if wait == Wait::FirstByte { self.limits.first_byte() } else { self.limits.stall() }
            });
            let check = heard + self.limits.silence() * if pinged { 2 } else { 1 };
            let idle = sent + P::KEEP_ALIVE;
            let next = overdue.into_iter().chain([check, idle]).min().unwrap_or(check);
            tokio::select! {
                message = socket.next() => {
                    heard = Instant::now();
                    pinged = false;
                    let fault = match message {
                        Some(Ok(Message::Text(text))) => {
                            progress = heard;
                            match self.protocol.handle_text(&text, &mut out) {
                                Ok(()) => {
                                    healthy |= !out.events.is_empty();
                                    if let Some(since) = asked.take_if(|_| self.protocol.waiting() != Some(Wait::FirstByte)) {
                                        self.usage.first_byte(heard - since);
                                    }
                                    continue;
                                }
                                Err(fault) => fault,
                            }
                        }
                        Some(Ok(Message::Close(frame))) => {
                            let (code, reason) = frame.map_or((None, String::new()), |frame| (Some(frame.code.into()), frame.reason.to_string()));
                            self.protocol.judge_close(code, &reason)
                        }
                        Some(Ok(Message::Binary(_))) => {
                            out.strange += 1;
                            continue;
                        }
                        Some(Ok(_)) => continue,
                        Some(Err(error)) => Fault::passing(error.to_string()),
                        None => Fault::passing("the connection ended"),
                    };
                    // What came before the end still counts.
                    let _ = self.deliver(&mut out);
                    // A vendor that closes a socket because it is idle has done nothing wrong.
                    healthy |= self.protocol.waiting().is_none() && opened.elapsed() > GOOD;
                    return End::Lost { fault, healthy };
                }
                command = self.commands.recv() => match command {
                    Some(command) => self.protocol.handle_command(command, true, &mut out),
                    None => return self.leave(socket).await,
                },
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if overdue.is_some_and(|overdue| overdue <= now) {
                        let what = if wait == Some(Wait::FirstByte) { "no answer" } else { "no progress" };
                        return End::Lost { fault: Fault::passing(format!("{what} for {} ms", (now - progress).as_millis())), healthy };
                    }
                    if check <= now {
                        if pinged {
                            return End::Lost { fault: Fault::passing("the connection is dead"), healthy };
                        }
                        pinged = true;
                        out.frames.push(Frame::Ping);
                    }
                    if idle <= now {
                        sent = now;
                        out.frames.extend(self.protocol.keep_alive());
                    }
                }
            }
        }
    }

    /// Says goodbye and passes on what still comes.
    async fn leave(&mut self, mut socket: Socket) -> End {
        let polite = async {
            let mut frames: Vec<_> = self.protocol.farewell().into_iter().collect();
            if push(&mut socket, &mut frames, FAREWELL).await.is_err() {
                return;
            }
            while let Some(Ok(message)) = socket.next().await {
                let mut out = Outbox::default();
                if let Message::Text(text) = message
                    && (self.protocol.handle_text(&text, &mut out).is_err() || self.deliver(&mut out).is_err())
                {
                    break;
                }
            }
            let _ = socket.close(None).await;
        };
        let _ = timeout(FAREWELL, polite).await;
        End::Released
    }
}

async fn push(socket: &mut Socket, frames: &mut Vec<Frame>, limit: Duration) -> Result<(), Fault> {
    let work = async {
        for frame in frames.drain(..) {
            let message = match frame {
                Frame::Text(text) => Message::Text(text.into()),
                Frame::Binary(bytes) => Message::Binary(bytes),
                Frame::Ping => Message::Ping(Bytes::new()),
            };
            socket.feed(message).await?;
        }
        socket.flush().await
    };
    match timeout(limit, work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Fault::passing(error.to_string())),
        Err(_) => Err(Fault::passing("the vendor takes no more data")),
    }
}

/// Installs the one TLS implementation that both stacks use.
fn tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the program has installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

async fn connect(door: Door, limit: Duration) -> Result<Socket, Fault> {
    tls();
    let request = knock(&door)?;
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    match timeout(limit, connect_async_with_config(request, Some(config), true)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(WsError::Http(response))) => {
            let after = retry_after(response.headers().get("retry-after"));
            let body = response.body().as_deref().unwrap_or_default();
            Err(Fault::refused(response.status().as_u16(), &String::from_utf8_lossy(body), after))
        }
        Ok(Err(WsError::Url(error))) => Err(Fault::permanent(error.to_string())),
        Ok(Err(error)) => Err(Fault::passing(error.to_string())),
        Err(_) => Err(Fault::passing(format!("no connection within {} ms", limit.as_millis()))),
    }
}

fn knock(door: &Door) -> Result<Request<()>, Fault> {
    let mut request = door.url.as_str().into_client_request().map_err(|error| Fault::permanent(error.to_string()))?;
    for (name, value) in &door.headers {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Fault::permanent(format!("the value of {name} cannot be sent")))?;
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}

fn retry_after(header: Option<&HeaderValue>) -> Option<Duration> {
    header?.to_str().ok()?.trim().parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// A request whose answer is streamed.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Where it goes.
    pub door: Door,
    /// JSON.
    pub body: serde_json::Value,
}

/// What a piece of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Text to speak.
    Token(String),
    /// A complete tool call.
    ToolCall {
        /// The model's id for it.
        id: String,
        /// The tool's name.
        name: String,
        /// Arguments, checked to be JSON.
        arguments: String,
    },
    /// The answer is complete.
    Done {
        /// Tokens read.
        input_tokens: u32,
        /// Tokens written.
        output_tokens: u32,
    },
}

/// A language model behind streamed HTTP.
pub trait Model: Send + Sync + 'static {
    /// Reads one answer.
    type Answer: Answer;
    /// The request for this context.
    fn ask(&self, lines: &[crate::llm::Line], tools: &[crate::llm::Tool]) -> Ask;
    /// A reader for its answer.
    fn answer(&self) -> Self::Answer;
}

/// Reads the events of one answer.
pub trait Answer: Send + 'static {
    /// One event's data; an error ends the answer.
    fn handle_event(&mut self, data: &str, out: &mut Outbox<Said>) -> Result<(), Fault>;
    /// No more events will come.
    fn handle_end(&mut self, out: &mut Outbox<Said>) -> Result<(), Fault>;
}

/// Opens a model; each generation is a request of its own, cancelled by closing its connection.
pub fn open_model<M: Model>(model: M, name: &str, limits: Limits) -> LlmLink {
    let (commands, mut receiver) = mpsc::channel(QUEUE);
    let (sender, events) = mpsc::unbounded_channel();
    let usage = Usage::of(name);
    let model = Arc::new(model);
    let counted = usage.clone();
    tokio::spawn(async move {
        // Dropped with the link, and all requests with it.
        let mut requests = JoinSet::new();
        let mut running: HashMap<Gen, AbortHandle> = HashMap::new();
        loop {
            tokio::select! {
                command = receiver.recv() => match command {
                    Some(LlmCommand::Generate { r#gen, lines, tools }) => {
                        let work = generate(model.clone(), r#gen, model.ask(&lines, &tools), limits.clone(), usage.clone(), sender.clone());
                        if let Some(old) = running.insert(r#gen, requests.spawn(work)) {
                            old.abort();
                        }
                    }
                    Some(LlmCommand::Cancel { r#gen }) => {
                        if let Some(request) = running.remove(&r#gen) {
                            request.abort();
                        }
                    }
                    None => return,
                },
                Some(_) = requests.join_next() => running.retain(|_, request| !request.is_finished()),
            }
        }
    });
    LlmLink { commands, events, name: name.to_owned(), usage: counted }
}

async fn generate<M: Model>(
    model: Arc<M>,
    r#gen: Gen,
    ask: Ask,
    limits: Limits,
    usage: Arc<Usage>,
    events: mpsc::UnboundedSender<LlmEvent>,
) {
    let told = |said: Said| match said {
        Said::Token(text) => LlmEvent::Token { r#gen, text },
        Said::ToolCall { id, name, arguments } => LlmEvent::ToolCall { r#gen, id, name, arguments },
        Said::Done { input_tokens, output_tokens } => {
            usage.add(|usage| &usage.input_tokens, input_tokens.into());
            usage.add(|usage| &usage.output_tokens, output_tokens.into());
            LlmEvent::Done { r#gen, input_tokens, output_tokens }
        }
    };
    let say = |out: &mut Outbox<Said>| {
        usage.add(|usage| &usage.strange, std::mem::take(&mut out.strange));
        for said in out.events.drain(..) {
            // Nobody listens any more: the link is about to be dropped, and this with it.
            let _ = events.send(told(said));
        }
    };
    if let Err(fault) = stream(ask, model.answer(), &limits, &usage, say).await {
        usage.add(|usage| &usage.failures, 1);
        info!(generation = r#gen, retry = fault.retry, "the model failed: {fault}");
        let _ = events.send(LlmEvent::Error { r#gen, reason: fault.reason, retry: fault.retry });
    }
}

async fn stream<A: Answer>(
    ask: Ask,
    mut answer: A,
    limits: &Limits,
    usage: &Usage,
    say: impl Fn(&mut Outbox<Said>),
) -> Result<(), Fault> {
    let asked = Instant::now();
    let mut deadline = asked + limits.first_byte();
    let late = || Fault::passing(format!("no answer for {} ms", limits.first_byte_ms));
    let mut response = timeout_at(deadline, post(&ask)?).await.map_err(|_| late())?.map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        return Err(refusal(response, limits).await);
    }
    usage.add(|usage| &usage.connects, 1);
    let mut events = sse::Events::default();
    let (mut out, mut first, mut done) = (Outbox::default(), true, false);
    loop {
        let chunk = timeout_at(deadline, response.chunk()).await.map_err(|_| {
            if first { late() } else { Fault::passing(format!("no progress for {} ms", limits.stall_ms)) }
        })?;
        let Some(chunk) = chunk.map_err(broken)? else { break };
        let mut result = Ok(());
        let mut progress = false;
        let split = events.push(&chunk, |data| {
            progress = true;
            if data == "[DONE]" {
                done = true;
            } else if result.is_ok() && !done {
                result = answer.handle_event(data, &mut out);
            }
        });
        if !out.events.is_empty() && std::mem::take(&mut first) {
            usage.first_byte(asked.elapsed());
        }
        say(&mut out);
        result?;
        split.map_err(|error| Fault::passing(error.to_string()))?;
        if done {
            break;
        }
        // Comments keep a connection open, but they are no progress.
        if progress {
            deadline = Instant::now() + if first { limits.first_byte() } else { limits.stall() };
        }
    }
    let end = answer.handle_end(&mut out);
    say(&mut out);
    end?;
    if done {
        // The end of the body must be read for the connection to be used again.
        let _ = timeout(Duration::from_millis(200), async { while let Ok(Some(_)) = response.chunk().await {} }).await;
    }
    Ok(())
}

fn post(ask: &Ask) -> Result<impl Future<Output = reqwest::Result<reqwest::Response>> + use<>, Fault> {
    let mut request = client(settings::is_loopback(&ask.door.url))?.post(&ask.door.url).json(&ask.body);
    for (name, value) in &ask.door.headers {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Fault::permanent(format!("the value of {name} cannot be sent")))?;
        value.set_sensitive(true);
        request = request.header(*name, value);
    }
    Ok(request.send())
}

async fn refusal(mut response: reqwest::Response, limits: &Limits) -> Fault {
    let status = response.status().as_u16();
    let after = retry_after(response.headers().get("retry-after"));
    let wish =
        response.headers().get("x-should-retry").and_then(|value| value.to_str().ok()).map(|text| text == "true");
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > 4096 {
                break;
            }
        }
    };
    let _ = timeout(limits.stall(), read).await;
    let fault = Fault::refused(status, &String::from_utf8_lossy(&body), after);
    Fault { retry: wish.unwrap_or(fault.retry), ..fault }
}

fn broken(error: reqwest::Error) -> Fault {
    // reqwest's own text hides the cause behind the URL; the cause is what a reader needs.
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    if error.is_builder() { Fault::permanent(reason) } else { Fault::passing(reason) }
}

/// One client for each runtime, so that calls share connections that are already open; a loopback address is never asked of a proxy.
fn client(loopback: bool) -> Result<reqwest::Client, Fault> {
    type Slot = Mutex<Option<(runtime::Id, reqwest::Client)>>;
    static CLIENTS: [Slot; 2] = [Mutex::new(None), Mutex::new(None)];
    let id = Handle::current().id();
    let mut slot = CLIENTS[usize::from(loopback)].lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((owner, client)) = &*slot
        && *owner == id
    {
        return Ok(client.clone());
    }
    tls();
    let builder = reqwest::Client::builder().connect_timeout(Limits::default().connect()).tcp_nodelay(true);
    let builder = if loopback { builder.no_proxy() } else { builder };
    let client = builder.build().map_err(broken)?;
    *slot = Some((id, client.clone()));
    Ok(client)
}
