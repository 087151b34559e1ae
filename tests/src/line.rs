//! SIP and RTP by hand: literal text and bytes, so that a test can send what no stack would.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

/// A server on the same machine answers long before.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The source of every [`Line`].
pub const SSRC: u32 = 0x0a11_ce00;
/// Bytes of a G.711 frame.
const FRAME: usize = 160;

/// A socket that speaks SIP by hand.
#[derive(Debug)]
pub struct Sip {
    socket: UdpSocket,
    server: SocketAddr,
}

impl Sip {
    /// A socket for this server.
    pub async fn towards(server: SocketAddr) -> Self {
        Self { socket: loopback().await, server }
    }

    /// A socket on this address of ours for a server at that one.
    pub async fn between(local: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((local, 0)).await.expect("the address has a free port");
        Self { socket, server }
    }

    /// Where answers come to.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }

    /// Sends bytes as they are.
    pub async fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).await.expect("the loopback takes datagrams");
    }

    /// The next message, if one comes in time.
    pub async fn next(&self, within: Duration) -> Option<String> {
        let mut buffer = vec![0; 65_536];
        let length = timeout(within, self.socket.recv(&mut buffer)).await.ok()?.ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// The next request by that method; everything else is passed over.
    pub async fn request(&self, method: &str) -> String {
        let deadline = Instant::now() + ANSWER_WITHIN * 4;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(message) = self.next(left).await else { panic!("no {method} comes") };
            if message.starts_with(&format!("{method} ")) {
                return message;
            }
        }
    }

    /// Answers a request, with whole lines of further headers.
    pub async fn answer(&self, request: &str, status: &str, headers: &str) {
        let copied: String = ["Via", "From", "Call-ID", "CSeq"]
            .iter()
            .map(|name| format!("{name}: {}\r\n", header(request, name)))
            .collect();
        let to = header(request, "To");
        let tag = if to.contains(";tag=") { "" } else { ";tag=by-hand" };
        let text = format!("SIP/2.0 {status}\r\n{copied}To: {to}{tag}\r\n{headers}Content-Length: 0\r\n\r\n");
        self.send(text.as_bytes()).await;
    }

    /// Sends a request and gives its final response.
    pub async fn ask(&self, request: &str) -> String {
        self.send(request.as_bytes()).await;
        self.final_response(request).await
    }

    async fn final_response(&self, request: &str) -> String {
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(message) = self.next(left).await else { panic!("no final response to:\n{request}") };
            if message.starts_with("SIP/2.0 ") && !message.starts_with("SIP/2.0 1") {
                return message;
            }
        }
    }
}

/// A request that can be sent as it is: a dialog's first, from `at`, with a body of SDP if there is one.
#[must_use]
pub fn request(method: &str, uri: &str, at: SocketAddr, body: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-hand-{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:hand-{number}@{at}>;tag=hand{number}\r\nTo: <{uri}>\r\nCall-ID: hand-{number}-{at}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:hand@{at}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A header's value, by its long name.
#[must_use]
pub fn header<'m>(message: &'m str, name: &str) -> &'m str {
    message
        .split("\r\n")
        .find_map(|line| line.split_once(':').filter(|(known, _)| known.eq_ignore_ascii_case(name)))
        .map_or("", |(_, value)| value.trim())
}

/// An answered call whose media is in the test's own hands: µ-law frames out, µ-law frames in.
#[derive(Debug)]
pub struct Line {
    sip: Sip,
    invite: String,
    to: String,
    contact: String,
    rtp: Arc<UdpSocket>,
    /// Where the server takes this call's RTP.
    pub remote: SocketAddr,
    sent: u16,
}

impl Line {
    /// Calls `uri` and acknowledges the answer; anything but 200 fails the test.
    pub async fn call(server: SocketAddr, uri: &str) -> Self {
        let (sip, rtp) = (Sip::towards(server).await, Arc::new(loopback().await));
        let port = rtp.local_addr().expect("a bound socket has an address").port();
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        );
        let invite = request("INVITE", uri, sip.at(), &offer);
        let answer = sip.ask(&invite).await;
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        let port = answer.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next());
        let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no audio in {answer}"));
        let contact = header(&answer, "Contact").trim_matches(['<', '>']).to_owned();
        let to = header(&answer, "To").to_owned();
        let line = Self { sip, invite, to, contact, rtp, remote: SocketAddr::new(server.ip(), port), sent: 0 };
        line.sip.send(line.within("ACK", 1).as_bytes()).await;
        line
    }

    /// A request within the dialog.
    fn within(&self, method: &str, cseq: u32) -> String {
        self.within_with(method, cseq, "", "")
    }

    /// A request within the dialog, with whole lines of headers and a body.
    #[must_use]
    pub fn within_with(&self, method: &str, cseq: u32, headers: &str, body: &str) -> String {
        let (at, invite) = (self.sip.at(), &self.invite);
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK-{method}-{cseq}-{}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <sip:hand@{at}>\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.contact,
            header(invite, "Call-ID"),
            header(invite, "From"),
            self.to,
            header(invite, "Call-ID"),
            body.len(),
        )
    }

    /// The socket that this call's SIP goes through.
    #[must_use]
    pub fn sip(&self) -> &Sip {
        &self.sip
    }

    /// The user part of our From: the API shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        header(&self.invite, "From").trim_start_matches("<sip:").split('@').next().unwrap_or_default()
    }

    /// Sends `count` frames, one each 20 ms, and gives the frames that came back, in order of arrival: meanwhile and for another
    /// `after`.
    pub async fn talk(&mut self, count: u16, after: Duration, frame: impl Fn(u16) -> [u8; FRAME]) -> Vec<[u8; FRAME]> {
        let mut clock = interval(Duration::from_millis(20));
        clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut came = Vec::new();
        let mut buffer = [0; 2048];
        for _ in 0..count {
            let due = clock.tick();
            tokio::pin!(due);
            loop {
                tokio::select! {
                    biased;
                    _ = &mut due => break,
                    Ok(length) = self.rtp.recv(&mut buffer) => came.extend(audio(&buffer[..length])),
                }
            }
            let mut packet = rtp_header(self.sent, 0, SSRC).to_vec();
            packet.extend_from_slice(&frame(self.sent));
            self.rtp.send_to(&packet, self.remote).await.expect("the loopback takes datagrams");
            self.sent += 1;
        }
        let deadline = Instant::now() + after;
        while let Ok(Ok(length)) = timeout_at(deadline, self.rtp.recv(&mut buffer)).await {
            came.extend(audio(&buffer[..length]));
        }
        came
    }

    /// The socket that our RTP leaves from, for what a caller should not send.
    #[must_use]
    pub fn rtp(&self) -> Arc<UdpSocket> {
        self.rtp.clone()
    }

    /// BYE, and its 200.
    pub async fn hang_up(self) {
        let answer = self.sip.ask(&self.within("BYE", 99)).await;
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }
}

/// The head of an RTP packet (RFC 3550 §5.1) in G.711 rhythm.
#[must_use]
pub fn rtp_header(sequence: u16, payload_type: u8, ssrc: u32) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = 0x80;
    header[1] = payload_type;
    header[2..4].copy_from_slice(&sequence.to_be_bytes());
    header[4..8].copy_from_slice(&(u32::from(sequence) * FRAME as u32).to_be_bytes());
    header[8..].copy_from_slice(&ssrc.to_be_bytes());
    header
}

fn audio(packet: &[u8]) -> Option<[u8; FRAME]> {
    packet.get(12..)?.try_into().ok()
}

async fn loopback() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.expect("the loopback has a free port")
}
