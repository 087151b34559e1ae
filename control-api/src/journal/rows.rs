//! What each entry of the journal becomes in the tables.

use domain::{Direction, EndedReason, Speaker, Status, Turn, event::Name};
use serde_json::{Map, Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::{
    Ended, Entry, LegState, NewCall, RecordingStage, RecordingState, SipTrace, Stamped, TransferState, bill,
    head::{Head, emit, save},
};
use crate::{
    money::{cost, lease, ledger::Purse},
    store::{
        calls, fresh_id, json_text,
        many::{places, portions},
        storable,
    },
    time::rfc3339,
    view::Spread,
};

/// Writes one entry; false when it asked for a step that does not exist.
pub(super) async fn write(
    db: &mut AnyConnection,
    id: &str,
    head: &mut Head,
    stamped: &Stamped,
    purse: Option<&mut Purse>,
    secret: &[u8; 32],
) -> Result<bool, sqlx::Error> {
    match &stamped.entry {
        Entry::Created(_) => Ok(true),
        Entry::Status { status, at_ms, sip_status, data } => {
            step(db, id, head, *status, *at_ms, *sip_status, data.clone(), stamped.at_ms).await
        }
        Entry::Turn(said) => {
            turn(db, id, head, said, stamped.at_ms).await?;
            Ok(true)
        }
        Entry::Event { name, data } => {
            emit(head, *name, data, stamped.at_ms);
            Ok(true)
        }
        Entry::Recording(state) => {
            recording(db, id, head, state, stamped.at_ms).await?;
            Ok(true)
        }
        Entry::Leg(state) => {
            leg(db, id, head, state).await?;
            Ok(true)
        }
        Entry::Transfer(state) => {
            transfer(db, id, head, state, stamped.at_ms).await?;
            Ok(true)
        }
        Entry::Trace(messages) => {
            trace(db, id, messages).await?;
            Ok(true)
        }
        Entry::Used(used) => {
            bill::used(db, &head.tenant, head.livemode != 0, stamped, used).await?;
            Ok(true)
        }
        Entry::Unbilled(admission) => {
            lease::open_late(db, secret, admission, stamped.at_ms).await?;
            Ok(true)
        }
        Entry::Ended(ended) => end(db, id, head, ended, stamped.at_ms, purse).await,
    }
}

/// The row of a call.
pub(super) async fn create(db: &mut AnyConnection, id: &str, new: &NewCall) -> Result<Head, sqlx::Error> {
    sqlx::query(
        "INSERT INTO calls (id, tenant_id, livemode, channel, direction, status, from_addr, to_addr, agent_id, agent_version, config,
           variables, metadata, sip_call_id, node_id, boot_id, created_at, number_id, trunk_id, verified)
         VALUES ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
    )
    .bind(id)
    .bind(new.tenant.to_string())
    .bind(i64::from(new.livemode))
    .bind(new.channel.as_str())
    .bind(new.direction.as_str())
    .bind(storable(new.from.expose()))
    .bind(storable(new.to.expose()))
    .bind(new.agent_id.map(|id| id.to_string()))
    .bind(new.agent_version)
    .bind(new.config.as_ref().map(json_text))
    .bind(json_text(&new.variables))
    .bind(json_text(&new.metadata))
    .bind(new.sip_call_id.as_deref().map(storable))
    .bind(storable(&new.node_id))
    .bind(new.boot_id.to_string())
    .bind(new.created_at_ms)
    .bind(new.number_id.map(|id| id.to_string()))
    .bind(new.trunk_id.map(|id| id.to_string()))
    .bind(new.verified)
    .execute(&mut *db)
    .await?;
    Ok(Head {
        tenant: new.tenant.to_string(),
        livemode: new.livemode.into(),
        status: Status::Pending,
        created_at: new.created_at_ms,
        answered_at: None,
        seq: 0,
        turns: 0,
        events: Vec::new(),
    })
}

