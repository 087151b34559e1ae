//! Bodies that make or change an object: POST, PUT, and PATCH as a JSON Merge Patch (RFC 7396).
//!
//! GET → edit → PUT works: read-only fields may come back as they were sent.

use axum::{
    extract::{FromRequest, Request},
    http::StatusCode,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{body, error::ApiError};

/// A JSON object that says how something is to be.
#[derive(Clone, Debug)]
pub(crate) struct Change(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Change {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        body::Json::<Map<String, Value>>::from_request(request, state).await.map(|body::Json(object)| Self(object))
    }
}

impl Change {
    /// A new object. The server's own fields are not the client's to set.
    pub(crate) fn create<T: DeserializeOwned>(self, read_only: &[&str]) -> Result<T, ApiError> {
        match own(read_only).find(|field| self.0.contains_key(*field)) {
            Some(field) => Err(refuse(field)),
            None => body::read(Value::Object(self.0)),
        }
    }

    /// The object as it is to be, whole; what is left out is its default. `stored` is what GET shows.
    pub(crate) fn replace<T: DeserializeOwned>(mut self, stored: &Value, read_only: &[&str]) -> Result<T, ApiError> {
        self.without(stored, read_only)?;
        body::read(Value::Object(self.0))
    }

    /// What is to be different; `null` goes back to the default. `stored` is what GET shows.
    pub(crate) fn patch<T: DeserializeOwned>(mut self, stored: &Value, read_only: &[&str]) -> Result<T, ApiError> {
        self.without(stored, read_only)?;
        let mut target = stored.clone();
        if let Value::Object(target) = &mut target {
            for field in own(read_only) {
                target.remove(field);
            }
        }
        merge(&mut target, Value::Object(self.0));
        body::read(target)
    }

    /// Takes out the read-only fields, which must be as they are stored.
    fn without(&mut self, stored: &Value, read_only: &[&str]) -> Result<(), ApiError> {
        for field in own(read_only) {
            match self.0.remove(field) {
                Some(sent) if sent != stored[field] => return Err(refuse(field)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whose an object is, is never read from a body.
fn own<'a>(read_only: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    read_only.iter().copied().chain(["tenant_id"])
}

fn refuse(field: &str) -> ApiError {
    let message = format!("{field} is set by the server");
    ApiError::new(StatusCode::BAD_REQUEST, "read_only_field", message).at(field)
}

/// RFC 7396 §2.
pub(crate) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (field, value) in patch {
        if value.is_null() {
            target.remove(&field);
        } else {
            merge(target.entry(field).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        name: String,
        #[serde(default)]
        label: Option<String>,
    }

    fn change(value: Value) -> Change {
        Change(value.as_object().unwrap().clone())
    }

    #[test]
    fn the_server_s_fields_may_come_back_but_not_changed() {
        let stored = json!({"id": "7", "version": 3, "name": "a", "label": "b"});
        let fields = ["id", "version"];
        let same: Thing = change(stored.clone()).replace(&stored, &fields).unwrap();
        assert_eq!(same, Thing { name: "a".into(), label: Some("b".into()) });
        let other = change(json!({"id": "8", "name": "a"})).replace::<Thing>(&stored, &fields).unwrap_err();
        assert_eq!((other.code, other.field.as_deref()), ("read_only_field", Some("id")));
        let made = change(json!({"name": "x", "tenant_id": "7"})).create::<Thing>(&fields).unwrap_err();
        assert_eq!((made.code, made.field.as_deref()), ("read_only_field", Some("tenant_id")));
    }

    #[test]
    fn a_patch_changes_what_it_names_and_null_is_the_default() {
        let stored = json!({"id": "7", "name": "a", "label": "b"});
        let patched: Thing = change(json!({"label": null})).patch(&stored, &["id"]).unwrap();
        assert_eq!(patched, Thing { name: "a".into(), label: None });
        let unknown = change(json!({"promt": {}})).patch::<Thing>(&stored, &["id"]).unwrap_err();
        assert_eq!((unknown.code, unknown.field.as_deref()), ("unknown_field", Some("promt")));
    }

    #[test]
    fn merging_follows_the_examples_of_the_rfc() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": "foo"}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target;
            merge(&mut merged, patch);
            assert_eq!(merged, result);
        }
    }
}
