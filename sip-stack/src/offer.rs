//! Offer and answer for one audio stream with telephone events and keys (RFC 3264, 3551, 4733; keys in `keys.rs`).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::refusal::Refusal;
use crate::sdp::{Connection, Direction, Media, Sdp};

mod keys;
pub mod relay;
#[cfg(test)]
mod tests;

pub use keys::{Keying, Keys, Profile, Srtp};

/// More media lines than any telephone sends; a longer offer is refused whole.
const MAX_MEDIA: usize = 32;
/// The payload types we offer for telephone events, by their clock.
const EVENTS: Events = Events { at_8000: Some(101), at_48000: Some(110) };

/// The audio codecs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722.
    G722,
    /// Opus (RFC 7587).
    Opus,
}

impl Codec {
    /// The encoding's name (RFC 3551 §4.5.14).
    pub fn as_str(self) -> &'static str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::G722 => "G722",
            Codec::Opus => "opus",
        }
    }

    /// The payload type we offer: the static one (RFC 3551 §6) where there is one.
    pub fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
            Codec::Opus => 111,
        }
    }

    /// The RTP clock in Hz. G.722 has 8000 by an old mistake (RFC 3551 §4.5.2).
    pub fn clock(self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma | Codec::G722 => 8000,
            Codec::Opus => 48_000,
        }
    }
}

/// The payload types of telephone events, one for each clock: theirs is that of the audio beside them (RFC 4733 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Events {
    /// Beside G.711 and G.722.
    pub at_8000: Option<u8>,
    /// Beside Opus.
    pub at_48000: Option<u8>,
}

impl Events {
    /// The one that belongs to a codec, else the other: some send keys by 8000 beside whatever they talk in.
    pub fn beside(self, codec: Codec) -> Option<u8> {
        if codec.clock() == 48_000 { self.at_48000.or(self.at_8000) } else { self.at_8000 }
    }

