//! TLS, WebSockets, connections made on demand, STUN, and names that lead to servers.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use sip_stack::{Cause, Event, Flow, NameAddr, Outgoing, Transport, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use wire::sip::{Resolver, SipConfig, SipHandle, TlsConfig, bind};

const PATIENCE: Duration = Duration::from_secs(20);
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// A folder that goes with the test.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sidetone-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    /// A certificate for 127.0.0.1 that nobody but its holder vouches for.
    fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (self.0.join(format!("{name}.pem")), self.0.join(format!("{name}.key")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }
}

async fn side(certificates: TlsConfig, listen: bool) -> (SipHandle, Receiver<Event>) {
    let here: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
    let secure = if listen { here.clone() } else { Vec::new() };
    let config = SipConfig {
        udp: here.clone(),
        tcp: here.clone(),
        tls: secure.clone(),
        ws: here,
        wss: secure,
        certificates,
        ..SipConfig::default()
    };
    bind(config).await.unwrap()
}

async fn next(events: &mut Receiver<Event>) -> Event {
    timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("sip is running")
}

fn outgoing(transport: Transport, remote: SocketAddr) -> Outgoing {
    let to = Uri::parse(format!("sip:demo@{remote}").as_bytes()).unwrap();
    let from = NameAddr::new(Uri::parse(b"sip:tester@127.0.0.1").unwrap());
    let flow = Flow { transport, local: "127.0.0.1:5060".parse().unwrap(), remote, connection: 0 };
    Outgoing::new(to, from, flow, SDP)
}

