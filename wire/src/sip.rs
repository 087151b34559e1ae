//! The signalling side of the wire: bind the SIP sockets, get a handle to speak with and a stream of events.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use sip_stack::{CallError, CallHandle, Endpoint, EndpointConfig, Event, Flow, Outgoing, Refusal, Transport};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use crate::counters::SipCounts;
use crate::counters::SipTally;
pub use crate::resolve::{ResolveError, Resolver, Target};
pub use crate::sip_stream::StreamLimits;
use crate::sip_stream::{Streams, accept, listen};
use crate::sip_task::{Command, Inboxes, SipTask};
use crate::sip_tls::Tls;
pub use crate::sip_tls::TlsConfig;
use crate::sip_udp::{self, UdpSockets};
use crate::trace::Tracer;
pub use crate::trace::{CallTrace, TraceConfig, TraceSink, Traced};

/// Datagrams, or stream messages, that may wait for the SIP task: a tenth of a second of the promised call rate.
const INBOX: usize = 2048;
const EVENTS: usize = 1024;

/// Where SIP is spoken.
#[derive(Debug, Clone, Default)]
pub struct SipConfig {
    /// UDP listen addresses.
    pub udp: Vec<SocketAddr>,
    /// TCP listen addresses.
    pub tcp: Vec<SocketAddr>,
    /// TLS listen addresses; they need a certificate.
    pub tls: Vec<SocketAddr>,
    /// WebSocket listen addresses.
    pub ws: Vec<SocketAddr>,
    /// Listen addresses of WebSockets inside TLS; they need a certificate.
    pub wss: Vec<SocketAddr>,
    /// Certificates.
    pub certificates: TlsConfig,
    /// What is kept of each call's messages.
    pub trace: TraceConfig,
    /// How the endpoint behaves.
    pub endpoint: EndpointConfig,
}

/// Why something asked of the SIP side did not happen.
#[derive(Debug, thiserror::Error)]
pub enum SipError {
    /// The call is not in a state for it.
    #[error("{0}")]
    Call(CallError),
    /// No way to the peer.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The SIP task has ended.
    #[error("sip is shut down")]
    Closed,
}

/// Opens every listen address and starts the task that owns the endpoint, with the usual [`StreamLimits`].
///
/// # Errors
/// An address that cannot be bound; the error names it and its transport.
pub async fn bind(config: SipConfig) -> io::Result<(SipHandle, mpsc::Receiver<Event>)> {
    bind_with(config, StreamLimits::default()).await
}

