//! What the gateway's events do. Tenant and amount come from our own row, never from the event; each event and each payment counts once.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    money::{
        NotMoved,
        ledger::{LedgerError, Purse},
        payments::{self, Payment},
        subscriptions,
    },
    store::Store,
};

/// An event as the gateway sends it; what is not read is not kept.
#[derive(Clone, Debug, Deserialize)]
pub struct GatewayEvent {
    /// `evt_…`
    pub id: String,
    /// `checkout.session.completed` …
    #[serde(rename = "type")]
    pub kind: String,
    /// Real money.
    pub livemode: bool,
    data: Data,
}

#[derive(Clone, Debug, Deserialize)]
struct Data {
    object: Value,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// It moved money or a state.
    Applied,
    /// It had come before, or a sibling had done the same.
    Known,
    /// It is of a kind, a payment or a mode that is none of ours.
    Ignored,
    /// Its amount or currency is not what we asked for: nothing was credited, somebody must look.
    Mismatch,
}

impl EventOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Known => "known",
            Self::Ignored => "ignored",
            Self::Mismatch => "mismatch",
        }
    }
}

impl GatewayEvent {
    fn text(&self, key: &str) -> Option<&str> {
        self.data.object.get(key)?.as_str()
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.data.object.get(key)?.as_i64()
    }

    /// Of what subscription an invoice is; where it stands depends on the version of the API.
    fn subscription(&self) -> Option<&str> {
        let of_parent = self.data.object.pointer("/parent/subscription_details/subscription");
        self.text("subscription").or_else(|| of_parent?.as_str())
    }

    /// What an invoice pays for, Unix ms: the time of its line, for its own is that of the month before.
    fn period(&self) -> Option<(i64, i64)> {
        let line = self.data.object.pointer("/lines/data/0/period");
        let seconds = |key: &str| {
            let of_line = line.and_then(|line| line.get(key)?.as_i64());
            Some(of_line.or_else(|| self.number(&format!("period_{key}")))?.saturating_mul(1000))
        };
        Some((seconds("start")?, seconds("end")?))
    }

    /// Our own name for a payment that was begun without a page: we wrote it there with our secret key.
    fn our_payment(&self) -> Option<&str> {
        self.data.object.pointer("/metadata/payment_id")?.as_str().filter(|_| self.kind.starts_with("payment_intent."))
    }

    /// By what the payment is found: the object itself, or the payment that it is about.
    fn reference(&self) -> Option<&str> {
        match self.kind.split('.').next()? {
            "checkout" | "payment_intent" => self.text("id"),
            "charge" => self.text("payment_intent"),
            _ => None,
        }
    }
}

impl Store {
    /// Applies an event whose signature was checked.
    pub async fn gateway_event(&self, event: &GatewayEvent, at_ms: i64) -> Result<EventOutcome, NotMoved> {
        let mut db = self.pool().acquire().await?;
        let payment = find(&mut db, event).await?;
        drop(db);
        let mut tx = self.begin().await?;
        let Some(payment) = payment.filter(|payment| payment.livemode == event.livemode) else {
            let outcome = about_subscription(&mut tx, event, at_ms).await?;
            if !note(&mut tx, event, outcome, at_ms).await? {
                return Ok(EventOutcome::Known);
            }
            tx.commit().await?;
            self.ring();
            return Ok(outcome);
        };
        let mut purse = Purse::open(&mut tx, payment.tenant, payment.livemode).await?;
        // Under the purse nobody else moves this payment.
        let payment = find(&mut tx, event).await?.unwrap_or(payment);
        if !note(&mut tx, event, EventOutcome::Applied, at_ms).await? {
            return Ok(EventOutcome::Known);
        }
        let outcome = apply(&mut tx, &mut purse, event, &payment, at_ms).await?;
        if outcome != EventOutcome::Applied {
            sqlx::query("UPDATE gateway_events SET outcome = $1 WHERE gateway = 'stripe' AND event_id = $2")
                .bind(outcome.as_str())
                .bind(event.id.clone())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        self.ring();
        Ok(outcome)
    }
}

/// The payment that an event is about.
async fn find(db: &mut sqlx::AnyConnection, event: &GatewayEvent) -> Result<Option<Payment>, sqlx::Error> {
    if let Some(reference) = event.reference()
        && let Some(payment) = payments::by_reference(db, reference).await?
    {
        return Ok(Some(payment));
    }
    // The event of a stored card's charge can be faster than the answer to it, and the answer can be lost.
    match event.our_payment() {
        Some(id) => payments::unnamed(db, id).await,
        None => Ok(None),
    }
}

/// Remembers the event; false if it had come before.
async fn note(
    db: &mut sqlx::AnyConnection,
    event: &GatewayEvent,
    outcome: EventOutcome,
    at_ms: i64,
) -> Result<bool, sqlx::Error> {
    let new = sqlx::query(
        "INSERT INTO gateway_events (gateway, event_id, type, outcome, received_at) VALUES ('stripe', $1, $2, $3, $4)
         ON CONFLICT (gateway, event_id) DO NOTHING",
    )
    .bind(crate::store::storable(&event.id))
    .bind(crate::store::storable(&event.kind))
    .bind(outcome.as_str())
    .bind(at_ms)
    .execute(db)
    .await?;
    Ok(new.rows_affected() == 1)
}

async fn apply(
    db: &mut sqlx::AnyConnection,
    purse: &mut Purse,
    event: &GatewayEvent,
    payment: &Payment,
    at_ms: i64,
) -> Result<EventOutcome, LedgerError> {
    let open = matches!(payment.state.as_str(), "open" | "failed" | "expired");
    match event.kind.as_str() {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            if event.text("payment_status") != Some("paid") {
                return Ok(EventOutcome::Ignored);
            }
            let reference = event.text("payment_intent").unwrap_or(&payment.id);
            credit(db, purse, event, payment, reference, event.number("amount_total"), at_ms).await
        }
        "payment_intent.succeeded" => {
            let reference = event.text("id").unwrap_or_default();
            credit(db, purse, event, payment, reference, event.number("amount_received"), at_ms).await
        }
        "payment_intent.payment_failed" | "checkout.session.async_payment_failed" if open => {
            payments::fail(db, payment, "failed", at_ms).await?;
            Ok(EventOutcome::Applied)
        }
        "checkout.session.expired" if open => {
            payments::fail(db, payment, "expired", at_ms).await?;
            Ok(EventOutcome::Applied)
        }
        "charge.refunded" if !open => {
            let minor = event.number("amount_refunded").unwrap_or(0);
            let refunded = payments::credit_micros(minor, &payment.currency, payment.fx_ppm);
            let moved = payments::refunded_outside(db, purse, payment, refunded, at_ms).await?;
            Ok(if moved { EventOutcome::Applied } else { EventOutcome::Known })
        }
        "charge.dispute.created" => {
            payments::dispute(db, payment, at_ms).await?;
            Ok(EventOutcome::Applied)
        }
        "charge.dispute.closed" if payment.state == "disputed" => {
            let lost = match event.text("status") {
                Some("won" | "warning_closed") => None,
                Some("lost") => event.number("amount"),
                _ => return Ok(EventOutcome::Ignored),
            };
            payments::dispute_closed(db, purse, payment, lost, at_ms).await?;
            Ok(EventOutcome::Applied)
        }
        _ => Ok(EventOutcome::Ignored),
    }
}

