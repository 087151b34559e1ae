//! The lease: a call's hold on credit. Opened before the call is admitted, renewed while it lasts, settled once when it is over.
//!
//! A hold is made whole or not at all, and always before the seconds that it pays for, so a prepaid tenant can never be overdrawn.

use domain::{CallId, TenantId};
use serde_json::json;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    Admission, Cover, Grant, Limit, NotAdmitted, NotRenewed,
    caps::{self, Period, Room, Whose},
    destination::{self, Tenant},
    ledger::{Account, Kind, LedgerError, Purse, Txn},
    legs,
    price::{self, Rate},
    rates::{self, Found},
    terms::{LegTerms, Terms},
};
use crate::{
    seal,
    store::{Store, fresh_id, json_text, storable},
};

/// How far ahead a lease pays.
pub(crate) const WINDOW_MS: i64 = 60_000;
/// How often it is renewed; the rest of the window is grace for a slow store.
pub const RENEW_AFTER_MS: i64 = 45_000;
/// How often a final lease asks whether there is credit again.
pub const FINAL_AFTER_MS: i64 = 5_000;
/// How long before the cut the caller hears the warning.
pub const WARN_MS: i64 = 15_000;
/// A lease is an orphan's when its cover ended this long ago.
pub(crate) const GRACE_MS: i64 = 30_000;
/// How long a call may ring.
const RINGING_MS: i64 = 120_000;

/// A row of `leases`.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    pub(crate) livemode: bool,
    pub(crate) call: String,
    pub(crate) terms: Terms,
    pub(crate) open: bool,
    pub(crate) held: i64,
    pub(crate) covered_ms: i64,
    pub(crate) renewals: i64,
    pub(crate) is_final: bool,
    pub(crate) opened_at: i64,
    pub(crate) answered_at: Option<i64>,
    pub(crate) expires_at: i64,
    charged: i64,
    pub(crate) refunded: i64,
    late: i64,
    uncollected: i64,
}

const COLUMNS: &str =
    "id, tenant_id, livemode, call_id, rate, state, held_micros, covered_ms, renewals, final, opened_at, answered_at,
    expires_at, charged_micros, refunded_micros, late_micros, uncollected_micros";

