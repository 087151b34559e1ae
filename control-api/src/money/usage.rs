//! What was used: one record per call and thing, summed by day in the same transaction.

use domain::{CallId, TenantId};
use sqlx::{AnyConnection, Row as _};

use super::{
    calendar,
    price::price_of,
    rates::{self, Found},
};
use crate::store::{fresh_id, storable};

/// Something a call used, as it was counted on the way: seconds heard, tokens, characters spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// `stt_s`, `llm_in_token`, `llm_out_token`, `tts_char`, …
    pub item: &'static str,
    /// The vendor and model, `deepgram/nova-3`.
    pub provider: String,
    /// Pieces of it.
    pub quantity: i64,
    /// What the vendor takes for it by the operator's price table.
    pub vendor_micros: i64,
}

/// One record to be written.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) livemode: bool,
    pub(crate) call: Option<&'a str>,
    pub(crate) item: &'a str,
    pub(crate) provider: &'a str,
    pub(crate) quantity: i64,
    pub(crate) amount_micros: i64,
    pub(crate) vendor_micros: i64,
    pub(crate) dedupe_key: String,
    pub(crate) at_ms: i64,
}

/// Writes a record and its day, once per key. The tenant's purse is open, so the day's row is not fought over.
pub(crate) async fn record(db: &mut AnyConnection, record: &Record<'_>) -> Result<bool, sqlx::Error> {
    let zone: String = sqlx::query("SELECT timezone FROM tenants WHERE id = $1")
        .bind(record.tenant.to_string())
        .fetch_one(&mut *db)
        .await?
        .try_get(0)?;
    let day = calendar::day(record.at_ms, &calendar::zone(&zone));
    let (tenant, livemode) = (record.tenant.to_string(), i64::from(record.livemode));
    let (item, provider) = (storable(record.item), storable(record.provider));
    let new = sqlx::query(
        "INSERT INTO usage_records (id, tenant_id, call_id, livemode, item, provider, quantity, amount_micros, vendor_micros, day,
           dedupe_key, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (dedupe_key) DO NOTHING",
    )
    .bind(fresh_id())
    .bind(tenant.clone())
    .bind(record.call.map(str::to_owned))
    .bind(livemode)
    .bind(item.clone())
    .bind(provider.clone())
    .bind(record.quantity)
    .bind(record.amount_micros)
    .bind(record.vendor_micros)
    .bind(day.clone())
    .bind(record.dedupe_key.clone())
    .bind(record.at_ms)
    .execute(&mut *db)
    .await?;
    if new.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO usage_daily (tenant_id, livemode, day, item, provider, quantity, amount_micros, vendor_micros, records)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)
         ON CONFLICT (tenant_id, livemode, day, item, provider) DO UPDATE SET quantity = usage_daily.quantity + excluded.quantity,
           amount_micros = usage_daily.amount_micros + excluded.amount_micros,
           vendor_micros = usage_daily.vendor_micros + excluded.vendor_micros, records = usage_daily.records + 1",
    )
    .bind(tenant)
    .bind(livemode)
    .bind(day)
    .bind(item)
    .bind(provider)
    .bind(record.quantity)
    .bind(record.amount_micros)
    .bind(record.vendor_micros)
    .execute(&mut *db)
    .await?;
    Ok(true)
}

/// Writes what a call used, at the plan's price where the plan has one, and what it cost the house.
pub(crate) async fn of_call(
    db: &mut AnyConnection,
    tenant: TenantId,
    livemode: bool,
    call: CallId,
    used: &[Used],
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let plan: String = sqlx::query("SELECT rate_plan_id FROM tenants WHERE id = $1")
        .bind(tenant.to_string())
        .fetch_one(&mut *db)
        .await?
        .try_get(0)?;
    let id = call.to_string();
    let mut vendor = 0_i64;
    for Used { item, provider, quantity, vendor_micros } in used.iter().filter(|used| used.quantity > 0) {
        let amount_micros = match rates::find(db, &plan, item, "", at_ms).await? {
            Found::Rate(rate) if livemode => price_of(&rate, *quantity),
            _ => 0,
        };
        let (quantity, vendor_micros) = (*quantity, *vendor_micros);
        let dedupe_key = format!("{id}:{item}:{provider}");
        let one = Record {
            tenant,
            livemode,
            call: Some(&id),
            item,
            provider,
            quantity,
            amount_micros,
            vendor_micros,
            dedupe_key,
            at_ms,
        };
        if record(db, &one).await? {
            vendor = vendor.saturating_add(vendor_micros);
        }
    }
    sqlx::query("UPDATE calls SET vendor_micros = vendor_micros + $1 WHERE id = $2")
        .bind(vendor)
        .bind(id)
        .execute(db)
        .await
        .map(drop)
}

/// What the tenant owes for the things that a call used, beside the talk itself.
pub(crate) async fn owed(db: &mut AnyConnection, call: &str) -> Result<i64, sqlx::Error> {
    sqlx::query("SELECT CAST(COALESCE(SUM(amount_micros), 0) AS BIGINT) FROM usage_records WHERE call_id = $1")
        .bind(call.to_owned())
        .fetch_one(db)
        .await?
        .try_get(0)
}