/// The leg that every call has.
pub(super) async fn first_leg(
    db: &mut AnyConnection,
    id: &str,
    new: &NewCall,
    started_at_ms: i64,
) -> Result<(), sqlx::Error> {
    let (role, address) = match new.direction {
        Direction::Inbound => ("caller", &new.from),
        Direction::Outbound => ("callee", &new.to),
    };
    sqlx::query(
        "INSERT INTO call_legs (id, call_id, tenant_id, role, address, sip_call_id, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(fresh_id())
    .bind(id)
    .bind(new.tenant.to_string())
    .bind(role)
    .bind(storable(address.expose()))
    .bind(new.sip_call_id.as_deref().map(storable))
    .bind(started_at_ms)
    .execute(db)
    .await
    .map(drop)
}

/// An event whose data is the call itself.
pub(super) async fn emit_call(
    db: &mut AnyConnection,
    id: &str,
    head: &mut Head,
    name: Name,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    save(db, id, head).await?;
    let call = calls::inside(db, id).await?;
    let data = serde_json::to_value(call).unwrap_or(Value::Null);
    emit(head, name, &data, at_ms);
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "the fields of one entry, and where they go")]
async fn step(
    db: &mut AnyConnection,
    id: &str,
    head: &mut Head,
    status: Status,
    at_ms: i64,
    sip_status: Option<u16>,
    data: Map<String, Value>,
    written_ms: i64,
) -> Result<bool, sqlx::Error> {
    let at_ms = at_ms.max(head.created_at);
    let (sql, name) = match status {
        _ if !head.status.can_become(status) => return Ok(false),
        Status::Initiating => (
            "UPDATE calls SET status = $1, sip_status = COALESCE($2, sip_status), initiated_at = $3 WHERE id = $4",
            Name::CallInitiating,
        ),
        Status::Ringing => (
            "UPDATE calls SET status = $1, sip_status = COALESCE($2, sip_status), ringing_at = $3 WHERE id = $4",
            Name::CallRinging,
        ),
        Status::InProgress => (
            "UPDATE calls SET status = $1, sip_status = COALESCE($2, sip_status), answered_at = $3 WHERE id = $4",
            Name::CallAnswered,
        ),
        // Ends have an entry of their own.
        _ => return Ok(false),
    };
    sqlx::query(sql)
        .bind(status.as_str())
        .bind(sip_status.map(i64::from))
        .bind(at_ms)
        .bind(id)
        .execute(&mut *db)
        .await?;
    head.status = status;
    if status == Status::InProgress {
        head.answered_at = Some(at_ms);
        sqlx::query("UPDATE call_legs SET answered_at = $1, codec = $2 WHERE call_id = $3 AND role IN ('caller','callee') AND ended_at IS NULL")
            .bind(at_ms)
            .bind(data.get("codec").and_then(Value::as_str).map(str::to_owned))
            .bind(id)
            .execute(&mut *db)
            .await?;
    }
    let mut event = Map::new();
    event.insert("status".into(), status.as_str().into());
    event.insert("at".into(), rfc3339(at_ms).into());
    event.extend(data);
    emit(head, name, &Value::Object(event), written_ms);
    Ok(true)
}

async fn turn(db: &mut AnyConnection, id: &str, head: &mut Head, turn: &Turn, at_ms: i64) -> Result<(), sqlx::Error> {
    let n = head.turns + 1;
    let millis = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO turns (call_id, n, tenant_id, speaker, text, heard_chars, lang, confidence_milli, start_ms, end_ms, interrupted,
           words, latency) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(id)
    .bind(n)
    .bind(&head.tenant)
    .bind(turn.speaker.as_str())
    .bind(storable(&turn.text))
    .bind(turn.heard_chars().map(|chars| i64::try_from(chars).unwrap_or(i64::MAX)))
    .bind(turn.lang.clone())
    .bind(turn.confidence.map(|confidence| (confidence.clamp(0.0, 1.0) * 1000.0).round() as i64))
    .bind(millis(turn.start_ms))
    .bind(millis(turn.end_ms))
    .bind(i64::from(turn.interrupted))
    .bind((!turn.words.is_empty()).then(|| json_text(&turn.words)))
    .bind(turn.latency.as_ref().map(json_text))
    .execute(&mut *db)
    .await?;
    head.turns = n;
    let name = match turn.speaker {
        Speaker::Caller => Name::TurnCaller,
        Speaker::Agent => Name::TurnAgent,
        // Notes and tool outcomes are part of the transcript; they have no event of their own.
        Speaker::Tool | Speaker::System => return Ok(()),
    };
    let mut data = serde_json::to_value(turn).unwrap_or_else(|_| json!({}));
    if let Value::Object(data) = &mut data {
        data.insert("n".into(), n.into());
        if turn.heard_text.is_none() {
            data.insert("heard_text".into(), turn.text.clone().into());
        }
    }
    emit(head, name, &data, at_ms);
    Ok(())
}

