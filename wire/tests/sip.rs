//! Two SIP sides on loopback set a call up and take it down, over UDP and over TCP.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use sip_stack::offer::{self, Ability, Codec};
use sip_stack::{Cause, EndpointConfig, Event, Flow, NameAddr, Outgoing, Refusal, Transport, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use wire::sip::{SipConfig, SipError, SipHandle, StreamLimits, TraceConfig, TraceSink, bind, bind_with};

/// Reaching it is a failure, not a measurement.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(address: &str) -> SipConfig {
    let address = vec![address.parse().unwrap()];
    SipConfig { udp: address.clone(), tcp: address, endpoint: EndpointConfig::default(), ..SipConfig::default() }
}

async fn side() -> (SipHandle, Receiver<Event>) {
    bind(config("127.0.0.1:0")).await.unwrap()
}

async fn next(events: &mut Receiver<Event>) -> Event {
    timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("sip is running")
}

fn ability(port: u16) -> Ability {
    Ability {
        address: "127.0.0.1".parse().unwrap(),
        port,
        rtcp_port: port + 1,
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        keying: offer::Keying::default(),
        session_id: 7,
        version: 1,
    }
}

fn outgoing(transport: Transport, remote: SocketAddr) -> Outgoing {
    let to = Uri::parse(format!("sip:demo@{remote}").as_bytes()).unwrap();
    let from = NameAddr::new(Uri::parse(b"sip:tester@127.0.0.1").unwrap());
    let flow = Flow { transport, local: "0.0.0.0:0".parse().unwrap(), remote, connection: 0 };
    Outgoing::new(to, from, flow, offer::offer(&ability(40_000)).unwrap())
}

async fn whole_call(transport: Transport) {
    let (caller, mut to_caller) = side().await;
    let (callee, mut to_callee) = side().await;
    let remote = match transport {
        Transport::Udp => callee.udp()[0],
        _ => callee.tcp()[0],
    };
    let ours = caller.invite(outgoing(transport, remote)).await.unwrap();

    let Event::Incoming { call: theirs, invite } = next(&mut to_callee).await else { panic!("an INVITE first") };
    assert_eq!(invite.to.user(), Some("demo"));
    callee.ring(theirs, None);
    assert!(matches!(next(&mut to_caller).await, Event::Ringing { call, status: 180, .. } if call == ours));

    let (answer, _) = offer::answer(&invite.sdp.unwrap(), &ability(40_002)).unwrap();
    callee.answer(theirs, answer).await.unwrap();
    let Event::Answered { call, sdp, .. } = next(&mut to_caller).await else { panic!("an answer") };
    assert_eq!(call, ours);
    assert_eq!(offer::accept(&ability(40_000), &sdp).unwrap().remote.port(), 40_002);
    assert!(matches!(next(&mut to_callee).await, Event::Established { call, .. } if call == theirs));

    caller.end(ours);
    assert!(matches!(next(&mut to_callee).await, Event::Ended { call, cause: Cause::Bye } if call == theirs));
    assert!(matches!(next(&mut to_caller).await, Event::Ended { call, cause: Cause::Local } if call == ours));
}

#[tokio::test]
async fn the_messages_of_a_call_are_handed_over_when_it_has_ended() {
    let (told, mut traces) = tokio::sync::mpsc::unbounded_channel();
    let sink = TraceSink(std::sync::Arc::new(move |trace| told.send(trace).unwrap()));
    let mut with_trace = config("127.0.0.1:0");
    with_trace.trace = TraceConfig { messages: 20, sink: Some(sink), ..TraceConfig::default() };
    let (caller, mut to_caller) = bind(with_trace).await.unwrap();
    let (callee, mut to_callee) = side().await;
    let ours = caller.invite(outgoing(Transport::Udp, callee.udp()[0])).await.unwrap();
    let Event::Incoming { call: theirs, .. } = next(&mut to_callee).await else { panic!("an INVITE first") };
    callee.reject(theirs, sip_stack::Refusal::new(486));
    assert!(matches!(next(&mut to_caller).await, Event::Ended { .. }));
    let trace = timeout(PATIENCE, traces.recv()).await.unwrap().unwrap();
    let lines: Vec<_> = trace
        .messages
        .iter()
        .map(|message| (message.sent, message.text.split(' ').nth(1).unwrap().to_owned()))
        .collect();
    assert_eq!(trace.call, ours);
    assert!(trace.messages[0].text.starts_with("INVITE ") && trace.messages[0].sent);
    assert!(lines.contains(&(false, "486".to_owned())), "{lines:?}");
    assert!(trace.messages.last().unwrap().text.starts_with("ACK "));
}

