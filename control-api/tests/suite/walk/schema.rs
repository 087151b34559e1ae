//! Does a JSON value keep to a schema of the document? As much of JSON Schema as the document uses.

use serde_json::{Map, Value, json};

use super::document::Document;

/// What is wrong with `value`, as `path: what`; nothing if it keeps to the schema.
pub(super) fn faults(document: &Document, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let schema = document.resolve(schema);
    let mut found = Vec::new();
    if let Some(ways) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        if !ways.iter().any(|way| faults(document, way, value, path).is_empty()) {
            found.push(format!("{path}: is none of the documented forms: {value}"));
        }
        return found;
    }
    if let Some(parts) = schema["allOf"].as_array() {
        // What one part does not name, another may.
        let (whole, named) = merged(document, parts);
        found.extend(faults(document, &whole, value, path));
        found.extend(named.iter().flat_map(|part| faults(document, part, value, path)));
        return found;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.iter().any(|name| is(name, value)) {
        found.push(format!("{path}: {value} is no {}", types.join(" or ")));
        return found;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        found.push(format!("{path}: {value} is none of {words:?}"));
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                found.push(format!("{path}.{name}: is missing"));
            }
        }
        let properties = schema["properties"].as_object();
        for (name, value) in object {
            let path = format!("{path}.{name}");
            match properties.and_then(|properties| properties.get(name)) {
                Some(schema) => found.extend(faults(document, schema, value, &path)),
                None => match &schema["additionalProperties"] {
                    // An object whose properties are listed has no others; a free one may hold anything.
                    Value::Null if properties.is_some() => {
                        found.push(format!("{path}: is not documented"));
                    }
                    rest @ Value::Object(_) => found.extend(faults(document, rest, value, &path)),
                    _ => {}
                },
            }
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (n, value) in values.iter().enumerate() {
            found.extend(faults(document, items, value, &format!("{path}[{n}]")));
        }
    }
    found
}

/// The object parts of an `allOf` as one schema, and the parts that are no objects.
fn merged(document: &Document, parts: &[Value]) -> (Value, Vec<Value>) {
    let (mut properties, mut required, mut others) = (Map::new(), Vec::new(), Vec::new());
    for part in parts.iter().map(|part| document.resolve(part)) {
        let Some(named) = part["properties"].as_object() else {
            others.push(part.clone());
            continue;
        };
        properties.extend(named.clone());
        required.extend(part["required"].as_array().into_iter().flatten().cloned());
    }
    (json!({"type": "object", "properties": properties, "required": required}), others)
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the document uses the type {other}, which the walk does not know"),
    }
}
