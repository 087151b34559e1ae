//! Offer and answer for one G.711 stream with telephone events (RFC 3264, 3551, 4733).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::refusal::Refusal;
use crate::sdp::{Connection, Direction, Media, Sdp};

#[cfg(test)]
mod tests;

/// More media lines than any telephone sends; a longer offer is refused whole.
const MAX_MEDIA: usize = 32;
/// The payload type we offer for telephone events.
const DTMF_PAYLOAD_TYPE: u8 = 101;

/// The audio codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl Codec {
    /// The encoding's name (RFC 3551 §4.5.14).
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// The static payload type (RFC 3551 §6).
    pub fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
        }
    }
}

/// What our side can do for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// Where we receive, as the peer can reach it.
    pub address: IpAddr,
    /// Our RTP port.
    pub port: u16,
    /// Our RTCP port.
    pub rtcp_port: u16,
    /// In our order of preference; it rules what we offer, the peer's order rules what we answer.
    pub codecs: Vec<Codec>,
    /// Whether keys are taken as RFC 4733 events.
    pub telephone_event: bool,
    /// The `o=` line's session id, the same for the whole call.
    pub session_id: u64,
    /// The `o=` line's version: one more for each description of this call (RFC 3264 §8).
    pub version: u64,
}

/// What both sides agreed on, seen from ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The codec, both ways.
    pub law: Codec,
    /// Its payload type, both ways.
    pub payload_type: u8,
    /// The payload type of telephone events, if agreed.
    pub dtmf_payload_type: Option<u8>,
    /// Where our RTP goes.
    pub remote: SocketAddr,
    /// Where our RTCP goes.
    pub remote_rtcp: SocketAddr,
    /// What we do: `SendOnly` means we send and hear nothing.
    pub direction: Direction,
    /// Milliseconds per packet the peer wishes to get, 20 when it says nothing.
    pub ptime_ms: u32,
}

fn no_media(text: &str) -> Refusal {
    Refusal::new(488).with_warning(304, text)
}

/// Where a stream goes, and whether its owner put it on hold the old way with 0.0.0.0 (RFC 3264 §8.4).
fn remote(sdp: &Sdp, media: &Media, ours: IpAddr) -> Result<(IpAddr, bool), Refusal> {
    let address = match media.connection.as_ref().or(sdp.connection.as_ref()) {
        Some(Connection::Address(address)) => *address,
        Some(Connection::Unusable(_)) => {
            return Err(Refusal::new(488).with_warning(301, "Incompatible network address formats"));
        }
        None => return Err(Refusal::new(488).with_warning(399, "Connection address missing")),
    };
    if address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) {
        return Err(Refusal::new(488).with_warning(330, "Multicast not available"));
    }
    if address.is_ipv4() != ours.is_ipv4() && !address.is_unspecified() {
        return Err(Refusal::new(488).with_warning(301, "Incompatible network address formats"));
    }
    Ok((address, address.is_unspecified()))
}

fn is_ours(media: &Media) -> bool {
    media.kind == "audio" && media.port != 0 && matches!(media.protocol.as_str(), "RTP/AVP" | "RTP/AVPF")
}

/// The first codec of the peer's list that is in ours, and the payload type of telephone events.
fn choose(media: &Media, local: &Ability) -> Option<(Codec, u8, Option<u8>)> {
    let (law, payload_type) = media.payload_types().find_map(|payload_type| {
        let (encoding, rate) = media.encoding(payload_type)?;
        let codec = local.codecs.iter().find(|codec| rate == 8000 && encoding.eq_ignore_ascii_case(codec.as_str()))?;
        Some((*codec, payload_type))
    })?;
    let events = media.payload_types().find(|payload_type| {
        media
            .encoding(*payload_type)
            .is_some_and(|(name, rate)| rate == 8000 && name.eq_ignore_ascii_case("telephone-event"))
    });
    Some((law, payload_type, events.filter(|_| local.telephone_event)))
}

