//! Bringing numbers over from other carriers, as one job that comes again until nothing of a request is open.
//!
//! Each round asks the carrier, which finds what an earlier round did before it does anything, and stores what is new: the numbers'
//! states, an event for each, the next round, all in one transaction. So a round may be done twice. A number that has arrived is pointed
//! at us before it is `active`; its rent begins with that moment. One that does not come is nobody's again, and its fee is given back.

use std::path::PathBuf;

use domain::{NumberId, OrderId, TenantId, event::Name};
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe};

use super::{
    Carrier, CarrierError, Carriers,
    porting::{Bill, Form, PortState, Request, Seen, Wanted},
};
use crate::{
    BoxFuture, Context, Fault, Handler, Job, NewEvent, NewJob, NodeKey, Store, emit,
    jobs::{Terms, enqueue_on},
    money::{
        ledger::{Account, Kind, LedgerError, Purse, Txn},
        usage,
    },
    routing::rows::ports::{self, PortRow, Requested},
    seal,
    store::{json_text, storable},
};

/// The kind of the jobs.
const KIND: &str = "number.port";
/// A round that the store spoils is done again for as long as it takes: an order without a job would stand still for ever.
const ATTEMPTS: i64 = 1_000_000;
/// Pauses between rounds, ms.
const SHORTEST_MS: i64 = 60_000;
const LONGEST_MS: i64 = 3_600_000;
/// The pause after a carrier did not answer, doubled with each further time.
const FIRST_MISS_MS: i64 = 5_000;
/// A bill at most, bytes.
const BILL_BYTES: i64 = 10 << 20;

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

async fn next(tx: &mut AnyConnection, tenant: TenantId, round: Round, at_ms: i64) -> Result<(), sqlx::Error> {
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
    let entries = [(Account::Available, -sign * amount), (Account::Revenue, sign * amount)];
    let txn = Txn {
        kind: Kind::Charge,
        idem_key: key.clone(),
        call: None,
        lease: None,
        payment: None,
        memo: json!({ "number_order": order.to_string(), "back": back.is_some() }),
        actor: "system",
        at_ms,
        entries: &entries,
    };
    if amount > 0 && purse.post(tx, txn).await? {
        let record = usage::Record {
            tenant,
            livemode: true,
            call: None,
            item: "number_port",
            provider: "",
            quantity: sign,
            amount_micros: sign * amount,
            vendor_micros: 0,
            dedupe_key: key,
            at_ms,
        };
        usage::record(tx, &record).await?;
    }
    Ok(())
}

/// Where a request is in its rounds.
#[derive(Clone, Copy)]
struct Round {
    order: OrderId,
    n: i64,
    misses: i64,
}

/// Brings numbers over.
#[derive(Debug)]
pub(crate) struct NumberPorts {
    pub(crate) carriers: Carriers,
    pub(crate) seal: NodeKey,
    pub(crate) folder: PathBuf,
}

impl Handler for NumberPorts {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let order = job.payload["order_id"].as_str().and_then(|id| id.parse::<OrderId>().ok());
            let order = order.ok_or_else(|| Fault::Never("no order is named".into()))?;
            let number = |name: &str| job.payload[name].as_i64().unwrap_or(0);
            let round = Round { order, n: number("round"), misses: number("misses") };
            self.round(context, round).await
        })
    }
}

/// What a round found out.
#[derive(Default)]
struct Found {
    seen: Vec<Seen>,
    /// Numbers whose calling off was refused, and why.
    too_late: Vec<(NumberId, String)>,
    /// Names of numbers that have arrived.
    arrived: Vec<(String, String)>,
    /// Why the carrier has to be asked again soon.
    missed: Option<String>,
}

