//! What a call cost and why (API §3.4).

use serde::Serialize;
use serde_json::Value;
use sqlx::{AnyConnection, Row as _};
use utoipa::ToSchema;

use super::{
    lease::{self, By},
    legs, price,
};

/// The cost of a call; while it lasts, as if it ended now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Cost {
    /// Settled: nothing will change any more.
    #[serde(rename = "final")]
    pub(crate) is_final: bool,
    /// `USD`.
    pub(crate) currency: &'static str,
    pub(crate) charged_micros: i64,
    /// Rounded half up to cents.
    pub(crate) display: String,
    /// What nobody could pay when the store had been away.
    pub(crate) uncollected_micros: i64,
    pub(crate) duration_ms: i64,
    pub(crate) billed_s: i64,
    /// The rate, frozen at admission.
    #[schema(value_type = Option<Object>)]
    pub(crate) rate: Option<Value>,
    pub(crate) lines: Vec<CostLine>,
    pub(crate) vendor: VendorCost,
    pub(crate) lease: Option<LeaseBrief>,
}

/// One thing that was charged.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CostLine {
    pub(crate) item: String,
    pub(crate) label: String,
    pub(crate) quantity: i64,
    /// `s`, `token`, `char` or `piece`.
    pub(crate) unit: &'static str,
    pub(crate) amount_micros: i64,
}

/// What the vendors take, by the operator's price table.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct VendorCost {
    pub(crate) micros: i64,
    pub(crate) estimated: bool,
    pub(crate) lines: Vec<VendorLine>,
}

/// One thing that a vendor takes money for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct VendorLine {
    pub(crate) item: String,
    pub(crate) provider: String,
    pub(crate) quantity: i64,
    pub(crate) micros: i64,
}

/// The hold behind it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LeaseBrief {
    pub(crate) held_micros: i64,
    pub(crate) refunded_micros: i64,
    pub(crate) renewals: i64,
}

/// The unit in which an item is counted.
pub(crate) fn unit(item: &str) -> &'static str {
    match item {
        "voice_in" | "voice_out" | "web" | "transfer_leg" | "stt_s" | "realtime_s" | "recording_s" => "s",
        "llm_in_token" | "llm_out_token" => "token",
        "tts_char" => "char",
        "number_month" => "month",
        _ => "piece",
    }
}

/// What a person calls an item.
pub(crate) fn label(item: &str) -> &str {
    match item {
        "voice_in" => "Inbound calls",
        "voice_out" => "Outbound calls",
        "web" => "Web calls",
        "transfer_leg" => "Transferred legs",
        "stt_s" => "Speech recognition",
        "llm_in_token" => "Model input",
        "llm_out_token" => "Model output",
        "tts_char" => "Synthesised speech",
        "realtime_s" => "Realtime model",
        "recording_s" => "Recordings",
        "analysis" => "Call analysis",
        "number_month" => "Number rent",
        "number_port" => "Numbers brought over",
        other => other,
    }
}

/// The cost of a call that its tenant has been found to own.
pub(crate) async fn of_call(db: &mut AnyConnection, call: &str, now_ms: i64) -> Result<Option<Cost>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT answered_at, ended_at, duration_ms, billed_s, charged_micros, uncollected_micros, vendor_micros FROM calls WHERE id = $1",
    )
    .bind(call.to_owned())
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let lease = lease::find(db, By::Call(call)).await?;
    let is_final =
        row.try_get::<Option<i64>, _>("ended_at")?.is_some() && lease.as_ref().is_none_or(|lease| !lease.open);
    let mut cost = Cost {
        is_final,
        currency: "USD",
        charged_micros: row.try_get("charged_micros")?,
        display: String::new(),
        uncollected_micros: row.try_get("uncollected_micros")?,
        duration_ms: row.try_get("duration_ms")?,
        billed_s: row.try_get("billed_s")?,
        rate: lease.as_ref().and_then(|lease| serde_json::to_value(&lease.terms.rate).ok()),
        lines: Vec::new(),
        vendor: VendorCost { micros: row.try_get("vendor_micros")?, estimated: true, lines: Vec::new() },
        lease: lease.as_ref().map(|lease| LeaseBrief {
            held_micros: lease.held,
            refunded_micros: lease.refunded,
            renewals: lease.renewals,
        }),
    };
    let rows = sqlx::query(
        "SELECT item, provider, quantity, amount_micros, vendor_micros FROM usage_records WHERE call_id = $1 ORDER BY created_at, id",
    )
    .bind(call.to_owned())
    .fetch_all(&mut *db)
    .await?;
    for row in rows {
        let (item, provider): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (quantity, amount_micros, micros) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        if amount_micros != 0 || provider.is_empty() {
            let label = match &lease {
                Some(lease) if lease.terms.rate.item == item && !lease.terms.rate.name.is_empty() => {
                    lease.terms.rate.name.clone()
                }
                _ => label(&item).to_owned(),
            };
            cost.lines.push(CostLine { unit: unit(&item), label, item: item.clone(), quantity, amount_micros });
        }
        if !provider.is_empty() {
            cost.vendor.lines.push(VendorLine { item, provider, quantity, micros });
        }
    }
    if let (Some(lease), Some(answered), false) = (&lease, row.try_get::<Option<i64>, _>("answered_at")?, is_final) {
        cost.duration_ms = now_ms - answered;
        cost.billed_s = price::billed_s(&lease.terms.rate, cost.duration_ms);
        let spans = legs::running(db, lease, cost.duration_ms).await?;
        let legs = lease.terms.cost_of_legs(cost.duration_ms, &spans);
        cost.charged_micros = price::price(&lease.terms.rate, cost.duration_ms).saturating_add(legs);
    }
    cost.display = price::display(cost.charged_micros);
    Ok(Some(cost))
}

impl crate::Store {
    /// The cost of a call.
    pub(crate) async fn cost(&self, call: domain::CallId) -> Result<Option<Cost>, sqlx::Error> {
        let mut db = self.pool().acquire().await?;
        of_call(&mut db, &call.to_string(), crate::now_ms()).await
    }
}
