//! Phone numbers and addresses: E.164 (ITU-T E.164, at most 15 digits) and SIP URIs as a person may type them.

mod barred;
mod country;
mod format;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use barred::{Barred, barred};
pub use country::{calling_code, country};
pub use format::NumberFormat;

/// A number in international form, `+` and 7 to 15 digits. It shows itself masked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct E164(String);

impl E164 {
    /// The number as dialled.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for E164 {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let digits = text.strip_prefix('+').ok_or(NotANumber)?;
        let sound = (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|digit| digit.is_ascii_digit());
        if sound { Ok(Self(text.to_owned())) } else { Err(NotANumber) }
    }
}

impl TryFrom<String> for E164 {
    type Error = NotANumber;

    fn try_from(text: String) -> Result<Self, NotANumber> {
        text.parse()
    }
}

impl From<E164> for String {
    fn from(number: E164) -> Self {
        number.0
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.0))
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E164({self})")
    }
}

/// The text is not `+` and 7 to 15 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a number in international form (+ and 7 to 15 digits)")]
pub struct NotANumber;

/// Masks an address for logs and for readers without `calls:pii`: `+12125550123` becomes `+1•••••••123`.
///
/// Every run of five or more digits keeps its last three (and a leading `+` the first digit too); names stay readable, so that
/// `sip:demo@host` still tells what was called. Runs are found across `-`, `.`, space and brackets, and IP addresses and ports are left alone.
pub fn mask(address: &str) -> String {
    // The host of a SIP URI is a machine, not a person.
    let (person, host) = match address.rfind('@') {
        Some(at) => address.split_at(at),
        None => (address, ""),
    };
    let mut out = String::with_capacity(address.len() * 2);
    let mut chars = person.chars().peekable();
    while let Some(&first) = chars.peek() {
        if !first.is_ascii_digit() && first != '+' {
            out.push(first);
            chars.next();
            continue;
        }
        let mut run = String::new();
        while let Some(&next) = chars.peek() {
            if next.is_ascii_digit() || (next == '+' && run.is_empty()) || (!run.is_empty() && "-. ()".contains(next)) {
                run.push(next);
                chars.next();
            } else {
                break;
            }
        }
        mask_run(&run, &mut out);
    }
    out.push_str(host);
    out
}

fn mask_run(run: &str, out: &mut String) {
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    if digits < 5 {
        out.push_str(run);
        return;
    }
    let shown_first = usize::from(run.starts_with('+'));
    let mut seen = 0;
    for letter in run.chars() {
        if letter.is_ascii_digit() {
            seen += 1;
            let shown = seen <= shown_first || seen > digits - 3;
            out.push(if shown { letter } else { '•' });
        } else {
            out.push(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_plus_and_seven_to_fifteen_digits() {
        assert_eq!("+12125550123".parse::<E164>().unwrap().as_str(), "+12125550123");
        for wrong in ["12125550123", "+0123456789", "+123456", "+1234567890123456", "+1212555O123", "+", ""] {
            assert_eq!(wrong.parse::<E164>(), Err(NotANumber), "{wrong}");
        }
    }

    #[test]
    fn masking_keeps_the_country_digit_and_the_last_three() {
        assert_eq!(mask("+12125550123"), "+1•••••••123");
        assert_eq!(mask("02125550123"), "••••••••123");
        assert_eq!(mask("sip:+12125550123@10.0.0.5:5060"), "sip:+1•••••••123@10.0.0.5:5060");
        assert_eq!(mask("+1 (212) 555-0123"), "+1 (•••) •••-•123");
    }

    #[test]
    fn names_and_short_codes_stay_readable() {
        for plain in ["sip:demo@127.0.0.1", "911", "1001", "", "anonymous", "+"] {
            assert_eq!(mask(plain), plain);
        }
    }
}
