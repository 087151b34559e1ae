//! Which keys a stream gets: SDES (RFC 4568), DTLS (RFC 5763), or none, also where encryption is only wished for (RFC 8643).

use std::fmt::Write;

use crate::refusal::Refusal;
use crate::sdp::crypto::Crypto;
use crate::sdp::dtls::{Fingerprint, Setup};
use crate::sdp::{Media, Sdp};

/// What a media line says of its transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `RTP/AVP`.
    Avp,
    /// `RTP/AVPF`: with feedback (RFC 4585).
    Avpf,
    /// `RTP/SAVP`.
    Savp,
    /// `RTP/SAVPF`.
    Savpf,
    /// `UDP/TLS/RTP/SAVP` (RFC 5764).
    DtlsSavp,
    /// `UDP/TLS/RTP/SAVPF`.
    DtlsSavpf,
}

impl Profile {
    const ALL: [Profile; 6] =
        [Profile::Avp, Profile::Avpf, Profile::Savp, Profile::Savpf, Profile::DtlsSavp, Profile::DtlsSavpf];

    /// The media line's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Profile::Avp => "RTP/AVP",
            Profile::Avpf => "RTP/AVPF",
            Profile::Savp => "RTP/SAVP",
            Profile::Savpf => "RTP/SAVPF",
            Profile::DtlsSavp => "UDP/TLS/RTP/SAVP",
            Profile::DtlsSavpf => "UDP/TLS/RTP/SAVPF",
        }
    }

    /// The profile of a media line.
    pub fn of(word: &str) -> Option<Self> {
        Profile::ALL.into_iter().find(|profile| profile.as_str() == word)
    }

    /// Who offers it takes no plain media.
    pub fn insists(self) -> bool {
        !matches!(self, Profile::Avp | Profile::Avpf)
    }

    fn is_dtls(self) -> bool {
        matches!(self, Profile::DtlsSavp | Profile::DtlsSavpf)
    }
}

/// What is wanted of a call's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Srtp {
    /// Plain media only.
    #[default]
    Off,
    /// Encrypted where both can, keys in the description first.
    Sdes,
    /// The same, DTLS first.
    Dtls,
    /// Keys in the description, or no call.
    RequireSdes,
    /// DTLS, or no call.
    RequireDtls,
}

impl Srtp {
    /// Rather no call than a plain one.
    pub fn is_required(self) -> bool {
        matches!(self, Srtp::RequireSdes | Srtp::RequireDtls)
    }
}

/// What is wanted, and what the media can carry. By default neither.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keying {
    /// What is wanted.
    pub wanted: Srtp,
    /// What this call's media would be encrypted with, one line for each suite that it can do, in our order of preference, each with a
    /// tag of its own. Empty: it cannot be keyed by descriptions.
    pub sdes: Vec<Crypto>,
    /// Our certificate. Empty: there is no DTLS.
    pub dtls: Vec<Fingerprint>,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Keys {
    /// The media is not encrypted.
    #[default]
    Plain,
    /// Keys stand in both descriptions, under one tag and suite.
    Sdes {
        /// What we encrypt with.
        local: Crypto,
        /// What the peer encrypts with.
        remote: Crypto,
    },
    /// Keys come from a handshake on the media's own path.
    Dtls {
        /// We begin it; otherwise the peer does.
        active: bool,
        /// The peer's certificate is one of these, or the handshake fails.
        fingerprints: Vec<Fingerprint>,
    },
}

/// How keys are exchanged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Sdes,
    Dtls,
}

