//! SIP over streams (RFC 3261 §18.3): listening, connecting, framing, and letting go of connections that only cost.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sip_stack::stream::{FrameError, Framed, Framer, PONG};
use sip_stack::{Flow, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use crate::counters::SipTally;
use crate::sip_tls::{Tls, expected};
use crate::sip_udp::named;
use crate::sip_ws;

/// Messages that may wait for a peer that reads slowly; one more and the connection is given up.
const WAITING: usize = 64;
const BACKLOG: i32 = 1024;
const READ: usize = 8192;
/// Domains remembered for one address.
const NAMES: usize = 8;
/// Places whose names or failures are remembered. Trunks are few; whoever makes it thousands looks them up again.
const PLACES: usize = 4096;
/// Silence after which a connection of ours is kept open by a double line end (RFC 5626 §4.4.1: 95 to 120 s).
const KEEP_ALIVE: Duration = Duration::from_secs(95);

/// What a stream connection may cost us.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// From the first byte of a message to its last, and from accepting a connection to its first message.
    pub message: Duration,
    /// Without any byte, once it has carried a message.
    pub idle: Duration,
    /// For connecting, and for a peer to take what we write.
    pub patience: Duration,
    /// Accepted connections of one address.
    pub per_source: usize,
    /// Accepted connections in all.
    pub total: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            message: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            patience: Duration::from_secs(5),
            per_source: 64,
            total: 4096,
        }
    }
}

/// What stream tasks tell the SIP task. For one connection always in the order opened, messages, closed.
pub(crate) enum StreamNews {
    Opened {
        flow: Flow,
        outward: mpsc::Sender<Vec<u8>>,
        asked_by: Option<oneshot::Sender<io::Result<Flow>>>,
    },
    Message {
        flow: Flow,
        bytes: Vec<u8>,
    },
    /// The head of a message too long to be read; the connection closes once that was answered.
    TooLong {
        flow: Flow,
        head: Vec<u8>,
    },
    Closed {
        flow: Flow,
    },
    /// A connection that messages wait for could not be had.
    Failed {
        transport: Transport,
        remote: SocketAddr,
    },
}

/// What every stream task shares.
pub(crate) struct Streams {
    pub(crate) news: mpsc::Sender<StreamNews>,
    pub(crate) limits: StreamLimits,
    pub(crate) tally: Arc<SipTally>,
    next: AtomicU64,
    census: Mutex<Census>,
    pub(crate) tls: Tls,
    /// The domains by which a TLS peer was found, newest first: its certificate must say one of them. Nobody who names a stranger's
    /// address can take the stranger's own name away from it.
    names: Mutex<HashMap<SocketAddr, Vec<String>>>,
    /// Why the last connection to a place could not be had; gone as soon as one can.
    failures: Mutex<HashMap<(Transport, SocketAddr), String>>,
}

#[derive(Default)]
struct Census {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// A place among the accepted connections; given back when dropped.
struct Place {
    streams: Arc<Streams>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut census = self.streams.census.lock().unwrap_or_else(PoisonError::into_inner);
        census.total -= 1;
        if let Some(count) = census.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                census.by_source.remove(&self.source);
            }
        }
    }
}

impl Streams {
    pub(crate) fn new(
        news: mpsc::Sender<StreamNews>,
        limits: StreamLimits,
        tally: Arc<SipTally>,
        tls: Tls,
    ) -> Arc<Self> {
        let census = Mutex::new(Census::default());
        let (names, failures) = (Mutex::default(), Mutex::default());
        Arc::new(Self { news, limits, tally, next: AtomicU64::new(1), census, tls, names, failures })
    }

    /// Remembers the domain that led to an address.
    pub(crate) fn name(&self, remote: SocketAddr, domain: &str) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= PLACES {
            names.clear();
        }
        let known = names.entry(remote).or_default();
        known.retain(|name| name != domain);
        known.insert(0, domain.to_owned());
        known.truncate(NAMES);
    }

    /// Why the last connection to a place could not be had.
    pub(crate) fn failure(&self, transport: Transport, remote: SocketAddr) -> Option<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(&(transport, remote)).cloned()
    }

    fn note(&self, transport: Transport, remote: SocketAddr, error: Option<&io::Error>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => {
                if failures.len() >= PLACES {
                    failures.clear();
                }
                failures.insert((transport, remote), error.to_string());
            }
            None => drop(failures.remove(&(transport, remote))),
        }
    }

    fn domains(&self, remote: SocketAddr) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&remote).cloned().unwrap_or_default()
    }

    fn place(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let mut census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        let here = census.by_source.get(&source).copied().unwrap_or(0);
        if census.total >= self.limits.total || here >= self.limits.per_source {
            return None;
        }
        census.total += 1;
        census.by_source.insert(source, here + 1);
        Some(Place { streams: Arc::clone(self), source })
    }

    fn flow(&self, stream: &TcpStream, transport: Transport) -> io::Result<Flow> {
        let connection = self.next.fetch_add(1, Ordering::Relaxed);
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Flow { transport, local, remote, connection })
    }
}

