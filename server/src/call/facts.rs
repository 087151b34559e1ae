//! What a call knows before anybody speaks: the variables that always exist, those it was given, date and time where its agent works.

use domain::{AgentSpec, CallId, Direction};
use pipeline::flow::{Facts, LocalTime};
use serde_json::{Map, Value};

/// A call, as its facts need it.
pub(super) struct About<'a> {
    pub(super) id: CallId,
    pub(super) direction: Direction,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    /// Given by the request, or the agent's defaults.
    pub(super) variables: &'a Map<String, Value>,
}

/// The facts of a call; what was given does not hide what always exists.
pub(super) fn facts(agent: &AgentSpec, about: &About<'_>) -> Facts {
    let now = local_time(agent.timezone.as_deref());
    let (year, month, day) = now.date();
    let weekday = WEEKDAYS[now.weekday() % 7];
    let always = [
        ("caller", about.from.to_owned()),
        ("called", about.to.to_owned()),
        ("call_id", about.id.to_string()),
        ("direction", about.direction.to_string()),
        ("now", now.iso().replace('T', " ")),
        ("today", format!("{weekday}, {day} {} {year}", MONTHS[usize::from(month).saturating_sub(1) % 12])),
        ("weekday", weekday.to_owned()),
        ("timezone", agent.timezone.clone().unwrap_or_default()),
        ("agent_name", agent.name.clone()),
    ];
    let given = about
        .variables
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    // What came in a header is also known by where it came from.
    let mapped: Vec<(String, String)> = agent
        .sip
        .headers_to_variables
        .values()
        .filter_map(|name| Some((format!("sip.{name}"), about.variables.get(name)?.as_str()?.to_owned())))
        .collect();
    let variables = given.chain(mapped).chain(always.map(|(name, value)| (name.to_owned(), value))).collect();
    let caller_number = (about.direction == Direction::Inbound).then(|| number(about.from)).flatten();
    Facts { caller_number, now, variables }
}

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The number in an address, if there is one that could be called back.
pub(super) fn number(address: &str) -> Option<String> {
    let user = address.strip_prefix("sip:").unwrap_or(address);
    let user = user.split(['@', ';']).next().unwrap_or_default();
    let digits = user.strip_prefix('+').unwrap_or(user);
    (digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| user.to_owned())
}

/// The date and time of day where the agent speaks for: what "tomorrow" means to its callers.
fn local_time(zone: Option<&str>) -> LocalTime {
    let zone = zone.and_then(|name| jiff::tz::TimeZone::get(name).ok()).unwrap_or_else(jiff::tz::TimeZone::system);
    let now = jiff::Timestamp::now();
    LocalTime::from_unix(now.as_second() + i64::from(zone.to_offset(now).seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_names() {
        assert_eq!(number("sip:+491701234567@carrier.example").as_deref(), Some("+491701234567"));
        assert_eq!(number("0301234567").as_deref(), Some("0301234567"));
        assert_eq!(number("sip:alice@example.org"), None);
        assert_eq!(number("sip:12@example.org"), None);
    }

    #[test]
    fn what_always_exists_is_there_and_what_was_given_beside_it() {
        let mut agent = AgentSpec { timezone: Some("Europe/Berlin".into()), ..AgentSpec::named("Desk") };
        agent.sip.headers_to_variables.insert("X-Account-Holder".into(), "who".into());
        let variables = serde_json::json!({"n": 4, "who": "Ann", "agent_name": "Mallory"});
        let id = CallId(uuid::Uuid::nil());
        let about = About {
            id,
            direction: Direction::Inbound,
            from: "+491701234567",
            to: "desk",
            variables: variables.as_object().unwrap(),
        };
        let facts = facts(&agent, &about);
        let of = |name: &str| facts.variables.get(name).map_or("", String::as_str);
        assert_eq!((of("n"), of("who"), of("agent_name")), ("4", "Ann", "Desk"));
        assert_eq!((of("sip.who"), of("sip.n")), ("Ann", ""));
        assert_eq!((of("caller"), of("called"), of("direction")), ("+491701234567", "desk", "inbound"));
        assert!(of("today").ends_with(&of("now")[..4]) && of("today").starts_with(of("weekday")));
        assert_eq!(facts.caller_number.as_deref(), Some("+491701234567"));
    }
}