async fn recording(
    db: &mut AnyConnection,
    id: &str,
    head: &mut Head,
    recording: &RecordingState,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
    let changed = sqlx::query(
        "INSERT INTO recordings (id, call_id, tenant_id, state, format, channels, duration_ms, bytes, sha256, locator, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, duration_ms = excluded.duration_ms, bytes = excluded.bytes,
           sha256 = excluded.sha256, locator = excluded.locator
         WHERE recordings.call_id = excluded.call_id AND recordings.state = 'writing'",
    )
    .bind(recording.id.to_string())
    .bind(id)
    .bind(&head.tenant)
    .bind(recording.state.as_str())
    .bind(recording.format)
    .bind(i64::from(recording.channels))
    .bind(number(recording.duration_ms))
    .bind(number(recording.bytes))
    .bind(recording.sha256.clone())
    .bind(storable(&recording.locator))
    .bind(at_ms)
    .execute(&mut *db)
    .await?
    .rows_affected();
    let name = match recording.state {
        RecordingStage::Ready => Name::RecordingReady,
        RecordingStage::Failed => Name::RecordingFailed,
        RecordingStage::Writing => return Ok(()),
    };
    if changed == 0 {
        return Ok(());
    }
    let data = json!({
        "recording_id": recording.id.to_string(), "duration_ms": recording.duration_ms, "bytes": recording.bytes, "sha256": recording.sha256,
    });
    emit(head, name, &data, at_ms);
    Ok(())
}

async fn leg(db: &mut AnyConnection, id: &str, head: &Head, leg: &LegState) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO call_legs (id, call_id, tenant_id, role, trunk_id, address, codec, started_at, answered_at, ended_at, sip_status, media)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (id) DO UPDATE SET codec = excluded.codec, answered_at = excluded.answered_at, ended_at = excluded.ended_at,
           sip_status = excluded.sip_status, media = excluded.media
         WHERE call_legs.call_id = excluded.call_id AND call_legs.ended_at IS NULL",
    )
    .bind(storable(&leg.id))
    .bind(id)
    .bind(&head.tenant)
    .bind(leg.role)
    .bind(leg.trunk.map(|trunk| trunk.to_string()))
    .bind(storable(leg.address.expose()))
    .bind(leg.codec)
    .bind(leg.started_at_ms)
    .bind(leg.answered_at_ms)
    .bind(leg.ended_at_ms)
    .bind(leg.sip_status.map(i64::from))
    .bind(leg.media.as_ref().map(json_text))
    .execute(db)
    .await
    .map(drop)
}

/// The call shows the transfer as it stands; the event tells the step.
async fn transfer(
    db: &mut AnyConnection,
    id: &str,
    head: &mut Head,
    transfer: &TransferState,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let mut shown = transfer.data.clone();
    let state = transfer.name.as_str().rsplit('.').next().unwrap_or_default();
    shown.insert("state".into(), state.into());
    shown.insert("at".into(), rfc3339(at_ms).into());
    sqlx::query("UPDATE calls SET transfer = $1 WHERE id = $2")
        .bind(json_text(&shown))
        .bind(id)
        .execute(&mut *db)
        .await?;
    emit(head, transfer.name, &transfer.data, at_ms);
    Ok(())
}

