//! Dispatch rules (API.md §1.5): who answers a call whose number does not say it itself. Lowest priority first, then id; the first
//! that matches wins.

use std::collections::BTreeMap;

use domain::{AgentId, CallId, RuleId, TrunkId, phone::E164};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};

use super::{
    Faults,
    document::{Action, Decision, Weighted, check_shares, share},
    glob,
    hours::Hours,
};
use crate::seal;

/// A rule as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) id: RuleId,
    pub(crate) name: String,
    pub(crate) priority: i64,
    pub(crate) matcher: Match,
    pub(crate) action: RuleAction,
    pub(crate) variables: Map<String, Value>,
}

/// What a call must be like. Whatever is absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Match {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trunk_ids: Option<Vec<TrunkId>>,
    /// `prefix*`, a number, or the user of a SIP URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// The same for the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// Name of a header to a glob of its value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// Shown by the caller's side in the header `X-Pin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pin: Option<String>,
    /// Only in these hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hours: Option<Hours>,
}

/// An [`Action`], or agents by weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum RuleAction {
    Shared(Shared),
    One(Action),
}

impl<'de> Deserialize<'de> for RuleAction {
    /// By `kind`, so that a fault is told of the form that was meant.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let read = if value["kind"] == "weighted" {
            serde_json::from_value(value).map(Self::Shared)
        } else {
            serde_json::from_value(value).map(Self::One)
        };
        read.map_err(D::Error::custom)
    }
}

/// Agents by weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shared {
    kind: SharedKind,
    pub(crate) agents: Vec<Weighted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SharedKind {
    Weighted,
}

/// A call that rules are asked about.
#[derive(Clone, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) call: CallId,
    pub(crate) trunk: TrunkId,
    pub(crate) to: Party<'a>,
    pub(crate) from: Party<'a>,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) now_ms: i64,
}

/// One end: the user part as it came, and the number if it is one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Party<'a> {
    pub(crate) user: &'a str,
    pub(crate) number: Option<E164>,
}

impl Party<'_> {
    fn is(&self, pattern: &str) -> bool {
        let number = self.number.as_ref().map(E164::as_str);
        match pattern.strip_suffix('*') {
            Some(prefix) => self.user.starts_with(prefix) || number.is_some_and(|number| number.starts_with(prefix)),
            None => self.user == pattern || number == Some(pattern),
        }
    }
}

impl Match {
    pub(crate) fn matches(&self, call: &Arrival<'_>) -> bool {
        self.trunk_ids.as_ref().is_none_or(|trunks| trunks.contains(&call.trunk))
            && self.to.as_ref().is_none_or(|to| call.to.is(to))
            && self.from.as_ref().is_none_or(|from| call.from.is(from))
            && self
                .headers
                .iter()
                .all(|(name, pattern)| header(call.headers, name).is_some_and(|value| glob(pattern, value)))
            && self.pin.as_ref().is_none_or(|pin| {
                header(call.headers, "X-Pin").is_some_and(|shown| seal::same(shown.as_bytes(), pin.as_bytes()))
            })
            && self.hours.as_ref().is_none_or(|hours| hours.are_open(call.now_ms))
    }

    pub(crate) fn check(&self) -> Faults {
        let mut faults = Faults::default();
        for (name, pattern) in [("to", &self.to), ("from", &self.from)] {
            let sound = |text: &String| {
                (1..=255).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_graphic())
                    && !text[..text.len() - 1].contains('*')
            };
            let rule = "a number, the user of a SIP URI, or a prefix with * behind it";
            faults.need(pattern.as_ref().is_none_or(sound), name, rule);
        }
        faults.need(self.headers.len() <= 20, "headers", "at most 20 headers");
        for (name, value) in &self.headers {
            let token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            faults.need(
                token && value.len() <= 255,
                &format!("headers.{name}"),
                "a header's name, and a glob of at most 255 bytes",
            );
        }
        let pin = |pin: &String| (4..=12).contains(&pin.len()) && pin.bytes().all(|b| b.is_ascii_digit());
        faults.need(self.pin.as_ref().is_none_or(pin), "pin", "pin has 4 to 12 digits");
        if let Some(hours) = &self.hours {
            faults.below("hours", hours.check());
            faults.need(
                hours.closed.is_none(),
                "hours.closed",
                "a rule that is closed does not match; closed belongs to numbers",
            );
        }
        faults
    }
}

impl RuleAction {
    /// What is done with this call.
    pub(crate) fn decide(&self, call: CallId) -> Decision {
        match self {
            Self::One(action) => action.clone().into(),
            Self::Shared(shared) => match share(&shared.agents, call) {
                Some(chosen) => Decision::Agent(chosen.agent_id, chosen.version),
                None => Decision::Do(Action::reject(480)),
            },
        }
    }

