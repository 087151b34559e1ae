//! What a number does with a call (`routing` of API.md §1.4): who answers, when, for whom, and what happens otherwise.

use std::fmt;

use domain::{
    AgentId, CallId,
    phone::{E164, country},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use super::{Faults, hours::Hours, is_address};

/// The routing of a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Routing {
    /// Shared by weight; empty: the number's own agent.
    pub(crate) agents: Vec<Weighted>,
    /// Always open when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hours: Option<Hours>,
    /// When there is no agent; 480 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<Action>,
    /// Asked before the call is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pre_call_url: Option<String>,
    pub(crate) callers: Callers,
    /// Calls at once on this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_calls: Option<u32>,
    /// Spent a day at most by calls from and to this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) daily_cap_micros: Option<i64>,
    pub(crate) outbound: Outbound,
}

/// An agent and its share of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weighted {
    pub(crate) agent_id: AgentId,
    #[serde(default)]
    pub(crate) version: Version,
    /// 1 to 1000; shares are weight by the sum of all weights.
    #[serde(default = "one")]
    pub(crate) weight: u32,
}

fn one() -> u32 {
    1
}

/// A version of an agent: a number, or `"latest"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    #[default]
    Latest,
    Number(i64),
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Latest => to.serialize_str("latest"),
            Self::Number(number) => to.serialize_i64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl de::Visitor<'_> for Reader {
            type Value = Version;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version's number or \"latest\"")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Version, E> {
                i64::try_from(number)
                    .ok()
                    .filter(|number| *number > 0)
                    .map(Version::Number)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Version, E> {
                if text == "latest" {
                    Ok(Version::Latest)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }
        from.deserialize_any(Reader)
    }
}

/// Who may call. Prefixes are digits behind `+`, as `+1900`; a caller without a number matches none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Callers {
    /// Refused, whatever `allow` says.
    pub(crate) block: Vec<String>,
    /// If there are any, nobody else may call.
    pub(crate) allow: Vec<String>,
    /// If there are any, only numbers of these countries may call.
    pub(crate) countries: Vec<String>,
}

/// For calls that leave from this number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Outbound {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent_id: Option<AgentId>,
    /// Shown with the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) display_name: Option<String>,
}

/// What is done with a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    pub(crate) kind: ActionKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent_id: Option<AgentId>,
    /// For `transfer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// For `message` and `voicemail`: what is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// For `reject`.
    #[serde(default = "unavailable")]
    pub(crate) sip_status: u16,
}

fn unavailable() -> u16 {
    480
}

/// The kind of an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActionKind {
    Agent,
    Transfer,
    Voicemail,
    Reject,
    Message,
}

impl Action {
    /// Refuses with a SIP status.
    pub(crate) fn reject(sip_status: u16) -> Self {
        Self { kind: ActionKind::Reject, agent_id: None, to: None, text: None, sip_status }
    }

    pub(crate) fn check(&self) -> Faults {
        let mut faults = Faults::default();
        match self.kind {
            ActionKind::Agent => faults.need(self.agent_id.is_some(), "agent_id", "kind agent needs agent_id"),
            ActionKind::Transfer => {
                let sound = self.to.as_deref().is_some_and(is_address);
                faults.need(sound, "to", "kind transfer needs to: a number in international form or a sip: URI");
            }
            ActionKind::Message => faults.need(self.text.is_some(), "text", "kind message needs text"),
            ActionKind::Voicemail | ActionKind::Reject => {}
        }
        let short = self.text.as_ref().is_none_or(|text| (1..=1000).contains(&text.chars().count()));
        faults.need(short, "text", "text has 1 to 1000 characters");
        faults.need((400..=699).contains(&self.sip_status), "sip_status", "sip_status is from 400 to 699");
        faults
    }
}

/// What a number decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This agent answers.
    Agent(AgentId, Version),
    /// Something else happens.
    Do(Action),
    /// The caller may not call this number.
    Blocked,
}

impl From<Action> for Decision {
    fn from(action: Action) -> Self {
        match (action.kind, action.agent_id) {
            (ActionKind::Agent, Some(agent)) => Self::Agent(agent, Version::Latest),
            _ => Self::Do(action),
        }
    }
}

impl Routing {
    /// Who answers `call` from `caller` at a Unix time in ms, on a number whose own agent is `own`.
    pub(crate) fn decide(&self, own: Option<AgentId>, caller: Option<&E164>, call: CallId, now_ms: i64) -> Decision {
        if !self.callers.may_call(caller) {
            return Decision::Blocked;
        }
        if let Some(hours) = &self.hours
            && !hours.are_open(now_ms)
        {
            return hours.closed.clone().unwrap_or_else(|| self.otherwise()).into();
        }
        match (share(&self.agents, call), own) {
            (Some(chosen), _) => Decision::Agent(chosen.agent_id, chosen.version),
            (None, Some(own)) => Decision::Agent(own, Version::Latest),
            (None, None) => self.otherwise().into(),
        }
    }