/// Listens on one address; the error names transport and address.
pub(crate) fn listen(address: SocketAddr, transport: Transport) -> io::Result<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restart must not wait for the TIME_WAIT of the connections of the process before it.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error| named(&error, &transport.as_str().to_ascii_lowercase(), address))
}

/// Accepts connections until the SIP task is gone.
pub(crate) async fn accept(listener: TcpListener, transport: Transport, streams: Arc<Streams>) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors: the connections at hand will end, the waiting ones keep in the backlog.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if streams.news.is_closed() {
            return;
        }
        let (Some(place), Ok(flow)) = (streams.place(from.ip()), streams.flow(&stream, transport)) else {
            streams.tally.streams_refused.one();
            continue;
        };
        let streams = Arc::clone(&streams);
        tokio::spawn(async move {
            shake(stream, flow, &streams).await;
            drop(place);
        });
    }
}

/// What stands between an accepted connection and SIP: a TLS handshake, a WebSocket's, or nothing.
async fn shake(stream: TcpStream, flow: Flow, streams: &Arc<Streams>) {
    tune(&stream);
    let socket = matches!(flow.transport, Transport::Ws | Transport::Wss);
    if !matches!(flow.transport, Transport::Tls | Transport::Wss) {
        if socket {
            return carry_ws(stream, flow, streams).await;
        }
        return carry(stream, flow, None, streams).await;
    }
    let Some(acceptor) = streams.tls.acceptor() else { return };
    // Garbage, an old version or a wrong certificate gets its alert from rustls; the rest of the house hears nothing.
    match timeout(streams.limits.message, acceptor.accept(stream)).await {
        Ok(Ok(stream)) if socket => carry_ws(stream, flow, streams).await,
        Ok(Ok(stream)) => carry(stream, flow, None, streams).await,
        Ok(Err(_)) => streams.tally.streams_malformed.one(),
        Err(_) => streams.tally.streams_reaped.one(),
    }
}

fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// The one who wants a connection: somebody with a flow to fill, or (`None`) messages that wait.
pub(crate) type Asker = Option<oneshot::Sender<io::Result<Flow>>>;

