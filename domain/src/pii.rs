//! Personal data wrapped by type: what is inside never reaches a log by accident.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::phone;

/// A value about a person. `Display` and `Debug` mask it; reading it is spelled out with [`Pii::expose`].
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for the wire, the store and the screen of someone who may see it.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Unwraps the value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Pii<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: AsRef<str>> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&phone::mask(self.0.as_ref()))
    }
}

impl<T: AsRef<str>> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pii({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_format_shows_the_value() {
        let number = Pii::new("+12125550123".to_owned());
        assert_eq!(number.to_string(), "+1•••••••123");
        assert_eq!(format!("{number:?}"), "Pii(+1•••••••123)");
        assert_eq!(number.expose(), "+12125550123");
    }
}