/// By which column a lease is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By<'a> {
    Id(&'a str),
    Call(&'a str),
    /// The SHA-256 of its token.
    Token(&'a str),
}

pub(crate) async fn find(db: &mut AnyConnection, by: By<'_>) -> Result<Option<Lease>, sqlx::Error> {
    let (column, value) = match by {
        By::Id(id) => ("id", id),
        By::Call(call) => ("call_id", call),
        By::Token(hash) => ("token_hash", hash),
    };
    let sql = format!("SELECT {COLUMNS} FROM leases WHERE {column} = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &AnyRow) -> Result<Lease, sqlx::Error> {
    let broken = |what: &str| sqlx::Error::Decode(format!("lease with a broken {what}").into());
    let amount = |column: &str| Ok::<i64, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.unwrap_or(0));
    Ok(Lease {
        id: row.try_get("id")?,
        tenant: row.try_get::<String, _>("tenant_id")?.parse().map_err(|_| broken("tenant"))?,
        livemode: row.try_get::<i64, _>("livemode")? != 0,
        call: row.try_get("call_id")?,
        terms: serde_json::from_str(&row.try_get::<String, _>("rate")?).map_err(|_| broken("rate"))?,
        open: row.try_get::<String, _>("state")? == "open",
        held: row.try_get("held_micros")?,
        covered_ms: row.try_get("covered_ms")?,
        renewals: row.try_get("renewals")?,
        is_final: row.try_get::<i64, _>("final")? != 0,
        opened_at: row.try_get("opened_at")?,
        answered_at: row.try_get("answered_at")?,
        expires_at: row.try_get("expires_at")?,
        charged: amount("charged_micros")?,
        refunded: amount("refunded_micros")?,
        late: row.try_get("late_micros")?,
        uncollected: row.try_get("uncollected_micros")?,
    })
}

/// The rate of a call and what it must hold beside it. Test traffic costs nothing, but goes only where live traffic may.
async fn terms(
    db: &mut AnyConnection,
    admission: &Admission,
    tenant: &Tenant,
    at_ms: i64,
) -> Result<Terms, NotAdmitted> {
    if admission.item.is_outgoing() {
        let allowed = destination::allowed(db, admission.tenant, tenant, &admission.address).await?;
        allowed.map_err(NotAdmitted::Forbidden)?;
    }
    let items = [admission.item.as_str(), "hold_per_min"];
    let [found, beside] = rates::find_two(db, &tenant.plan, items, &admission.address, at_ms).await?;
    let rate = match found {
        found if admission.item.is_outgoing() => destination::priced(tenant, found).map_err(NotAdmitted::Forbidden)?,
        Found::Rate(rate) => rate,
        Found::Blocked | Found::Nothing => return Err(NotAdmitted::Forbidden(destination::Forbidden::NoRate)),
    };
    let rate = rate.charged(admission.livemode);
    let hold_per_min = match beside {
        Found::Rate(beside) => price::price_of(&beside.charged(admission.livemode), 60),
        _ => 0,
    };
    let country = if admission.item.is_outgoing() { caps::country(&admission.address) } else { None };
    let max_cost_micros = admission.max_cost_micros;
    Ok(Terms { rate, hold_per_min, max_cost_micros, caps: Vec::new(), country, legs: Vec::new() })
}

/// The caps that a call counts in.
async fn caps_of(
    db: &mut AnyConnection,
    admission: &Admission,
    tenant: &Tenant,
    terms: &Terms,
    at_ms: i64,
) -> Result<Vec<Period>, sqlx::Error> {
    let country = terms.country.as_deref();
    caps::current(db, Whose { id: admission.tenant, tenant, country, number: admission.number }, at_ms).await
}

impl Store {
    /// Admits a call: credit, caps, the tenant's number of calls and the lease in one transaction. A second admission of the same
    /// call finds the first.
    pub async fn admit(&self, admission: &Admission, at_ms: i64) -> Result<Grant, NotAdmitted> {
        let secret = self.secret().await?;
        // Admissions of one tenant wait for its purse; they shall not wait on every connection that there is.
        let _seat = self.admissions().acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let mut tx = self.begin_ahead().await?;
        let tenant = Tenant::read(&mut tx, admission.tenant).await?;
        let mut terms = terms(&mut tx, admission, &tenant, at_ms).await?;
        let mut purse = Purse::open(&mut tx, admission.tenant, admission.livemode).await?;
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM leases WHERE tenant_id = $1 AND state = 'open'), (SELECT COUNT(*) FROM leases WHERE call_id = $2)",
        )
        .bind(admission.tenant.to_string())
        .bind(admission.call.to_string())
        .fetch_one(&mut *tx)
        .await?;
        let (open, known): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if known > 0
            && let Some(lease) = find(&mut tx, By::Call(&admission.call.to_string())).await?
        {
            return Ok(grant(&lease, None, &secret));
        }
        terms.caps = caps_of(&mut tx, admission, &tenant, &terms, at_ms).await?;
        let cover = terms.hold(i64::MAX, &Room::default(), WINDOW_MS, &[]);
        if purse.spendable() < cover.held_micros {
            return Err(NotAdmitted::NoCredit);
        }
        let room = caps::room(&mut tx, admission.tenant, &terms.caps).await?;
        // A ceiling of the agent below its first step would be a call of no length.
        if room.total < cover.held_micros || !terms.fits(cover.covered_ms, &[], &room) || cover.covered_ms == 0 {
            return Err(NotAdmitted::SpendCap);
        }
        if open >= tenant.max_calls {
            return Err(NotAdmitted::Concurrency { max: tenant.max_calls });
        }
        let counts = terms.count(cover.held_micros, cover.covered_ms, &[]);
        let affordable = match cover.held_micros {
            0 => i64::MAX,
            held => purse.spendable().min(room.total) / held - 1,
        };
        let spare = affordable.min(tenant.max_calls - open - 1);
        let lease = insert(&mut tx, admission, terms, &cover, &secret, at_ms).await?;
        take(&mut tx, &mut purse, &lease, cover.held_micros, &counts, format!("{}:open", lease.id), at_ms).await?;
        tx.commit().await?;
        Ok(grant(&lease, Some(spare), &secret))
    }

    /// Notes when a call was answered: cover counts from here.
    pub async fn lease_answered(&self, lease: &str, at_ms: i64) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE leases SET answered_at = $1, evidence_at = $1, expires_at = $1 + covered_ms + $2
             WHERE id = $3 AND state = 'open' AND answered_at IS NULL",
        )
        .bind(at_ms)
        .bind(GRACE_MS)
        .bind(lease.to_owned())
        .execute(self.writers())
        .await
        .map(drop)
    }

    /// Extends a call's cover to a window beyond `elapsed_ms` of conversation, or as far as the credit reaches. The lease of a call
    /// that was admitted while the store was away is found by its call.
    pub async fn renew(&self, call: CallId, elapsed_ms: i64, at_ms: i64) -> Result<Cover, NotRenewed> {
        renew(self, By::Call(&call.to_string()), elapsed_ms, at_ms).await
    }
}

