//! What was said in each call: the last messages, secrets blanked, handed over when the call has ended; and a copy of
//! everything for a Homer server (HEP v3), by configuration.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sip_stack::{CallHandle, Flow, Transport};

/// A BYE and its answer, or a refusal and its ACK, belong to the picture.
const LINGER: Duration = Duration::from_secs(5);
/// Call-IDs without a call, as strangers send them, are forgotten after this.
const STRANGERS: Duration = Duration::from_secs(40);

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// Microseconds since 1970.
    pub at_us: u64,
    /// We sent it.
    pub sent: bool,
    /// Over what and between whom.
    pub flow: Flow,
    /// As on the wire; answers to challenges, media keys and pressed keys are blanked.
    pub text: String,
}

/// A call's messages, oldest first.
#[derive(Debug, Clone)]
pub struct CallTrace {
    /// Which call.
    pub call: CallHandle,
    /// Its Call-ID.
    pub call_id: String,
    /// How many older messages were let go.
    pub dropped: u32,
    /// The messages.
    pub messages: Vec<Traced>,
}

/// Who gets traces. It runs in the SIP task and must not block.
#[derive(Clone)]
pub struct TraceSink(pub Arc<dyn Fn(CallTrace) + Send + Sync>);

impl std::fmt::Debug for TraceSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TraceSink")
    }
}

/// What is kept and where it goes.
#[derive(Debug, Clone, Default)]
pub struct TraceConfig {
    /// Messages kept for each call; 0 keeps none.
    pub messages: usize,
    /// Who gets the trace of a call that has ended.
    pub sink: Option<TraceSink>,
    /// A Homer server that gets a copy of every message, by HEP v3 over UDP.
    pub hep: Option<SocketAddr>,
    /// Our number there.
    pub hep_node: u32,
}

#[derive(Debug)]
struct Kept {
    call: Option<CallHandle>,
    last: Instant,
    dropped: u32,
    messages: VecDeque<(u64, bool, Flow, Vec<u8>)>,
}

/// Listens to the SIP task.
#[derive(Debug)]
pub(crate) struct Tracer {
    config: TraceConfig,
    kept: HashMap<Vec<u8>, Kept>,
    ids: HashMap<CallHandle, Vec<u8>>,
    closing: VecDeque<(Instant, CallHandle)>,
    swept: Instant,
    hep: Option<UdpSocket>,
}

/// The value of Call-ID, found without parsing the rest.
fn call_id(bytes: &[u8]) -> Option<&[u8]> {
    bytes.split(|byte| *byte == b'\n').skip(1).take_while(|line| line.len() > 1).find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let label = line[..colon].trim_ascii();
        (label.eq_ignore_ascii_case(b"Call-ID") || label.eq_ignore_ascii_case(b"i"))
            .then(|| line[colon + 1..].trim_ascii())
    })
}

/// Blanks what opens a door: digest answers, SRTP keys, and keys that a caller pressed (they may be a card's number).
fn blanked(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut plain = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        let cut = |mark: &str| lower.find(mark).map(|at| at + mark.len());
        let shown: Cow<'_, str> = if lower.starts_with("authorization:") || lower.starts_with("proxy-authorization:") {
            match cut("response=\"") {
                Some(at) => {
                    let end = line[at..].find('"').map_or(line.trim_end().len(), |end| at + end);
                    format!("{}…{}", &line[..at], &line[end..]).into()
                }
                None => line[..lower.find(':').map_or(0, |at| at + 1)].to_owned().into(),
            }
        } else if let Some(at) = cut("inline:").filter(|_| lower.starts_with("a=crypto:")) {
            format!("{}…\r\n", &line[..at]).into()
        } else if lower.starts_with("signal=") {
            "Signal=…\r\n".into()
        } else {
            line.into()
        };
        plain.push_str(&shown);
    }
    plain
}

impl Tracer {
    pub(crate) fn new(config: TraceConfig) -> Self {
        let hep = config.hep.and_then(|to| {
            let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.set_nonblocking(true).ok()?;
            socket.connect(to).ok()?;
            Some(socket)
        });
        Self { config, kept: HashMap::new(), ids: HashMap::new(), closing: VecDeque::new(), swept: Instant::now(), hep }
    }

