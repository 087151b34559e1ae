//! One party's description as another one is told of it: so two legs of ours send their media to each other (RFC 3725 §4.1).
//!
//! Of what a party says only its audio stream is passed on: no name, no other stream, no key and no candidate for a path.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::{Ability, MAX_MEDIA, Profile, head, profile, remote};
use crate::sdp::{Direction, Media, Sdp};

/// Attributes that say what the payload types mean.
const PASSED: [&str; 4] = ["rtpmap", "fmtp", "ptime", "maxptime"];
/// Longer lists and lines are nobody's telephone.
const MAX_LINES: usize = 64;
const MAX_LINE: usize = 255;

/// A plain audio stream that goes both ways, and where its owner takes it.
struct Stream<'s> {
    sdp: &'s Sdp,
    index: usize,
    media: &'s Media,
    profile: Profile,
    at: SocketAddr,
}

/// Where the owner of a description takes audio; none when it is on hold, encrypted, or not to be had.
pub fn place(sdp: &Sdp) -> Option<SocketAddr> {
    stream(sdp).map(|stream| stream.at)
}

fn stream(sdp: &Sdp) -> Option<Stream<'_>> {
    if sdp.media.len() > MAX_MEDIA {
        return None;
    }
    let found = sdp.media.iter().enumerate().find_map(|(n, media)| Some((n, media, profile(media)?)));
    let (index, media, profile) = found.filter(|(.., profile)| !profile.insists())?;
    let direction = media.direction.or(sdp.direction).unwrap_or_default();
    // Whether the other party can reach it is not judged here, so no family is the wrong one.
    let either: IpAddr = match media.connection.as_ref().or(sdp.connection.as_ref())? {
        crate::sdp::Connection::Address(address) => *address,
        crate::sdp::Connection::Unusable(_) => return None,
    };
    let (address, held) = remote(sdp, media, either).ok()?;
    let plain = !held && direction == Direction::SendRecv && media.formats.len() <= MAX_LINES;
    let at = SocketAddr::new(address, media.port);
    plain.then_some(Stream { sdp, index, media, profile, at })
}

impl Stream<'_> {
    fn print(&self, text: &mut String, profile: Profile) {
        let _ = write!(text, "m=audio {} {}", self.at.port(), profile.as_str());
        for payload_type in self.media.payload_types() {
            let _ = write!(text, " {payload_type}");
        }
        text.push_str("\r\n");
        let family = if self.at.is_ipv4() { "IP4" } else { "IP6" };
        let _ = write!(text, "c=IN {family} {}\r\n", self.at.ip());
        let named =
            |line: &&str| PASSED.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
        let sound = |line: &&str| line.len() <= MAX_LINE && !line.chars().any(char::is_control);
        for line in self.sdp.attributes(self.index).filter(named).filter(sound).take(MAX_LINES) {
            let _ = write!(text, "a={line}\r\n");
        }
        let _ = write!(text, "a={}\r\n", Direction::SendRecv.as_str());
        let next = self.at.port().checked_add(1);
        if let Some((port, _)) = self.media.rtcp.filter(|(port, _)| Some(*port) != next) {
            let _ = write!(text, "a=rtcp:{port}\r\n");
        }
    }
}

/// A party's offer, as our own to another party with whom `local` has described one stream so far. None: its media cannot be passed on.
pub fn offer(theirs: &Sdp, local: &Ability) -> Option<String> {
    let stream = stream(theirs)?;
    let mut text = head(local, "0 0");
    stream.print(&mut text, stream.profile);
    Some(text)
}

/// Another party's answer to [`offer`], as our own to the party that made it. None: it is not one that could be passed on.
pub fn answer(theirs: &Sdp, answered: &Sdp, local: &Ability) -> Option<String> {
    let (offered, taken) = (stream(theirs)?, stream(answered)?);
    let known = |payload_type| offered.media.payload_types().any(|offered| offered == payload_type);
    let fits = taken.media.payload_types().next().is_some() && taken.media.payload_types().all(known);
    if taken.index != 0 || taken.profile != offered.profile || !fits {
        return None;
    }
    let mut text = head(local, theirs.time.as_deref().unwrap_or("0 0"));
    for (index, media) in theirs.media.iter().enumerate() {
        if index == offered.index {
            taken.print(&mut text, offered.profile);
        } else {
            super::decline(&mut text, media);
        }
    }
    Some(text)
}