pub(crate) async fn renew(store: &Store, by: By<'_>, elapsed_ms: i64, at_ms: i64) -> Result<Cover, NotRenewed> {
    let mut db = store.pool().acquire().await?;
    let owner = find(&mut db, by).await?.ok_or(NotRenewed::Unknown)?;
    drop(db);
    let mut tx = store.begin_ahead().await?;
    let mut purse = Purse::open(&mut tx, owner.tenant, owner.livemode).await?;
    // Read again under the purse: nobody else moves this lease now.
    let lease = find(&mut tx, By::Id(&owner.id)).await?.filter(|lease| lease.open).ok_or(NotRenewed::Closed)?;
    let room = caps::room(&mut tx, lease.tenant, &lease.terms.caps).await?;
    let budget = lease.held.saturating_add(purse.spendable().min(room.total.max(0)));
    let target_ms = elapsed_ms.max(0).saturating_add(WINDOW_MS);
    let (mut terms, spans) = (lease.terms.clone(), legs::running(&mut tx, &lease, elapsed_ms.max(0)).await?);
    let mut cover = terms.hold(budget, &room, target_ms, &spans);
    cover.added_micros = (cover.held_micros - lease.held).max(0);
    cover.held_micros = lease.held + cover.added_micros;
    cover.covered_ms = cover.covered_ms.max(lease.covered_ms);
    let counts = terms.count(cover.added_micros, cover.covered_ms, &spans);
    let answered_at = lease.answered_at.unwrap_or(at_ms - elapsed_ms.max(0));
    sqlx::query(
        "UPDATE leases SET held_micros = $1, covered_ms = $2, renewals = renewals + 1, final = $3, answered_at = $4, renewed_at = $5,
           evidence_at = $5, expires_at = $6, rate = $7 WHERE id = $8 AND state = 'open'",
    )
    .bind(cover.held_micros)
    .bind(cover.covered_ms)
    .bind(i64::from(cover.limit.is_some()))
    .bind(answered_at)
    .bind(at_ms)
    .bind(answered_at.saturating_add(cover.covered_ms).saturating_add(GRACE_MS))
    .bind(json_text(&terms))
    .bind(lease.id.clone())
    .execute(&mut *tx)
    .await?;
    let key = format!("{}:renew:{}", lease.id, lease.renewals + 1);
    take(&mut tx, &mut purse, &lease, cover.added_micros, &counts, key, at_ms).await?;
    tx.commit().await?;
    Ok(cover)
}

/// Opens the lease of a call that was admitted while the store was away: with what there is, refusing nothing.
pub(crate) async fn open_late(
    db: &mut AnyConnection,
    secret: &[u8; 32],
    admission: &Admission,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let mut purse = Purse::open(db, admission.tenant, admission.livemode).await?;
    if find(db, By::Call(&admission.call.to_string())).await?.is_some() {
        return Ok(());
    }
    let tenant = Tenant::read(db, admission.tenant).await?;
    let mut terms = match terms(db, admission, &tenant, at_ms).await {
        Ok(terms) => terms,
        Err(NotAdmitted::Store(error)) => return Err(error),
        // The call is up already: a destination that the plan does not price is carried for nothing.
        Err(_) => free(&tenant.plan, admission),
    };
    terms.caps = caps_of(db, admission, &tenant, &terms, at_ms).await?;
    let room = caps::room(db, admission.tenant, &terms.caps).await?;
    let cover = terms.hold(purse.spendable().min(room.total.max(0)), &room, WINDOW_MS, &[]);
    let counts = terms.count(cover.held_micros, cover.covered_ms, &[]);
    let lease = insert(db, admission, terms, &cover, secret, at_ms).await?;
    match take(db, &mut purse, &lease, cover.held_micros, &counts, format!("{}:open", lease.id), at_ms).await {
        Ok(()) => Ok(()),
        Err(LedgerError::Sql(error)) => Err(error),
        Err(error) => Err(sqlx::Error::Protocol(error.to_string())),
    }
}