    /// One message, in or out.
    pub(crate) fn note(&mut self, sent: bool, flow: &Flow, bytes: &[u8]) {
        if self.config.messages == 0 && self.hep.is_none() {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(socket) = &self.hep {
            // A copy that the system does not take now is lost, as the network would lose it.
            let _ = socket.send(&hep(sent, flow, since, self.config.hep_node, blanked(bytes).as_bytes()));
        }
        let Some(id) = call_id(bytes).filter(|_| self.config.messages > 0) else { return };
        let at_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        if !self.kept.contains_key(id) {
            if !bytes.starts_with(b"INVITE ") {
                return;
            }
            self.sweep();
            let kept = Kept { call: None, last: Instant::now(), dropped: 0, messages: VecDeque::new() };
            self.kept.insert(id.to_vec(), kept);
        }
        let Some(kept) = self.kept.get_mut(id) else { return };
        kept.last = Instant::now();
        if kept.messages.len() >= self.config.messages {
            kept.messages.pop_front();
            kept.dropped += 1;
        }
        kept.messages.push_back((at_us, sent, *flow, bytes.to_vec()));
    }

    fn sweep(&mut self) {
        let now = Instant::now();
        if now - self.swept > STRANGERS {
            self.swept = now;
            self.kept.retain(|_, kept| kept.call.is_some() || now - kept.last < STRANGERS);
        }
    }

    /// A Call-ID has become a call.
    pub(crate) fn begin(&mut self, call: CallHandle, call_id: &str) {
        if let Some(kept) = self.kept.get_mut(call_id.as_bytes()) {
            kept.call = Some(call);
            self.ids.insert(call, call_id.as_bytes().to_vec());
        } else if self.config.messages > 0 {
            // Our own INVITE has not left yet.
            let kept = Kept { call: Some(call), last: Instant::now(), dropped: 0, messages: VecDeque::new() };
            self.kept.insert(call_id.as_bytes().to_vec(), kept);
            self.ids.insert(call, call_id.as_bytes().to_vec());
        }
    }

    pub(crate) fn end(&mut self, call: CallHandle) {
        if self.ids.contains_key(&call) {
            self.closing.push_back((Instant::now() + LINGER, call));
        }
    }

    /// When `hand_over` has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.closing.front().map(|(at, _)| *at)
    }

    pub(crate) fn hand_over(&mut self) {
        while self.due().is_some_and(|due| due <= Instant::now()) {
            let Some((_, call)) = self.closing.pop_front() else { return };
            self.hand(call);
        }
    }

    /// Hands over every trace at once, also those of calls that go on.
    pub(crate) fn hand_over_all(&mut self) {
        self.closing.clear();
        let calls: Vec<_> = self.ids.keys().copied().collect();
        for call in calls {
            self.hand(call);
        }
    }

    fn hand(&mut self, call: CallHandle) {
        let Some(id) = self.ids.remove(&call) else { return };
        let Some(kept) = self.kept.remove(&id) else { return };
        if let Some(TraceSink(sink)) = &self.config.sink {
            let messages = kept.messages.into_iter().map(|(at_us, sent, flow, bytes)| Traced {
                at_us,
                sent,
                flow,
                text: blanked(&bytes),
            });
            let call_id = String::from_utf8_lossy(&id).into_owned();
            sink(CallTrace { call, call_id, dropped: kept.dropped, messages: messages.collect() });
        }
    }
}

