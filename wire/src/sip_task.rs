//! The one task that owns the SIP endpoint: datagrams, stream messages, orders and timers in; messages and events out.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use sip_stack::{CallError, CallHandle, Endpoint, Event, Flow, Outgoing, Refusal, Transmit, Transport};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::counters::SipTally;
use crate::sip_stream::{StreamNews, Streams, connect};
use crate::sip_udp::{Datagram, UdpSockets};
use crate::trace::Tracer;

/// Events that may wait for the application before new datagrams are left to the socket.
const PENDING: usize = 1024;
/// Messages that may wait for one connection to be made.
const WAITING: usize = 64;
/// Messages taken in at once before what they caused is sent.
const BATCH: usize = 64;

/// Something to be done with the endpoint itself.
pub(crate) type Wish = Box<dyn FnOnce(&mut Endpoint, Instant) + Send>;

/// What the user of the SIP side asks for.
pub(crate) enum Command {
    Ring { call: CallHandle, early_sdp: Option<String> },
    Answer { call: CallHandle, sdp: String, done: oneshot::Sender<Result<(), CallError>> },
    Reject { call: CallHandle, refusal: Refusal },
    Flow { transport: Transport, remote: SocketAddr, done: oneshot::Sender<io::Result<Flow>> },
    Path { transport: Transport, remote: SocketAddr, done: oneshot::Sender<io::Result<Flow>> },
    Invite { outgoing: Box<Outgoing>, placed: Box<dyn FnOnce(CallHandle) + Send> },
    End { call: CallHandle },
    Drain { on: bool },
    Do(Wish),
    HandOver { done: oneshot::Sender<()> },
}

/// Messages for one connection, with the flow that each was meant for.
pub(crate) type Waiting = Vec<(Flow, Vec<u8>)>;

/// Where the task hears from.
pub(crate) struct Inboxes {
    pub(crate) datagrams: mpsc::Receiver<Datagram>,
    pub(crate) streams: mpsc::Receiver<StreamNews>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
}

pub(crate) struct SipTask {
    pub(crate) endpoint: Endpoint,
    pub(crate) udp: UdpSockets,
    pub(crate) streams: Arc<Streams>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) tally: Arc<SipTally>,
    /// The readers and listeners; they end with this task.
    pub(crate) readers: JoinSet<()>,
    pub(crate) connections: HashMap<u64, (Flow, mpsc::Sender<Vec<u8>>)>,
    /// The newest connection to each other end.
    pub(crate) newest: HashMap<(Transport, SocketAddr), u64>,
    /// Where each stream transport listens first, for Via and Contact of connections that are made on demand.
    pub(crate) homes: Vec<(Transport, SocketAddr)>,
    /// Messages that wait for a connection that is being made, by its other end.
    pub(crate) opening: HashMap<(Transport, SocketAddr), Waiting>,
    pub(crate) pending: VecDeque<Event>,
    pub(crate) tracer: Tracer,
}