    fn each(self) -> impl Iterator<Item = (u8, u32)> {
        [(self.at_8000, 8000), (self.at_48000, 48_000)].into_iter().filter_map(|(number, clock)| Some((number?, clock)))
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
    /// What is wanted of encryption, and what there is.
    pub keying: Keying,
    /// The `o=` line's session id, the same for the whole call.
    pub session_id: u64,
    /// The `o=` line's version: one more for each description of this call (RFC 3264 §8).
    pub version: u64,
}

impl Ability {
    /// Which clocks telephone events may have.
    fn takes_events(&self, clock: u32) -> bool {
        self.telephone_event && (clock == 8000 || self.codecs.iter().any(|codec| codec.clock() == clock))
    }
}

/// What both sides agreed on, seen from ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The codec, both ways.
    pub codec: Codec,
    /// Its payload type, both ways.
    pub payload_type: u8,
    /// The payload types of telephone events, as far as agreed.
    pub events: Events,
    /// The transport.
    pub profile: Profile,
    /// What the media is encrypted with.
    pub keys: Keys,
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

/// The profile of an audio line that is switched on.
fn profile(media: &Media) -> Option<Profile> {
    (media.kind == "audio" && media.port != 0).then(|| Profile::of(&media.protocol)).flatten()
}

/// The first codec of the peer's list that is in ours, and the payload types of telephone events.
fn choose(media: &Media, local: &Ability) -> Option<(Codec, u8, Events)> {
    let is = |payload_type: u8, name: &str, clock: u32| {
        let encoding = media.encoding(payload_type);
        encoding.is_some_and(|(theirs, rate)| rate == clock && theirs.eq_ignore_ascii_case(name))
    };
    let (codec, payload_type) = media.payload_types().find_map(|payload_type| {
        let codec = local.codecs.iter().find(|codec| is(payload_type, codec.as_str(), codec.clock()))?;
        Some((*codec, payload_type))
    })?;
    let event = |clock| {
        let mut offered = media.payload_types().filter(|_| local.takes_events(clock));
        offered.find(|payload_type| is(*payload_type, "telephone-event", clock))
    };
    Some((codec, payload_type, Events { at_8000: event(8000), at_48000: event(48_000) }))
}

fn plan(sdp: &Sdp, media: &Media, local: &Ability, (profile, keys): (Profile, Keys)) -> Result<Plan, Refusal> {
    let (codec, payload_type, events) =
        choose(media, local).ok_or_else(|| Refusal::new(488).with_warning(305, "No common codec"))?;
    let (address, held) = remote(sdp, media, local.address)?;
    let theirs = media.direction.or(sdp.direction).unwrap_or_default();
    // RFC 3605; otherwise the next port up (RFC 3550 §11).
    let (rtcp_port, rtcp_address) = media.rtcp.unwrap_or((media.port.checked_add(1).unwrap_or(media.port), None));
    let rtcp_address = rtcp_address.filter(|rtcp| *rtcp == address).unwrap_or(address);
    Ok(Plan {
        codec,
        payload_type,
        events,
        profile,
        keys,
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

/// The stream's own lines but for its keys and direction.
fn stream(text: &mut String, local: &Ability, profile: &str, codecs: &[(Codec, u8)], events: Events) {
    let _ = write!(text, "m=audio {} {profile}", local.port);
    for payload_type in
        codecs.iter().map(|(_, payload_type)| *payload_type).chain(events.each().map(|(number, _)| number))
    {
        let _ = write!(text, " {payload_type}");
    }
    text.push_str("\r\n");
    for (codec, payload_type) in codecs {
        // Opus always says two channels (RFC 7587 §7).
        let channels = if *codec == Codec::Opus { "/2" } else { "" };
        let _ = write!(text, "a=rtpmap:{payload_type} {}/{}{channels}\r\n", codec.as_str(), codec.clock());
    }
    for (number, clock) in events.each() {
        let _ = write!(text, "a=rtpmap:{number} telephone-event/{clock}\r\na=fmtp:{number} 0-16\r\n");
    }
}

fn close(text: &mut String, local: &Ability, direction: Direction) {
    let _ = write!(text, "a=ptime:20\r\na={}\r\n", direction.as_str());
    if Some(local.rtcp_port) != local.port.checked_add(1) {
        let _ = write!(text, "a=rtcp:{}\r\n", local.rtcp_port);
    }
}

/// A stream that is refused keeps its place (RFC 3264 §6).
fn decline(text: &mut String, media: &Media) {
    let format = media.formats.first().map_or("0", String::as_str);
    let _ = write!(text, "m={} 0 {} {format}\r\n", media.kind, media.protocol);
}

/// Answers an offer: the first audio line we can serve is taken, every other line is refused with port 0.
pub fn answer(offer: &Sdp, local: &Ability) -> Result<(String, Plan), Refusal> {
    if offer.media.is_empty() || offer.media.len() > MAX_MEDIA {
        return Err(no_media("Media type not available"));
    }
    let mut refusal = no_media("No audio stream that could be served");
    let mut taken = None;
    for (index, media) in offer.media.iter().enumerate() {
        let Some(profile) = profile(media) else { continue };
        let keys = local.keying.answer(offer, media, profile);
        match keys.and_then(|keys| plan(offer, media, local, (profile, keys))) {
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
            stream(&mut text, local, plan.profile.as_str(), &[(plan.codec, plan.payload_type)], plan.events);
            local.keying.print_answer(&mut text, &plan.keys);
            close(&mut text, local, plan.direction);
        } else {
            decline(&mut text, media);
        }
    }
    Ok((text, plan))
}

/// Our own offer: all codecs, both ways.
///
/// # Errors
/// Encryption is required, and there is none.
pub fn offer(local: &Ability) -> Result<String, Refusal> {
    offer_with(local, Direction::SendRecv)
}

/// The same in one direction: `SendOnly` or `Inactive` puts the peer on hold (RFC 3264 §8.4).
///
/// # Errors
/// As [`offer`].
pub fn offer_with(local: &Ability, direction: Direction) -> Result<String, Refusal> {
    let profile = local.keying.profile()?;
    let mut text = head(local, "0 0");
    let codecs: Vec<_> = local.codecs.iter().map(|codec| (*codec, codec.payload_type())).collect();
    let event = |number: Option<u8>, clock| number.filter(|_| local.takes_events(clock));
    let events = Events { at_8000: event(EVENTS.at_8000, 8000), at_48000: event(EVENTS.at_48000, 48_000) };
    stream(&mut text, local, profile.as_str(), &codecs, events);
    local.keying.print_offer(&mut text);
    close(&mut text, local, direction);
    Ok(text)
}

/// Reads the answer to [`offer`].
///
/// # Errors
/// It is none: the stream was refused, or has nothing of what was offered.
pub fn accept(local: &Ability, answer: &Sdp) -> Result<Plan, Refusal> {
    let first = answer.media.first().and_then(|media| Some((media, profile(media)?)));
    let (media, profile) = first.ok_or_else(|| no_media("Our stream was refused"))?;
    let keys = local.keying.accept(answer, media, profile)?;
    plan(answer, media, local, (profile, keys))
}
