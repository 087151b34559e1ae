//! How a block of the document is written down once: type, default, limits and meaning of each field in one line, from which
//! come the struct, its default, a reader that collects every fault with its path, and the JSON schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::fault::{Fault, Faults};
use super::form::Form;

/// The limits of a field. For lists and maps `items` counts the entries and the rest is about each of them.
#[derive(Clone, Copy)]
pub struct Rule {
    required: bool,
    min: f64,
    max: f64,
    items: usize,
    words: &'static [&'static str],
    form: Option<fn(&str) -> Form>,
}

/// No limit but that of the type.
pub(super) const fn any() -> Rule {
    Rule { required: false, min: f64::MIN, max: f64::MAX, items: usize::MAX, words: &[], form: None }
}

/// So many characters.
pub(super) const fn chars(min: u32, max: u32) -> Rule {
    range(min as f64, max as f64)
}

/// A number between these, inclusive.
pub(super) const fn range(min: f64, max: f64) -> Rule {
    Rule { min, max, ..any() }
}

/// One of these words.
pub(super) const fn one_of(words: &'static [&'static str]) -> Rule {
    Rule { words, max: 64.0, ..any() }
}

impl Rule {
    /// At most so many entries.
    pub(super) const fn items(self, items: usize) -> Self {
        Self { items, ..self }
    }

    /// It must be there.
    pub(super) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// A further check of a text; the error completes the sentence "this … ".
    pub(super) const fn form(self, form: fn(&str) -> Form) -> Self {
        Self { form: Some(form), ..self }
    }
}

/// Something that a document can hold.
pub trait Shape: Sized {
    /// Reads it; what is wrong goes to `faults`, and `None` is returned when nothing can be made of the value.
    fn read(value: &Value, rule: &Rule, at: &str, faults: &mut Faults) -> Option<Self>;

    /// Its JSON schema (draft 2020-12).
    fn schema(rule: &Rule) -> Value;
}

/// Reads a member; missing and null mean the default.
pub(super) fn member<T: Shape>(
    map: &Map<String, Value>,
    key: &str,
    rule: &Rule,
    at: &str,
    faults: &mut Faults,
    default: T,
) -> T {
    match map.get(key) {
        None | Some(Value::Null) => {
            if rule.required {
                faults.invalid(join(at, key), format!("{key} is required"));
            }
            default
        }
        Some(value) => T::read(value, rule, &join(at, key), faults).unwrap_or(default),
    }
}

/// The path of a member.
pub(super) fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

fn wrong_type(at: &str, wanted: &str, value: &Value, faults: &mut Faults) {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    faults.invalid(at, format!("must be {wanted}, not {is}"));
}

impl Shape for String {
    fn read(value: &Value, rule: &Rule, at: &str, faults: &mut Faults) -> Option<Self> {
        let Some(text) = value.as_str() else {
            wrong_type(at, "a string", value, faults);
            return None;
        };
        if !rule.words.is_empty() && !rule.words.contains(&text) {
            faults.invalid(at, format!("must be one of {}", rule.words.join(", ")));
            return None;
        }
        let count = text.chars().count() as f64;
        if count > rule.max || count < rule.min {
            faults.invalid(at, format!("must have {} to {} characters, not {count}", rule.min.max(0.0), rule.max));
            return None;
        }
        if text.contains('\0') {
            faults.invalid(at, "must not contain NUL");
            return None;
        }
        if let Some(Err(wrong)) = rule.form.map(|form| form(text)) {
            faults.invalid(at, wrong);
            return None;
        }
        Some(text.to_owned())
    }

    fn schema(rule: &Rule) -> Value {
        if !rule.words.is_empty() {
            return json!({"type": "string", "enum": rule.words});
        }
        let mut schema = json!({"type": "string"});
        if rule.max < f64::MAX {
            schema["maxLength"] = json!(rule.max as u64);
        }
        if rule.min > 0.0 {
            schema["minLength"] = json!(rule.min as u64);
        }
        schema
    }
}

