//! Who calls, who was called first, and who wishes not to be named, as plain data: P-Asserted-Identity (RFC 3325),
//! Remote-Party-ID (draft-ietf-sip-privacy-04), Privacy (RFC 3323), Diversion (RFC 5806), History-Info (RFC 7044).
//!
//! Nothing here is believed: whether a trunk's word counts is its user's policy.

use crate::event::Headers;
use crate::message::{Address, NameAddr, Params, Uri, split_commas};

/// A Remote-Party-ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteParty {
    /// Who.
    pub who: NameAddr,
    /// `calling` or `called`, when written.
    pub party: Option<String>,
    /// `screen=yes`: somebody on the way vouches for it.
    pub screened: bool,
    /// `full`, `off`, …
    pub privacy: Option<String>,
}

/// One Diversion, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion {
    /// Who diverted the call.
    pub who: NameAddr,
    /// `no-answer`, `user-busy`, `unconditional`, …
    pub reason: Option<String>,
    /// How often.
    pub counter: Option<u32>,
    /// `full`, `off`, …
    pub privacy: Option<String>,
}

/// One entry of History-Info, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Where the call was sent.
    pub who: NameAddr,
    /// `1`, `1.1`, …
    pub index: String,
    /// The status or cause that sent it on.
    pub cause: Option<u16>,
}

/// All of it, of one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// P-Asserted-Identity: at most one sip and one tel URI.
    pub asserted: Vec<NameAddr>,
    /// Remote-Party-ID.
    pub remote_party: Vec<RemoteParty>,
    /// The words of Privacy: `id`, `header`, `none`, …
    pub privacy: Vec<String>,
    /// Diversion.
    pub diversion: Vec<Diversion>,
    /// History-Info.
    pub history: Vec<HistoryEntry>,
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_matches('"').to_owned()
}

fn param(params: Params<'_>, name: &str) -> Option<String> {
    params.get(name).map(text)
}

/// The elements of all headers of a name that hold an address; what cannot be read is left out.
fn addresses<'h>(headers: &'h Headers, name: &'h str) -> impl Iterator<Item = (NameAddr, Params<'h>)> {
    headers
        .iter()
        .filter(move |(label, _)| label.eq_ignore_ascii_case(name))
        .flat_map(|(_, value)| split_commas(value.as_bytes()))
        .filter_map(|element| {
            let address = Address::parse(element)?;
            let uri = Uri::parse(address.uri).ok()?;
            Some((NameAddr { display: address.display_text(), uri }, address.params))
        })
}

impl Identity {
    /// Reads it from a message's headers.
    pub fn of(headers: &Headers) -> Self {
        let privacy = headers.get("Privacy").unwrap_or_default();
        Identity {
            asserted: addresses(headers, "P-Asserted-Identity").map(|(who, _)| who).collect(),
            remote_party: addresses(headers, "Remote-Party-ID")
                .map(|(who, params)| RemoteParty {
                    who,
                    party: param(params, "party"),
                    screened: param(params, "screen").is_some_and(|screen| screen.eq_ignore_ascii_case("yes")),
                    privacy: param(params, "privacy"),
                })
                .collect(),
            privacy: privacy.split(';').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            diversion: addresses(headers, "Diversion")
                .map(|(who, params)| Diversion {
                    who,
                    reason: param(params, "reason"),
                    counter: param(params, "counter").and_then(|counter| counter.parse().ok()),
                    privacy: param(params, "privacy"),
                })
                .collect(),
            history: addresses(headers, "History-Info")
                .map(|(who, params)| {
                    // The reason stands in the URI: `<sip:x?Reason=SIP%3Bcause%3D486>`; newer ones add a parameter.
                    let reason = who.uri.header("Reason").unwrap_or_default();
                    let embedded = reason.split(';').find_map(|part| part.trim().strip_prefix("cause="));
                    let cause = embedded.or(who.uri.param("cause")).and_then(|cause| cause.parse().ok());
                    let index = param(params, "index").unwrap_or_default();
                    HistoryEntry { who: NameAddr { uri: who.uri.bare(), ..who }, index, cause }
                })
                .collect(),
        }
    }

