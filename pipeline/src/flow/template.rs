//! `{{name}}` and `{{name|default text}}` in texts and tool arguments.

use serde_json::Value as Json;

/// Fills a text; values are inserted as they are and never looked at again.
pub(crate) fn fill(text: &str, look: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        out.push_str(&rest[..open]);
        let Some(close) = rest[open..].find("}}") else {
            rest = &rest[open..];
            break;
        };
        let (name, default) = split(&rest[open + 2..open + close]);
        let value = look(name).unwrap_or_else(|| default.to_owned());
        out.extend(value.chars().filter(|c| !c.is_control()));
        rest = &rest[open + close + 2..];
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn split(inner: &str) -> (&str, &str) {
    let (name, default) = inner.split_once('|').unwrap_or((inner, ""));
    let name = name.trim();
    (name.strip_prefix("vars.").unwrap_or(name), default.trim())
}

/// Fills every string of a JSON value; a string that is one unset variable becomes null.
pub(crate) fn fill_json(value: &Json, look: &dyn Fn(&str) -> Option<String>) -> Json {
    match value {
        Json::String(text) => {
            let whole = text.trim().strip_prefix("{{").and_then(|t| t.strip_suffix("}}"));
            match whole.filter(|inner| !inner.contains("{{")).map(split) {
                Some((name, "")) => look(name).map_or(Json::Null, Json::String),
                _ => Json::String(fill(text, look)),
            }
        }
        Json::Array(list) => Json::Array(list.iter().map(|v| fill_json(v, look)).collect()),
        Json::Object(map) => Json::Object(map.iter().map(|(k, v)| (k.clone(), fill_json(v, look))).collect()),
        other => other.clone(),
    }
}

/// The variables that a text names.
pub(crate) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(inner, _)| split(inner).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str) -> Option<String> {
        (name == "day").then(|| "{{x}} Tuesday\n".to_owned())
    }

    #[test]
    fn values_are_inserted_once_and_defaults_stand_in() {
        assert_eq!(fill("On {{ vars.day }}, {{who|dear caller}}!{{none}}", &look), "On {{x}} Tuesday, dear caller!");
        assert_eq!(fill("open {{day", &look), "open {{day");
        assert_eq!(names("{{a}} {{vars.b|c}}").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn json_keeps_its_shape() {
        let json = serde_json::json!({"at": "{{none}}", "n": [1, "x {{none}}y"]});
        assert_eq!(fill_json(&json, &look), serde_json::json!({"at": null, "n": [1, "x y"]}));
    }
}
