//! Legs to which a call is handed over (API §5.2): a second item in the lease of the call, by the rate of their own number.

use domain::CallId;
use sqlx::{AnyConnection, Row as _};

use super::{
    Item, NotAdmitted,
    caps::{self, Room, Whose},
    destination::{self, Tenant},
    lease::{self, By, GRACE_MS, Lease, WINDOW_MS, take},
    ledger::Purse,
    rates::{self, Found},
    terms::{LegTerms, Span, Spans, Terms},
};
use crate::store::{Store, json_text};

/// A leg that asks for credit.
#[derive(Clone, Debug)]
pub struct LegAdmission {
    /// The call that is handed over.
    pub call: CallId,
    /// The leg's row.
    pub leg: String,
    /// The dialled address, by whose prefix it is priced.
    pub address: String,
    /// Conversation so far.
    pub elapsed_ms: i64,
}

impl Store {
    /// Admits a leg: its first minute is held with that of the call, whole or not at all. The leg of a call that runs without a lease
    /// is priced when the call is settled.
    pub async fn admit_leg(&self, wanted: &LegAdmission, at_ms: i64) -> Result<(), NotAdmitted> {
        let mut db = self.pool().acquire().await?;
        let call = wanted.call.to_string();
        let Some(owner) = lease::find(&mut db, By::Call(&call)).await? else { return Ok(()) };
        drop(db);
        let mut tx = self.begin_ahead().await?;
        let mut purse = Purse::open(&mut tx, owner.tenant, owner.livemode).await?;
        let Some(lease) = lease::find(&mut tx, By::Id(&owner.id)).await?.filter(|lease| lease.open) else {
            return Err(NotAdmitted::NoCredit);
        };
        if lease.terms.legs.iter().any(|leg| leg.id == wanted.leg) {
            return Ok(());
        }
        let tenant = Tenant::read(&mut tx, lease.tenant).await?;
        let item = Item::TransferLeg.as_str();
        let found = destination::outgoing(&mut tx, lease.tenant, &tenant, item, &wanted.address, at_ms).await?;
        let rate = found.map_err(NotAdmitted::Forbidden)?;
        let elapsed_ms = wanted.elapsed_ms.max(0);
        let (mut terms, mut spans) = (lease.terms.clone(), running(&mut tx, &lease, elapsed_ms).await?);
        // Those that nobody answered cost nothing any more.
        let kept: Vec<bool> = spans.iter().map(Option::is_some).collect();
        terms.legs = terms.legs.into_iter().zip(&kept).filter_map(|(leg, kept)| kept.then_some(leg)).collect();
        spans.retain(Option::is_some);
        let country = caps::country(&wanted.address);
        let whose = Whose { id: lease.tenant, tenant: &tenant, country: country.as_deref(), number: None };
        for cap in caps::current(&mut tx, whose, at_ms).await? {
            if cap.country().is_some() && terms.caps.iter().all(|other| other.scope != cap.scope) {
                terms.caps.push(cap);
            }
        }
        terms.legs.push(LegTerms { id: wanted.leg.clone(), rate: rate.charged(lease.livemode), country });
        spans.push(Some(Span { from_ms: elapsed_ms, until_ms: None }));
        let room = caps::room(&mut tx, lease.tenant, &terms.caps).await?;
        let cover = terms.hold(i64::MAX, &Room::default(), elapsed_ms.saturating_add(WINDOW_MS), &spans);
        let added = (cover.held_micros - lease.held).max(0);
        if purse.spendable() < added {
            return Err(NotAdmitted::NoCredit);
        }
        if room.total < added || cover.limit.is_some() || !terms.fits(cover.covered_ms, &spans, &room) {
            return Err(NotAdmitted::SpendCap);
        }
        let counts = terms.count(added, cover.covered_ms, &spans);
        let answered_at = lease.answered_at.unwrap_or(at_ms - elapsed_ms);
        sqlx::query(
            "UPDATE leases SET rate = $1, held_micros = $2, covered_ms = $3, final = 0, evidence_at = $4, expires_at = $5
             WHERE id = $6 AND state = 'open'",
        )
        .bind(json_text(&terms))
        .bind(lease.held + added)
        .bind(cover.covered_ms)
        .bind(at_ms)
        .bind(answered_at.saturating_add(cover.covered_ms).saturating_add(GRACE_MS))
        .bind(lease.id.clone())
        .execute(&mut *tx)
        .await?;
        take(&mut tx, &mut purse, &lease, added, &counts, format!("{}:leg:{}", lease.id, wanted.leg), at_ms).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// A leg's row, in ms of conversation.
struct Row {
    id: String,
    address: String,
    over_trunk: bool,
    answered_ms: Option<i64>,
    ended_ms: Option<i64>,
}

async fn rows(db: &mut AnyConnection, call: &str) -> Result<Vec<Row>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT l.id, l.address, l.trunk_id, l.answered_at, l.ended_at, c.answered_at AS zero
         FROM call_legs l JOIN calls c ON c.id = l.call_id WHERE l.call_id = $1 AND l.role IN ('transfer','consult')
         ORDER BY l.started_at, l.id",
    )
    .bind(call.to_owned())
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let zero: Option<i64> = row.try_get("zero")?;
            let at = |column: &str| -> Result<Option<i64>, sqlx::Error> {
                let at: Option<i64> = row.try_get(column)?;
                Ok(at.zip(zero).map(|(at, zero)| (at - zero).max(0)))
            };
            Ok(Row {
                id: row.try_get("id")?,
                address: row.try_get("address")?,
                over_trunk: row.try_get::<Option<String>, _>("trunk_id")?.is_some(),
                answered_ms: at("answered_at")?,
                ended_ms: at("ended_at")?,
            })
        })
        .collect()
}