impl Shape for bool {
    fn read(value: &Value, _: &Rule, at: &str, faults: &mut Faults) -> Option<Self> {
        if !value.is_boolean() {
            wrong_type(at, "true or false", value, faults);
        }
        value.as_bool()
    }

    fn schema(_: &Rule) -> Value {
        json!({"type": "boolean"})
    }
}

fn limits(mut schema: Value, rule: &Rule) -> Value {
    if rule.min > f64::MIN {
        schema["minimum"] = json!(rule.min);
        schema["maximum"] = json!(rule.max);
    }
    schema
}

impl Shape for u64 {
    fn read(value: &Value, rule: &Rule, at: &str, faults: &mut Faults) -> Option<Self> {
        let Some(number) = value.as_i64() else {
            wrong_type(at, "a whole number", value, faults);
            return None;
        };
        // Limits of whole numbers are far below 2^53.
        let inside = (rule.min.max(0.0)..=rule.max).contains(&(number as f64));
        if !inside {
            faults.invalid(at, format!("must be {} to {}, not {number}", rule.min.max(0.0), rule.max));
        }
        u64::try_from(number).ok().filter(|_| inside)
    }

    fn schema(rule: &Rule) -> Value {
        limits(json!({"type": "integer"}), rule)
    }
}

impl Shape for f64 {
    fn read(value: &Value, rule: &Rule, at: &str, faults: &mut Faults) -> Option<Self> {
        let Some(number) = value.as_f64() else {
            wrong_type(at, "a number", value, faults);
            return None;
        };
        let inside = (rule.min..=rule.max).contains(&number);
        if !inside {
            faults.invalid(at, format!("must be {} to {}, not {number}", rule.min, rule.max));
        }
        inside.then_some(number)
    }

    fn schema(rule: &Rule) -> Value {
        limits(json!({"type": "number"}), rule)
    }
}

impl<T: Shape> Shape for Option<T> {
    fn read(value: &Value, rule: &Rule, at: &str, faults: &mut Faults) -> Option<Self> {
        T::read(value, rule, at, faults).map(Some)
    }

    fn schema(rule: &Rule) -> Value {
        let mut schema = T::schema(rule);
        if let Some(Value::String(kind)) = schema.get("type").cloned() {
            schema["type"] = json!([kind, "null"]);
        }
        schema
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn read(value: &Value, rule: &Rule, at: &str, faults: &mut Faults) -> Option<Self> {
        let Some(list) = value.as_array() else {
            wrong_type(at, "a list", value, faults);
            return None;
        };
        if list.len() > rule.items {
            faults.invalid(at, format!("has at most {} entries, not {}", rule.items, list.len()));
            return None;
        }
        let read = |(n, entry)| T::read(entry, rule, &format!("{at}[{n}]"), faults);
        Some(list.iter().enumerate().filter_map(read).collect())
    }

    fn schema(rule: &Rule) -> Value {
        let mut schema = json!({"type": "array", "items": T::schema(rule)});
        if rule.items < usize::MAX {
            schema["maxItems"] = json!(rule.items);
        }
        schema
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn read(value: &Value, rule: &Rule, at: &str, faults: &mut Faults) -> Option<Self> {
        let Some(map) = value.as_object() else {
            wrong_type(at, "an object", value, faults);
            return None;
        };
        if map.len() > rule.items {
            faults.invalid(at, format!("has at most {} keys, not {}", rule.items, map.len()));
            return None;
        }
        let mut read = BTreeMap::new();
        for (key, value) in map {
            let at = join(at, key);
            if key.is_empty() || key.chars().count() > 64 || key.contains('\0') {
                faults.invalid(&at, "a key has 1 to 64 characters and no NUL");
            } else if let Some(value) = T::read(value, rule, &at, faults) {
                read.insert(key.clone(), value);
            }
        }
        Some(read)
    }

    fn schema(rule: &Rule) -> Value {
        json!({"type": "object", "additionalProperties": T::schema(rule)})
    }
}

impl Shape for Map<String, Value> {
    fn read(value: &Value, _: &Rule, at: &str, faults: &mut Faults) -> Option<Self> {
        if !value.is_object() {
            wrong_type(at, "an object", value, faults);
        }
        value.as_object().cloned()
    }

    fn schema(_: &Rule) -> Value {
        json!({"type": "object"})
    }
}

impl Shape for Value {
    fn read(value: &Value, _: &Rule, _: &str, _: &mut Faults) -> Option<Self> {
        Some(value.clone())
    }

    fn schema(_: &Rule) -> Value {
        // Named one by one: readers of the API document do not know a schema without a type.
        json!({"type": ["object", "array", "string", "number", "boolean", "null"]})
    }
}

/// Fault for what is no object where a block is wanted.
pub(super) fn object<'v>(value: &'v Value, at: &str, faults: &mut Faults) -> Option<&'v Map<String, Value>> {
    if !value.is_object() {
        wrong_type(at, "an object", value, faults);
    }
    value.as_object()
}