    /// Prints it as headers of a request of ours.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut put = |name: &str, value: String| headers.push((name.to_owned(), value));
        let word = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!(";{name}={value}"))
        };
        for who in &self.asserted {
            put("P-Asserted-Identity", who.to_string());
        }
        for RemoteParty { who, party, screened, privacy } in &self.remote_party {
            let screen = if *screened { ";screen=yes" } else { "" };
            put("Remote-Party-ID", format!("{who}{}{screen}{}", word("party", party), word("privacy", privacy)));
        }
        if !self.privacy.is_empty() {
            put("Privacy", self.privacy.join(";"));
        }
        for Diversion { who, reason, counter, privacy } in &self.diversion {
            let counter = counter.map(|counter| counter.to_string());
            let (reason, counter) = (word("reason", reason), word("counter", &counter));
            put("Diversion", format!("{who}{reason}{counter}{}", word("privacy", privacy)));
        }
        for HistoryEntry { who, index, cause } in &self.history {
            let reason = cause.map_or(String::new(), |cause| format!("?Reason=SIP%3Bcause%3D{cause}"));
            let display = NameAddr { display: who.display.clone(), uri: who.uri.clone() }.to_string();
            let with_reason = display.strip_suffix('>').map_or(display.clone(), |open| format!("{open}{reason}>"));
            put("History-Info", format!("{with_reason};index={index}"));
        }
        headers
    }

    /// True when the caller asks not to be named to the called one (RFC 3323 §4.2, RFC 3325 §9.3).
    pub fn is_private(&self) -> bool {
        let asked = self.privacy.iter().any(|word| matches!(word.as_str(), "id" | "user" | "header"));
        asked || self.remote_party.iter().any(|party| matches!(party.privacy.as_deref(), Some("full" | "name")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn identity(lines: &str) -> Identity {
        let message = Message::parse(format!("INVITE sip:a@b SIP/2.0\r\n{lines}\r\n\r\n")).unwrap();
        Identity::of(&Headers::of(&message))
    }

    #[test]
    fn what_carriers_send_is_read_and_printed_the_same() {
        let lines = "P-Asserted-Identity: \"Anna, E.\" <sip:+4930@c.example;user=phone>, <tel:+4930>\r\n\
                     Remote-Party-ID: \"Anna\" <sip:+4930@c.example>;party=calling;screen=yes;privacy=off\r\n\
                     Privacy: id;critical\r\n\
                     Diversion: <sip:+4940@c.example>;reason=no-answer;counter=2;privacy=off\r\n\
                     History-Info: <sip:first@c.example?Reason=SIP%3Bcause%3D486>;index=1, <sip:second@c.example>;index=1.1";
        let read = identity(lines);
        assert_eq!(read.asserted.len(), 2);
        assert_eq!(read.asserted[0].display.as_deref(), Some("Anna, E."));
        assert!(read.remote_party[0].screened && read.is_private());
        assert_eq!((read.diversion[0].reason.as_deref(), read.diversion[0].counter), (Some("no-answer"), Some(2)));
        assert_eq!((read.history[0].cause, read.history[1].index.as_str()), (Some(486), "1.1"));
        assert_eq!(read.history[0].who.uri.as_str(), "sip:first@c.example");
        let printed: Vec<_> = read.headers().iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(identity(&printed.join("\r\n")), read);
    }

    #[test]
    fn nonsense_is_left_out() {
        let read = identity("P-Asserted-Identity: <http://x>, \"never ends\r\nDiversion: ;;;\r\nPrivacy: none");
        assert_eq!(read, Identity { privacy: vec!["none".into()], ..Identity::default() });
        assert!(!read.is_private());
    }
}
