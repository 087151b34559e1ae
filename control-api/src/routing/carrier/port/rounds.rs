//! The rounds of a port request: one job after the other, and the fee that is taken before the first.

use domain::{NumberId, OrderId, TenantId};
use serde_json::json;
use sqlx::AnyConnection;

use crate::{
    NewJob,
    jobs::{Terms, enqueue_on},
    money::{
        charge::{self, Charge},
        ledger::{LedgerError, Purse},
    },
};

/// The kind of the jobs.
pub(super) const KIND: &str = "number.port";
/// A round that the store spoils is done again for as long as it takes: an order without a job would stand still for ever.
const ATTEMPTS: i64 = 1_000_000;
/// Pauses between rounds, ms.
const SHORTEST_MS: i64 = 60_000;
const LONGEST_MS: i64 = 3_600_000;
/// The pause after a carrier did not answer, doubled with each further time.
const FIRST_MISS_MS: i64 = 5_000;

/// Where a request is in its rounds.
#[derive(Clone, Copy)]
pub(super) struct Round {
    pub(super) order: OrderId,
    pub(super) n: i64,
    pub(super) misses: i64,
}

/// Leaves the first round of a request in the caller's transaction.
pub(crate) async fn begin(
    tx: &mut AnyConnection,
    tenant: TenantId,
    order: OrderId,
    now: i64,
) -> Result<(), sqlx::Error> {
    next(tx, tenant, Round { order, n: 1, misses: 0 }, now).await
}

/// Lets the next round of a request come now.
pub(crate) async fn hurry(tx: &mut AnyConnection, order: OrderId, now: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE jobs SET run_at = $1 WHERE kind = $2 AND state = 'queued' AND dedupe_key LIKE $3")
        .bind(now)
        .bind(KIND)
        .bind(format!("{KIND}:{order}:%"))
        .execute(tx)
        .await
        .map(drop)
}

pub(super) async fn next(
    tx: &mut AnyConnection,
    tenant: TenantId,
    round: Round,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let Round { order, n, misses } = round;
    let job = NewJob {
        tenant: Some(tenant),
        kind: KIND,
        dedupe_key: format!("{KIND}:{order}:{n}"),
        payload: json!({ "order_id": order.to_string(), "round": n, "misses": misses }),
        run_at_ms: at_ms,
    };
    enqueue_on(tx, job, Terms { node: None, attempts: ATTEMPTS }).await.map(drop)
}

/// Takes the fee for some numbers of a request, or gives that of one back; each at most once.
pub(crate) async fn pay(
    tx: &mut AnyConnection,
    purse: &mut Purse,
    tenant: TenantId,
    order: OrderId,
    back: Option<NumberId>,
    amount: i64,
    at_ms: i64,
) -> Result<(), LedgerError> {
    let sign = if back.is_some() { -1 } else { 1 };
    let key = match back {
        Some(number) => format!("port:{order}:{number}:back"),
        None => format!("port:{order}:pay"),
    };
    if amount <= 0 {
        return Ok(());
    }
    let charge = Charge {
        item: "number_port",
        quantity: sign,
        amount_micros: sign * amount,
        key,
        memo: json!({ "number_order": order.to_string(), "back": back.is_some() }),
        at_ms,
    };
    charge::charge(tx, purse, tenant, charge).await.map(drop)
}

/// The pause before the next round: after what is new a minute, then later and later; after silence of the carrier seconds first.
pub(super) fn pause_ms(misses: Option<i64>, quiet_ms: i64) -> i64 {
    match misses {
        Some(misses) => FIRST_MISS_MS.saturating_mul(1 << misses.clamp(0, 20)).min(LONGEST_MS),
        None => (quiet_ms / 4).clamp(SHORTEST_MS, LONGEST_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::pause_ms;

    #[test]
    fn a_carrier_is_asked_less_and_less_often_but_every_hour() {
        assert_eq!(
            (pause_ms(Some(0), 0), pause_ms(Some(3), 0), pause_ms(Some(i64::MAX), 0)),
            (5_000, 40_000, 3_600_000)
        );
        assert_eq!(
            (pause_ms(None, 0), pause_ms(None, 1_200_000), pause_ms(None, i64::MAX)),
            (60_000, 300_000, 3_600_000)
        );
    }
}