#[tokio::test]
async fn calls_over_a_path_share_one_connection_that_is_made_when_it_is_needed() {
    let (caller, mut to_caller) = side().await;
    let (callee, mut to_callee) = side().await;
    let path = caller.path(Transport::Tcp, callee.tcp()[0]).await.unwrap();
    assert_eq!((path.connection, path.local), (0, caller.tcp()[0]));
    assert_eq!(callee.counts().streams, 0, "nothing was asked for yet");
    for _ in 0..2 {
        let wish = Outgoing { flow: path, ..outgoing(Transport::Tcp, path.remote) };
        let ours = caller.place(wish, |_| ()).await.unwrap();
        let Event::Incoming { call: theirs, .. } = next(&mut to_callee).await else { panic!("an INVITE first") };
        callee.reject(theirs, Refusal::new(486));
        let Event::Ended { call, cause: Cause::Rejected(486) } = next(&mut to_caller).await else {
            panic!("a refusal")
        };
        assert_eq!(call, ours);
        assert!(matches!(next(&mut to_callee).await, Event::Ended { .. }));
    }
    assert_eq!(callee.counts().streams, 1);
    // Where nobody listens the call fails by itself.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let path = caller.path(Transport::Tcp, closed).await.unwrap();
    caller.place(Outgoing { flow: path, ..outgoing(Transport::Tcp, closed) }, |_| ()).await.unwrap();
    assert!(matches!(next(&mut to_caller).await, Event::Ended { cause: Cause::Rejected(503), .. }));
}

#[tokio::test]
async fn a_call_over_udp() {
    whole_call(Transport::Udp).await;
}

#[tokio::test]
async fn a_call_over_tcp() {
    whole_call(Transport::Tcp).await;
}

#[tokio::test]
async fn a_call_is_told_before_its_first_event() {
    let (caller, mut to_caller) = side().await;
    let (callee, mut to_callee) = side().await;
    let (told, mut placed) = tokio::sync::mpsc::unbounded_channel();
    // Both ends are busy with it before the caller's own task looks again.
    let placing = tokio::spawn({
        let (caller, remote) = (caller.clone(), callee.udp()[0]);
        async move { caller.invite_with(outgoing(Transport::Udp, remote), move |call| told.send(call).unwrap()).await }
    });
    let Event::Incoming { call: theirs, .. } = next(&mut to_callee).await else { panic!("an INVITE first") };
    callee.reject(theirs, Refusal::new(486));
    let Event::Ended { call, .. } = next(&mut to_caller).await else { panic!("a refusal") };
    assert_eq!(placed.try_recv(), Ok(call));
    assert_eq!(placing.await.unwrap().unwrap(), call);
}

#[tokio::test]
async fn an_occupied_port_is_named_with_its_transport() {
    let (first, _events) = side().await;
    let (udp, tcp) = (first.udp()[0], first.tcp()[0]);
    let endpoint = EndpointConfig::default;
    let error = bind(SipConfig { udp: vec![udp], tcp: vec![], endpoint: endpoint(), ..SipConfig::default() })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&format!("udp {udp}")), "{error}");
    let error = bind(SipConfig { udp: vec![], tcp: vec![tcp], endpoint: endpoint(), ..SipConfig::default() })
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&format!("tcp {tcp}")), "{error}");
}

#[tokio::test]
async fn nobody_listening_on_tcp_is_an_error_at_once() {
    let (caller, _events) = side().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = caller.invite(outgoing(Transport::Tcp, closed)).await.unwrap_err();
    assert!(matches!(error, SipError::Io(ref error) if error.to_string().contains(&closed.to_string())), "{error}");
}

