//! Patterns of event types: `call.ended`, `call.*`, `*`, `!call.dtmf.*`.

use domain::event::{Live, Name};

/// What a subscription that names nothing better does not get: many per call, and of use to few.
const NOISY: [&str; 3] = ["call.dtmf.*", "call.turn.*", "call.quality"];

/// A list of patterns. A type is wanted if any pattern matches it (or there are only exclusions) and no exclusion does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patterns(Vec<String>);

/// A pattern that can match nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} matches no type of event")]
pub(crate) struct UnknownPattern(pub(crate) String);

impl Patterns {
    /// Takes patterns as they are; what matches nothing is no fault.
    pub(crate) fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self(
            patterns
                .into_iter()
                .map(|pattern| pattern.trim().to_owned())
                .filter(|pattern| !pattern.is_empty())
                .collect(),
        )
    }

    /// Patterns between commas.
    pub(crate) fn listed(text: &str) -> Self {
        Self::new(text.split(',').map(str::to_owned))
    }

    /// Refuses a pattern that matches no type there is.
    pub(crate) fn check(&self) -> Result<(), UnknownPattern> {
        let types = || Name::ALL.iter().map(|name| name.as_str()).chain(Live::ALL.iter().map(|live| live.as_str()));
        match self.0.iter().find(|pattern| !types().any(|kind| hit(pattern.trim_start_matches('!'), kind))) {
            Some(pattern) => Err(UnknownPattern(pattern.clone())),
            None => Ok(()),
        }
    }

    /// Whether a type is wanted.
    pub(crate) fn want(&self, kind: &str) -> bool {
        let (mut positive, mut wanted) = (false, false);
        for pattern in &self.0 {
            match pattern.strip_prefix('!') {
                Some(unwanted) if hit(unwanted, kind) => return false,
                Some(_) => {}
                None => {
                    positive = true;
                    wanted |= hit(pattern, kind);
                }
            }
        }
        wanted || !positive
    }

    /// Whether a webhook wants a type: as [`Self::want`], but the noisy ones only if a pattern other than `*` names them
    /// (`call.turn.*` and `call.turn.agent` do, `call.*` does not).
    pub(crate) fn want_delivered(&self, kind: &str) -> bool {
        let noisy = NOISY.iter().find(|noisy| hit(noisy, kind));
        let named = |noisy: &&str| {
            self.0.iter().any(|pattern| pattern == *noisy || pattern == kind || is_within(pattern, noisy))
        };
        self.want(kind) && noisy.is_none_or(named)
    }

    pub(crate) fn as_slice(&self) -> &[String] {
        &self.0
    }
}

fn hit(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => kind.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')),
        None => pattern == "*" || pattern == kind,
    }
}

/// `call.turn.agent.*` is within `call.turn.*`.
fn is_within(pattern: &str, of: &str) -> bool {
    let (Some(inner), Some(outer)) = (pattern.strip_suffix(".*"), of.strip_suffix('*')) else { return false };
    inner.starts_with(outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_exact_prefixed_or_excluding() {
        let want = |patterns: &str, kind: &str| Patterns::listed(patterns).want(kind);
        assert!(want("", "call.ended"));
        assert!(want("call.turn.*,call.ended", "call.turn.agent"));
        assert!(!want("call.turn.*", "call.turned"));
        assert!(!want("call.*,!call.turn.*", "call.turn.agent"));
        assert!(want("!call.turn.*", "call.ended"));
        assert!(!want("call.ende", "call.ended"));
    }

    #[test]
    fn everything_is_all_but_the_noisy_which_must_be_named() {
        let want = |patterns: &str, kind: &str| Patterns::listed(patterns).want_delivered(kind);
        assert!(want("*", "call.ended") && want("*", "lead.created"));
        for noisy in ["call.dtmf.received", "call.quality", "call.turn.agent", "call.turn.interrupted"] {
            assert!(!want("*", noisy) && !want("call.*", noisy), "{noisy}");
            assert!(want(noisy, noisy), "{noisy}");
        }
        assert!(want("*,call.turn.*", "call.turn.agent"));
        assert!(!want("call.turn.*,!call.turn.agent", "call.turn.agent"));
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_named() {
        assert_eq!(Patterns::listed("call.*,!call.turn.*,*,webhook.test").check(), Ok(()));
        assert_eq!(Patterns::listed("call.ended,cal.*").check(), Err(UnknownPattern("cal.*".into())));
        assert_eq!(Patterns::listed("!nope").check(), Err(UnknownPattern("!nope".into())));
    }
}