/// [`bind`] with other limits for stream connections.
///
/// # Errors
/// As [`bind`].
pub async fn bind_with(config: SipConfig, limits: StreamLimits) -> io::Result<(SipHandle, mpsc::Receiver<Event>)> {
    let tally = Arc::new(SipTally::default());
    let (datagrams_in, datagrams) = mpsc::channel(INBOX);
    let (news, streams_out) = mpsc::channel(INBOX);
    let (orders, commands) = mpsc::unbounded_channel();
    let (events, events_out) = mpsc::channel(EVENTS);
    let certificates = Tls::open(config.certificates)?;
    if certificates.acceptor().is_none() && !(config.tls.is_empty() && config.wss.is_empty()) {
        let text = "sip tls: a listener needs a certificate and its key";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let streams = Streams::new(news, limits, Arc::clone(&tally), certificates);

    // All addresses first: a process that cannot have one of them should not answer on the others.
    let sockets = config
        .udp
        .iter()
        .map(|address| {
            let socket = sip_udp::bind(*address)?;
            Ok((socket.local_addr()?, Arc::new(socket)))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let wanted = [
        (Transport::Tcp, &config.tcp),
        (Transport::Tls, &config.tls),
        (Transport::Ws, &config.ws),
        (Transport::Wss, &config.wss),
    ];
    let mut listeners = Vec::new();
    for (transport, addresses) in wanted {
        for address in addresses {
            listeners.push((transport, listen(*address, transport)?));
        }
    }
    let bound = |of: Transport| -> io::Result<Vec<SocketAddr>> {
        let ours = listeners.iter().filter(|(transport, _)| *transport == of);
        ours.map(|(_, listener)| listener.local_addr()).collect()
    };
    let (tcp, tls) = (bound(Transport::Tcp)?, bound(Transport::Tls)?);
    let (ws, wss) = (bound(Transport::Ws)?, bound(Transport::Wss)?);
    let udp = sockets.iter().map(|(address, _)| *address).collect();
    let homes = listeners.iter().map(|(transport, listener)| Ok((*transport, listener.local_addr()?)));
    let homes = homes.collect::<io::Result<Vec<_>>>()?;

    let mut readers = JoinSet::new();
    for (index, (_, socket)) in sockets.iter().enumerate() {
        readers.spawn(sip_udp::read(index, Arc::clone(socket), datagrams_in.clone(), Arc::clone(&tally)));
    }
    for (transport, listener) in listeners {
        readers.spawn(accept(listener, transport, Arc::clone(&streams)));
    }
    let task = SipTask {
        endpoint: Endpoint::new(config.endpoint, RandomState::new().hash_one(std::process::id())),
        udp: UdpSockets::new(sockets),
        streams: Arc::clone(&streams),
        events,
        tally: Arc::clone(&tally),
        readers,
        connections: HashMap::new(),
        newest: HashMap::new(),
        homes,
        opening: HashMap::new(),
        tracer: Tracer::new(config.trace),
        pending: VecDeque::new(),
    };
    tokio::spawn(task.run(Inboxes { datagrams, streams: streams_out, commands }));
    Ok((SipHandle { orders, tally, streams, listening: Arc::new(Listening { udp, tcp, tls, ws, wss }) }, events_out))
}

#[derive(Debug)]
struct Listening {
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    ws: Vec<SocketAddr>,
    wss: Vec<SocketAddr>,
}

/// Speaks to the SIP task; cheap to clone. When the last one is dropped, SIP ends.
#[derive(Clone)]
pub struct SipHandle {
    orders: mpsc::UnboundedSender<Command>,
    streams: Arc<Streams>,
    tally: Arc<SipTally>,
    listening: Arc<Listening>,
}

impl std::fmt::Debug for SipHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SipHandle").field("listening", &self.listening).finish_non_exhaustive()
    }
}

impl SipHandle {
    /// Sends 180, or 183 with `early_sdp`.
    pub fn ring(&self, call: CallHandle, early_sdp: Option<String>) {
        let _ = self.orders.send(Command::Ring { call, early_sdp });
    }

    /// Answers an INVITE or re-INVITE with 200.
    ///
    /// # Errors
    /// [`SipError::Call`] when there is nothing to answer (cancelled meanwhile).
    pub async fn answer(&self, call: CallHandle, sdp: String) -> Result<(), SipError> {
        let (done, answer) = oneshot::channel();
        self.send(Command::Answer { call, sdp, done })?;
        answer.await.map_err(|_| SipError::Closed)?.map_err(SipError::Call)
    }

    /// Refuses an INVITE or re-INVITE.
    pub fn reject(&self, call: CallHandle, refusal: Refusal) {
        let _ = self.orders.send(Command::Reject { call, refusal });
    }

    /// A way to a peer: for UDP one of our sockets, for TCP a new connection.
    ///
    /// # Errors
    /// [`SipError::Io`] when there is no socket of that address family or the peer cannot be connected to.
    pub async fn flow_to(&self, transport: Transport, remote: SocketAddr) -> Result<Flow, SipError> {
        let (done, flow) = oneshot::channel();
        self.send(Command::Flow { transport, remote, done })?;
        Ok(flow.await.map_err(|_| SipError::Closed)??)
    }

    /// A path to a peer that costs nothing yet: for UDP one of our sockets, for a stream its two ends. The connection is made when
    /// something is sent and there is none to that place; when it cannot be had, whatever was sent over it fails.
    ///
    /// # Errors
    /// [`SipError::Io`] when there is no socket of that address family.
    pub async fn path(&self, transport: Transport, remote: SocketAddr) -> Result<Flow, SipError> {
        let (done, flow) = oneshot::channel();
        self.send(Command::Path { transport, remote, done })?;
        Ok(flow.await.map_err(|_| SipError::Closed)??)
    }

    /// Calls out over paths that [`SipHandle::path`] gave; `placed` as for [`SipHandle::invite_with`].
    ///
    /// # Errors
    /// [`SipError::Closed`].
    pub async fn place(
        &self,
        outgoing: Outgoing,
        placed: impl FnOnce(CallHandle) + Send + 'static,
    ) -> Result<CallHandle, SipError> {
        let (done, call) = oneshot::channel();
        let placed = move |call| {
            placed(call);
            let _ = done.send(call);
        };
        self.send(Command::Invite { outgoing: Box::new(outgoing), placed: Box::new(placed) })?;
        call.await.map_err(|_| SipError::Closed)
    }

    /// Calls out. Of `outgoing.flow` only transport and remote need be true: an unspecified local address, or a TCP
    /// flow without a connection, is completed as by [`SipHandle::flow_to`].
    ///
    /// # Errors
    /// [`SipError::Io`] when there is no way to the peer.
    pub async fn invite(&self, outgoing: Outgoing) -> Result<CallHandle, SipError> {
        self.invite_with(outgoing, |_| ()).await
    }

    /// [`SipHandle::invite`] for those who share the stream of events out: `placed` is told the call before any event of it can
    /// come. It runs in the SIP task and must not block.
    ///
    /// # Errors
    /// As [`SipHandle::invite`].
    pub async fn invite_with(
        &self,
        mut outgoing: Outgoing,
        placed: impl FnOnce(CallHandle) + Send + 'static,
    ) -> Result<CallHandle, SipError> {
        let flow = outgoing.flow;
        let open = match flow.transport {
            Transport::Udp => flow.local.ip().is_unspecified() || flow.local.port() == 0,
            _ => flow.connection == 0,
        };
        if open {
            outgoing.flow = self.flow_to(flow.transport, flow.remote).await?;
        }
        self.place(outgoing, placed).await
    }

    /// Ends a call: BYE, CANCEL or a refusal, whatever its state asks for.
    pub fn end(&self, call: CallHandle) {
        let _ = self.orders.send(Command::End { call });
    }

    /// While on, OPTIONS and new INVITEs are answered 503; calls at hand go on.
    pub fn drain(&self, on: bool) {
        let _ = self.orders.send(Command::Drain { on });
    }

    /// The UDP addresses really bound (port 0 resolved).
    pub fn udp(&self) -> &[SocketAddr] {
        &self.listening.udp
    }

    /// The TCP addresses really bound.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.listening.tcp
    }

    /// The TLS addresses really bound.
    pub fn tls(&self) -> &[SocketAddr] {
        &self.listening.tls
    }

    /// The WebSocket addresses really bound.
    pub fn ws(&self) -> &[SocketAddr] {
        &self.listening.ws
    }

    /// The addresses really bound of WebSockets inside TLS.
    pub fn wss(&self) -> &[SocketAddr] {
        &self.listening.wss
    }

    /// Reads certificates, keys and roots again, for connections from now on.
    ///
    /// # Errors
    /// What cannot be used, by file; then everything stays as it was.
    pub fn reload_tls(&self) -> io::Result<()> {
        self.streams.tls.reload()
    }

    /// A TLS peer at this address must show a certificate for this domain, or another by which it was found, instead of for the address.
    pub fn expect_domain(&self, remote: SocketAddr, domain: &str) {
        self.streams.name(remote, domain);
    }

    /// Why the last connection to a place could not be had, for people; `None` once one could, and for UDP.
    #[must_use]
    pub fn last_failure(&self, transport: Transport, remote: SocketAddr) -> Option<String> {
        self.streams.failure(transport, remote)
    }

    /// What the SIP sockets counted.
    pub fn counts(&self) -> SipCounts {
        self.tally.snapshot()
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), SipError> {
        self.orders.send(command).map_err(|_| SipError::Closed)
    }
}