    /// Every agent it names.
    pub(crate) fn agent_ids(&self) -> Vec<AgentId> {
        match self {
            Self::One(action) => action.agent_id.into_iter().collect(),
            Self::Shared(shared) => shared.agents.iter().map(|weighted| weighted.agent_id).collect(),
        }
    }

    pub(crate) fn check(&self) -> Faults {
        match self {
            Self::One(action) => action.check(),
            Self::Shared(shared) => {
                let mut faults = Faults::default();
                faults.need(!shared.agents.is_empty(), "agents", "at least one agent");
                faults.below("agents", check_shares(&shared.agents));
                faults
            }
        }
    }
}

/// The first rule of a list in order that matches.
pub(crate) fn first<'a>(rules: &'a [Rule], call: &Arrival<'_>) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.matcher.matches(call))
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn rule(n: u128, matcher: Value) -> Rule {
        let matcher: Match = serde_json::from_value(matcher).unwrap();
        assert_eq!(matcher.check(), Faults::default());
        let action = RuleAction::One(Action::reject(600));
        Rule {
            id: RuleId(Uuid::from_u128(n)),
            name: n.to_string(),
            priority: 1,
            matcher,
            action,
            variables: Map::new(),
        }
    }

    fn party(user: &str) -> Party<'_> {
        Party { user, number: domain::phone::NumberFormat::default().read(user) }
    }

    fn matches(matcher: Value, headers: &[(&str, &str)]) -> bool {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let call = Arrival {
            call: CallId(Uuid::nil()),
            trunk: TrunkId(Uuid::from_u128(7)),
            to: party("12125550123"),
            from: party("desk"),
            headers: &headers,
            now_ms: 1_795_221_552_123,
        };
        first(&[rule(1, matcher)], &call).is_some()
    }

    #[test]
    fn every_condition_must_hold() {
        for (matcher, expected) in [
            (json!({}), true),
            (json!({"trunk_ids": [Uuid::from_u128(7)]}), true),
            (json!({"trunk_ids": [Uuid::from_u128(8)]}), false),
            (json!({"to": "+12125550123"}), true),
            (json!({"to": "+1212*"}), true),
            (json!({"to": "1212*"}), true),
            (json!({"to": "12125550123"}), true),
            (json!({"to": "+1213*"}), false),
            (json!({"from": "desk"}), true),
            (json!({"from": "de*"}), true),
            (json!({"from": "DESK"}), false),
            (json!({"headers": {"x-account": "gold-*"}}), true),
            (json!({"headers": {"x-account": "silver-*"}}), false),
            (json!({"headers": {"x-other": "*"}}), false),
            (json!({"pin": "1234"}), true),
            (json!({"pin": "12345"}), false),
            (json!({"hours": {"timezone": "UTC", "open": [{"days": ["sat"], "from": "00:00", "to": "24:00"}]}}), true),
            (json!({"hours": {"timezone": "UTC", "open": [{"days": ["sun"], "from": "00:00", "to": "24:00"}]}}), false),
            (json!({"to": "+1212*", "from": "nobody"}), false),
        ] {
            assert_eq!(matches(matcher.clone(), &[("X-Account", "gold-7"), ("X-PIN", "1234")]), expected, "{matcher}");
        }
    }

    #[test]
    fn faults_are_named() {
        let wrong: Match =
            serde_json::from_value(json!({"to": "1*2", "from": "", "headers": {"a b": "x"}, "pin": "12",
            "hours": {"timezone": "UTC", "closed": {"kind": "reject"}}}))
            .unwrap();
        let fields: Vec<_> = wrong.check().0.into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["to", "from", "headers.a b", "pin", "hours.closed"]);
    }

    #[test]
    fn actions_are_one_or_shared() {
        let agent = Uuid::from_u128(3);
        let one: RuleAction = serde_json::from_value(json!({"kind": "agent", "agent_id": agent})).unwrap();
        assert!(matches!(one, RuleAction::One(_)) && one.check() == Faults::default());
        let shared: RuleAction =
            serde_json::from_value(json!({"kind": "weighted", "agents": [{"agent_id": agent}]})).unwrap();
        assert_eq!(shared.agent_ids(), [AgentId(agent)]);
        assert!(serde_json::from_value::<RuleAction>(json!({"kind": "weighted"})).is_err());
        assert!(serde_json::from_value::<RuleAction>(json!({"kind": "agent", "agents": []})).is_err());
    }
}