impl NumberPorts {
    async fn round(&self, context: &Context, round: Round) -> Result<(), Fault> {
        let store = &context.store;
        let Some(request) = store.port_request(round.order).await? else {
            return Err(Fault::Never("no such order".into()));
        };
        let rows = store.ports_of(&[round.order]).await?.remove(&round.order.to_string()).unwrap_or_default();
        let open: Vec<&PortRow> = rows.iter().filter(|row| row.state.open()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let form = self.form(round.order, &request)?;
        let mut found = Found::default();
        let again = request.data["handed_in"] == true;
        if !again && open.iter().all(|row| row.cancel_asked) {
            // Nobody has heard of it yet.
            found.seen = open.iter().map(|row| Seen::new(&row.e164, PortState::Canceled)).collect();
        } else if let Some(carrier) = self.carriers.get(&request.carrier) {
            if !again {
                // First the word that it may be there, then the deed.
                let mut data = request.data.clone();
                data["handed_in"] = json!(true);
                sqlx::query("UPDATE number_orders SET data = $1 WHERE id = $2")
                    .bind(json_text(&data))
                    .bind(round.order.to_string())
                    .execute(store.pool())
                    .await
                    .map_err(Fault::from)?;
            }
            self.ask(store, carrier.as_ref(), (round.order, &request, &form, again), &open, &mut found).await?;
        } else {
            found.missed = Some(format!("no account with {} is configured", request.carrier));
        }
        self.store(context, round, &request, &form, &rows, found).await
    }

    fn form(&self, order: OrderId, request: &Requested) -> Result<Form, Fault> {
        let sealed = request.sealed.as_deref().unwrap_or_default();
        let opened = seal::open(&self.seal, ("number_orders", &order.to_string(), "sealed"), sealed);
        let opened = opened.map_err(|error| Fault::Again(error.to_string()))?;
        serde_json::from_slice(&opened).map_err(|_| Fault::Never("the form of a port request cannot be read".into()))
    }

    /// Asks the carrier for everything that is open.
    async fn ask(
        &self,
        store: &Store,
        carrier: &dyn Carrier,
        (order, request, form, again): (OrderId, &Requested, &Form, bool),
        open: &[&PortRow],
        found: &mut Found,
    ) -> Result<(), Fault> {
        let wanted: Vec<Wanted> = open
            .iter()
            .filter_map(|row| {
                let e164 = row.e164.parse().ok()?;
                Some(Wanted { e164, port_ref: row.port_ref.clone(), called_off: row.cancel_asked })
            })
            .collect();
        let bill = match request.data["bill_file_id"].as_str() {
            Some(file) if wanted.iter().any(|number| number.port_ref.is_none()) => {
                match self.bill(store, file).await? {
                    Ok(bill) => bill,
                    Err(why) => {
                        found.missed = Some(why);
                        return Ok(());
                    }
                }
            }
            _ => None,
        };
        let reference = order.to_string();
        let asked = Request {
            reference: &reference,
            asked_at_ms: request.created_at,
            again,
            form,
            bill: bill.as_ref(),
            numbers: &wanted,
        };
        found.seen = match carrier.port(&asked).await {
            Ok(seen) => seen,
            Err(error) => {
                found.missed = Some(error.to_string());
                return Ok(());
            }
        };
        for row in open {
            let Some(at) = found.seen.iter().position(|seen| seen.e164 == row.e164) else { continue };
            let seen = found.seen[at].clone();
            if seen.state == PortState::Completed {
                match arrive(carrier, row).await {
                    Ok(name) => found.arrived.push((row.e164.clone(), name)),
                    Err(CarrierError::Refused(why)) => {
                        let why = format!("the number is there, but cannot be pointed at us: {why}");
                        found.seen[at] = Seen { state: PortState::Exception, ..seen }.because(why);
                    }
                    Err(error) => {
                        found.seen.swap_remove(at);
                        found.missed = Some(error.to_string());
                    }
                }
            } else if let (true, true, false, Some(name)) =
                (row.cancel_asked, seen.state.open(), seen.leaving, &seen.port_ref)
            {
                let others = |other: &&&PortRow| {
                    let known = found.seen.iter().find(|seen| seen.e164 == other.e164);
                    !other.cancel_asked
                        && known.is_some_and(|seen| seen.state.open() && seen.port_ref.as_ref() == Some(name))
                };
                if carrier.indivisible() && open.iter().any(|other| others(&other)) {
                    // The answer to handing it in was lost, and it was called off alone before anybody knew.
                    found.too_late.push((row.number, "the carrier calls off a request only whole".into()));
                    continue;
                }
                match carrier.call_off(name, false).await {
                    // The next round sees it gone.
                    Ok(()) => found.missed = found.missed.take().or_else(|| Some(String::new())),
                    Err(CarrierError::Busy(why)) => found.missed = Some(why),
                    Err(error) => found.too_late.push((row.number, error.to_string())),
                }
            }
        }
        Ok(())
    }

    /// A bill, or why it cannot be read now. None: it is past its days.
    async fn bill(&self, store: &Store, file: &str) -> Result<Result<Option<Bill>, String>, Fault> {
        let row = store.file(file).await?.filter(|row| row.state == "ready" && row.bytes <= Some(BILL_BYTES));
        let Some((row, locator)) = row.and_then(|row| row.locator.clone().map(|locator| (row, locator))) else {
            return Ok(Ok(None));
        };
        let name = locator.rsplit('/').next().unwrap_or("bill").to_owned();
        Ok(match tokio::fs::read(self.folder.join(&locator)).await {
            Ok(bytes) => Ok(Some(Bill { name, content_type: row.content_type, bytes })),
            // Files lie on the disk of one node; that one gets the round sooner or later.
            Err(error) => Err(format!("the bill cannot be read on this node: {}", error.kind())),
        })
    }

    /// Stores what a round found out, and leaves the next.
    async fn store(
        &self,
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
            let mut new = row.clone();
            if let Some(seen) = seen {
                new.state = seen.state;
                new.port_ref = seen.port_ref.clone().or_else(|| row.port_ref.clone());
                new.foc_date = seen.foc_date.clone().or_else(|| row.foc_date.clone());
                new.reason = seen.reason.as_deref().map(|reason| form.without_secrets(reason));
                if !seen.state.open() && row.cancel_asked && seen.state == PortState::Canceled {
                    new.reason = None;
                }
            }
            if let Some((_, why)) = late {
                new.reason = Some(format!("it cannot be called off any more: {}", form.without_secrets(why)));
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
            let at = self.next_at(&mut tx, round, &after, found.missed.is_some(), now).await?;
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
        &self,
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
        if missed {
            let pause = FIRST_MISS_MS.saturating_mul(1 << round.misses.clamp(0, 20));
            return Ok(now + pause.min(LONGEST_MS));
        }
        let quiet = after.iter().map(|row| row.updated_at).max().map_or(0, |at| now - at);
        Ok(now + (quiet / 4).clamp(SHORTEST_MS, LONGEST_MS))
    }
}

/// Sends a number's calls to us; its name at the carrier.
async fn arrive(carrier: &dyn Carrier, row: &PortRow) -> Result<String, CarrierError> {
    let number = row.e164.parse().map_err(|_| CarrierError::Refused("not a number".into()))?;
    let name = carrier.owned(&number).await?;
    let name = name.ok_or_else(|| CarrierError::Busy("the number is ported, but not in the account yet".into()))?;
    carrier.point(&name).await?;
    Ok(name)
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
