//! What is wrong with a document: each fault with the dotted path of its field and the limit that it broke.

use std::fmt;

use serde::Serialize;

/// So many faults are told at once; a document with more is told about these first.
pub const FAULTS_TOLD: usize = 20;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Dotted path, such as `turn.end.silence_ms` or `tools[2].name`; empty for the whole.
    pub field: String,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people; it names the limit.
    pub message: String,
}

impl Fault {
    /// A field that the document does not have.
    pub const UNKNOWN: &str = "unknown_field";
    /// A field that only the server sets.
    pub const READ_ONLY: &str = "read_only_field";
    /// Every other fault of a value.
    pub const INVALID: &str = "validation_failed";
    /// A flow that cannot run.
    pub const FLOW: &str = "flow_invalid";

    /// A value that cannot be taken.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), code: Self::INVALID, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.field, self.message) }
    }
}

impl std::error::Error for Fault {}

/// Something that is accepted and yet worth a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Dotted path.
    pub field: String,
    /// A sentence for people.
    pub message: String,
}

impl Warning {
    /// A warning about a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Collects faults up to the number that is told.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Takes a fault; the ones beyond [`FAULTS_TOLD`] are not kept.
    pub fn push(&mut self, fault: Fault) {
        if self.0.len() < FAULTS_TOLD {
            self.0.push(fault);
        }
    }

    /// Takes a fault of a value.
    pub fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.push(Fault::invalid(field, message));
    }

    /// Takes a key that nothing knows.
    pub fn unknown(&mut self, field: String, known: &[&str]) {
        let key = field.rsplit('.').next().unwrap_or_default().to_owned();
        let near = known.iter().find(|name| alike(&key, name));
        let message = match near {
            Some(name) => format!("there is no field {key:?} here; did you mean {name:?}?"),
            None => format!("there is no field {key:?} here"),
        };
        self.push(Fault { field, code: Fault::UNKNOWN, message });
    }

    /// What was found, in the order of the document.
    pub fn list(self) -> Vec<Fault> {
        self.0
    }

    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One letter more, less or other, or two that changed places.
fn alike(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[same..], &b[same..]);
    let (after_a, after_b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default());
    let swapped = a.len() > 1 && b.len() > 1 && a[0] == b[1] && a[1] == b[0] && a[2..] == b[2..];
    after_a == b || a == after_b || after_a == after_b || swapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_one_letter_is_recognised() {
        for (a, b) in [("promt", "prompt"), ("silence_mss", "silence_ms"), ("mdoe", "mode"), ("medel", "model")] {
            assert!(alike(a, b), "{a} {b}");
        }
        assert!(!alike("colour", "model") && !alike("md", "mode"));
    }
}
