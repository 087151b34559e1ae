//! Buying and giving back a number, as a saga over `number_orders`: each step is stored before the next, may be done twice, and is
//! taken back if a later one fails.
//!
//! buy: money is taken (with the order, in one transaction) → `started` → ordered at the carrier → `carrier_ok` → pointed at us →
//! `done`. What fails for good is `compensated`: given back to the carrier, the money returned, the number free again.

use domain::{NumberId, OrderId, TenantId, event::Name};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row as _};

use super::{CarrierError, Carriers, Ordered, Price};
use crate::{
    BoxFuture, Context, Fault, Handler, Job, NewEvent, NewJob, Store, emit, enqueue,
    money::{
        calendar,
        charge::{self, Charge},
        ledger::{LedgerError, Purse},
    },
    store::json_text,
    time::now_ms,
};

/// The kind of the saga's jobs.
const KIND: &str = "number.order";

/// Leaves the saga of an order in the caller's transaction.
pub(crate) async fn begin(tx: &mut AnyConnection, tenant: TenantId, order: OrderId) -> Result<(), sqlx::Error> {
    let job = NewJob {
        tenant: Some(tenant),
        kind: KIND,
        dedupe_key: format!("{KIND}:{order}"),
        payload: json!({ "order_id": order.to_string() }),
        run_at_ms: now_ms(),
    };
    enqueue(tx, job).await.map(drop)
}

/// Takes the price of an order from the tenant, or gives it back; each at most once.
pub(crate) async fn pay(
    tx: &mut AnyConnection,
    tenant: TenantId,
    order: OrderId,
    price: Price,
    back: bool,
) -> Result<(), LedgerError> {
    let amount = price.setup_micros + price.monthly_micros;
    let sign = if back { -1 } else { 1 };
    let mut purse = Purse::open(tx, tenant, true).await?;
    let charge = Charge {
        // On the statement it is the number's first month.
        item: "number_month",
        quantity: sign,
        amount_micros: sign * amount,
        key: format!("order:{order}:{}", if back { "back" } else { "pay" }),
        memo: json!({ "number_order": order.to_string(), "back": back }),
        at_ms: now_ms(),
    };
    charge::charge(tx, &mut purse, tenant, charge).await.map(drop)
}

/// Does the orders of numbers.
#[derive(Debug)]
pub(crate) struct NumberOrders(pub(crate) Carriers);

/// An order as the saga reads it.
struct Order {
    id: OrderId,
    tenant: TenantId,
    kind: String,
    e164: String,
    carrier: String,
    state: String,
    data: Value,
    number: Option<NumberId>,
}

impl Handler for NumberOrders {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let id = job.payload["order_id"].as_str().unwrap_or_default();
            let Some(mut order) = read(&context.store, id).await? else {
                return Err(Fault::Never("no such order".into()));
            };
            let last = job.attempt >= job.max_attempts;
            loop {
                let step = match (order.kind.as_str(), order.state.as_str()) {
                    ("buy", "started") => self.buy(&context.store, &mut order).await,
                    ("buy", "carrier_ok") => self.point(&context.store, &mut order).await,
                    ("release", "started") => self.release(&context.store, &mut order).await,
                    _ => return Ok(()),
                };
                match step {
                    Ok(()) => {}
                    Err(Stop::Store(error)) => return Err(error.into()),
                    Err(Stop::Carrier(CarrierError::Busy(why))) if !last => return Err(Fault::Again(why)),
                    Err(Stop::Carrier(why)) => {
                        return self.give_up(&context.store, &mut order, &why.to_string(), last).await;
                    }
                }
            }
        })
    }
}

/// Why a step was not done.
enum Stop {
    Carrier(CarrierError),
    Store(sqlx::Error),
}

impl From<CarrierError> for Stop {
    fn from(error: CarrierError) -> Self {
        Self::Carrier(error)
    }
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}

impl NumberOrders {
    fn carrier(&self, order: &Order) -> Result<&std::sync::Arc<dyn super::Carrier>, Stop> {
        // The account may have been taken out of the configuration meanwhile; whoever puts it back finds the order waiting.
        let missing = || CarrierError::Busy(format!("no account with {} is configured", order.carrier));
        self.0.get(&order.carrier).ok_or_else(|| missing().into())
    }

    async fn buy(&self, store: &Store, order: &mut Order) -> Result<(), Stop> {
        let number = order.e164.parse().map_err(|_| CarrierError::Refused("not a number".into()))?;
        let reference = order.id.to_string();
        match self.carrier(order)?.order(&number, &reference).await? {
            Ordered::Pending => Err(CarrierError::Busy("the carrier is still at it".into()).into()),
            Ordered::Ready(carrier_ref) => {
                order.data["carrier_ref"] = json!(carrier_ref);
                let mut tx = store.begin().await?;
                note(&mut tx, order, "carrier_ok", None).await?;
                sqlx::query("UPDATE numbers SET carrier_ref = $1 WHERE id = $2")
                    .bind(carrier_ref)
                    .bind(order.number.map(|id| id.to_string()))
                    .execute(&mut *tx)
                    .await?;
                tx.commit().await?;
                order.state = "carrier_ok".into();
                Ok(())
            }
        }
    }

