//! The audit log: who changed what, written in the transaction of the change. Secrets never enter a diff.

use serde_json::Value;
use sqlx::AnyConnection;

use crate::{
    http::Actor,
    store::{fresh_id, json_text},
    time::now_ms,
};

/// Fields whose values no diff shows, wherever they stand.
const SECRET: &[&str] = &[
    "secret",
    "password",
    "key",
    "token",
    "refresh_token",
    "access_token",
    "api_key",
    "private",
    "pin",
    "client_secret",
];

/// Notes what an actor did to an object of its tenant.
pub(crate) async fn note(
    tx: &mut AnyConnection,
    actor: &Actor,
    action: &str,
    object_kind: &str,
    object_id: &str,
    diff: Option<&Value>,
) -> Result<(), sqlx::Error> {
    let (kind, id) = actor.named();
    sqlx::query(
        "INSERT INTO audit_log (id, tenant_id, actor_kind, actor_id, action, object_kind, object_id, diff, ip, request_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(fresh_id())
    .bind(actor.tenant.to_string())
    .bind(kind)
    .bind(id)
    .bind(action)
    .bind(object_kind)
    .bind(object_id)
    .bind(diff.map(|diff| json_text(&blanked(diff))))
    .bind(actor.ip.map(|ip| ip.to_string()))
    .bind(actor.request.as_str())
    .bind(now_ms())
    .execute(tx)
    .await
    .map(drop)
}

/// What differs between two documents, by top-level field: `{"field":{"from":…,"to":…}}`.
pub(crate) fn diff(from: &Value, to: &Value) -> Value {
    let empty = serde_json::Map::new();
    let (from, to) = (from.as_object().unwrap_or(&empty), to.as_object().unwrap_or(&empty));
    let fields = from.keys().chain(to.keys().filter(|field| !from.contains_key(*field)));
    fields
        .filter(|field| from.get(*field) != to.get(*field))
        .map(|field| (field.clone(), serde_json::json!({ "from": from.get(field), "to": to.get(field) })))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn blanked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let hidden = SECRET.contains(&name.as_str()) && !value.is_null() && !value.is_boolean();
                (name.clone(), if hidden { Value::from("…") } else { blanked(value) })
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(blanked).collect::<Vec<_>>().into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_holds_what_changed_and_no_secret() {
        let change = diff(
            &json!({"name": "a", "same": 1, "auth": {"password": "old"}}),
            &json!({"name": "b", "same": 1, "auth": {"password": "new"}, "api_key": "sk"}),
        );
        assert_eq!(
            blanked(&change),
            json!({
                "name": {"from": "a", "to": "b"},
                "auth": {"from": {"password": "…"}, "to": {"password": "…"}},
                "api_key": "…",
            })
        );
    }
}