async fn open(remote: SocketAddr, transport: Transport, streams: &Streams) -> io::Result<(Flow, TcpStream)> {
    let stream = match timeout(streams.limits.patience, TcpStream::connect(remote)).await {
        Ok(stream) => stream?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    tune(&stream);
    Ok((streams.flow(&stream, transport)?, stream))
}

/// A TLS connection to a peer that proves one of the names by which it was found.
async fn secure(remote: SocketAddr, streams: &Streams) -> io::Result<(Flow, TlsStream<TcpStream>)> {
    let names = streams.domains(remote);
    let mut names: Vec<_> = names.iter().map(|name| expected(Some(name), remote)).collect();
    if names.is_empty() {
        names.push(expected(None, remote));
    }
    let mut last = None;
    for name in names {
        let (flow, stream) = open(remote, Transport::Tls, streams).await?;
        match timeout(streams.limits.patience, streams.tls.connector().connect(name, stream)).await {
            Ok(Ok(stream)) => return Ok((flow, stream)),
            Ok(Err(error)) => last = Some(error),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotConnected.into()))
}

/// Connects to a peer and answers the one who asked; the connection then lives like an accepted one.
pub(crate) async fn connect(transport: Transport, remote: SocketAddr, asked_by: Asker, streams: Arc<Streams>) {
    let error = match transport {
        Transport::Tls => match secure(remote, &streams).await {
            Ok((flow, stream)) => {
                streams.note(transport, remote, None);
                return carry(stream, flow, Some(asked_by), &streams).await;
            }
            Err(error) => error,
        },
        Transport::Tcp => match open(remote, transport, &streams).await {
            Ok((flow, stream)) => {
                streams.note(transport, remote, None);
                return carry(stream, flow, Some(asked_by), &streams).await;
            }
            Err(error) => error,
        },
        _ => io::Error::new(io::ErrorKind::Unsupported, "no connection of this kind is made by us"),
    };
    // Whoever waits for an answer over this connection hears only that there was none.
    streams.note(transport, remote, Some(&error));
    match asked_by {
        Some(asked_by) => {
            let _ = asked_by.send(Err(named(&error, &transport.as_str().to_ascii_lowercase(), remote)));
        }
        None => drop(streams.news.send(StreamNews::Failed { transport, remote }).await),
    }
}

/// The life of one connection; `asker` is there when it is ours.
async fn carry(stream: impl AsyncRead + AsyncWrite, flow: Flow, asker: Option<Asker>, streams: &Arc<Streams>) {
    let (outward, to_send) = mpsc::channel(WAITING);
    let proven = asker.is_some();
    let opened = StreamNews::Opened { flow, outward, asked_by: asker.flatten() };
    if streams.news.send(opened).await.is_err() {
        return;
    }
    streams.tally.streams.one();
    let end = converse(stream, flow, to_send, proven, streams).await;
    close(flow, &end, streams).await;
}

async fn carry_ws(stream: impl AsyncRead + AsyncWrite + Unpin, flow: Flow, streams: &Arc<Streams>) {
    let Some(socket) = sip_ws::handshake(stream, streams.limits.message).await else {
        return streams.tally.streams_malformed.one();
    };
    let (outward, to_send) = mpsc::channel(WAITING);
    if streams.news.send(StreamNews::Opened { flow, outward, asked_by: None }).await.is_err() {
        return;
    }
    streams.tally.streams.one();
    let end = sip_ws::converse(socket, flow, to_send, streams).await;
    close(flow, &end, streams).await;
}

async fn close(flow: Flow, end: &End, streams: &Streams) {
    streams.tally.streams.less();
    match end {
        End::Reaped => streams.tally.streams_reaped.one(),
        End::Malformed => streams.tally.streams_malformed.one(),
        End::Gone => {}
    }
    let _ = streams.news.send(StreamNews::Closed { flow }).await;
}

/// Why a connection ended.
pub(crate) enum End {
    /// By the peer, the network, or us.
    Gone,
    /// Silent or slow for too long.
    Reaped,
    /// Bytes that cannot be split into messages: there is no way back into step.
    Malformed,
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite,
    flow: Flow,
    mut to_send: mpsc::Receiver<Vec<u8>>,
    mut proven: bool,
    streams: &Streams,
) -> End {
    let limits = streams.limits;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let ours = proven;
    let mut framer = Framer::new();
    let mut buffer = vec![0; READ];
    // Since when a message is incomplete. It is not moved by further bytes: one byte a second gains nothing.
    let mut begun = None;
    let mut active = Instant::now();
    loop {
        let deadline = match begun {
            Some(begun) => begun + limits.message,
            None if proven => active + limits.idle,
            None => active + limits.message,
        };
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let Ok(length @ 1..) = read else { return End::Gone };
                framer.push(&buffer[..length]);
                let (mut complete, mut pinged) = (false, false);
                loop {
                    match framer.next() {
                        Ok(Some(Framed::Message(bytes))) => {
                            complete = true;
                            streams.tally.received.one();
                            if streams.news.send(StreamNews::Message { flow, bytes }).await.is_err() {
                                return End::Gone;
                            }
                        }
                        // RFC 5626 §4.4.1: a double CRLF asks for a single one. It keeps a proven connection alive
                        // and does not prove a new one.
                        Ok(Some(Framed::Ping)) => {
                            pinged = true;
                            if !write(&mut writer, PONG, limits.patience).await {
                                return End::Gone;
                            }
                        }
                        Ok(None) => break,
                        Err(error) => {
                            if let FrameError::TooLong(head) = error
                                && !head.is_empty()
                                && streams.news.send(StreamNews::TooLong { flow, head }).await.is_ok()
                                && let Ok(Some(answer)) = timeout(limits.patience, to_send.recv()).await
                            {
                                write(&mut writer, &answer, limits.patience).await;
                            }
                            return End::Malformed;
                        }
                    }
                }
                proven |= complete;
                let now = Instant::now();
                if proven {
                    active = now;
                }
                begun = match begun {
                    // Up to three bytes are line ends between messages, half a keep-alive, or nothing worth a timer.
                    _ if framer.pending() <= 3 => None,
                    Some(since) if !complete && !pinged => Some(since),
                    _ => Some(now),
                };
            }
            message = to_send.recv() => {
                // The SIP task let go of this connection, or is gone itself.
                let Some(message) = message else { return End::Gone };
                if !write(&mut writer, &message, limits.patience).await {
                    return End::Gone;
                }
                if proven {
                    active = Instant::now();
                }
            }
            // RFC 5626 §4.4.1: whoever opened a connection keeps it open; a peer that is gone lets the write fail.
            () = tokio::time::sleep_until(active + KEEP_ALIVE), if ours && begun.is_none() => {
                if !write(&mut writer, b"\r\n\r\n", limits.patience).await {
                    return End::Gone;
                }
                active = Instant::now();
            }
            () = tokio::time::sleep_until(deadline) => return End::Reaped,
        }
    }
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], patience: Duration) -> bool {
    matches!(timeout(patience, writer.write_all(bytes)).await, Ok(Ok(())))
}
