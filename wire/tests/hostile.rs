//! Peers that should not be let in, and connections that only cost: old TLS, certificates of strangers and of yesterday, a thousand
//! connections of one source.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sip_stack::{Event, Flow, Transport};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use wire::sip::{SipConfig, SipHandle, TlsConfig, bind};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that goes with the test.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority, in whose name certificates are made.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }
}

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sidetone-hostile-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    fn write(&self, name: &str, text: String) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn root(&self, name: &str, authority: &Authority) -> PathBuf {
        self.write(&format!("{name}-root.pem"), authority.0.pem())
    }

    /// A certificate of this authority for 127.0.0.1, good until a year.
    fn certificate(&self, name: &str, authority: &Authority, until: i32) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &authority.0).unwrap();
        (self.write(&format!("{name}.pem"), made.pem()), self.write(&format!("{name}.key"), key.serialize_pem()))
    }
}

async fn side(certificates: TlsConfig, listen: bool) -> (SipHandle, Receiver<Event>) {
    let here: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
    let tls = if listen { here.clone() } else { Vec::new() };
    bind(SipConfig { udp: here.clone(), tcp: here, tls, certificates, ..SipConfig::default() }).await.unwrap()
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A ClientHello of TLS 1.`minor`, as its peers sent it before there were extensions that named a version.
fn hello(minor: u8) -> Vec<u8> {
    let suites: [u16; 4] = [0xc013, 0xc014, 0x002f, 0x0035];
    let mut body = vec![3, minor + 1];
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    // No compression; the groups secp256r1 and x25519, and plain points.
    body.extend([1, 0, 0, 16, 0, 10, 0, 6, 0, 4, 0, 23, 0, 29, 0, 11, 0, 2, 1, 0]);
    let length = u16::try_from(body.len()).unwrap();
    let mut message = vec![22, 3, 1];
    message.extend((length + 4).to_be_bytes());
    message.extend([1, 0]);
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

#[tokio::test]
async fn an_old_tls_version_is_refused_by_name_and_disturbs_nobody() {
    let files = Files::new("old");
    let authority = Authority::new();
    let (certificate, key) = files.certificate("server", &authority, 2099);
    let roots = Some(files.root("own", &authority));
    let (server, _events) = side(TlsConfig { certificate, key, ..TlsConfig::default() }, true).await;
    let (client, _events) = side(TlsConfig { roots, ..TlsConfig::default() }, false).await;
    client.flow_to(Transport::Tls, server.tls()[0]).await.unwrap();
    for minor in [0, 1] {
        let mut stream = TcpStream::connect(server.tls()[0]).await.unwrap();
        stream.write_all(&hello(minor)).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        // A fatal alert (RFC 8446 §6.2): handshake_failure where the hello lacks what a newer one has, else protocol_version.
        let alert = answer.get(5..7);
        let fits = answer.first() == Some(&21) && matches!(alert, Some([2, 40 | 70]));
        assert!(fits, "TLS 1.{minor} is answered {answer:?}");
    }
    eventually("both are counted", || server.counts().streams_malformed == 2).await;
    assert_eq!(server.counts().streams, 1, "who was there stays");
    client.flow_to(Transport::Tls, server.tls()[0]).await.unwrap();
}

#[tokio::test]
async fn an_expired_certificate_is_not_believed_and_the_reason_is_kept_until_it_is_replaced() {
    let files = Files::new("expired");
    let authority = Authority::new();
    let (certificate, key) = files.certificate("server", &authority, 2021);
    let (server, _events) = side(TlsConfig { certificate, key, ..TlsConfig::default() }, true).await;
    let (client, _to_client) =
        side(TlsConfig { roots: Some(files.root("own", &authority)), ..TlsConfig::default() }, false).await;
    let there = server.tls()[0];
    let error = client.flow_to(Transport::Tls, there).await.unwrap_err().to_string();
    assert!(error.contains("certificate expired"), "{error}");
    let kept = client.last_failure(Transport::Tls, there).unwrap();
    assert!(kept.contains("certificate expired"), "{kept}");
    assert_eq!(client.last_failure(Transport::Tcp, there), None);

    files.certificate("server", &authority, 2099);
    server.reload_tls().unwrap();
    client.flow_to(Transport::Tls, there).await.unwrap();
    assert_eq!(client.last_failure(Transport::Tls, there), None);
}

#[tokio::test]
async fn a_client_certificate_of_a_strangers_authority_is_refused() {
    let files = Files::new("stranger");
    let [ours, theirs] = [Authority::new(), Authority::new()];
    let (certificate, key) = files.certificate("server", &ours, 2099);
    let root = files.root("own", &ours);
    let client_roots = Some(root.clone());
    let (server, mut to_server) = side(TlsConfig { certificate, key, client_roots, roots: None }, true).await;
    let there = server.tls()[0];
    for (name, authority, until, welcome) in
        [("stranger", &theirs, 2099, false), ("yesterday", &ours, 2021, false), ("friend", &ours, 2099, true)]
    {
        let (certificate, key) = files.certificate(name, authority, until);
        let config = TlsConfig { certificate, key, roots: Some(root.clone()), client_roots: None };
        let (client, _events) = side(config, false).await;
        let before = server.counts().streams_malformed;
        // TLS 1.3 tells a client only after its own handshake is over, so the server is asked.
        let _ = client.flow_to(Transport::Tls, there).await;
        if welcome {
            eventually("a friend is let in", || server.counts().streams == 1).await;
        } else {
            eventually(name, || server.counts().streams_malformed == before + 1).await;
            assert_eq!(server.counts().streams, 0, "{name}");
        }
    }
    assert!(to_server.try_recv().is_err());
}

/// An OPTIONS, answered over the connection on which it comes.
fn options(transport: &str, branch: usize) -> String {
    format!(
        "OPTIONS sip:ping@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:5999;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:t@x>;tag=a\r\nTo: <sip:p@x>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A connection from another address of this machine.
async fn from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::from((source, 0)))).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpStream::from_std(socket.into()).unwrap()
}

async fn answered(stream: &mut TcpStream, branch: usize) {
    stream.write_all(options("TCP", branch).as_bytes()).await.unwrap();
    let mut buffer = vec![0; 2048];
    let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200"), "{}", String::from_utf8_lossy(&buffer[..length]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_and_half_open_connections_of_one_source_are_few_and_soon_gone() {
    let files = Files::new("thousand");
    let authority = Authority::new();
    let (certificate, key) = files.certificate("server", &authority, 2099);
    // With the limits as they ship.
    let (server, _events) = side(TlsConfig { certificate, key, ..TlsConfig::default() }, true).await;
    let (tcp, tls) = (server.tcp()[0], server.tls()[0]);
    let began = Instant::now();
    let mut kept = Vec::new();
    for at in 0..1000 {
        let mut stream = from([127, 0, 0, 9], if at % 2 == 0 { tcp } else { tls }).await;
        let began = Instant::now();
        kept.push(tokio::spawn(async move {
            // Silent, a head that never ends, a handshake that stops, a keep-alive without a message.
            let first: &[u8] = match at % 8 {
                2 => b"OPTIONS sip:a@b SIP/2.0\r\nVia: ",
                4 => b"\r\n\r\n",
                3 | 7 => &[22, 3, 1, 0, 90, 1, 0],
                _ => b"",
            };
            let _ = stream.write_all(first).await;
            let mut rest = Vec::new();
            // Until the server lets go.
            let _ = stream.read_to_end(&mut rest).await;
            began.elapsed()
        }));
    }
    let looked_at = || server.counts().streams_refused + server.counts().streams_reaped;
    eventually("all were looked at", || looked_at() >= 1000 - 64).await;
    // One source has 64 places; on a machine that is slow some were free again in between.
    let rounds = 1 + began.elapsed().as_secs() / 10;
    assert!(server.counts().streams_refused >= 1000 - 64 * rounds, "{:?}", server.counts());

    // Meanwhile others are served: a new connection of another source, UDP of anybody, TLS of another source.
    let mut other = from([127, 0, 0, 10], tcp).await;
    answered(&mut other, 1).await;
    let socket = UdpSocket::bind("127.0.0.9:0").await.unwrap();
    socket.send_to(options("UDP", 2).as_bytes(), server.udp()[0]).await.unwrap();
    let mut buffer = vec![0; 2048];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200"));
    let roots = Some(files.root("own", &authority));
    let (client, _to_client) = side(TlsConfig { roots, ..TlsConfig::default() }, false).await;
    let Flow { connection, .. } = client.flow_to(Transport::Tls, tls).await.unwrap();
    assert!(connection > 0);

    for ended in kept {
        let ended = timeout(Duration::from_secs(30), ended).await.unwrap().unwrap();
        assert!(ended < Duration::from_secs(30), "one stayed for {ended:?}");
    }
    eventually("they are let go of", || server.counts().streams == 2).await;
    assert_eq!(looked_at(), 1000);
    // The source itself has its places again.
    let mut again = from([127, 0, 0, 9], tcp).await;
    answered(&mut again, 3).await;
}