    /// What happens when nobody answers.
    pub(crate) fn otherwise(&self) -> Action {
        self.fallback.clone().unwrap_or_else(|| Action::reject(480))
    }

    /// Every agent it names.
    pub(crate) fn agent_ids(&self) -> Vec<AgentId> {
        let closed = self.hours.as_ref().and_then(|hours| hours.closed.as_ref());
        let actions = [closed, self.fallback.as_ref()].into_iter().flatten().filter_map(|action| action.agent_id);
        self.agents.iter().map(|weighted| weighted.agent_id).chain(actions).chain(self.outbound.agent_id).collect()
    }

    /// The same agent in the same version twice is once with both weights.
    pub(crate) fn normalised(mut self) -> Self {
        let mut agents: Vec<Weighted> = Vec::new();
        for weighted in self.agents {
            match agents.iter_mut().find(|one| (one.agent_id, one.version) == (weighted.agent_id, weighted.version)) {
                Some(one) => one.weight = one.weight.saturating_add(weighted.weight).min(1000),
                None => agents.push(weighted),
            }
        }
        self.agents = agents;
        self
    }

    pub(crate) fn check(&self) -> Faults {
        let mut faults = Faults::default();
        faults.below("agents", check_shares(&self.agents));
        if let Some(hours) = &self.hours {
            faults.below("hours", hours.check());
        }
        if let Some(fallback) = &self.fallback {
            faults.below("fallback", fallback.check());
        }
        for (name, prefixes) in [("block", &self.callers.block), ("allow", &self.callers.allow)] {
            faults.need(prefixes.len() <= 1000, &format!("callers.{name}"), "at most 1000 prefixes");
            for (n, prefix) in prefixes.iter().enumerate().filter(|(_, prefix)| !is_prefix(prefix)) {
                faults.add(format!("callers.{name}.{n}"), format!("{prefix:?} is no prefix, as +1900"));
            }
        }
        for (n, code) in self.callers.countries.iter().enumerate().filter(|(_, code)| !is_country(code)) {
            faults.add(format!("callers.countries.{n}"), format!("{code:?} is no country code, as US"));
        }
        faults.need(self.max_calls.is_none_or(|max| max >= 1), "max_calls", "max_calls is at least 1");
        let bearable = self.daily_cap_micros.is_none_or(|cap| (0..=1_000_000_000_000_000).contains(&cap));
        faults.need(bearable, "daily_cap_micros", "daily_cap_micros is 0 to 1000000000000000");
        let name = self.outbound.display_name.as_deref().unwrap_or("x");
        let shown = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        faults.need(shown, "outbound.display_name", "display_name has 1 to 64 characters and no control characters");
        faults
    }
}

impl Callers {
    fn may_call(&self, caller: Option<&E164>) -> bool {
        let matches = |prefixes: &[String]| {
            caller.is_some_and(|caller| prefixes.iter().any(|prefix| caller.as_str().starts_with(prefix.as_str())))
        };
        let home = || caller.and_then(country).is_some_and(|home| self.countries.iter().any(|country| country == home));
        !matches(&self.block)
            && (self.allow.is_empty() || matches(&self.allow))
            && (self.countries.is_empty() || home())
    }
}

/// The agent that gets this call: the same for the same call however often it is asked.
pub(crate) fn share(agents: &[Weighted], call: CallId) -> Option<&Weighted> {
    let total: u64 = agents.iter().map(|weighted| u64::from(weighted.weight)).sum();
    let mut at = draw(call, b"agent").checked_rem(total)?;
    agents.iter().find(|weighted| {
        let here = at < u64::from(weighted.weight);
        at = at.saturating_sub(u64::from(weighted.weight));
        here
    })
}