impl SipTask {
    /// Runs until the last handle is dropped.
    pub(crate) async fn run(mut self, mut inboxes: Inboxes) {
        let timer = tokio::time::sleep(std::time::Duration::ZERO);
        tokio::pin!(timer);
        let events = self.events.clone();
        loop {
            self.flush().await;
            let due = self.endpoint.poll_timeout();
            if let Some(due) = due
                && timer.deadline().into_std() != due
            {
                timer.as_mut().reset(due.into());
            }
            tokio::select! {
                Some(datagram) = inboxes.datagrams.recv(), if self.pending.len() < PENDING => {
                    self.datagram(&datagram);
                    for _ in 1..BATCH {
                        let Ok(datagram) = inboxes.datagrams.try_recv() else { break };
                        self.datagram(&datagram);
                    }
                }
                Some(news) = inboxes.streams.recv(), if self.pending.len() < PENDING => self.news(news),
                command = inboxes.commands.recv() => {
                    let Some(command) = command else { break };
                    self.obey(command);
                }
                () = &mut timer, if due.is_some() => self.endpoint.handle_timeout(Instant::now()),
                () = until(self.tracer.due()) => self.tracer.hand_over(),
                permit = events.reserve(), if !self.pending.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(event) = self.pending.pop_front() {
                            permit.send(event);
                        }
                    }
                    // Nobody listens to events any more; calls still end by themselves.
                    Err(_) => self.pending.clear(),
                },
            }
        }
        self.readers.abort_all();
    }

    fn datagram(&mut self, datagram: &Datagram) {
        let flow = self.udp.flow(datagram);
        self.tracer.note(false, &flow, &datagram.bytes);
        self.endpoint.handle_receive(Instant::now(), flow, &datagram.bytes);
    }

    fn news(&mut self, news: StreamNews) {
        match news {
            StreamNews::Opened { flow, outward, asked_by } => {
                for (_, bytes) in self.opening.remove(&(flow.transport, flow.remote)).unwrap_or_default() {
                    if outward.try_send(bytes).is_ok() {
                        self.tally.sent.one();
                    }
                }
                self.newest.insert((flow.transport, flow.remote), flow.connection);
                self.connections.insert(flow.connection, (flow, outward));
                if let Some(asked_by) = asked_by {
                    let _ = asked_by.send(Ok(flow));
                }
            }
            StreamNews::Message { flow, bytes } => {
                self.tracer.note(false, &flow, &bytes);
                self.endpoint.handle_receive(Instant::now(), flow, &bytes);
            }
            StreamNews::TooLong { flow, head } => self.endpoint.handle_oversized(flow, &head),
            StreamNews::Failed { transport, remote } => {
                for (flow, _) in self.opening.remove(&(transport, remote)).unwrap_or_default() {
                    self.tally.send_failures.one();
                    self.endpoint.handle_closed(Instant::now(), flow);
                }
            }
            StreamNews::Closed { flow } => {
                self.let_go(flow);
                self.endpoint.handle_closed(Instant::now(), flow);
            }
        }
    }

    fn let_go(&mut self, flow: Flow) {
        self.connections.remove(&flow.connection);
        let key = (flow.transport, flow.remote);
        if self.newest.get(&key) == Some(&flow.connection) {
            self.newest.remove(&key);
        }
    }

    /// The path to a peer: a socket of ours, or a stream that is made when something is to be sent.
    fn path(&mut self, transport: Transport, remote: SocketAddr) -> io::Result<Flow> {
        if transport == Transport::Udp {
            return self.udp.flow_to(remote).ok_or_else(|| {
                let text = format!("sip udp {remote}: no socket of that address family");
                io::Error::new(io::ErrorKind::AddrNotAvailable, text)
            });
        }
        let any: SocketAddr = if remote.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let family = |(of, at): &&(Transport, SocketAddr)| *of == transport && at.is_ipv4() == remote.is_ipv4();
        let home = self.homes.iter().find(family).map(|(_, at)| *at);
        let home = home.unwrap_or(SocketAddr::new(any.ip(), transport.default_port()));
        Ok(Flow { transport, local: self.udp.local_towards(home, remote), remote, connection: 0 })
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Ring { call, early_sdp } => self.endpoint.ring(now, call, early_sdp),
            Command::Answer { call, sdp, done } => {
                let _ = done.send(self.endpoint.answer(now, call, sdp));
            }
            Command::Reject { call, refusal } => self.endpoint.reject(now, call, refusal),
            Command::Flow { transport: transport @ Transport::Udp, remote, done }
            | Command::Path { transport, remote, done } => {
                let _ = done.send(self.path(transport, remote));
            }
            Command::Flow { transport, remote, done } => {
                self.readers.spawn(connect(transport, remote, Some(done), Arc::clone(&self.streams)));
            }
            // Before the INVITE leaves: its answer cannot overtake this.
            Command::Invite { outgoing, placed } => {
                let call = self.endpoint.invite(now, *outgoing);
                if let Some(call_id) = self.endpoint.call_id(call) {
                    self.tracer.begin(call, &call_id);
                }
                placed(call);
            }
            Command::End { call } => self.endpoint.end(now, call),
            Command::Drain { on } => self.endpoint.drain(on),
            Command::Do(wish) => wish(&mut self.endpoint, now),
            Command::HandOver { done } => {
                self.tracer.hand_over_all();
                let _ = done.send(());
            }
        }
    }

    /// Empties the endpoint: messages to their sockets, events to the application.
    async fn flush(&mut self) {
        while self.readers.try_join_next().is_some() {}
        while let Some(Transmit { flow, bytes }) = self.endpoint.poll_transmit() {
            self.tracer.note(true, &flow, &bytes);
            if self.send(&flow, bytes).await {
                self.tally.sent.one();
            } else {
                self.tally.send_failures.one();
                self.endpoint.handle_closed(Instant::now(), flow);
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            match &event {
                Event::Incoming { call, invite } => self.tracer.begin(*call, &invite.call_id),
                Event::Ended { call, .. } => self.tracer.end(*call),
                _ => {}
            }
            self.pending.push_back(event);
        }
        while !self.pending.is_empty() {
            let Ok(permit) = self.events.try_reserve() else { break };
            if let Some(event) = self.pending.pop_front() {
                permit.send(event);
            }
        }
    }

    async fn send(&mut self, flow: &Flow, bytes: Vec<u8>) -> bool {
        match flow.transport {
            Transport::Udp => self.udp.send(flow, &bytes).await.is_ok(),
            _ => self.send_stream(flow, bytes),
        }
    }

    /// Over the flow's own connection, or another to the same place, or one that is made now (RFC 3261 §18.1.1).
    fn send_stream(&mut self, flow: &Flow, bytes: Vec<u8>) -> bool {
        let newest = || self.connections.get(self.newest.get(&(flow.transport, flow.remote))?);
        if let Some((known, outward)) = self.connections.get(&flow.connection).or_else(newest) {
            let (known, taken) = (*known, outward.try_send(bytes).is_ok());
            if !taken {
                // The peer has not read for many messages: dropping our end closes the connection.
                self.let_go(known);
            }
            return taken;
        }
        let key = (flow.transport, flow.remote);
        let waiting = self.opening.entry(key).or_default();
        if waiting.len() >= WAITING {
            return false;
        }
        waiting.push((*flow, bytes));
        if waiting.len() == 1 {
            self.readers.spawn(connect(key.0, key.1, None, Arc::clone(&self.streams)));
        }
        true
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