/// When the legs of a running call were up. One that is being rung up may be answered at this moment.
pub(crate) async fn running(db: &mut AnyConnection, lease: &Lease, elapsed_ms: i64) -> Result<Spans, sqlx::Error> {
    if lease.terms.legs.is_empty() {
        return Ok(Spans::new());
    }
    let rows = rows(db, &lease.call).await?;
    let span = |leg: &LegTerms| match rows.iter().find(|row| row.id == leg.id) {
        Some(Row { answered_ms: Some(from_ms), ended_ms, .. }) => Some(Span { from_ms: *from_ms, until_ms: *ended_ms }),
        Some(Row { answered_ms: None, ended_ms: Some(_), .. }) => None,
        _ => Some(Span { from_ms: elapsed_ms, until_ms: None }),
    };
    Ok(lease.terms.legs.iter().map(span).collect())
}

/// The terms of a call that is over, with when its legs were up; a leg that was begun while there was no lease gets the rate of now.
pub(crate) async fn over(db: &mut AnyConnection, lease: &Lease, at_ms: i64) -> Result<(Terms, Spans), sqlx::Error> {
    let mut terms = lease.terms.clone();
    let rows = rows(db, &lease.call).await?;
    for row in rows.iter().filter(|row| row.over_trunk && row.answered_ms.is_some()) {
        if terms.legs.iter().any(|leg| leg.id == row.id) {
            continue;
        }
        let tenant = Tenant::read(db, lease.tenant).await?;
        let item = Item::TransferLeg.as_str();
        // It was carried already: what the plan does not price is carried for nothing.
        if let Found::Rate(rate) = rates::find(db, &tenant.plan, item, &row.address, at_ms).await? {
            let (rate, country) = (rate.charged(lease.livemode), caps::country(&row.address));
            terms.legs.push(LegTerms { id: row.id.clone(), rate, country });
        }
    }
    let span = |leg: &LegTerms| {
        let row = rows.iter().find(|row| row.id == leg.id)?;
        Some(Span { from_ms: row.answered_ms?, until_ms: row.ended_ms })
    };
    let spans = terms.legs.iter().map(span).collect();
    Ok((terms, spans))
}
