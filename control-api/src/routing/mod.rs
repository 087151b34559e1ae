//! How calls come and go: numbers and what they do, trunks, dispatch rules, and where a tenant may call.
//!
//! The documents (`document`, `rule`, `trunk`) are what the API takes and the store keeps; they check themselves and decide without
//! I/O. [`policy`] is the one judge of destinations, whoever asks: a dialled call, a transfer, a tool or a REFER.

pub(crate) mod carrier;
pub(crate) mod directory;
pub(crate) mod document;
pub(crate) mod hours;
mod lines;
mod network;
mod plan;
mod policy;
pub(crate) mod rows;
pub(crate) mod rule;
mod settings;
mod snapshot;
mod stand_in;
pub(crate) mod trunk;

pub use carrier::{CarrierSettings, TelnyxSettings, TwilioSettings, number_orders, number_ports};
pub use directory::StoreDirectory;
pub use lines::{Binding, Gate, Line, Login, Sighting};
pub use network::{Network, NotANetwork};
pub(crate) use plan::ANONYMOUS;
pub use plan::{Hop, Manners, NoPlan, Plan, PlanQuery, Signature, Transport, Vouched};
pub use policy::{Destination, permits};
pub use settings::RoutingSettings;
pub use trunk::{MediaTerms, Prack, Release, Srtp, StirVerify};

/// What is wrong with a document, each with its dotted path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Dotted path of the value.
    pub(crate) field: String,
    /// The limit it broke.
    pub(crate) rule: String,
}

impl Faults {
    pub(crate) fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push(Fault { field: field.into(), rule: rule.into() });
    }

    /// Notes a fault unless the condition holds.
    pub(crate) fn need(&mut self, holds: bool, field: &str, rule: &str) {
        if !holds {
            self.add(field, rule);
        }
    }

    /// What another document found, below a path of this one.
    pub(crate) fn below(&mut self, path: &str, inner: Faults) {
        self.0.extend(inner.0.into_iter().map(|fault| Fault { field: format!("{path}.{}", fault.field), ..fault }));
    }
}

/// A telephone number, or a SIP URI without anything that could break out of a header line; at most 255 characters.
pub(crate) fn is_address(text: &str) -> bool {
    let uri = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"));
    let sound = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'?'))
    };
    text.len() <= 255 && (uri.is_some_and(sound) || text.parse::<domain::phone::E164>().is_ok())
}

/// `*` stands for any text, `?` for one character.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[t] => {
                p += 1;
                t += 1;
            }
            // The last star takes one more character; earlier ones never need to.
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_texts() {
        for (pattern, text, matches) in [
            ("acme", "acme", true),
            ("acme", "acme2", false),
            ("acme*", "acme2", true),
            ("*-gold", "acme-gold", true),
            ("a?me*x", "acme and more x", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxbxx", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
        // Many stars take no exponential time.
        assert!(!glob(&"*a".repeat(30), &"a".repeat(29)));
    }

    #[test]
    fn addresses_are_numbers_or_uris() {
        for good in ["+12125550123", "sip:desk@example.com", "sips:desk@example.com:5061"] {
            assert!(is_address(good), "{good}");
        }
        for bad in
            ["12125550123", "tel:+12125550123", "sip:", "sip:a b@c", "sip:a@b>;x", "sip:a@b?Subject=x", "", "https://x"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