fn plan(sdp: &Sdp, media: &Media, local: &Ability) -> Result<Plan, Refusal> {
    let (law, payload_type, dtmf_payload_type) =
        choose(media, local).ok_or_else(|| Refusal::new(488).with_warning(305, "No common codec"))?;
    let (address, held) = remote(sdp, media, local.address)?;
    let theirs = media.direction.or(sdp.direction).unwrap_or_default();
    // RFC 3605; otherwise the next port up (RFC 3550 §11).
    let (rtcp_port, rtcp_address) = media.rtcp.unwrap_or((media.port.checked_add(1).unwrap_or(media.port), None));
    let rtcp_address = rtcp_address.filter(|rtcp| *rtcp == address).unwrap_or(address);
    Ok(Plan {
        law,
        payload_type,
        dtmf_payload_type,
        remote: SocketAddr::new(address, media.port),
        remote_rtcp: SocketAddr::new(rtcp_address, rtcp_port),
        direction: if held { Direction::Inactive } else { theirs.mirrored() },
        ptime_ms: media.ptime_ms.filter(|ptime| (10..=200).contains(ptime)).unwrap_or(20),
    })
}

fn head(local: &Ability, time: &str) -> String {
    let (family, address) = (if local.address.is_ipv4() { "IP4" } else { "IP6" }, local.address);
    let (id, version) = (local.session_id, local.version);
    format!("v=0\r\no=- {id} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt={time}\r\n")
}

fn stream(
    text: &mut String,
    local: &Ability,
    protocol: &str,
    codecs: &[(Codec, u8)],
    dtmf: Option<u8>,
    direction: Direction,
) {
    let _ = write!(text, "m=audio {} {protocol}", local.port);
    for payload_type in codecs.iter().map(|(_, payload_type)| *payload_type).chain(dtmf) {
        let _ = write!(text, " {payload_type}");
    }
    text.push_str("\r\n");
    for (codec, payload_type) in codecs {
        let _ = write!(text, "a=rtpmap:{payload_type} {}/8000\r\n", codec.as_str());
    }
    if let Some(dtmf) = dtmf {
        let _ = write!(text, "a=rtpmap:{dtmf} telephone-event/8000\r\na=fmtp:{dtmf} 0-16\r\n");
    }
    let _ = write!(text, "a=ptime:20\r\na={}\r\n", direction.as_str());
    if Some(local.rtcp_port) != local.port.checked_add(1) {
        let _ = write!(text, "a=rtcp:{}\r\n", local.rtcp_port);
    }
}

/// Answers an offer: the first audio line we can serve is taken, every other line is refused with port 0.
pub fn answer(offer: &Sdp, local: &Ability) -> Result<(String, Plan), Refusal> {
    if offer.media.is_empty() || offer.media.len() > MAX_MEDIA {
        return Err(no_media("Media type not available"));
    }
    let mut refusal = no_media("No audio stream that could be served");
    let mut taken = None;
    for (index, media) in offer.media.iter().enumerate().filter(|(_, media)| is_ours(media)) {
        match plan(offer, media, local) {
            Ok(plan) => {
                taken = Some((index, plan));
                break;
            }
            Err(why) => refusal = why,
        }
    }
    let Some((taken, plan)) = taken else {
        return Err(refusal);
    };
    let mut text = head(local, offer.time.as_deref().unwrap_or("0 0"));
    for (index, media) in offer.media.iter().enumerate() {
        if index == taken {
            let codecs = [(plan.law, plan.payload_type)];
            stream(&mut text, local, &media.protocol, &codecs, plan.dtmf_payload_type, plan.direction);
        } else {
            let format = media.formats.first().map_or("0", String::as_str);
            let _ = write!(text, "m={} 0 {} {format}\r\n", media.kind, media.protocol);
        }
    }
    Ok((text, plan))
}

/// Our own offer: all codecs, both ways.
pub fn offer(local: &Ability) -> String {
    offer_with(local, Direction::SendRecv)
}

/// The same in one direction: `SendOnly` or `Inactive` puts the peer on hold (RFC 3264 §8.4).
pub fn offer_with(local: &Ability, direction: Direction) -> String {
    let mut text = head(local, "0 0");
    let codecs: Vec<_> = local.codecs.iter().map(|codec| (*codec, codec.payload_type())).collect();
    let events = local.telephone_event.then_some(DTMF_PAYLOAD_TYPE);
    stream(&mut text, local, "RTP/AVP", &codecs, events, direction);
    text
}

/// Reads the answer to [`offer`].
pub fn accept(local: &Ability, answer: &Sdp) -> Result<Plan, Refusal> {
    let media =
        answer.media.first().filter(|media| is_ours(media)).ok_or_else(|| no_media("Our stream was refused"))?;
    plan(answer, media, local)
}