/// Events of subscriptions; the gateway keeps their clock and their dunning.
async fn about_subscription(
    db: &mut sqlx::AnyConnection,
    event: &GatewayEvent,
    at_ms: i64,
) -> Result<EventOutcome, LedgerError> {
    let reference = match event.kind.as_str() {
        "invoice.paid" | "invoice.payment_failed" => event.subscription(),
        "checkout.session.completed"
        | "checkout.session.expired"
        | "customer.subscription.updated"
        | "customer.subscription.deleted" => event.text("id"),
        _ => None,
    };
    // Plans are bought with real money only.
    let Some(reference) = reference.filter(|_| event.livemode) else { return Ok(EventOutcome::Ignored) };
    // The purse comes before the row; whose it is does not change.
    let Some(known) = subscriptions::by_reference(db, reference).await? else { return Ok(EventOutcome::Ignored) };
    let mut purse = Purse::open(db, known.tenant, true).await?;
    let subscription = subscriptions::by_reference(db, reference).await?.unwrap_or(known);
    let applied = match event.kind.as_str() {
        "checkout.session.completed" => match event.text("subscription") {
            Some(gateway_ref) => subscriptions::begin(db, &mut purse, &subscription, gateway_ref, at_ms).await?,
            None => false,
        },
        "checkout.session.expired" => subscriptions::given_up(db, &subscription, at_ms).await?,
        "invoice.paid" => {
            let invoice = subscriptions::PaidInvoice {
                id: event.text("id").unwrap_or(&event.id),
                reason: event.text("billing_reason").unwrap_or("subscription_cycle"),
                period: event.period(),
            };
            subscriptions::renewed(db, &mut purse, &subscription, invoice, at_ms).await?
        }
        "invoice.payment_failed" => {
            subscriptions::stands(db, &mut purse, &subscription, "past_due", None, at_ms).await?
        }
        "customer.subscription.deleted" => {
            subscriptions::stands(db, &mut purse, &subscription, "canceled", None, at_ms).await?
        }
        _ => {
            let state = match event.text("status") {
                Some("active" | "trialing") => "active",
                Some("past_due" | "unpaid") => "past_due",
                Some("canceled" | "incomplete_expired") => "canceled",
                _ => return Ok(EventOutcome::Ignored),
            };
            let ends = event.data.object.get("cancel_at_period_end").and_then(Value::as_bool);
            subscriptions::stands(db, &mut purse, &subscription, state, ends, at_ms).await?
        }
    };
    Ok(if applied { EventOutcome::Applied } else { EventOutcome::Known })
}

async fn credit(
    db: &mut sqlx::AnyConnection,
    purse: &mut Purse,
    event: &GatewayEvent,
    payment: &Payment,
    reference: &str,
    amount: Option<i64>,
    at_ms: i64,
) -> Result<EventOutcome, LedgerError> {
    if amount != Some(payment.amount_minor) || event.text("currency") != Some(payment.currency.as_str()) {
        tracing::error!(
            payment = payment.id,
            event = event.id,
            "a payment has another amount than was asked for; nothing is credited"
        );
        return Ok(EventOutcome::Mismatch);
    }
    let new = payments::succeed(db, purse, payment, reference, at_ms).await?;
    Ok(if new { EventOutcome::Applied } else { EventOutcome::Known })
}
