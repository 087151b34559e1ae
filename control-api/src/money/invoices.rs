//! Monthly statements: what a tenant used in a month of its own time zone, a line for each thing, rounded to cents once.

use domain::{TenantId, event::Name};
use serde_json::json;
use sqlx::{Row as _, any::AnyRow};

use super::{calendar, cost, statement::Group};
use crate::{
    outbox::{NewEvent, emit},
    store::{
        Store, fresh_id,
        page::{Bound, Page},
    },
};

/// Calls that ended in the month's last minutes may still be on their way into the books for so long.
const SETTLING_MS: i64 = 86_400_000;

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invoice {
    pub(crate) id: String,
    pub(crate) number: String,
    /// `2026-11`.
    pub(crate) period: String,
    pub(crate) state: String,
    pub(crate) total_micros: i64,
    pub(crate) total_cents: i64,
    pub(crate) currency: String,
    pub(crate) created_at: i64,
    pub(crate) finalized_at: Option<i64>,
}

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvoiceLine {
    pub(crate) item: String,
    pub(crate) label: String,
    pub(crate) quantity: i64,
    pub(crate) amount_micros: i64,
}

const COLUMNS: &str = "id, number, period, state, total_micros, total_cents, currency, created_at, finalized_at";

fn read(row: &AnyRow) -> Result<Invoice, sqlx::Error> {
    Ok(Invoice {
        id: row.try_get(0)?,
        number: row.try_get(1)?,
        period: row.try_get(2)?,
        state: row.try_get(3)?,
        total_micros: row.try_get(4)?,
        total_cents: row.try_get(5)?,
        currency: row.try_get(6)?,
        created_at: row.try_get(7)?,
        finalized_at: row.try_get(8)?,
    })
}

impl Store {
    pub(crate) async fn invoices(&self, tenant: TenantId, page: &Page) -> Result<Vec<Invoice>, sqlx::Error> {
        let conditions = vec![("i.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let (sql, values) = page.finish(format!("SELECT {COLUMNS} FROM invoices i WHERE 1 = 1"), "i", conditions);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    pub(crate) async fn invoice(
        &self,
        tenant: TenantId,
        id: &str,
    ) -> Result<Option<(Invoice, Vec<InvoiceLine>)>, sqlx::Error> {
        let sql = format!("SELECT {COLUMNS} FROM invoices WHERE id = $1 AND tenant_id = $2");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id.to_owned())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        let Some(invoice) = row.as_ref().map(read).transpose()? else { return Ok(None) };
        let rows = sqlx::query(
            "SELECT item, label, quantity, amount_micros FROM invoice_lines WHERE invoice_id = $1 ORDER BY n",
        )
        .bind(id.to_owned())
        .fetch_all(self.pool())
        .await?;
        let lines = rows
            .iter()
            .map(|row| {
                Ok(InvoiceLine {
                    item: row.try_get(0)?,
                    label: row.try_get(1)?,
                    quantity: row.try_get(2)?,
                    amount_micros: row.try_get(3)?,
                })
            })
            .collect::<Result<_, sqlx::Error>>()?;
        Ok(Some((invoice, lines)))
    }

    /// Writes a tenant's statement of a month, once; none for a month in which nothing was used.
    pub async fn write_statement(
        &self,
        tenant: TenantId,
        month: &str,
        at_ms: i64,
    ) -> Result<Option<String>, sqlx::Error> {
        let Some((first, last)) = calendar::month_days(month) else { return Ok(None) };
        let (first, last) = (first.to_string(), last.to_string());
        let written = sqlx::query("SELECT 1 FROM invoices WHERE tenant_id = $1 AND period = $2")
            .bind(tenant.to_string())
            .bind(month.to_owned())
            .fetch_optional(self.pool())
            .await?;
        if written.is_some() {
            return Ok(None);
        }
        let sums = self.usage(tenant, true, (&first, &last), Group::Item, false).await?;
        if sums.is_empty() {
            return Ok(None);
        }
        let total_micros: i64 = sums.iter().map(|sum| sum.amount).sum();
        let total_cents = (total_micros + 5_000) / 10_000;
        let id = fresh_id();
        let mut tx = self.begin().await?;
        // Whose number is taken tries the next one; numbers have no holes, because a statement that exists already takes none.
        let count: i64 = sqlx::query("SELECT COUNT(*) FROM invoices WHERE period = $1")
            .bind(month.to_owned())
            .fetch_one(&mut *tx)
            .await?
            .try_get(0)?;
        let mut made = 0;
        for n in count + 1..count + 50 {
            let new = sqlx::query(
                "INSERT INTO invoices (id, tenant_id, number, period, state, total_micros, total_cents, created_at, finalized_at)
                 SELECT $1, $2, $3, $4, 'paid', $5, $6, $7, $7
                 WHERE NOT EXISTS (SELECT 1 FROM invoices WHERE tenant_id = $2 AND period = $4) ON CONFLICT DO NOTHING",
            )
            .bind(id.clone())
            .bind(tenant.to_string())
            .bind(format!("{month}-{n:05}"))
            .bind(month.to_owned())
            .bind(total_micros)
            .bind(total_cents)
            .bind(at_ms)
            .execute(&mut *tx)
            .await?;
            made = new.rows_affected();
            let exists = sqlx::query("SELECT 1 FROM invoices WHERE tenant_id = $1 AND period = $2")
                .bind(tenant.to_string())
                .bind(month.to_owned())
                .fetch_optional(&mut *tx)
                .await?;
            if made == 1 || exists.is_some() {
                break;
            }
        }
        if made == 0 {
            return Ok(None);
        }
        for (n, sum) in sums.iter().enumerate() {
            sqlx::query(
                "INSERT INTO invoice_lines (invoice_id, n, item, label, quantity, amount_micros) VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(id.clone())
            .bind(n as i64 + 1)
            .bind(sum.item.clone())
            .bind(cost::label(&sum.item).to_owned())
            .bind(sum.quantity)
            .bind(sum.amount)
            .execute(&mut *tx)
            .await?;
        }
        let data = json!({"invoice_id": id, "period": month, "total_micros": total_micros});
        emit(&mut tx, NewEvent { tenant, livemode: true, kind: Name::InvoiceCreated, data }).await?;
        tx.commit().await?;
        self.ring();
        Ok(Some(id))
    }

    /// Writes the statements of the last month of every tenant, where a day has passed since.
    pub async fn write_statements(&self, at_ms: i64) -> Result<u32, sqlx::Error> {
        let rows = sqlx::query("SELECT id, timezone FROM tenants ORDER BY id").fetch_all(self.pool()).await?;
        let mut written = 0;
        for row in rows {
            let (id, zone): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let Ok(tenant) = id.parse() else { continue };
            let month = calendar::month_before(at_ms - SETTLING_MS, &calendar::zone(&zone));
            written += u32::from(self.write_statement(tenant, &month, at_ms).await?.is_some());
        }
        Ok(written)
    }
}