/// A number drawn from the call's id: ids made in the same millisecond differ enough for even shares.
pub(crate) fn draw(call: CallId, what: &[u8]) -> u64 {
    let hash = Sha256::new().chain_update(call.0.as_bytes()).chain_update(what).finalize();
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(crate) fn check_shares(agents: &[Weighted]) -> Faults {
    let mut faults = Faults::default();
    faults.need(agents.len() <= 50, "50", "at most 50 agents");
    for (n, _) in agents.iter().enumerate().filter(|(_, weighted)| !(1..=1000).contains(&weighted.weight)) {
        faults.add(format!("{n}.weight"), "weight is from 1 to 1000");
    }
    faults
}

fn is_prefix(text: &str) -> bool {
    text.strip_prefix('+')
        .is_some_and(|digits| (1..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Two capital letters that some number could have.
pub(crate) fn is_country(text: &str) -> bool {
    domain::phone::calling_code(text).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(n: u128) -> AgentId {
        AgentId(uuid::Uuid::from_u128(n))
    }

    fn routing(json: serde_json::Value) -> Routing {
        let routing: Routing = serde_json::from_value(json).unwrap();
        assert_eq!(routing.check(), Faults::default());
        routing
    }

    fn decide(routing: &Routing, caller: &str) -> Decision {
        routing.decide(Some(id(9)), caller.parse().ok().as_ref(), CallId(uuid::Uuid::nil()), 1_795_221_552_123)
    }

    #[test]
    fn an_empty_document_is_the_numbers_own_agent_or_480() {
        let empty = routing(json!({}));
        assert_eq!(decide(&empty, "+12125550123"), Decision::Agent(id(9), Version::Latest));
        let nobody = empty.decide(None, None, CallId(uuid::Uuid::nil()), 0);
        assert_eq!(nobody, Decision::Do(Action::reject(480)));
    }

    #[test]
    fn shares_follow_the_weights_and_a_call_keeps_its_agent() {
        let shared = routing(json!({"agents": [
            {"agent_id": id(1), "version": 3, "weight": 1}, {"agent_id": id(2), "version": "latest", "weight": 3}]}));
        let mut first = 0;
        for _ in 0..4000 {
            let call = CallId(uuid::Uuid::now_v7());
            let decision = shared.decide(None, None, call, 0);
            assert_eq!(decision, shared.decide(None, None, call, 0));
            match decision {
                Decision::Agent(agent, Version::Number(3)) if agent == id(1) => first += 1,
                Decision::Agent(agent, Version::Latest) if agent == id(2) => {}
                other => panic!("{other:?}"),
            }
        }
        // 1000 expected; six standard deviations are 164.
        assert!((836..=1164).contains(&first), "{first}");
    }

    #[test]
    fn callers_are_blocked_by_prefix_list_and_country() {
        let picky =
            routing(json!({"callers": {"block": ["+1900"], "allow": ["+1", "+44"], "countries": ["US", "GB"]}}));
        assert_eq!(decide(&picky, "+12125550123"), Decision::Agent(id(9), Version::Latest));
        for stranger in ["+19005550123", "+14165550123", "+4930123456", "anonymous"] {
            assert_eq!(decide(&picky, stranger), Decision::Blocked, "{stranger}");
        }
        let open = routing(json!({"callers": {"block": ["+1900"]}}));
        assert_eq!(decide(&open, "anonymous"), Decision::Agent(id(9), Version::Latest));
    }

    #[test]
    fn closed_hours_have_their_own_action_or_the_fallback() {
        let never = json!({"timezone": "UTC", "open": []});
        let message = json!({"kind": "message", "text": "We are closed."});
        let both = routing(
            json!({"hours": {"timezone": "UTC", "open": [], "closed": message}, "fallback": {"kind": "reject", "sip_status": 603}}),
        );
        assert!(matches!(decide(&both, "+12125550123"), Decision::Do(action) if action.kind == ActionKind::Message));
        let fallback = routing(json!({"hours": never, "fallback": {"kind": "agent", "agent_id": id(5)}}));
        assert_eq!(decide(&fallback, "+12125550123"), Decision::Agent(id(5), Version::Latest));
        assert_eq!(fallback.agent_ids(), [id(5)]);
    }

    #[test]
    fn the_same_agent_twice_is_once_with_both_weights() {
        let twice = routing(
            json!({"agents": [{"agent_id": id(1), "weight": 2}, {"agent_id": id(1)}, {"agent_id": id(1), "version": 2}]}),
        );
        let weights: Vec<_> = twice.normalised().agents.iter().map(|weighted| weighted.weight).collect();
        assert_eq!(weights, [3, 1]);
    }

    #[test]
    fn every_fault_is_named_by_its_path() {
        let wrong: Routing = serde_json::from_value(json!({
            "agents": [{"agent_id": id(1), "weight": 0}],
            "hours": {"timezone": "UTC", "closed": {"kind": "transfer", "to": "12"}},
            "fallback": {"kind": "reject", "sip_status": 200},
            "callers": {"block": ["1900"], "countries": ["us"]},
            "max_calls": 0,
        }))
        .unwrap();
        let fields: Vec<_> = wrong.check().0.into_iter().map(|fault| fault.field).collect();
        let expected = [
            "agents.0.weight",
            "hours.closed.to",
            "fallback.sip_status",
            "callers.block.0",
            "callers.countries.0",
            "max_calls",
        ];
        assert_eq!(fields, expected);
        for unknown in [
            json!({"agentss": []}),
            json!({"agents": [{"agent_id": id(1), "version": "newest"}]}),
            json!({"agents": [{"agent_id": id(1), "version": 0}]}),
        ] {
            assert!(serde_json::from_value::<Routing>(unknown).is_err());
        }
    }
}