/// Terms that cost nothing.
fn free(plan: &str, admission: &Admission) -> Terms {
    let rate = Rate::flat(plan, admission.item.as_str(), 0);
    let max_cost_micros = admission.max_cost_micros;
    Terms { rate, hold_per_min: 0, max_cost_micros, caps: Vec::new(), country: None, legs: Vec::new() }
}

async fn insert(
    db: &mut AnyConnection,
    admission: &Admission,
    terms: Terms,
    cover: &Cover,
    secret: &[u8; 32],
    at_ms: i64,
) -> Result<Lease, sqlx::Error> {
    let lease = Lease {
        id: fresh_id(),
        tenant: admission.tenant,
        livemode: admission.livemode,
        call: admission.call.to_string(),
        terms,
        open: true,
        held: cover.held_micros,
        covered_ms: cover.covered_ms,
        renewals: 0,
        is_final: cover.limit.is_some(),
        opened_at: at_ms,
        answered_at: None,
        expires_at: at_ms + RINGING_MS + GRACE_MS,
        charged: 0,
        refunded: 0,
        late: 0,
        uncollected: 0,
    };
    sqlx::query(
        "INSERT INTO leases (id, tenant_id, call_id, livemode, token_hash, node_id, boot_id, rate, state, held_micros, covered_ms, final,
           opened_at, renewed_at, evidence_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open', $9, $10, $11, $12, $12, $12, $13)",
    )
    .bind(lease.id.clone())
    .bind(lease.tenant.to_string())
    .bind(lease.call.clone())
    .bind(i64::from(lease.livemode))
    .bind(seal::sha256_hex(token(&lease.id, secret).as_bytes()))
    .bind(storable(&admission.node))
    .bind(admission.boot.to_string())
    .bind(json_text(&lease.terms))
    .bind(lease.held)
    .bind(lease.covered_ms)
    .bind(i64::from(lease.is_final))
    .bind(at_ms)
    .bind(lease.expires_at)
    .execute(db)
    .await?;
    Ok(lease)
}

/// Moves an amount from available to held, and counts it in the caps.
pub(crate) async fn take(
    db: &mut AnyConnection,
    purse: &mut Purse,
    lease: &Lease,
    amount: i64,
    counts: &[(Period, i64)],
    idem_key: String,
    at_ms: i64,
) -> Result<(), LedgerError> {
    let txn = Txn {
        kind: Kind::Hold,
        idem_key,
        call: Some(&lease.call),
        lease: Some(&lease.id),
        payment: None,
        memo: json!({}),
        actor: "system",
        at_ms,
        entries: &[(Account::Available, -amount), (Account::Held, amount)],
    };
    purse.post(db, txn).await?;
    caps::count(db, lease.tenant, counts).await?;
    Ok(())
}

/// The secret name of a lease for workers outside of this process. It follows from the lease, so that asking twice gives the same.
fn token(lease: &str, secret: &[u8; 32]) -> String {
    format!("lt_{}", seal::hex(&seal::hmac(secret, format!("lease\n{lease}").as_bytes())))
}

/// A lease that is new says how many more such there could be.
fn grant(lease: &Lease, spare: Option<i64>, secret: &[u8; 32]) -> Grant {
    Grant {
        id: lease.id.clone(),
        token: token(&lease.id, secret),
        held_micros: lease.held,
        covered_ms: lease.covered_ms,
        // A hold at admission is made whole, but for a ceiling of the agent's own.
        limit: lease.is_final.then_some(Limit::Cost),
        expires_at_ms: lease.expires_at,
        rate: serde_json::to_value(&lease.terms.rate).unwrap_or_default(),
        is_new: spare.is_some(),
        spare: spare.unwrap_or(0),
    }
}

/// How a lease was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Taken from the hold and, where the hold was too small, from what was available.
    pub(crate) charged: i64,
    /// Given back of the hold.
    pub(crate) refunded: i64,
    /// What nobody could pay. It is noted and never becomes a debt.
    pub(crate) uncollected: i64,
    pub(crate) billed_s: i64,
}

