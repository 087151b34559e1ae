//! Calls that are placed later. The row is there from the request on and belongs to no node; whoever places or cancels it first has it.

use domain::{BootId, CallId, EndedReason, Status, TenantId, event::Name};
use sqlx::{AnyConnection, Row as _};

use super::{
    Ended, NewCall,
    head::{Head, close, open},
    rows::{create, emit_call, end, first_leg},
};
use crate::{
    store::{json_text, storable},
    time::now_ms,
};

/// Nobody has it yet.
pub(crate) const WAITS: &str =
    "status = 'pending' AND scheduled_at IS NOT NULL AND node_id IS NULL AND ended_at IS NULL";

/// How many calls of a tenant wait for their time.
pub(crate) async fn waiting(db: &mut AnyConnection, tenant: TenantId) -> Result<i64, sqlx::Error> {
    let sql = format!("SELECT COUNT(*) FROM calls WHERE tenant_id = $1 AND {WAITS}");
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.to_string()).fetch_one(db).await?.try_get(0)
}

/// Keeps a call until `due_ms`, inside the caller's transaction. Event `call.created`.
pub(crate) async fn keep(db: &mut AnyConnection, call: CallId, new: &NewCall, due_ms: i64) -> Result<(), sqlx::Error> {
    let id = call.to_string();
    let mut head = create(db, &id, new).await?;
    sqlx::query("UPDATE calls SET scheduled_at = $1, node_id = NULL, boot_id = NULL WHERE id = $2")
        .bind(due_ms)
        .bind(&id)
        .execute(&mut *db)
        .await?;
    emit_call(db, &id, &mut head, Name::CallCreated, new.created_at_ms).await?;
    close(db, vec![(id, head)]).await
}

/// Ends a call that nobody places yet, inside the caller's transaction; false if somebody does, or did.
pub(crate) async fn end_waiting(
    db: &mut AnyConnection,
    call: CallId,
    reason: EndedReason,
    at_ms: i64,
) -> Result<bool, sqlx::Error> {
    let id = call.to_string();
    // The row is locked by the first look; the second is at what is locked.
    let Some(head) = open(db, &id).await? else { return Ok(false) };
    let sql = format!("SELECT 1 FROM calls WHERE id = $1 AND {WAITS}");
    let waits = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&id).fetch_optional(&mut *db).await?.is_some();
    if waits { finish(db, id, head, reason, at_ms).await.map(|()| true) } else { Ok(false) }
}

/// Ends a call that this run has taken and could not place.
pub(crate) async fn end_taken(
    db: &mut AnyConnection,
    call: CallId,
    reason: EndedReason,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let id = call.to_string();
    match open(db, &id).await? {
        Some(head) if head.status == Status::Pending => finish(db, id, head, reason, at_ms).await,
        _ => Ok(()),
    }
}

/// Takes a call to place it; false if it was placed, taken or ended before.
pub(crate) async fn take(db: &mut AnyConnection, call: CallId, node: &str, boot: BootId) -> Result<bool, sqlx::Error> {
    let sql = format!("UPDATE calls SET node_id = $1, boot_id = $2 WHERE id = $3 AND {WAITS}");
    let taken = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(storable(node))
        .bind(boot.to_string())
        .bind(call.to_string())
        .execute(db)
        .await?;
    Ok(taken.rows_affected() == 1)
}

/// Gives a taken call back that this run cannot place now.
pub(crate) async fn give_back(db: &mut AnyConnection, call: CallId, boot: BootId) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE calls SET node_id = NULL, boot_id = NULL WHERE id = $1 AND boot_id = $2 AND status = 'pending' AND ended_at IS NULL",
    )
    .bind(call.to_string())
    .bind(boot.to_string())
    .execute(db)
    .await
    .map(drop)
}

/// Ends every call of a tenant that waits for its time, inside the caller's transaction.
pub(crate) async fn end_all_waiting(
    db: &mut AnyConnection,
    tenant: TenantId,
    reason: EndedReason,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let sql = format!("SELECT id FROM calls WHERE tenant_id = $1 AND {WAITS} ORDER BY id");
    for row in sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.to_string()).fetch_all(&mut *db).await? {
        if let Ok(call) = row.try_get::<String, _>(0)?.parse() {
            end_waiting(db, call, reason, at_ms).await?;
        }
    }
    Ok(())
}

/// The row of a call that was kept becomes that of a call that is placed; none if it has ended meanwhile.
pub(super) async fn placed(db: &mut AnyConnection, id: &str, new: &NewCall) -> Result<Option<Head>, sqlx::Error> {
    let Some(head) = open(db, id).await?.filter(|head| head.status == Status::Pending) else { return Ok(None) };
    sqlx::query(
        "UPDATE calls SET from_addr = $1, number_id = $2, trunk_id = $3, agent_version = $4, config = $5, metadata = $6, node_id = $7,
           boot_id = $8 WHERE id = $9",
    )
    .bind(storable(new.from.expose()))
    .bind(new.number_id.map(|id| id.to_string()))
    .bind(new.trunk_id.map(|id| id.to_string()))
    .bind(new.agent_version)
    .bind(new.config.as_ref().map(json_text))
    .bind(json_text(&new.metadata))
    .bind(storable(&new.node_id))
    .bind(new.boot_id.to_string())
    .bind(id)
    .execute(&mut *db)
    .await?;
    first_leg(db, id, new, now_ms()).await?;
    Ok(Some(head))
}

async fn finish(
    db: &mut AnyConnection,
    id: String,
    mut head: Head,
    reason: EndedReason,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let ended = Ended { reason, at_ms, sip_status: None, media: None, degraded: false, silent_ms: 0 };
    end(db, &id, &mut head, &ended, at_ms, None).await?;
    close(db, vec![(id, head)]).await
}
