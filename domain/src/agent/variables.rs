//! The variables of a call: what was given, checked against what the agent declares, with its defaults.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fault::{Fault, Faults};
use super::form;
use super::opening::{Variable, VariableType};

/// Checks the variables that a request brings, and adds the defaults of those it does not.
///
/// # Errors
/// Each value that does not fit its declaration, and each required one that is missing, under `variables.…`.
pub fn bind(
    declared: &BTreeMap<String, Variable>,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, Vec<Fault>> {
    let mut faults = Faults::default();
    let mut bound = given.clone();
    for (name, variable) in declared {
        let at = format!("variables.{name}");
        match given.get(name) {
            Some(value) if !value.is_null() => {
                if let Err(wrong) = fits(variable, value) {
                    faults.invalid(at, wrong);
                }
            }
            _ if variable.required => faults.invalid(at, format!("the agent requires the variable {name}")),
            _ if variable.default.is_null() => {}
            _ => drop(bound.insert(name.clone(), variable.default.clone())),
        }
    }
    if faults.is_empty() { Ok(bound) } else { Err(faults.list()) }
}

/// The defaults alone: a call that comes in brings nothing and is not refused for it.
pub fn defaults(declared: &BTreeMap<String, Variable>) -> Map<String, Value> {
    let valued = declared.iter().filter(|(_, variable)| !variable.default.is_null());
    valued.map(|(name, variable)| (name.clone(), variable.default.clone())).collect()
}

/// Whether a value is of the variable's type and length; the error completes "… must be …".
pub(super) fn fits(variable: &Variable, value: &Value) -> Result<(), String> {
    let text = value.as_str();
    let right = match variable.r#type {
        VariableType::String => !value.is_array() && !value.is_object(),
        VariableType::Number => {
            value.is_number() || text.is_some_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite))
        }
        VariableType::Boolean => value.is_boolean() || matches!(text, Some("true" | "false")),
        VariableType::Date => text.is_some_and(date),
        VariableType::Phone => text.is_some_and(|text| text.parse::<crate::phone::E164>().is_ok()),
        VariableType::Email => text.is_some_and(|text| form::email(text).is_ok()),
    };
    if !right {
        let example = match variable.r#type {
            VariableType::String => "text",
            VariableType::Number => "a number",
            VariableType::Boolean => "true or false",
            VariableType::Date => "a date like 2026-11-21 or 2026-11-21T09:30:00Z",
            VariableType::Phone => "a number like +12125550100",
            VariableType::Email => "an e-mail address",
        };
        return Err(format!("must be {example}"));
    }
    match text.map(|text| text.chars().count() as u64) {
        Some(chars) if chars > variable.max_chars => {
            Err(format!("must have at most {} characters, not {chars}", variable.max_chars))
        }
        _ => Ok(()),
    }
}

/// RFC 3339: a full date, alone or before a time.
fn date(text: &str) -> bool {
    let (day, time) = text.split_at_checked(10).unwrap_or(("", ""));
    let number = |range: std::ops::Range<usize>| day.get(range).and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    let whole = day.bytes().enumerate().all(|(n, b)| if n == 4 || n == 7 { b == b'-' } else { b.is_ascii_digit() });
    let clock =
        time.is_empty() || (time.starts_with(['T', ' ']) && time.len() >= 6 && time.as_bytes().get(3) == Some(&b':'));
    whole && (1..=12).contains(&number(5..7)) && (1..=31).contains(&number(8..10)) && clock
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn declared() -> BTreeMap<String, Variable> {
        let spec = json!({"name": "x", "prompt": {"variables": {
            "first_name": {"required": true, "max_chars": 5}, "visit_at": {"type": "date"},
            "company": {"default": "Acme"}, "count": {"type": "number"}}}});
        crate::AgentSpec::read(&spec).unwrap().prompt.variables
    }

    #[test]
    fn what_is_missing_gets_its_default_and_what_is_required_is_named() {
        let given = json!({"first_name": "Ann", "extra": 1});
        let bound = bind(&declared(), given.as_object().unwrap()).unwrap();
        assert_eq!(Value::Object(bound), json!({"first_name": "Ann", "extra": 1, "company": "Acme"}));
        let faults = bind(&declared(), &Map::new()).unwrap_err();
        assert_eq!(faults[0].field, "variables.first_name");
    }

    #[test]
    fn every_type_is_checked() {
        let given = json!({"first_name": "Annabel", "visit_at": "soon", "count": "many"});
        let faults = bind(&declared(), given.as_object().unwrap()).unwrap_err();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["variables.count", "variables.first_name", "variables.visit_at"]);
        let given = json!({"first_name": "Ann", "visit_at": "2026-11-21T09:30:00Z", "count": "4"});
        bind(&declared(), given.as_object().unwrap()).unwrap();
    }
}
