//! How a trunk writes numbers: what a carrier sends becomes E.164, and E.164 what the carrier wants (API.md §1.5, `identity.e164`).

use serde::{Deserialize, Serialize};

use super::{E164, country::calling_code};

/// The way of writing of one trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NumberFormat {
    /// Whose national numbers come without a country code; ISO 3166 alpha-2.
    pub country: String,
    /// Numbers that leave begin with `+`.
    pub add_plus: bool,
    /// Taken off the front of what the carrier sends.
    pub strip_prefix: String,
    /// Put in front of what leaves, before the `+`.
    pub tech_prefix: String,
    /// Digits of a national number without its trunk prefix.
    pub national_length: u8,
}

impl Default for NumberFormat {
    fn default() -> Self {
        Self {
            country: "US".into(),
            add_plus: true,
            strip_prefix: String::new(),
            tech_prefix: String::new(),
            national_length: 10,
        }
    }
}

impl NumberFormat {
    /// What the carrier sent, in international form. `None` for names, short codes and what has letters.
    ///
    /// Understood are `+` and an international number, the same behind `00` or `011`, a national number (with or without the `0`
    /// that is dialled before it), and an international number whose `+` the carrier leaves out.
    pub fn read(&self, sent: &str) -> Option<E164> {
        let sent = sent.strip_prefix(&self.strip_prefix).unwrap_or(sent);
        let plain: String = sent.chars().filter(|letter| !"-. ()".contains(*letter)).collect();
        if plain.starts_with('+') {
            return plain.parse().ok();
        }
        if plain.is_empty() || !plain.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let code = calling_code(&self.country)?;
        let national = usize::from(self.national_length);
        // 011 is dialled from countries of +1, 00 from nearly all others.
        let abroad = if code == "1" { "011" } else { "00" };
        if let Some(number) = plain.strip_prefix(abroad) {
            return format!("+{number}").parse().ok();
        }
        if plain.len() == national {
            return format!("+{code}{plain}").parse().ok();
        }
        if let Some(number) = plain.strip_prefix('0').filter(|number| number.len() == national) {
            return format!("+{code}{number}").parse().ok();
        }
        if plain.len() > national { format!("+{plain}").parse().ok() } else { None }
    }

    /// A number as this carrier wants it.
    pub fn write(&self, number: &E164) -> String {
        let number = number.as_str();
        let number = if self.add_plus { number } else { number.trim_start_matches('+') };
        format!("{}{number}", self.tech_prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &NumberFormat, sent: &str) -> Option<String> {
        format.read(sent).map(String::from)
    }

    #[test]
    fn american_carriers_are_understood() {
        let us = NumberFormat::default();
        for sent in ["+12125550123", "12125550123", "2125550123", "(212) 555-0123", "01112125550123"] {
            assert_eq!(read(&us, sent).as_deref(), Some("+12125550123"), "{sent}");
        }
        assert_eq!(read(&us, "011442079460000").as_deref(), Some("+442079460000"));
        for name in ["demo", "911", "5550123", "", "+", "12125550123x", "anonymous"] {
            assert_eq!(read(&us, name), None, "{name}");
        }
    }

    #[test]
    fn british_carriers_are_understood() {
        let gb = NumberFormat { country: "GB".into(), ..NumberFormat::default() };
        for sent in ["+442079460000", "442079460000", "02079460000", "2079460000", "00442079460000"] {
            assert_eq!(read(&gb, sent).as_deref(), Some("+442079460000"), "{sent}");
        }
    }

    #[test]
    fn prefixes_come_off_and_on() {
        let format = NumberFormat {
            add_plus: false,
            strip_prefix: "9".into(),
            tech_prefix: "7788#".into(),
            ..NumberFormat::default()
        };
        assert_eq!(read(&format, "92125550123").as_deref(), Some("+12125550123"));
        let number = "+12125550123".parse().unwrap();
        assert_eq!(format.write(&number), "7788#12125550123");
        assert_eq!(NumberFormat::default().write(&number), "+12125550123");
    }
}
