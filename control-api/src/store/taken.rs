//! What agents take down: a booking holds a slot that no other standing booking of the tenant holds; a message holds words.

use domain::{CallId, TakenId, TenantId};
use serde_json::Value;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    Store, fresh_id, json_text,
    page::{Bound, Page},
    storable,
};
use crate::time::now_ms;

/// A booked slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Booking {
    /// Its id.
    pub id: TakenId,
    /// The call on which it was made.
    pub call: CallId,
    /// What is unique, e.g. `2026-11-24T10:00`.
    pub slot_key: String,
    /// Name, number and whatever else was asked.
    pub data: Value,
    /// Unix time, ms.
    pub created_at_ms: i64,
    /// Unix time, ms.
    pub canceled_at_ms: Option<i64>,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its id.
    pub id: TakenId,
    /// The call on which it was taken.
    pub call: CallId,
    /// The words, and whom to call back.
    pub data: Value,
    /// Unix time, ms.
    pub created_at_ms: i64,
}

/// Somebody has the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slot is taken")]
pub struct SlotTaken;

/// Why nothing was booked.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Somebody has the slot: offer another.
    #[error(transparent)]
    SlotTaken(#[from] SlotTaken),
    /// The store failed: nothing is booked.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
}

impl Store {
    /// Books a slot, or says that it is taken: two callers cannot both have it, whatever they do at once.
    /// The event `booking.created` is the caller's to journal, with its data.
    pub async fn book(
        &self,
        tenant: TenantId,
        call: CallId,
        slot_key: &str,
        data: Value,
    ) -> Result<Booking, TakeError> {
        let (id, now, slot) = (fresh_id(), now_ms(), storable(slot_key));
        let made = sqlx::query(
            "INSERT INTO taken (id, tenant_id, call_id, kind, slot_key, data, created_at) VALUES ($1, $2, $3, 'booking', $4, $5, $6)
             ON CONFLICT (tenant_id, slot_key) WHERE slot_key IS NOT NULL AND canceled_at IS NULL DO NOTHING",
        )
        .bind(&id)
        .bind(tenant.to_string())
        .bind(call.to_string())
        .bind(&slot)
        .bind(json_text(&data))
        .bind(now)
        .execute(self.writers())
        .await?;
        if made.rows_affected() == 0 {
            return Err(SlotTaken.into());
        }
        let id = id.parse().map_err(|_| sqlx::Error::Decode("id is no uuid".into()))?;
        Ok(Booking { id, call, slot_key: slot, data, created_at_ms: now, canceled_at_ms: None })
    }

    /// The slots from `first` to `last` (both included, compared as text) that are taken.
    pub async fn taken_slots(&self, tenant: TenantId, first: &str, last: &str) -> Result<Vec<String>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT slot_key FROM taken WHERE tenant_id = $1 AND slot_key >= $2 AND slot_key <= $3 AND canceled_at IS NULL
             ORDER BY slot_key",
        )
        .bind(tenant.to_string())
        .bind(first.to_owned())
        .bind(last.to_owned())
        .fetch_all(self.pool())
        .await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    /// Keeps a message. The event `message.taken` is the caller's to journal.
    pub async fn take_message(&self, tenant: TenantId, call: CallId, data: Value) -> Result<Message, TakeError> {
        let (id, now) = (fresh_id(), now_ms());
        sqlx::query(
            "INSERT INTO taken (id, tenant_id, call_id, kind, data, created_at) VALUES ($1, $2, $3, 'message', $4, $5)",
        )
        .bind(&id)
        .bind(tenant.to_string())
        .bind(call.to_string())
        .bind(json_text(&data))
        .bind(now)
        .execute(self.writers())
        .await?;
        let id = id.parse().map_err(|_| sqlx::Error::Decode("id is no uuid".into()))?;
        Ok(Message { id, call, data, created_at_ms: now })
    }

    /// A page of bookings, one more than asked if there are more.
    pub(crate) async fn bookings(&self, tenant: TenantId, page: &Page) -> Result<Vec<Booking>, sqlx::Error> {
        let rows = self.taken(tenant, "booking", page).await?;
        rows.iter().map(read_booking).collect()
    }

    /// A page of messages, one more than asked if there are more.
    pub(crate) async fn messages(&self, tenant: TenantId, page: &Page) -> Result<Vec<Message>, sqlx::Error> {
        let rows = self.taken(tenant, "message", page).await?;
        rows.iter()
            .map(|row| {
                Ok(Message {
                    id: id(row, "id")?.into(),
                    call: id(row, "call_id")?.into(),
                    data: data(row)?,
                    created_at_ms: row.try_get("created_at")?,
                })
            })
            .collect()
    }

    /// Gives a slot back inside the caller's transaction: the booking, and whether it stood until now. None if the tenant has no such.
    pub(crate) async fn cancel_booking(
        tx: &mut AnyConnection,
        tenant: TenantId,
        booking: TakenId,
        now_ms: i64,
    ) -> Result<Option<(Booking, bool)>, sqlx::Error> {
        let canceled = sqlx::query(
            "UPDATE taken SET canceled_at = $1 WHERE id = $2 AND tenant_id = $3 AND kind = 'booking' AND canceled_at IS NULL",
        )
        .bind(now_ms)
        .bind(booking.to_string())
        .bind(tenant.to_string())
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let row = sqlx::query(
            "SELECT id, call_id, slot_key, data, created_at, canceled_at FROM taken WHERE id = $1 AND tenant_id = $2 AND kind = 'booking'",
        )
        .bind(booking.to_string())
        .bind(tenant.to_string())
        .fetch_optional(tx)
        .await?;
        row.as_ref().map(|row| Ok((read_booking(row)?, canceled == 1))).transpose()
    }

    async fn taken(&self, tenant: TenantId, kind: &str, page: &Page) -> Result<Vec<AnyRow>, sqlx::Error> {
        let sql = "SELECT k.id, k.call_id, k.slot_key, k.data, k.created_at, k.canceled_at FROM taken k WHERE 1 = 1"
            .to_owned();
        let conditions = vec![
            ("k.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string())),
            ("k.kind = {}".to_owned(), Bound::Text(kind.to_owned())),
        ];
        let (sql, values) = page.finish(sql, "k", conditions);
        self.fetch(sql, values).await
    }
}

fn read_booking(row: &AnyRow) -> Result<Booking, sqlx::Error> {
    Ok(Booking {
        id: id(row, "id")?.into(),
        call: id(row, "call_id")?.into(),
        slot_key: row.try_get::<Option<String>, _>("slot_key")?.unwrap_or_default(),
        data: data(row)?,
        created_at_ms: row.try_get("created_at")?,
        canceled_at_ms: row.try_get("canceled_at")?,
    })
}

fn id(row: &AnyRow, column: &str) -> Result<uuid::Uuid, sqlx::Error> {
    row.try_get::<String, _>(column)?.parse().map_err(|_| sqlx::Error::Decode("id is no uuid".into()))
}

fn data(row: &AnyRow) -> Result<Value, sqlx::Error> {
    Ok(serde_json::from_str(&row.try_get::<String, _>("data")?).unwrap_or(Value::Null))
}