/// The name of a field as it is written; `type` is a word of Rust and carries `r#`.
pub(super) fn bare(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// Keys that are not among `known`.
pub(super) fn strangers(map: &Map<String, Value>, known: &[&'static str], at: &str, faults: &mut Faults) {
    let known: Vec<&str> = known.iter().map(|name| bare(name)).collect();
    for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
        faults.unknown(join(at, key), &known);
    }
}

/// Adds a field to the schema of its block.
pub(super) fn property<T: Shape>(schema: &mut Value, name: &'static str, rule: &Rule, default: Value, doc: &str) {
    let mut field = T::schema(rule);
    field["description"] = doc.trim().into();
    if rule.required {
        let list = schema["required"].take();
        let mut list = list.as_array().cloned().unwrap_or_default();
        list.push(bare(name).into());
        schema["required"] = list.into();
    } else {
        field["default"] = default;
    }
    schema["properties"][bare(name)] = field;
}

/// A block of the document. Each line is a field: `name: Type = default, limits;` below what it means.
macro_rules! block {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $rule:expr;)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type,)+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $crate::agent::shape::Shape for $name {
            fn read(
                value: &serde_json::Value,
                _: &$crate::agent::shape::Rule,
                at: &str,
                faults: &mut $crate::agent::fault::Faults,
            ) -> Option<Self> {
                use $crate::agent::shape::{bare, member, object, strangers};
                let map = object(value, at, faults)?;
                strangers(map, &[$(stringify!($field)),+], at, faults);
                let default = Self::default();
                Some(Self { $($field: member(map, bare(stringify!($field)), &$rule, at, faults, default.$field),)+ })
            }

            fn schema(_: &$crate::agent::shape::Rule) -> serde_json::Value {
                use $crate::agent::shape::property;
                let default = Self::default();
                let mut schema = serde_json::json!({"type": "object", "additionalProperties": false, "properties": {}});
                $(property::<$type>(&mut schema, stringify!($field), &$rule, serde_json::json!(default.$field), concat!($($doc),+));)+
                schema
            }
        }
    };
}
pub(super) use block;

/// Words of which one is chosen; the first is the default.
macro_rules! choice {
    ($name:ident) => {
        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl $crate::agent::shape::Shape for $name {
            fn read(
                value: &serde_json::Value,
                _: &$crate::agent::shape::Rule,
                at: &str,
                faults: &mut $crate::agent::fault::Faults,
            ) -> Option<Self> {
                let chosen = value.as_str().and_then(|word| word.parse().ok());
                if chosen.is_none() {
                    let words: Vec<&str> = Self::ALL.iter().map(|word| word.as_str()).collect();
                    faults.invalid(at, format!("must be one of {}", words.join(", ")));
                }
                chosen
            }

            fn schema(_: &$crate::agent::shape::Rule) -> serde_json::Value {
                serde_json::json!({"type": "string", "enum": Self::ALL})
            }
        }
    };
}
pub(super) use choice;

/// Reads a whole document; the faults are in the order of its fields.
pub fn read<T: Shape>(value: &Value) -> Result<T, Vec<Fault>> {
    let mut faults = Faults::default();
    let read = T::read(value, &any(), "", &mut faults);
    match read {
        Some(read) if faults.is_empty() => Ok(read),
        _ => Err(faults.list()),
    }
}
