//! Session descriptions (RFC 8866), read tolerantly: unknown lines are skipped, nothing is guessed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub mod crypto;
pub mod dtls;

use crypto::Crypto;
use dtls::{Dtls, Fingerprint, Setup};

/// More keys or fingerprints than any telephone names; what follows them is passed over.
const MAX_KEYS: usize = 16;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// Only the one who says so.
    SendOnly,
    /// Only the other one.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// The same thing seen from the other side (RFC 3264 §6.1).
    pub fn mirrored(self) -> Self {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            same => same,
        }
    }

    /// True when the side that says so sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// True when the side that says so receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    fn of(name: &str) -> Option<Self> {
        [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive]
            .into_iter()
            .find(|direction| direction.as_str() == name)
    }
}

/// The address of a `c=` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// A literal address.
    Address(IpAddr),
    /// A host name, or something that is no address of the kind it claims to be.
    Unusable(String),
}

/// What a payload type number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpMap {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding's name as written.
    pub encoding: String,
    /// The RTP clock in Hz.
    pub rate: u32,
    /// Channels, 1 when not written.
    pub channels: u8,
}

/// One `m=` line and what follows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// `audio`, `video`, …
    pub kind: String,
    /// 0 means refused or switched off.
    pub port: u16,
    /// `RTP/AVP`, …
    pub protocol: String,
    /// As written; payload types for RTP.
    pub formats: Vec<String>,
    /// Its own `c=` line.
    pub connection: Option<Connection>,
    /// Its own direction.
    pub direction: Option<Direction>,
    /// Milliseconds of audio per packet that the sender wishes to receive.
    pub ptime_ms: Option<u32>,
    /// `a=rtcp` (RFC 3605): port and, when written, address.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// `a=rtpmap` lines.
    pub maps: Vec<RtpMap>,
    /// `a=crypto` lines that can be read, in order of preference.
    pub crypto: Vec<Crypto>,
    /// Its own `a=fingerprint` and `a=setup`.
    pub dtls: Dtls,
}

impl Media {
    /// The encoding of a payload type: from its rtpmap, otherwise the static table (RFC 3551 §6) for G.711 and G.722, whose
    /// clock is 8000 there though it samples twice as often.
    pub fn encoding(&self, payload_type: u8) -> Option<(&str, u32)> {
        match self.maps.iter().find(|map| map.payload_type == payload_type) {
            Some(map) => Some((&map.encoding, map.rate)),
            None => match payload_type {
                0 => Some(("PCMU", 8000)),
                8 => Some(("PCMA", 8000)),
                9 => Some(("G722", 8000)),
                _ => None,
            },
        }
    }

    /// The payload types in order of preference; what is no number is left out.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.formats.iter().filter_map(|format| format.parse().ok()).filter(|payload_type| *payload_type < 128)
    }
}

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sdp {
    /// The `o=` line's session id and version, when they are numbers.
    pub origin: Option<(u64, u64)>,
    /// The session's `c=` line.
    pub connection: Option<Connection>,
    /// The session's direction.
    pub direction: Option<Direction>,
    /// The session's `a=fingerprint` and `a=setup`, for streams that have none of their own.
    pub dtls: Dtls,
    /// The `t=` line's two numbers as written; an answer repeats them (RFC 3264 §6).
    pub time: Option<String>,
    /// The `m=` lines in order.
    pub media: Vec<Media>,
    text: Text,
}

/// The body as received; it may hold keys, so nobody sees it in a log.
#[derive(Clone, PartialEq, Eq, Default)]
struct Text(String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Why a body is no session description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It does not begin with `v=0`.
    #[error("not a session description")]
    NotSdp,
    /// An `m=` line cannot be read.
    #[error("malformed media line")]
    Media,
}

impl Sdp {
    /// Reads a body. Bytes that are not UTF-8 become U+FFFD.
    pub fn parse(body: &[u8]) -> Result<Sdp, SdpError> {
        let text = String::from_utf8_lossy(body).into_owned();
        let mut lines = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
        if lines.next().map(str::trim) != Some("v=0") {
            return Err(SdpError::NotSdp);
        }
        let mut sdp = Sdp::default();
        for line in lines {
            let Some((kind, value)) = line.trim_start().split_once('=') else {
                continue;
            };
            let value = value.trim();
            match kind {
                "o" => sdp.origin = origin(value),
                "t" if sdp.time.is_none() => sdp.time = time(value),
                "c" => {
                    let connection = Some(connection(value));
                    match sdp.media.last_mut() {
                        Some(media) => media.connection = media.connection.take().or(connection),
                        None => sdp.connection = sdp.connection.take().or(connection),
                    }
                }
                "m" => sdp.media.push(media(value).ok_or(SdpError::Media)?),
                "a" => match sdp.media.last_mut() {
                    Some(media) => media.attribute(value),
                    None => match Direction::of(value) {
                        Some(direction) => sdp.direction = Some(direction),
                        None => sdp.dtls.attribute(value),
                    },
                },
                _ => {}
            }
        }
        sdp.text = Text(text);
        Ok(sdp)
    }