/// One HEP v3 packet: vendor 0 chunks of type, length and value.
fn hep(sent: bool, flow: &Flow, since: Duration, node: u32, payload: &[u8]) -> Vec<u8> {
    let (from, to) = if sent { (flow.local, flow.remote) } else { (flow.remote, flow.local) };
    let mut packet = b"HEP3\0\0".to_vec();
    let mut chunk = |kind: u16, value: &[u8]| {
        packet.extend([0, 0]);
        packet.extend(kind.to_be_bytes());
        packet.extend(u16::try_from(value.len() + 6).unwrap_or(u16::MAX).to_be_bytes());
        packet.extend(value);
    };
    // The length must fit; what is cut off is the tail of a very long message.
    let payload = &payload[..payload.len().min(60_000)];
    chunk(1, &[if from.is_ipv4() { 2 } else { 10 }]);
    chunk(2, &[if flow.transport == Transport::Udp { 17 } else { 6 }]);
    for (address, v4, v6) in [(from.ip(), 3, 5), (to.ip(), 4, 6)] {
        match address {
            IpAddr::V4(address) => chunk(v4, &address.octets()),
            IpAddr::V6(address) => chunk(v6, &address.octets()),
        }
    }
    chunk(7, &from.port().to_be_bytes());
    chunk(8, &to.port().to_be_bytes());
    chunk(9, &u32::try_from(since.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    chunk(10, &since.subsec_micros().to_be_bytes());
    chunk(11, &[1]);
    chunk(12, &node.to_be_bytes());
    if let Some(id) = call_id(payload) {
        chunk(17, id);
    }
    chunk(15, payload);
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
    packet[4..6].copy_from_slice(&length);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        let (local, remote) = ("192.0.2.2:5060".parse().unwrap(), "192.0.2.1:5070".parse().unwrap());
        Flow { transport: Transport::Udp, local, remote, connection: 0 }
    }

    #[test]
    fn secrets_are_blanked_and_the_rest_stands() {
        let text = "INVITE sip:a SIP/2.0\r\nAuthorization: Digest username=\"u\", response=\"abcdef\", qop=auth\r\n\
                    Proxy-Authorization: Basic c2VjcmV0\r\ni: 1\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEY\r\nSignal=5\r\nm=audio";
        let shown = blanked(text.as_bytes());
        for secret in ["abcdef", "c2VjcmV0", "KEY", "Signal=5"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("username=\"u\", response=\"…\", qop=auth") && shown.ends_with("m=audio"));
        assert_eq!(call_id(text.as_bytes()), Some(b"1".as_slice()));
    }

    #[test]
    fn a_copy_for_homer_says_who_and_when() {
        let packet = hep(true, &flow(), Duration::from_millis(1500), 7, b"BYE x SIP/2.0\r\nCall-ID: abc\r\n\r\n");
        assert_eq!(packet[..4], *b"HEP3");
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
        let mut chunks = HashMap::new();
        let mut at = 6;
        while at < packet.len() {
            let kind = u16::from_be_bytes([packet[at + 2], packet[at + 3]]);
            let length = usize::from(u16::from_be_bytes([packet[at + 4], packet[at + 5]]));
            chunks.insert(kind, packet[at + 6..at + length].to_vec());
            at += length;
        }
        assert_eq!((chunks[&3].as_slice(), chunks[&4].as_slice()), (&[192, 0, 2, 2][..], &[192, 0, 2, 1][..]));
        assert_eq!((chunks[&7].as_slice(), chunks[&9].as_slice()), (&5060u16.to_be_bytes()[..], &[0, 0, 0, 1][..]));
        assert_eq!(
            (chunks[&10].clone(), chunks[&17].as_slice()),
            (500_000u32.to_be_bytes().to_vec(), b"abc".as_slice())
        );
        assert!(chunks[&15].starts_with(b"BYE "));
    }

    #[test]
    fn only_the_last_messages_are_kept_and_strangers_are_forgotten() {
        let (told, traces) = std::sync::mpsc::channel();
        let sink = Some(TraceSink(Arc::new(move |trace| told.send(trace).unwrap())));
        let config = TraceConfig { messages: 3, sink, ..TraceConfig::default() };
        let mut tracer = Tracer::new(config);
        for number in 0..5 {
            tracer.note(false, &flow(), format!("INVITE sip:{number} SIP/2.0\r\nCall-ID: a\r\n\r\n").as_bytes());
        }
        tracer.note(false, &flow(), b"OPTIONS sip:x SIP/2.0\r\nCall-ID: b\r\n\r\n");
        assert_eq!(tracer.kept.len(), 1);
        let call = CallHandle::from_number(9);
        tracer.begin(call, "a");
        tracer.end(call);
        tracer.hand_over();
        assert!(traces.try_recv().is_err(), "the last answer may still come");
        tracer.closing[0].0 = Instant::now();
        tracer.hand_over();
        let trace = traces.try_recv().unwrap();
        assert_eq!((trace.dropped, trace.messages.len(), trace.call), (2, 3, call));
        assert!(tracer.kept.is_empty() && tracer.ids.is_empty());
    }
}