#[tokio::test]
async fn a_call_over_tls_needs_a_certificate_that_is_believed() {
    let files = Files::new("call");
    let (certificate, key) = files.certificate("server");
    let config = TlsConfig { certificate: certificate.clone(), key, ..TlsConfig::default() };
    let (callee, mut to_callee) = side(config, true).await;
    let believing = TlsConfig { roots: Some(certificate), ..TlsConfig::default() };
    let (caller, mut to_caller) = side(believing, false).await;
    let ours = caller.invite(outgoing(Transport::Tls, callee.tls()[0])).await.unwrap();
    let Event::Incoming { call: theirs, invite } = next(&mut to_callee).await else { panic!() };
    assert!(invite.headers.get("Via").unwrap().starts_with("SIP/2.0/TLS"));
    callee.answer(theirs, SDP.into()).await.unwrap();
    assert!(matches!(next(&mut to_caller).await, Event::Answered { .. }));
    caller.end(ours);
    loop {
        if let Event::Ended { cause, .. } = next(&mut to_callee).await {
            break assert_eq!(cause, Cause::Bye);
        }
    }
    // Whoever names this address, too, does not take its own name away from it.
    caller.expect_domain(callee.tls()[0], "127.0.0.1");
    caller.expect_domain(callee.tls()[0], "stranger.example");
    caller.flow_to(Transport::Tls, callee.tls()[0]).await.unwrap();
    let (doubting, _events) = side(TlsConfig::default(), false).await;
    let error = doubting.invite(outgoing(Transport::Tls, callee.tls()[0])).await.unwrap_err().to_string();
    assert!(error.contains("tls") && error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn callers_without_the_wanted_certificate_are_turned_away_and_files_are_read_again() {
    let files = Files::new("clients");
    let (certificate, key) = files.certificate("server");
    let (client, client_key) = files.certificate("client");
    let roots = Some(certificate.clone());
    let config = TlsConfig {
        certificate: certificate.clone(),
        key: key.clone(),
        client_roots: Some(client.clone()),
        roots: None,
    };
    let (callee, mut to_callee) = side(config, true).await;
    let known = TlsConfig { certificate: client, key: client_key, roots: roots.clone(), client_roots: None };
    let (caller, _events) = side(known, false).await;
    caller.invite(outgoing(Transport::Tls, callee.tls()[0])).await.unwrap();
    assert!(matches!(next(&mut to_callee).await, Event::Incoming { .. }));
    let (stranger, mut to_stranger) = side(TlsConfig { roots, ..TlsConfig::default() }, false).await;
    // TLS 1.3 tells a client only after its own handshake is over: the call ends either way.
    if stranger.invite(outgoing(Transport::Tls, callee.tls()[0])).await.is_ok() {
        assert!(matches!(next(&mut to_stranger).await, Event::Ended { cause: Cause::Rejected(503), .. }));
    }
    assert!(to_callee.try_recv().is_err());

    std::fs::write(&certificate, "nonsense").unwrap();
    let error = callee.reload_tls().unwrap_err().to_string();
    assert!(error.contains("server.pem"), "{error}");
    files.certificate("server");
    callee.reload_tls().unwrap();
    // The new certificate is another: who believed the old one does not believe it.
    let error = caller.flow_to(Transport::Tls, callee.tls()[0]).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn garbage_instead_of_a_client_hello_costs_its_own_connection_only() {
    let files = Files::new("garbage");
    let (certificate, key) = files.certificate("server");
    let (side, _events) = side(TlsConfig { certificate, key, ..TlsConfig::default() }, true).await;
    let mut stream = TcpStream::connect(side.tls()[0]).await.unwrap();
    stream.write_all(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty() || answer[0] == 21, "an alert or nothing");
    while side.counts().streams_malformed == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_tls_listener_without_a_certificate_is_an_error() {
    let tls = vec!["127.0.0.1:0".parse().unwrap()];
    let error = bind(SipConfig { tls, ..SipConfig::default() }).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
}

fn options(transport: &str) -> String {
    format!(
        "OPTIONS sip:ping@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} df7jal23ls0d.invalid;branch=z9hG4bK1\r\n\
         Max-Forwards: 70\r\nFrom: <sip:t@x>;tag=a\r\nTo: <sip:p@x>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

#[tokio::test]
async fn a_browser_speaks_sip_over_a_websocket_and_must_say_so() {
    let (side, _events) = side(TlsConfig::default(), false).await;
    let url = format!("ws://{}/", side.ws()[0]);
    assert!(tokio_tungstenite::connect_async(&url).await.is_err(), "no subprotocol");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "sip");
    socket.send(Message::text(options("WS"))).await.unwrap();
    let answer = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(answer.into_text().unwrap().starts_with("SIP/2.0 200 OK"));
}

#[tokio::test]
async fn a_way_that_refuses_is_left_for_the_next_on_a_connection_made_then() {
    let (callee, mut to_callee) = side(TlsConfig::default(), false).await;
    let (caller, _events) = side(TlsConfig::default(), false).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // A datagram socket that never answers, then nobody at all, then the callee.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut wish = outgoing(Transport::Udp, silent.local_addr().unwrap());
    wish.alternates = vec![outgoing(Transport::Tcp, closed).flow, outgoing(Transport::Tcp, callee.tcp()[0]).flow];
    caller.invite(wish).await.unwrap();
    let Event::Incoming { invite, .. } = next(&mut to_callee).await else { panic!() };
    assert!(invite.headers.get("Via").unwrap().starts_with("SIP/2.0/TCP"));
}

#[tokio::test]
async fn a_phone_behind_nat_learns_its_address_by_stun() {
    let (side, _events) = side(TlsConfig::default(), false).await;
    let phone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    phone.send_to(b"\0\x01\0\0\x21\x12\xa4\x42transaction1", side.udp()[0]).await.unwrap();
    let mut answer = [0; 64];
    let length = timeout(PATIENCE, phone.recv(&mut answer)).await.unwrap().unwrap();
    let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
    assert_eq!((length, &answer[..2], port), (32, &[1, 1][..], phone.local_addr().unwrap().port()));
}

fn encoded(name: &str) -> Vec<u8> {
    let labels = name.trim_end_matches('.').split('.');
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// The records that a name server of ours has for one question: type 35 is NAPTR, 33 is SRV, 1 is A.
fn records(name: &str, kind: u16) -> Vec<Vec<u8>> {
    let naptr = |order: u8, service: &str, to: &str| {
        let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        [vec![0, order, 0, 1], text("s"), text(service), text(""), encoded(to)].concat()
    };
    let srv =
        |priority: u8, port: u16, to: &str| [&[0, priority, 0, 1][..], &port.to_be_bytes(), &encoded(to)].concat();
    match (name, kind) {
        ("carrier.test.", 35) => {
            vec![naptr(20, "SIP+D2U", "_sip._udp.carrier.test"), naptr(10, "SIPS+D2T", "_sips._tcp.carrier.test")]
        }
        ("_sips._tcp.carrier.test.", 33) => vec![srv(2, 5071, "b.test"), srv(1, 5061, "a.test")],
        ("_sip._udp.carrier.test.", 33) => vec![srv(1, 5060, "a.test")],
        ("_sip._udp.plain.test.", 33) => vec![srv(1, 5090, "b.test")],
        ("a.test.", 1) => vec![vec![192, 0, 2, 1]],
        ("b.test.", 1) => vec![vec![192, 0, 2, 2]],
        ("bare.test.", 1) => vec![vec![192, 0, 2, 3]],
        _ => Vec::new(),
    }
}

/// Answers questions until the test is over.
async fn serve_names(socket: UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let query = &buffer[..length];
        let (mut at, mut name) = (12, String::new());
        while query[at] != 0 {
            let end = at + 1 + usize::from(query[at]);
            name.push_str(&String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
            name.push('.');
            at = end;
        }
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let records = records(&name, kind);
        let mut answer = query[..at + 5].to_vec();
        answer[2..12].copy_from_slice(&[0x85, 0x80, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
        for record in records {
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]);
            answer.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
            answer.extend(record);
        }
        let _ = socket.send_to(&answer, from).await;
    }
}

#[tokio::test]
async fn a_domain_leads_to_servers_by_naptr_srv_and_addresses_in_their_order() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = Resolver::with_server(server.local_addr().unwrap()).unwrap();
    tokio::spawn(serve_names(server));
    for (uri, ways) in [
        ("sip:x@carrier.test", "TLS 192.0.2.1:5061, TLS 192.0.2.2:5071, UDP 192.0.2.1:5060"),
        ("sips:x@carrier.test", "TLS 192.0.2.1:5061, TLS 192.0.2.2:5071"),
        ("sip:x@carrier.test;transport=udp", "UDP 192.0.2.1:5060"),
        ("sip:x@plain.test", "UDP 192.0.2.2:5090"),
        ("sip:x@bare.test", "UDP 192.0.2.3:5060"),
        ("sip:x@bare.test:5099;transport=tcp", "TCP 192.0.2.3:5099"),
    ] {
        let found = timeout(PATIENCE, resolver.resolve(&uri.parse().unwrap())).await.unwrap().unwrap();
        let found: Vec<_> =
            found.iter().map(|target| format!("{} {}", target.transport.as_str(), target.remote)).collect();
        assert_eq!(found.join(", "), ways, "{uri}");
    }
    let error = timeout(PATIENCE, resolver.resolve(&"sip:x@nowhere.test".parse().unwrap())).await.unwrap();
    assert!(error.unwrap_err().to_string().contains("nowhere.test"));
}
