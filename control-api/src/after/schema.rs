//! The part of JSON Schema 2020-12 that `analysis.schema` may use: type, properties, required, items, enum, const, minimum, maximum,
//! minLength, maxLength, pattern-free formats. What is not known here is not judged.

use serde_json::Value;

/// Where a value does not fit, as `path: rule`; at most ten.
pub(crate) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    judge(schema, value, "", &mut found);
    found.truncate(10);
    found
}

fn judge(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let mut fault = |rule: String| found.push(format!("{}: {rule}", if path.is_empty() { "$" } else { path }));
    if !fits_type(&schema["type"], value) {
        return fault(format!("must be {}", said(&schema["type"])));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return fault(format!("must be one of {}", said(&schema["enum"])));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return fault(format!("must be {}", said(&schema["const"])));
    }
    if let Some(number) = value.as_f64() {
        if schema["minimum"].as_f64().is_some_and(|min| number < min) {
            fault(format!("must be at least {}", schema["minimum"]));
        }
        if schema["maximum"].as_f64().is_some_and(|max| number > max) {
            fault(format!("must be at most {}", schema["maximum"]));
        }
    }
    if let Some(text) = value.as_str() {
        let chars = text.chars().count() as u64;
        if schema["minLength"].as_u64().is_some_and(|min| chars < min) {
            fault(format!("must have at least {} characters", schema["minLength"]));
        }
        if schema["maxLength"].as_u64().is_some_and(|max| chars > max) {
            fault(format!("must have at most {} characters", schema["maxLength"]));
        }
    }
    if let Some(items) = value.as_array() {
        for (n, item) in items.iter().enumerate() {
            judge(&schema["items"], item, &format!("{path}[{n}]"), found);
        }
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                found.push(format!("{}: is required", below(path, name)));
            }
        }
        for (name, member) in object {
            match schema["properties"].get(name) {
                Some(inner) => judge(inner, member, &below(path, name), found),
                None if schema["additionalProperties"] == Value::Bool(false) => {
                    found.push(format!("{}: is not asked for", below(path, name)));
                }
                None => {}
            }
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn said(schema: &Value) -> String {
    match schema {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    }
}

fn fits_type(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::String(word) => match word.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "number" => value.is_number(),
            // 2.0 is an integer in JSON Schema.
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            _ => true,
        },
        Value::Array(several) => several.iter().any(|one| fits_type(one, value)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_rule_names_the_place_that_breaks_it() {
        let schema = json!({"type": "object", "required": ["reason"], "additionalProperties": false, "properties": {
            "reason": {"enum": ["order", "support"]}, "items": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "note": {"type": ["string", "null"], "maxLength": 3}}});
        for (value, expected) in [
            (json!({"reason": "order", "items": [1, 2.0], "note": null}), vec![]),
            (json!({}), vec!["reason: is required"]),
            (json!({"reason": "talk"}), vec!["reason: must be one of [\"order\",\"support\"]"]),
            (
                json!({"reason": "order", "items": [0, "x"]}),
                vec!["items[0]: must be at least 1", "items[1]: must be integer"],
            ),
            (json!({"reason": "order", "note": "long"}), vec!["note: must have at most 3 characters"]),
            (json!({"reason": "order", "extra": 1}), vec!["extra: is not asked for"]),
            (json!([]), vec!["$: must be object"]),
        ] {
            assert_eq!(faults(&schema, &value), expected, "{value}");
        }
    }

    #[test]
    fn no_schema_asks_for_nothing() {
        assert!(faults(&Value::Null, &json!({"a": [1]})).is_empty());
    }
}