    async fn point(&self, store: &Store, order: &mut Order) -> Result<(), Stop> {
        self.carrier(order)?.point(order.data["carrier_ref"].as_str().unwrap_or_default()).await?;
        let now = now_ms();
        let mut tx = store.begin().await?;
        note(&mut tx, order, "done", None).await?;
        sqlx::query(
            "UPDATE numbers SET status = 'active', next_bill_at = $1, updated_at = $2, version = version + 1
             WHERE id = $3 AND status = 'pending'",
        )
        .bind(calendar::month_after(now))
        .bind(now)
        .bind(order.number.map(|id| id.to_string()))
        .execute(&mut *tx)
        .await?;
        tell(&mut tx, order, Name::NumberPurchased, json!({ "status": "active" })).await?;
        tx.commit().await?;
        store.changed();
        order.state = "done".into();
        Ok(())
    }

    async fn release(&self, store: &Store, order: &mut Order) -> Result<(), Stop> {
        self.carrier(order)?.release(order.data["carrier_ref"].as_str().unwrap_or_default()).await?;
        let mut tx = store.begin().await?;
        note(&mut tx, order, "done", None).await?;
        free(&mut tx, order, "released").await?;
        tell(&mut tx, order, Name::NumberReleased, json!({ "status": "released" })).await?;
        tx.commit().await?;
        store.changed();
        order.state = "done".into();
        Ok(())
    }

    /// Takes back what was done. A number that the carrier does not take back stays ours to look after: the order is `failed`, its
    /// error says so, and the tenant does not pay for it.
    async fn give_up(&self, store: &Store, order: &mut Order, why: &str, last: bool) -> Result<(), Fault> {
        let mut why = why.to_owned();
        let mut outcome = "compensated";
        if order.kind == "release" {
            outcome = "failed";
        } else if let Some(carrier_ref) = order.data["carrier_ref"].as_str() {
            let released = match self.0.get(&order.carrier) {
                Some(carrier) => carrier.release(carrier_ref).await,
                None => Err(CarrierError::Busy("no account".into())),
            };
            match released {
                Ok(()) => {}
                Err(CarrierError::Busy(busy)) if !last => return Err(Fault::Again(busy)),
                Err(error) => {
                    outcome = "failed";
                    why = format!("{why}; and the number stays at the carrier: {error}");
                }
            }
        }
        let mut tx = store.begin().await?;
        if order.kind == "buy" {
            let price = Price {
                setup_micros: order.data["setup_micros"].as_i64().unwrap_or(0),
                monthly_micros: order.data["monthly_micros"].as_i64().unwrap_or(0),
            };
            pay(&mut tx, order.tenant, order.id, price, true).await.map_err(|error| Fault::Again(error.to_string()))?;
            free(&mut tx, order, "failed").await?;
        }
        note(&mut tx, order, outcome, Some(&why)).await?;
        tell(&mut tx, order, Name::NumberOrderFailed, json!({ "state": outcome, "error": why })).await?;
        tx.commit().await?;
        store.changed();
        tracing::warn!(order = %order.id, carrier = order.carrier, why, "an order of a number failed");
        Ok(())
    }
}

async fn read(store: &Store, id: &str) -> Result<Option<Order>, sqlx::Error> {
    let row =
        sqlx::query("SELECT tenant_id, kind, e164, carrier, state, data, number_id FROM number_orders WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(store.pool())
            .await?;
    let Some(row) = row else { return Ok(None) };
    let (Ok(id), Ok(tenant)) = (id.parse(), row.try_get::<String, _>("tenant_id")?.parse()) else { return Ok(None) };
    Ok(Some(Order {
        id,
        tenant,
        kind: row.try_get("kind")?,
        e164: row.try_get("e164")?,
        carrier: row.try_get("carrier")?,
        state: row.try_get("state")?,
        data: serde_json::from_str(&row.try_get::<String, _>("data")?).unwrap_or_else(|_| json!({})),
        number: row.try_get::<Option<String>, _>("number_id")?.and_then(|id| id.parse().ok()),
    }))
}

/// Stores how far the order is.
async fn note(tx: &mut AnyConnection, order: &Order, state: &str, error: Option<&str>) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE number_orders SET state = $1, data = $2, error = $3, updated_at = $4 WHERE id = $5")
        .bind(state.to_owned())
        .bind(json_text(&order.data))
        .bind(error.map(str::to_owned))
        .bind(now_ms())
        .bind(order.id.to_string())
        .execute(tx)
        .await
        .map(drop)
}

/// The number is nobody's from now on.
async fn free(tx: &mut AnyConnection, order: &Order, status: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE numbers SET status = $1, released_at = $2, updated_at = $2, next_bill_at = NULL, version = version + 1
         WHERE id = $3 AND released_at IS NULL",
    )
    .bind(status.to_owned())
    .bind(now_ms())
    .bind(order.number.map(|id| id.to_string()))
    .execute(tx)
    .await
    .map(drop)
}

async fn tell(tx: &mut AnyConnection, order: &Order, kind: Name, more: Value) -> Result<(), sqlx::Error> {
    let mut data = json!({
        "id": order.number.map(|id| id.to_string()),
        "order_id": order.id.to_string(),
        "e164": order.e164,
        "carrier": order.carrier,
    });
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    emit(tx, NewEvent { tenant: order.tenant, livemode: true, kind, data }).await
}