impl Keying {
    /// The ways that may be taken, the better one first.
    fn ways(&self) -> &'static [Way] {
        match self.wanted {
            Srtp::Off => &[],
            Srtp::Sdes => &[Way::Sdes, Way::Dtls],
            Srtp::Dtls => &[Way::Dtls, Way::Sdes],
            Srtp::RequireSdes => &[Way::Sdes],
            Srtp::RequireDtls => &[Way::Dtls],
        }
    }

    fn can(&self, way: Way) -> bool {
        match way {
            Way::Sdes => !self.sdes.is_empty(),
            Way::Dtls => !self.dtls.is_empty(),
        }
    }

    fn offered(&self) -> Option<Way> {
        self.ways().first().copied().filter(|way| self.can(*way))
    }

    /// Whether a call can be offered at all.
    ///
    /// # Errors
    /// Encryption is required, and there is none.
    pub fn check(&self) -> Result<(), Refusal> {
        self.profile().map(drop)
    }

    /// The profile of our offer. A wish goes out as plain media with keys beside it, which whoever does not know them passes over
    /// (RFC 8643 §3.1).
    ///
    /// # Errors
    /// Encryption is required, and there is none.
    pub(super) fn profile(&self) -> Result<Profile, Refusal> {
        match (self.offered(), self.wanted.is_required()) {
            (Some(Way::Sdes), true) => Ok(Profile::Savp),
            (Some(Way::Dtls), true) => Ok(Profile::DtlsSavp),
            (None, true) => Err(no_transport("Encrypted media is required and not available")),
            (_, false) => Ok(Profile::Avp),
        }
    }

    /// The attributes of our offer.
    pub(super) fn print_offer(&self, text: &mut String) {
        match self.offered() {
            Some(Way::Sdes) => self.sdes.iter().for_each(|line| print_crypto(text, line)),
            Some(Way::Dtls) => self.print_dtls(text, Setup::ActPass),
            None => {}
        }
    }

    /// The attributes of our answer.
    pub(super) fn print_answer(&self, text: &mut String, keys: &Keys) {
        match keys {
            Keys::Plain => {}
            Keys::Sdes { local, .. } => print_crypto(text, local),
            Keys::Dtls { active, .. } => {
                self.print_dtls(text, if *active { Setup::Active } else { Setup::Passive });
            }
        }
    }

    fn print_dtls(&self, text: &mut String, setup: Setup) {
        for fingerprint in &self.dtls {
            let _ = write!(text, "a=fingerprint:{fingerprint}\r\n");
        }
        let _ = write!(text, "a=setup:{}\r\n", setup.as_str());
    }

    /// The keys for a stream that is offered to us.
    ///
    /// # Errors
    /// It insists on what we cannot give, or gives less than is required.
    pub(super) fn answer(&self, sdp: &Sdp, media: &Media, profile: Profile) -> Result<Keys, Refusal> {
        let found = self.ways().iter().find_map(|way| match way {
            // Keys in the description would go unused beside a handshake that the profile asks for.
            Way::Sdes => (!profile.is_dtls()).then(|| self.take_crypto(media)).flatten(),
            Way::Dtls => self.take_dtls(sdp, media),
        });
        match found {
            Some(keys) => Ok(keys),
            None if profile.insists() => Err(no_transport("Encrypted media not available")),
            None if self.wanted.is_required() => Err(no_transport("Encrypted media required")),
            None => Ok(Keys::Plain),
        }
    }

    /// The first line of theirs whose suite is ours; the answer has their tag and our key (RFC 4568 §5.1.2).
    fn take_crypto(&self, media: &Media) -> Option<Keys> {
        media.crypto.iter().filter(|line| line.is_plain()).find_map(|remote| {
            let ours = self.sdes.iter().find(|ours| ours.suite == remote.suite)?;
            Some(Keys::Sdes { local: Crypto { tag: remote.tag, ..ours.clone() }, remote: remote.clone() })
        })
    }

    /// Who may choose begins: so the peer is reached behind his NAT at once (RFC 5763 §5). Without the attribute the offerer does.
    fn take_dtls(&self, sdp: &Sdp, media: &Media) -> Option<Keys> {
        let theirs = sdp.dtls(media);
        let active = match theirs.setup.unwrap_or(Setup::Active) {
            Setup::ActPass | Setup::Passive => true,
            Setup::Active => false,
            Setup::HoldConn => return None,
        };
        let known = !self.dtls.is_empty() && !theirs.fingerprints.is_empty();
        known.then_some(Keys::Dtls { active, fingerprints: theirs.fingerprints })
    }

    /// The keys of a stream that we offered.
    ///
    /// # Errors
    /// The answer is not one to our offer.
    pub(super) fn accept(&self, sdp: &Sdp, media: &Media, profile: Profile) -> Result<Keys, Refusal> {
        let offered = self.profile()?;
        if profile.insists() != offered.insists() || profile.is_dtls() != offered.is_dtls() {
            return Err(no_transport("The answer has another profile than the offer"));
        }
        let keys = match self.offered() {
            Some(Way::Sdes) => self.accept_crypto(media)?,
            Some(Way::Dtls) => self.accept_dtls(sdp, media)?,
            None => Keys::Plain,
        };
        if keys == Keys::Plain && offered.insists() {
            return Err(no_keys("The answer has no keys"));
        }
        Ok(keys)
    }

    /// Exactly one line, with tag and suite of one of ours (RFC 4568 §5.1.3); none at all is no wish for encryption.
    fn accept_crypto(&self, media: &Media) -> Result<Keys, Refusal> {
        match media.crypto.as_slice() {
            [] => Ok(Keys::Plain),
            [remote] if remote.is_plain() => {
                let ours = self.sdes.iter().find(|ours| (ours.tag, ours.suite) == (remote.tag, remote.suite));
                let local = ours.ok_or_else(|| no_keys("The answer has a key for no line of the offer"))?.clone();
                Ok(Keys::Sdes { local, remote: remote.clone() })
            }
            _ => Err(no_keys("The answer has not one key")),
        }
    }

    /// We offered either role; an answer without the attribute is passive (RFC 4145 §4).
    fn accept_dtls(&self, sdp: &Sdp, media: &Media) -> Result<Keys, Refusal> {
        let theirs = sdp.dtls(media);
        if theirs.fingerprints.is_empty() {
            return Ok(Keys::Plain);
        }
        let active = match theirs.setup.unwrap_or(Setup::Passive) {
            Setup::Passive => true,
            Setup::Active => false,
            Setup::ActPass | Setup::HoldConn => return Err(no_keys("The answer leaves open who begins the handshake")),
        };
        Ok(Keys::Dtls { active, fingerprints: theirs.fingerprints })
    }
}

fn print_crypto(text: &mut String, line: &Crypto) {
    let _ = write!(text, "a=crypto:{line}\r\n");
}

/// RFC 3261 §20.43: 302 is about the transport protocol of a media line.
fn no_transport(text: &str) -> Refusal {
    Refusal::new(488).with_warning(302, text)
}

fn no_keys(text: &str) -> Refusal {
    Refusal::new(488).with_warning(399, text)
}
