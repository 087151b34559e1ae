//! A call is forgotten: what was said, who it was and what they pressed goes; that there was a call, how long and for how much, stays.

use domain::{CallId, phone};
use serde_json::{Map, Value};
use sqlx::{AnyConnection, Row as _};

use super::json_text;
use crate::time::now_ms;

/// Forgets a call inside the caller's transaction, all but its recordings; false when it has not ended.
pub(crate) async fn call(tx: &mut AnyConnection, call: CallId) -> Result<bool, sqlx::Error> {
    let id = call.to_string();
    let row = sqlx::query(
        "UPDATE calls SET deleted_at = $1, config = NULL, variables = '{}', metadata = '{}', summary_line = NULL, transfer = NULL,
           version = version + 1
         WHERE id = $2 AND ended_at IS NOT NULL RETURNING from_addr, to_addr",
    )
    .bind(now_ms())
    .bind(&id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let (from, to): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    sqlx::query("UPDATE calls SET from_addr = $1, to_addr = $2 WHERE id = $3")
        .bind(phone::mask(&from))
        .bind(phone::mask(&to))
        .bind(&id)
        .execute(&mut *tx)
        .await?;
    let legs =
        sqlx::query("SELECT id, address FROM call_legs WHERE call_id = $1").bind(&id).fetch_all(&mut *tx).await?;
    for leg in legs {
        sqlx::query("UPDATE call_legs SET address = $1 WHERE id = $2")
            .bind(phone::mask(&leg.try_get::<String, _>(1)?))
            .bind(leg.try_get::<String, _>(0)?)
            .execute(&mut *tx)
            .await?;
    }
    for sql in [
        "DELETE FROM turns WHERE call_id = $1",
        "DELETE FROM call_analyses WHERE call_id = $1",
        "DELETE FROM sip_messages WHERE call_id = $1",
    ] {
        sqlx::query(sql).bind(&id).execute(&mut *tx).await?;
    }
    events(tx, &id).await?;
    Ok(true)
}

/// Events keep their numbers: nobody who follows them may find a hole.
async fn events(tx: &mut AnyConnection, id: &str) -> Result<(), sqlx::Error> {
    let rows = sqlx::query("SELECT id, type, data FROM events WHERE call_id = $1").bind(id).fetch_all(&mut *tx).await?;
    for row in rows {
        let data = serde_json::from_str(&row.try_get::<String, _>(2)?).unwrap_or_default();
        sqlx::query("UPDATE events SET data = $1 WHERE id = $2")
            .bind(json_text(&scrubbed(&row.try_get::<String, _>(1)?, data)))
            .bind(row.try_get::<String, _>(0)?)
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// What may be left of an event's data.
fn scrubbed(kind: &str, mut data: Map<String, Value>) -> Map<String, Value> {
    match kind {
        // Whoever counts calls may not have read them yet.
        "call.created" | "call.ended" => {
            for party in ["from", "to"] {
                if let Some(address) = data.get_mut(party).and_then(|party| party.get_mut("address")) {
                    *address = address.as_str().map(phone::mask).into();
                }
            }
            for field in ["variables", "metadata"] {
                data.insert(field.into(), Map::new().into());
            }
            data.insert("transfer".into(), Value::Null);
            data
        }
        "call.initiating" | "call.ringing" | "call.answered" | "call.cost.final" => data,
        kind if kind.starts_with("call.recording.") || kind.starts_with("call.hold.") => data,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_events_only_what_is_counted_stays() {
        let scrub = |kind: &str, data: Value| Value::Object(scrubbed(kind, data.as_object().unwrap().clone()));
        assert_eq!(scrub("call.turn.caller", json!({"text": "my name is Ann"})), json!({}));
        assert_eq!(scrub("call.dtmf.received", json!({"digit": "4"})), json!({}));
        assert_eq!(scrub("call.answered", json!({"codec": "pcmu"})), json!({"codec": "pcmu"}));
        let ended = json!({"from": {"address": "+12125550123"}, "duration_ms": 5, "variables": {"name": "Ann"}});
        assert_eq!(
            scrub("call.ended", ended),
            json!({"from": {"address": "+1•••••••123"}, "duration_ms": 5, "variables": {}, "metadata": {}, "transfer": null})
        );
    }
}
