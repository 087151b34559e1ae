//! What came of an attempt: the delivery's next state, the attempt's row, and what it says about the hook.

use domain::event::Name;
use serde_json::json;
use sqlx::{AnyConnection, Row as _};

use super::{
    deliver::Claimed,
    hooks::Hook,
    schedule::{ATTEMPTS, pause_ms},
    send::Attempt,
};
use crate::{
    Store,
    mail::{self, NewMail},
    outbox::{NewEvent, emit},
    store::storable,
};

/// A hook that has failed for longer is switched off, ms.
const FAILING_MS: i64 = 5 * 86_400_000;
/// A hook with so many dead deliveries in a row is switched off.
const DEAD_IN_ROW: i64 = 100;

/// Stores an outcome in one transaction, unless the claim was lost.
pub(super) async fn note(
    store: &Store,
    claimer: &str,
    hook: &Hook,
    claimed: &Claimed,
    attempt: &Attempt,
    started_ms: i64,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let pause =
        pause_ms(claimed.attempt.min(ATTEMPTS), attempt.wish_ms).filter(|_| attempt.error != Some("event_gone"));
    let (state, next_at, delivered_at) = match pause {
        _ if attempt.is_delivered() => ("delivered", None, Some(now_ms)),
        Some(pause) => ("pending", Some(now_ms + pause), None),
        None => ("dead", None, None),
    };
    let mut tx = store.begin().await?;
    let held = sqlx::query(
        "UPDATE webhook_deliveries SET state = $1, next_at = $2, delivered_at = $3, locked_until = 0, locked_by = NULL
         WHERE id = $4 AND locked_by = $5 AND attempts = $6 AND state = 'sending'",
    )
    .bind(state)
    .bind(next_at)
    .bind(delivered_at)
    .bind(&claimed.id)
    .bind(claimer.to_owned())
    .bind(claimed.attempt)
    .execute(&mut *tx)
    .await?;
    if held.rows_affected() == 0 {
        return tx.rollback().await;
    }
    sqlx::query(
        "INSERT INTO webhook_attempts (delivery_id, n, started_at, duration_ms, http_status, error, response_head)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&claimed.id)
    .bind(claimed.attempt)
    .bind(started_ms)
    .bind(attempt.duration_ms)
    .bind(attempt.http_status.map(i64::from))
    .bind(attempt.error)
    .bind(attempt.response_head.as_deref().map(storable))
    .execute(&mut *tx)
    .await?;
    if attempt.is_delivered() {
        sqlx::query(
            "UPDATE webhooks SET failing_since = NULL, dead_in_row = 0 WHERE id = $1 AND (failing_since IS NOT NULL OR dead_in_row > 0)",
        )
        .bind(&hook.id)
        .execute(&mut *tx)
        .await?;
    } else {
        judge(&mut tx, hook, attempt, state == "dead", now_ms).await?;
    }
    tx.commit().await
}

/// Counts a failure, and switches the hook off when it is one too many.
async fn judge(
    tx: &mut AnyConnection,
    hook: &Hook,
    attempt: &Attempt,
    dead: bool,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "UPDATE webhooks SET failing_since = COALESCE(failing_since, $1), dead_in_row = dead_in_row + $2 WHERE id = $3
         RETURNING failing_since, dead_in_row",
    )
    .bind(now_ms)
    .bind(i64::from(dead))
    .bind(&hook.id)
    .fetch_one(&mut *tx)
    .await?;
    let (since, dead_in_row): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let reason = if attempt.is_gone() {
        "gone"
    } else if now_ms - since > FAILING_MS {
        "failing"
    } else if dead_in_row >= DEAD_IN_ROW {
        "dead_letters"
    } else {
        return Ok(());
    };
    let changed = sqlx::query(
        "UPDATE webhooks SET enabled = 0, disabled_reason = $1, version = version + 1, updated_at = $2
         WHERE id = $3 AND enabled = 1 AND deleted_at IS NULL RETURNING version",
    )
    .bind(reason)
    .bind(now_ms)
    .bind(&hook.id)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(row) = changed {
        tracing::warn!(webhook = %hook.id, reason, "webhook switched off");
        let data = json!({"webhook_id": hook.id, "url": hook.draft.url, "reason": reason});
        emit(tx, NewEvent { tenant: hook.tenant, livemode: true, kind: Name::WebhookDisabled, data }).await?;
        write_to_admins(tx, hook, reason, row.try_get(0)?, now_ms).await?;
    }
    Ok(())
}

/// A mail to each owner and admin: their program no longer hears of what happens, so somebody must.
async fn write_to_admins(
    tx: &mut AnyConnection,
    hook: &Hook,
    reason: &str,
    version: i64,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let why = match reason {
        "gone" => "the receiver answered 410 Gone",
        "failing" => "no delivery has succeeded for five days",
        _ => "a hundred deliveries in a row were given up",
    };
    let rows = sqlx::query(
        "SELECT u.id, u.email FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.tenant_id = $1
           AND m.role IN ('owner','admin') AND m.blocked_at IS NULL AND u.blocked_at IS NULL AND u.deleted_at IS NULL",
    )
    .bind(hook.tenant.to_string())
    .fetch_all(&mut *tx)
    .await?;
    for row in rows {
        let (user, to): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let mail = NewMail {
            tenant: Some(hook.tenant),
            lead_id: None,
            template: "webhook_disabled".into(),
            to: to.into(),
            subject: "A webhook was switched off".into(),
            text: format!(
                "The webhook {} to {} was switched off: {why}.\n\nEvents since then were not sent to it. When the receiver works \
                 again, enable the webhook and replay the time in between.\n",
                hook.id, hook.draft.url
            ),
            html: None,
            dedupe_key: format!("webhook_disabled:{}:{version}:{user}", hook.id),
            send_at_ms: now_ms,
        };
        mail::queue(tx, mail).await?;
    }
    Ok(())
}