/// Closes a lease for a conversation of so long. The first close counts; a later one returns what the first did. The purse is open.
pub(crate) async fn settle(
    db: &mut AnyConnection,
    purse: &mut Purse,
    lease: &Lease,
    duration_ms: i64,
    by: &'static str,
    at_ms: i64,
) -> Result<Settled, LedgerError> {
    if !lease.open {
        let charged = lease.charged + lease.late;
        return Ok(Settled { charged, refunded: lease.refunded, uncollected: lease.uncollected, billed_s: 0 });
    }
    let billed_s = price::billed_s(&lease.terms.rate, duration_ms);
    let (terms, spans) = legs::over(db, lease, at_ms).await?;
    let talk = price::price(&terms.rate, duration_ms);
    let used = super::usage::owed(db, &lease.call).await?;
    let owed = terms.cost_of_legs(duration_ms, &spans).saturating_add(talk).saturating_add(used);
    let charged = owed.min(lease.held);
    let refunded = lease.held - charged;
    let late = (owed - charged).min(purse.spendable());
    let uncollected = owed - charged - late;
    sqlx::query(
        "UPDATE leases SET state = $1, closed_at = $2, closed_by = $3, charged_micros = $4, refunded_micros = $5, late_micros = $6,
           uncollected_micros = $7 WHERE id = $8 AND state = 'open'",
    )
    .bind(if charged == 0 { "released" } else { "settled" })
    .bind(at_ms)
    .bind(by)
    .bind(charged)
    .bind(refunded)
    .bind(late)
    .bind(uncollected)
    .bind(lease.id.clone())
    .execute(&mut *db)
    .await?;
    let txn = |kind, key: &str, entries| Txn {
        kind,
        idem_key: format!("{}:{key}", lease.id),
        call: Some(&lease.call),
        lease: Some(&lease.id),
        payment: None,
        memo: json!({"billed_s": billed_s}),
        actor: "system",
        at_ms,
        entries,
    };
    let entries = [(Account::Available, refunded), (Account::Held, -lease.held), (Account::Revenue, charged)];
    purse.post(db, txn(Kind::Settle, "settle", &entries)).await?;
    let entries = [(Account::Available, -late), (Account::Revenue, late)];
    purse.post(db, txn(Kind::LateCharge, "late", &entries)).await?;
    let counts = terms.returns(refunded, talk.saturating_add(used), duration_ms, &spans);
    caps::count(db, lease.tenant, &counts).await?;
    // What nobody could pay is missing from the last items first.
    let left = charged + late - used;
    let talk = talk.min(left);
    let mut left = left - talk;
    for (leg, ms) in terms.talks(duration_ms, &spans) {
        let amount_micros = price::price(&leg.rate, ms).min(left);
        left -= amount_micros;
        note_leg(db, lease, leg, price::billed_s(&leg.rate, ms), amount_micros, at_ms).await?;
    }
    note_call(db, lease, charged + late, talk, uncollected, billed_s, at_ms).await?;
    Ok(Settled { charged: charged + late, refunded, uncollected, billed_s })
}

/// The call's row and the record of its talk: together with the records of what it used, exactly what the ledger took.
async fn note_call(
    db: &mut AnyConnection,
    lease: &Lease,
    charged: i64,
    talk: i64,
    uncollected: i64,
    billed_s: i64,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE calls SET charged_micros = $1, uncollected_micros = $2, billed_s = $3 WHERE id = $4")
        .bind(charged)
        .bind(uncollected)
        .bind(billed_s)
        .bind(lease.call.clone())
        .execute(&mut *db)
        .await?;
    if billed_s == 0 && talk == 0 {
        return Ok(());
    }
    let record = super::usage::Record {
        tenant: lease.tenant,
        livemode: lease.livemode,
        call: Some(&lease.call),
        item: &lease.terms.rate.item,
        provider: "",
        quantity: billed_s,
        amount_micros: talk,
        vendor_micros: 0,
        dedupe_key: format!("{}:talk", lease.id),
        at_ms,
    };
    super::usage::record(db, &record).await.map(drop)
}

/// The record of a leg's talk.
async fn note_leg(
    db: &mut AnyConnection,
    lease: &Lease,
    leg: &LegTerms,
    billed_s: i64,
    amount_micros: i64,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    if billed_s == 0 && amount_micros == 0 {
        return Ok(());
    }
    let record = super::usage::Record {
        tenant: lease.tenant,
        livemode: lease.livemode,
        call: Some(&lease.call),
        item: &leg.rate.item,
        provider: "",
        quantity: billed_s,
        amount_micros,
        vendor_micros: 0,
        dedupe_key: format!("{}:leg:{}", lease.id, leg.id),
        at_ms,
    };
    super::usage::record(db, &record).await.map(drop)
}
