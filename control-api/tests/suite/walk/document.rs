//! The OpenAPI document as the walks read it.

use serde_json::{Map, Value};

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: String,
    /// With `{name}` where a parameter stands.
    pub(super) path: String,
    /// As documented.
    pub(super) about: Value,
}

/// The whole document.
pub(super) struct Document(pub(super) Value);

impl Document {
    pub(super) fn read() -> Self {
        Self(serde_json::from_str(&control_api::openapi()).unwrap())
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        let methods = |path: &String, item: &Map<String, Value>| -> Vec<Operation> {
            let known =
                item.iter().filter(|(method, _)| ["get", "post", "put", "patch", "delete"].contains(&method.as_str()));
            known
                .map(|(method, about)| Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    about: about.clone(),
                })
                .collect()
        };
        let paths = self.0["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, item)| methods(path, item.as_object().unwrap())).collect()
    }

    /// What a `$ref` stands for; anything else stands for itself.
    pub(super) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) => self.0.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is nowhere in the document")),
            None => schema,
        }
    }
}

impl Operation {
    /// Whether a credential is needed.
    pub(super) fn guarded(&self) -> bool {
        self.about["security"].as_array().is_some_and(|ways| !ways.is_empty())
    }

    /// Templates of the things that the path names, e.g. `/api/v1/leads` for `/api/v1/leads/{id}/notes`.
    pub(super) fn named(&self) -> Vec<&str> {
        self.path.match_indices("/{").map(|(at, _)| &self.path[..at]).collect()
    }

    /// The path with its parameters filled in, in their order.
    pub(super) fn filled(&self, values: &[String]) -> String {
        let mut path = String::new();
        let mut rest = self.path.as_str();
        for value in values {
            let (before, after) = rest.split_once('{').unwrap();
            path.push_str(before);
            path.push_str(value);
            rest = after.split_once('}').unwrap().1;
        }
        path + rest
    }

    /// The schema of a JSON body, if one is taken.
    pub(super) fn body(&self) -> Option<&Value> {
        self.about["requestBody"]["content"].get("application/json").map(|content| &content["schema"])
    }

    /// A body that the document itself shows, else an empty one.
    pub(super) fn example(&self, document: &Document) -> Value {
        let content = &self.about["requestBody"]["content"]["application/json"];
        let shown = content.get("example").or_else(|| document.resolve(&content["schema"]).get("example"));
        shown.cloned().unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// Names of the query parameters.
    pub(super) fn parameters(&self) -> Vec<&str> {
        let all = self.about["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|one| one["in"] == "query").map(|one| one["name"].as_str().unwrap()).collect()
    }

    /// The documented answer of a status.
    pub(super) fn answer(&self, status: u16) -> Option<&Value> {
        self.about["responses"].get(status.to_string())
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}