#[tokio::test]
async fn garbage_is_harmless_on_udp_and_costs_only_its_own_connection_on_tcp() {
    let (side, _events) = side().await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in 0..300usize {
        let junk: Vec<u8> = (0..length).map(|n| (n.wrapping_mul(31) ^ length) as u8).collect();
        stranger.send_to(&junk, side.udp()[0]).await.unwrap();
    }
    let mut broken = TcpStream::connect(side.tcp()[0]).await.unwrap();
    broken.write_all(b"OPTIONS sip:a@b SIP/2.0\r\nContent-Length: -4\r\n\r\n").await.unwrap();
    assert_eq!(timeout(PATIENCE, broken.read(&mut [0; 64])).await.unwrap().unwrap_or(0), 0);

    let mut buffer = vec![0; 2048];
    let request = options("UDP", stranger.local_addr().unwrap());
    stranger.send_to(request.as_bytes(), side.udp()[0]).await.unwrap();
    loop {
        let length = timeout(PATIENCE, stranger.recv(&mut buffer)).await.unwrap().unwrap();
        if buffer[..length].starts_with(b"SIP/2.0 200") {
            break;
        }
    }
    let mut sound = TcpStream::connect(side.tcp()[0]).await.unwrap();
    sound.write_all(options("TCP", sound.local_addr().unwrap()).as_bytes()).await.unwrap();
    let length = timeout(PATIENCE, sound.read(&mut buffer)).await.unwrap().unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200"));
    assert_eq!(side.counts().streams_malformed, 1);
}

#[tokio::test]
async fn a_message_too_long_is_answered_513_before_its_connection_closes() {
    let (side, _events) = side().await;
    let mut stream = TcpStream::connect(side.tcp()[0]).await.unwrap();
    let request = options("TCP", stream.local_addr().unwrap()).replace("Content-Length: 0", "Content-Length: 99999999");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"SIP/2.0 513 Message Too Large"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn slow_and_silent_connections_are_reaped_and_the_rest_served() {
    let limits = StreamLimits {
        message: Duration::from_millis(300),
        idle: Duration::from_secs(60),
        per_source: 3,
        ..StreamLimits::default()
    };
    let (side, _events) = bind_with(config("127.0.0.1:0"), limits).await.unwrap();
    let mut silent = TcpStream::connect(side.tcp()[0]).await.unwrap();
    let mut slow = TcpStream::connect(side.tcp()[0]).await.unwrap();
    let mut sound = TcpStream::connect(side.tcp()[0]).await.unwrap();
    let request = options("TCP", sound.local_addr().unwrap());
    let mut buffer = vec![0; 2048];
    sound.write_all(request.as_bytes()).await.unwrap();
    timeout(PATIENCE, sound.read(&mut buffer)).await.unwrap().unwrap();

    let mut fourth = TcpStream::connect(side.tcp()[0]).await.unwrap();
    assert_eq!(timeout(PATIENCE, fourth.read(&mut buffer)).await.unwrap().unwrap_or(0), 0, "over the cap");

    let drip = tokio::spawn(async move {
        // One byte at a time never completes the head, and does not move the deadline.
        while slow.write_all(b"O").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(timeout(PATIENCE, silent.read(&mut buffer)).await.unwrap().unwrap_or(0), 0);
    timeout(PATIENCE, drip).await.unwrap().unwrap();

    sound.write_all(request.replace("z9hG4bK1", "z9hG4bK2").as_bytes()).await.unwrap();
    let length = timeout(PATIENCE, sound.read(&mut buffer)).await.unwrap().unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200"));
    let counts = side.counts();
    assert_eq!((counts.streams_reaped, counts.streams_refused, counts.streams), (2, 1, 1));
}

#[tokio::test]
async fn a_double_line_end_is_answered_with_one() {
    let (side, _events) = side().await;
    let mut stream = TcpStream::connect(side.tcp()[0]).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    timeout(PATIENCE, stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"\r\n");
}

fn options(transport: &str, from: SocketAddr) -> String {
    format!(
        "OPTIONS sip:ping@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {from};branch=z9hG4bK1{};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:tester@127.0.0.1>;tag=a\r\n\
         To: <sip:ping@127.0.0.1>\r\n\
         Call-ID: ping-{from}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        from.port()
    )
}
