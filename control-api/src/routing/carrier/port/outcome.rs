//! What a round found out is stored, told, and followed by the next, in one transaction.

use domain::event::Name;
use sqlx::{AnyConnection, AssertSqlSafe};

use super::{
    Found,
    rounds::{Round, next, pause_ms, pay},
};
use crate::{
    Context, Fault, NewEvent, emit,
    money::ledger::Purse,
    routing::{
        carrier::porting::{Form, PortState, Seen},
        rows::ports::{self, PortRow, Requested},
    },
    store::storable,
};

/// How a refusal to call a number off begins.
const TOO_LATE: &str = "it cannot be called off any more";

/// Stores what a round found out, and leaves the next.
pub(super) async fn keep(
    context: &Context,
    round: Round,
    request: &Requested,
    form: &Form,
    rows: &[PortRow],
    found: Found,
) -> Result<(), Fault> {
    let (store, now) = (&context.store, context.clock.now_ms());
    let fee = request.data["setup_micros"].as_i64().unwrap_or(0);
    let ends = found.seen.iter().any(|seen| matches!(seen.state, PortState::Rejected | PortState::Canceled));
    let mut tx = store.begin().await?;
    // Money first: its lock comes before every other.
    let mut purse = if fee > 0 && ends { Some(Purse::open(&mut tx, request.tenant, true).await?) } else { None };
    // Then the request: who calls something off waits here.
    sqlx::query("UPDATE number_orders SET updated_at = updated_at WHERE id = $1")
        .bind(round.order.to_string())
        .execute(&mut *tx)
        .await?;
    let mut after = Vec::with_capacity(rows.len());
    for row in rows {
        let seen = found.seen.iter().find(|seen| row.state.open() && seen.e164 == row.e164);
        let late = found.too_late.iter().find(|(number, _)| *number == row.number);
        let mut new = seen.map_or_else(|| row.clone(), |seen| renewed(row, seen, form));
        if let Some((_, why)) = late {
            new.reason = Some(format!("{TOO_LATE}: {}", form.without_secrets(why)));
            ports::ask_cancel(&mut tx, round.order, Some(row.number), false).await?;
        }
        let changed = (new.state, &new.reason, &new.foc_date) != (row.state, &row.reason, &row.foc_date);
        if changed || new.port_ref != row.port_ref {
            new.updated_at = if changed { now } else { row.updated_at };
            if !ports::update(&mut tx, row, &new).await? {
                return Err(Fault::Again("another node was faster".into()));
            }
        }
        if changed {
            if let (Some(purse), PortState::Rejected | PortState::Canceled) = (&mut purse, new.state) {
                let back = pay(&mut tx, purse, request.tenant, round.order, Some(row.number), fee, now).await;
                back.map_err(|error| Fault::Again(error.to_string()))?;
            }
            let name = found.arrived.iter().find(|(e164, _)| *e164 == row.e164).map(|(_, name)| name.as_str());
            move_number(&mut tx, &new, name, now).await?;
            let event = ports::told(&new, &request.carrier);
            let kind = Name::NumberPortUpdated;
            emit(&mut tx, NewEvent { tenant: request.tenant, livemode: true, kind, data: event }).await?;
        }
        after.push(new);
    }
    let whole = PortState::of_all(after.iter().map(|row| row.state));
    let missed = found.missed.as_deref().filter(|why| !why.is_empty()).map(|why| form.without_secrets(why));
    let reasons = after.iter().filter(|row| row.state != PortState::Completed);
    let error = missed.clone().or_else(|| reasons.clone().find_map(|row| row.reason.clone()));
    // What the losing carrier was told is not kept longer than it is needed.
    let keep = if whole.open() { "sealed" } else { "NULL" };
    let moved = after.iter().zip(rows).any(|(after, before)| after.updated_at != before.updated_at);
    let sql = format!(
        "UPDATE number_orders SET state = $1, error = $2, sealed = {keep}, updated_at = COALESCE($3, updated_at) WHERE id = $4"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(whole.word())
        .bind(error.as_deref().map(storable))
        .bind(moved.then_some(now))
        .bind(round.order.to_string())
        .execute(&mut *tx)
        .await?;
    if whole.open() {
        let at = next_at(&mut tx, round, &after, found.missed.is_some(), now).await?;
        let misses = if found.missed.is_some() { round.misses + 1 } else { 0 };
        next(&mut tx, request.tenant, Round { n: round.n + 1, misses, ..round }, at).await?;
    }
    tx.commit().await?;
    store.changed();
    store.ring();
    if let Some(why) = missed {
        tracing::warn!(order = %round.order, carrier = request.carrier, why, "a port request waits for its carrier");
    }
    Ok(())
}

/// When the carrier is asked again: a while after what is new, later and later where nothing is.
async fn next_at(
    tx: &mut AnyConnection,
    round: Round,
    after: &[PortRow],
    missed: bool,
    now: i64,
) -> Result<i64, sqlx::Error> {
    // Somebody called a number off while the carrier was asked.
    let unwanted = ports::unwanted(tx, round.order).await?;
    let known = |id: &String| after.iter().any(|row| row.cancel_asked && row.number.to_string() == *id);
    if !unwanted.iter().all(known) {
        return Ok(now);
    }
    let quiet = after.iter().map(|row| row.updated_at).max().map_or(0, |at| now - at);
    Ok(now + pause_ms(missed.then_some(round.misses), quiet))
}

/// A row as the carrier's word makes it.
fn renewed(row: &PortRow, seen: &Seen, form: &Form) -> PortRow {
    // Who called it off needs no reason.
    let told = if row.cancel_asked && seen.state == PortState::Canceled { None } else { seen.reason.as_deref() };
    // And who was too late hears so until there is something new.
    let late = row.reason.clone().filter(|reason| row.state == seen.state && reason.starts_with(TOO_LATE));
    PortRow {
        state: seen.state,
        port_ref: seen.port_ref.clone().or_else(|| row.port_ref.clone()),
        foc_date: seen.foc_date.clone().or_else(|| row.foc_date.clone()),
        reason: told.map(|reason| form.without_secrets(reason)).or(late),
        ..row.clone()
    }
}

/// What becomes of the number itself. Its rent is taken in advance from the moment when it is here, by who takes rents.
async fn move_number(tx: &mut AnyConnection, port: &PortRow, name: Option<&str>, now: i64) -> Result<(), sqlx::Error> {
    let (status, bill_at, gone_at) = match port.state {
        PortState::Completed => ("active", Some(now), None),
        PortState::Rejected => ("failed", None, Some(now)),
        PortState::Canceled => ("released", None, Some(now)),
        _ => return Ok(()),
    };
    let moved = sqlx::query(
        "UPDATE numbers SET status = $1, carrier_ref = $2, next_bill_at = $3, released_at = $4, updated_at = $5, version = version + 1
         WHERE id = $6 AND status = 'porting' RETURNING id",
    )
    .bind(status)
    .bind(name.map(storable))
    .bind(bill_at)
    .bind(gone_at)
    .bind(now)
    .bind(port.number.to_string())
    .fetch_optional(&mut *tx)
    .await?;
    if moved.is_none() && port.state == PortState::Completed {
        // Its tenant has gone meanwhile, and the carrier would not call it off.
        tracing::warn!(number = %port.number, "a number has come over for a tenant that is gone; it stays at the carrier");
    }
    Ok(())
}