    /// The `a=` lines of one media line, as written.
    pub(crate) fn attributes(&self, index: usize) -> impl Iterator<Item = &str> {
        let mut section = 0;
        self.text.0.lines().map(str::trim).filter_map(move |line| {
            section += usize::from(line.starts_with("m="));
            line.strip_prefix("a=").filter(|_| section == index + 1).map(str::trim)
        })
    }

    /// What is said of a stream's certificate, by itself or else by the session (RFC 5763 §5, RFC 4145 §4).
    pub fn dtls(&self, media: &Media) -> Dtls {
        let own = &media.dtls;
        let whose = if own.fingerprints.is_empty() { &self.dtls } else { own };
        Dtls { fingerprints: whose.fingerprints.clone(), setup: own.setup.or(self.dtls.setup) }
    }

    /// The text as received.
    pub fn as_str(&self) -> &str {
        &self.text.0
    }
}

impl fmt::Display for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text.0)
    }
}

impl Media {
    fn attribute(&mut self, value: &str) {
        if let Some(direction) = Direction::of(value) {
            self.direction = Some(direction);
            return;
        }
        let Some((name, content)) = value.split_once(':') else {
            return;
        };
        let mut words = content.split_whitespace();
        match name {
            "ptime" => self.ptime_ms = content.trim().parse().ok(),
            "rtcp" => {
                let Some(port) = words.next().and_then(|port| port.parse().ok()).filter(|port| *port != 0) else {
                    return;
                };
                let address = words.nth(2).and_then(|address| address.parse().ok());
                self.rtcp = Some((port, address));
            }
            "rtpmap" => {
                let (Some(payload_type), Some(encoding)) = (words.next(), words.next()) else {
                    return;
                };
                let mut parts = encoding.split('/');
                let (Ok(payload_type), Some(encoding), Some(rate)) =
                    (payload_type.parse::<u8>(), parts.next(), parts.next().and_then(|rate| rate.parse().ok()))
                else {
                    return;
                };
                // A hostile list repeats one number for ever; only the first counts.
                if payload_type < 128 && !self.maps.iter().any(|map| map.payload_type == payload_type) {
                    let channels = parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1);
                    self.maps.push(RtpMap { payload_type, encoding: encoding.to_owned(), rate, channels });
                }
            }
            "crypto" if self.crypto.len() < MAX_KEYS => self.crypto.extend(Crypto::parse(content)),
            _ => self.dtls.attribute(value),
        }
    }
}

impl Dtls {
    fn attribute(&mut self, value: &str) {
        match value.split_once(':') {
            Some(("fingerprint", content)) if self.fingerprints.len() < MAX_KEYS => {
                self.fingerprints.extend(Fingerprint::parse(content));
            }
            Some(("setup", content)) => self.setup = Setup::of(content.trim()).or(self.setup),
            _ => {}
        }
    }
}

fn origin(value: &str) -> Option<(u64, u64)> {
    let mut words = value.split_whitespace().skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn time(value: &str) -> Option<String> {
    let mut words = value.split_whitespace();
    let (start, stop): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(format!("{start} {stop}"))
}

fn connection(value: &str) -> Connection {
    let words: Vec<&str> = value.split_whitespace().take(3).collect();
    let address = match words.as_slice() {
        // Multicast addresses carry a time to live after a slash.
        ["IN", kind, address] => {
            let address = address.split('/').next().unwrap_or_default();
            match *kind {
                "IP4" => address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
                "IP6" => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
                _ => None,
            }
        }
        _ => None,
    };
    address.map_or_else(|| Connection::Unusable(value.to_owned()), Connection::Address)
}

fn media(value: &str) -> Option<Media> {
    let mut words = value.split_whitespace();
    let kind = words.next()?.to_owned();
    // `port/count` asks for several ports; the first is enough for one stream.
    let port = words.next()?.split('/').next()?.parse().ok()?;
    let protocol = words.next()?.to_owned();
    let formats = words.take(128).map(str::to_owned).collect();
    Some(Media { kind, port, protocol, formats, ..Media::default() })
}
