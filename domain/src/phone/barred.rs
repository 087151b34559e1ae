//! Ranges that nobody dials through this house, whatever a tenant may call: satellites, premium rate, numbers that follow a person and
//! networks without a country. Swindlers earn on them; hardly anybody else calls them.

use super::E164;

/// What a barred range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// Satellite and maritime networks.
    Satellite,
    /// Premium and shared-revenue numbers.
    Premium,
    /// Numbers that are forwarded at the caller's cost.
    Personal,
    /// International networks that belong to no country.
    Network,
    /// Codes that no number has.
    Unassigned,
}

impl Barred {
    /// The word in errors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Satellite => "satellite",
            Self::Premium => "premium",
            Self::Personal => "personal_number",
            Self::Network => "international_network",
            Self::Unassigned => "unassigned",
        }
    }
}

use Barred::{Network, Personal, Premium, Satellite, Unassigned};

/// Digits behind `+`; `?` is any one digit.
#[rustfmt::skip]
const RANGES: &[(&str, Barred)] = &[
    ("870", Satellite), // Inmarsat
    ("881", Satellite), // Globalstar, Iridium
    ("882", Network),
    ("883", Network),
    ("878", Personal), // universal personal telecommunications
    ("979", Premium), // international premium rate
    ("808", Premium), // international shared cost
    ("888", Unassigned),
    ("1900", Premium), // United States and Canada
    ("1976", Premium),
    ("1???976", Premium), // local premium exchange of an area
    ("1456", Network), // inbound international
    ("1500", Personal), // personal communications services
    ("1521", Personal),
    ("1522", Personal),
    ("1533", Personal),
    ("1544", Personal),
    ("1566", Personal),
    ("1577", Personal),
    ("1588", Personal),
    ("1700", Network), // carrier services
    ("1710", Unassigned),
    ("309", Premium), // Greece 90
    ("3190", Premium), // Netherlands 090x
    ("3290", Premium), // Belgium 090x
    ("3389", Premium), // France 089
    ("34803", Premium), // Spain
    ("34806", Premium),
    ("34807", Premium),
    ("34905", Premium),
    ("35160", Premium), // Portugal 60x
    ("35176", Premium), // Portugal 76x
    ("358600", Premium), // Finland
    ("358700", Premium),
    ("37090", Premium), // Lithuania
    ("37190", Premium), // Latvia
    ("372900", Premium), // Estonia
    ("380900", Premium), // Ukraine
    ("3989", Premium), // Italy 89x
    ("4190", Premium), // Switzerland 090x
    ("4390", Premium), // Austria 090x
    ("43930", Premium),
    ("43931", Premium),
    ("43939", Premium),
    ("449", Premium), // Britain 09
    ("4470", Personal), // Britain 070; 07624 is the Isle of Man's
    ("4484", Premium), // Britain 084
    ("4487", Premium), // Britain 087
    ("4590", Premium), // Denmark
    ("46900", Premium), // Sweden
    ("46939", Premium),
    ("46944", Premium),
    ("4782", Premium), // Norway
    ("4870", Premium), // Poland 70x
    ("49137", Premium), // Germany, mass calling
    ("49900", Premium), // Germany
    ("52900", Premium), // Mexico
    ("55900", Premium), // Brazil
    ("61190", Premium), // Australia
    ("64900", Premium), // New Zealand
    ("651900", Premium), // Singapore
    ("7809", Premium), // Russia
    ("81990", Premium), // Japan
    ("900", Premium), // no Turkish number; a mistyped 1-900
    ("90900", Premium), // Turkey
    ("9721900", Premium), // Israel
];

/// What a number is barred as; the longest range that fits.
pub fn barred(number: &E164) -> Option<Barred> {
    let digits = number.as_str().strip_prefix('+')?.as_bytes();
    let fits = |range: &str| {
        range.len() <= digits.len() && range.bytes().zip(digits).all(|(one, digit)| one == b'?' || one == *digit)
    };
    RANGES.iter().filter(|(range, _)| fits(range)).max_by_key(|(range, _)| range.len()).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn premium_satellite_and_stateless_numbers_are_barred_and_others_are_not() {
        for (number, expected) in [
            ("+19005550123", Some(Premium)),
            ("+12129765550", Some(Premium)),
            ("+9001234567", Some(Premium)),
            ("+8816123456789", Some(Satellite)),
            ("+870773123456", Some(Satellite)),
            ("+882161234567", Some(Network)),
            ("+447012345678", Some(Personal)),
            ("+449012345678", Some(Premium)),
            ("+12125550123", None),
            ("+442079460000", None),
            ("+447624123456", None),
            ("+905321234567", None),
            ("+493012345678", None),
        ] {
            assert_eq!(barred(&number.parse().unwrap()), expected, "{number}");
        }
    }
}
