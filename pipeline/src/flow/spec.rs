//! The flow object as it is written: serde shapes, without judgement.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowSpec {
    pub(crate) start: String,
    #[serde(default)]
    pub(crate) vars: BTreeMap<String, serde_json::Value>,
    /// Where the words that work everywhere lead: `operator` and `goodbye`.
    #[serde(default)]
    pub(crate) globals: BTreeMap<String, String>,
    pub(crate) states: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Node {
    pub(crate) say: Lines,
    pub(crate) expect: Option<ExpectSpec>,
    pub(crate) on: BTreeMap<String, String>,
    pub(crate) set: Option<String>,
    /// Variables to set on the way in, as templates.
    pub(crate) r#let: BTreeMap<String, String>,
    pub(crate) confirm: Option<String>,
    pub(crate) go: Option<String>,
    pub(crate) tool: Option<ToolSpec>,
    pub(crate) on_error: Option<String>,
    pub(crate) no_input: Option<Ladder>,
    pub(crate) no_match: Option<Ladder>,
    pub(crate) when: Vec<When>,
    pub(crate) end: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Lines {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Lines {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Lines::None => (None, &[][..]),
            Lines::One(line) => (Some(line.as_str()), &[][..]),
            Lines::Many(lines) => (None, &lines[..]),
        };
        one.into_iter().chain(many.iter().map(String::as_str))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolSpec {
    pub(crate) name: String,
    /// Without arguments the tool gets every variable that has a value.
    #[serde(default)]
    pub(crate) args: Option<serde_json::Value>,
    /// Spoken while it runs.
    #[serde(default)]
    pub(crate) say: Lines,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ladder {
    #[serde(default)]
    pub(crate) say: Lines,
    #[serde(default = "two")]
    pub(crate) max: u32,
    #[serde(default)]
    pub(crate) go: Option<String>,
}

fn two() -> u32 {
    2
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct When {
    pub(crate) r#if: String,
    pub(crate) go: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Intent,
    YesNo,
    Digits,
    DateTime,
    Name,
    Email,
    Phone,
    Menu,
    Free,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectSpec {
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) intents: BTreeMap<String, Vec<String>>,
    /// Key → intent.
    #[serde(default)]
    pub(crate) menu: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) min: Option<u8>,
    #[serde(default)]
    pub(crate) max: Option<u8>,
    #[serde(default)]
    pub(crate) list: Vec<String>,
}
