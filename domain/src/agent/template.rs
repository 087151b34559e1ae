//! `{{name}}` and `{{name|default text}}` in an agent's texts; no logic. Values are data: control characters are stripped and
//! braces in them are not looked at again.

/// Variables that exist in every call.
pub const ALWAYS: &[&str] = &[
    "caller",
    "called",
    "call_id",
    "direction",
    "now",
    "today",
    "weekday",
    "timezone",
    "agent_name",
    "tenant_name",
    "number_label",
    "disclosure",
];

/// Fills a text; a variable without value becomes its default text, or nothing.
pub fn fill(text: &str, look: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((inner, tail)) = after.split_once("}}") else {
            filled.push_str("{{");
            rest = after;
            continue;
        };
        let (name, default) = split(inner);
        let value = look(name).unwrap_or_else(|| default.unwrap_or_default().to_owned());
        filled.extend(value.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()));
        rest = tail;
    }
    filled.push_str(rest);
    filled
}

/// The variables that a text names, each with whether it has a default text.
pub fn names(text: &str) -> impl Iterator<Item = (&str, bool)> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(inner, _)| {
        let (name, default) = split(inner);
        (name, default.is_some())
    })
}

fn split(inner: &str) -> (&str, Option<&str>) {
    match inner.split_once('|') {
        Some((name, default)) => (name.trim(), Some(default.trim())),
        None => (inner.trim(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_inserted_once_and_defaults_stand_in() {
        let look = |name: &str| (name == "day").then(|| "{{x}}\u{7} Tuesday".to_owned());
        assert_eq!(fill("On {{ day }}, {{who|dear caller}}!{{none}}", look), "On {{x}} Tuesday, dear caller!");
        assert_eq!(fill("open {{day", look), "open {{day");
        assert_eq!(names("{{a}} {{ b |c}}").collect::<Vec<_>>(), [("a", false), ("b", true)]);
    }
}