/// The messages of a dialog, behind those of the call's dialogs before.
async fn trace(db: &mut AnyConnection, id: &str, trace: &SipTrace) -> Result<(), sqlx::Error> {
    let last = sqlx::query("SELECT COALESCE(MAX(n), 0) FROM sip_messages WHERE call_id = $1").bind(id);
    let last: i64 = last.fetch_one(&mut *db).await?.try_get(0)?;
    let first = last + 1 + i64::from(trace.dropped);
    let messages: Vec<_> = (first..).zip(&trace.messages).collect();
    for messages in portions(&messages) {
        let places = places(messages.len(), 9);
        let sql = format!(
            "INSERT INTO sip_messages (call_id, n, sip_call_id, at_us, outgoing, transport, local, peer, message) VALUES {places}"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (n, message) in messages {
            query = query
                .bind(id)
                .bind(n)
                .bind(storable(&trace.sip_call_id))
                .bind(message.at_us)
                .bind(i64::from(message.outgoing))
                .bind(&message.transport)
                .bind(message.local.to_string())
                .bind(message.peer.to_string())
                .bind(storable(&message.text));
        }
        query.execute(&mut *db).await?;
    }
    Ok(())
}

/// Ends a call: status, reason and times in one statement that only the first end passes.
pub(super) async fn end(
    db: &mut AnyConnection,
    id: &str,
    head: &mut Head,
    ended: &Ended,
    written_ms: i64,
    purse: Option<&mut Purse>,
) -> Result<bool, sqlx::Error> {
    if head.status.is_final() {
        return Ok(false);
    }
    // An end that does not fit the state (busy after the answer …) is a fault of ours, and the call says so.
    let legal = head.status.can_become(ended.reason.status());
    let reason = if legal { ended.reason } else { EndedReason::Internal };
    let at_ms = ended.at_ms.max(head.answered_at.unwrap_or(head.created_at));
    let duration = head.answered_at.map_or(0, |answered| at_ms - answered);
    let v2v = voice_to_voice(db, id).await?;
    let mos =
        ended.media.as_ref().and_then(|media| media.get("mos")?.as_f64()).map(|mos| (mos * 1000.0).round() as i64);
    sqlx::query(
        "UPDATE calls SET status = $1, ended_reason = $2, ended_at = $3, duration_ms = $4, sip_status = COALESCE($5, sip_status),
           mos_milli = $6, v2v_p50_ms = $7, degraded = $8 WHERE id = $9 AND ended_at IS NULL",
    )
    .bind(reason.status().as_str())
    .bind(reason.as_str())
    .bind(at_ms)
    .bind(duration)
    .bind(ended.sip_status.map(i64::from))
    .bind(mos)
    .bind(v2v)
    .bind(i64::from(ended.degraded))
    .bind(id)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "UPDATE call_legs SET ended_at = $1, sip_status = COALESCE($2, sip_status), media = CASE WHEN role IN ('caller','callee') THEN $3 ELSE media END
         WHERE call_id = $4 AND ended_at IS NULL",
    )
    .bind(at_ms)
    .bind(ended.sip_status.map(i64::from))
    .bind(ended.media.as_ref().map(json_text))
    .bind(id)
    .execute(&mut *db)
    .await?;
    head.status = reason.status();
    let billed = match purse {
        Some(purse) => bill::settle(db, purse, id, ended, duration, written_ms).await?,
        None => false,
    };
    emit_call(db, id, head, Name::CallEnded, written_ms).await?;
    if billed {
        let cost = cost::of_call(db, id, written_ms).await?;
        let data = serde_json::to_value(cost).unwrap_or(Value::Null);
        emit(head, Name::CostFinal, &data, written_ms);
    }
    Ok(legal)
}

async fn voice_to_voice(db: &mut AnyConnection, id: &str) -> Result<Option<i64>, sqlx::Error> {
    let rows = sqlx::query("SELECT latency FROM turns WHERE call_id = $1 AND latency IS NOT NULL")
        .bind(id)
        .fetch_all(db)
        .await?;
    let values = rows
        .iter()
        .filter_map(|row| {
            serde_json::from_str::<Value>(&row.try_get::<String, _>(0).ok()?).ok()?.get("voice_to_voice_ms")?.as_i64()
        })
        .collect();
    Ok(Spread::of(values).map(|spread| spread.p50))
}
