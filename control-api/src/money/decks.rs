//! Rate plans and their decks, as the operator changes them: a deck is replaced as a whole or not at all, and never in the past.

use std::collections::BTreeMap;

use domain::TenantId;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};
use utoipa::ToSchema;

use super::price::Rounding;
use crate::store::{
    Store, fresh_id,
    page::{Bound, Page},
    storable,
};

/// Things that a deck can price.
pub(crate) const ITEMS: &[&str] = &[
    "voice_in",
    "voice_out",
    "web",
    "transfer_leg",
    "stt_s",
    "llm_in_token",
    "llm_out_token",
    "tts_char",
    "realtime_s",
    "recording_s",
    "analysis",
    "number_month",
    "hold_per_min",
];

/// A plan.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RatePlan {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The plan of tenants without another.
    pub(crate) is_default: bool,
    pub(crate) version: i64,
    #[serde(skip)]
    pub(crate) created_at: i64,
}

/// A row of a deck. Everything but the item and the price has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeckRow {
    /// Digits without `+`; "" = everything else.
    #[serde(default)]
    pub(crate) prefix: String,
    pub(crate) item: String,
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) unit_micros: i64,
    #[serde(default = "sixty")]
    pub(crate) per_units: i64,
    #[serde(default)]
    pub(crate) connect_micros: i64,
    #[serde(default = "one")]
    pub(crate) first_s: i64,
    #[serde(default = "one")]
    pub(crate) next_s: i64,
    #[serde(default)]
    pub(crate) free_s: i64,
    #[serde(default)]
    pub(crate) min_micros: i64,
    #[serde(default = "one")]
    pub(crate) quantum_micros: i64,
    /// `up` or `half_up`.
    #[serde(default)]
    #[schema(value_type = String)]
    pub(crate) rounding: Rounding,
    /// Nobody calls there.
    #[serde(default)]
    pub(crate) blocked: bool,
}

const fn sixty() -> i64 {
    60
}

const fn one() -> i64 {
    1
}

impl DeckRow {
    /// What is wrong with it, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        let prefix = &self.prefix;
        if !ITEMS.contains(&self.item.as_str()) {
            return Some(format!("item is one of {}", ITEMS.join(", ")));
        }
        if prefix.len() > 15 || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some("prefix has at most 15 digits and no +".into());
        }
        let amounts = [self.unit_micros, self.connect_micros, self.min_micros, self.free_s, self.first_s];
        if amounts.iter().any(|amount| !(0..=1_000_000_000_000).contains(amount)) {
            return Some("amounts and seconds are not negative and at most 1e12".into());
        }
        if self.per_units < 1 || self.next_s < 1 || self.quantum_micros < 1 {
            return Some("per_units, next_s and quantum_micros are at least 1".into());
        }
        (self.name.chars().count() > 100).then(|| "name has at most 100 characters".into())
    }
}

/// A deck as text, comma separated; the first row names the columns, which may be in any order.
pub(crate) fn from_csv(text: &str) -> Result<Vec<DeckRow>, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().ok_or("the deck is empty")?;
    let columns = cells(header.trim_start_matches('\u{feff}'));
    lines
        .map(|(n, line)| {
            let mut object = serde_json::Map::new();
            let values = cells(line);
            if values.len() != columns.len() {
                return Err(format!("line {}: {} values for {} columns", n + 1, values.len(), columns.len()));
            }
            for (column, value) in columns.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
                let value = match column.as_str() {
                    "prefix" | "item" | "name" | "rounding" => value.into(),
                    "blocked" => matches!(value.as_str(), "1" | "true").into(),
                    _ => {
                        value.parse::<i64>().map_err(|_| format!("line {}: {column} is a whole number", n + 1))?.into()
                    }
                };
                object.insert(column.clone(), value);
            }
            serde_json::from_value(object.into()).map_err(|error| format!("line {}: {error}", n + 1))
        })
        .collect()
}

/// RFC 4180 within one line.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.trim_end_matches('\r').chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                cell.push('"');
                letters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            other => cell.push(other),
        }
    }
    cells.push(cell.trim().to_owned());
    cells
}

/// What a new deck changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct DeckChange {
    pub(crate) added: u32,
    pub(crate) changed: u32,
    pub(crate) ended: u32,
}

/// A row that is in force, as a tenant sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RateView {
    #[serde(skip)]
    pub(crate) id: String,
    #[serde(skip)]
    pub(crate) created_at: i64,
    #[serde(flatten)]
    pub(crate) row: DeckRow,
    pub(crate) starts_at: String,
    pub(crate) ends_at: Option<String>,
}

const ROW: &str = "prefix, item, name, unit_micros, per_units, connect_micros, first_s, next_s, free_s, min_micros, quantum_micros, rounding,
    blocked, id, starts_at, ends_at";

fn row(row: &sqlx::any::AnyRow) -> Result<DeckRow, sqlx::Error> {
    Ok(DeckRow {
        prefix: row.try_get("prefix")?,
        item: row.try_get("item")?,
        name: row.try_get("name")?,
        unit_micros: row.try_get("unit_micros")?,
        per_units: row.try_get("per_units")?,
        connect_micros: row.try_get("connect_micros")?,
        first_s: row.try_get("first_s")?,
        next_s: row.try_get("next_s")?,
        free_s: row.try_get("free_s")?,
        min_micros: row.try_get("min_micros")?,
        quantum_micros: row.try_get("quantum_micros")?,
        rounding: if row.try_get::<String, _>("rounding")? == "half_up" { Rounding::HalfUp } else { Rounding::Up },
        blocked: row.try_get::<i64, _>("blocked")? != 0,
    })
}

impl Store {
    pub(crate) async fn rate_plans(&self, page: &Page) -> Result<Vec<RatePlan>, sqlx::Error> {
        let sql = "SELECT id, name, is_default, version, created_at FROM rate_plans p WHERE 1 = 1".to_owned();
        let (sql, values) = page.finish(sql, "p", Vec::new());
        self.fetch(sql, values).await?.iter().map(plan).collect()
    }

    pub(crate) async fn rate_plan(&self, id: &str) -> Result<Option<RatePlan>, sqlx::Error> {
        let row = sqlx::query("SELECT id, name, is_default, version, created_at FROM rate_plans WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(plan).transpose()
    }

    /// The rows in force for a tenant, by the time they began.
    pub(crate) async fn deck(
        &self,
        tenant: TenantId,
        item: Option<&str>,
        now: i64,
        page: &Page,
    ) -> Result<Vec<RateView>, sqlx::Error> {
        let sql = format!(
            "SELECT {ROW}, created_at FROM (SELECT r.*, r.starts_at AS created_at FROM rates r JOIN tenants t ON t.rate_plan_id = r.plan_id
             WHERE t.id = '{tenant}' AND r.starts_at <= {now} AND (r.ends_at IS NULL OR r.ends_at > {now})) d WHERE 1 = 1"
        );
        let conditions =
            item.map(|item| ("d.item = {}".to_owned(), Bound::Text(item.to_owned()))).into_iter().collect();
        let (sql, values) = page.finish(sql, "d", conditions);
        self.fetch(sql, values)
            .await?
            .iter()
            .map(|found| {
                let starts_at: i64 = found.try_get("starts_at")?;
                Ok(RateView {
                    id: found.try_get("id")?,
                    created_at: starts_at,
                    row: row(found)?,
                    starts_at: crate::time::rfc3339(starts_at),
                    ends_at: found.try_get::<Option<i64>, _>("ends_at")?.map(crate::time::rfc3339),
                })
            })
            .collect()
    }
}

/// Makes a plan without rates.
pub(crate) async fn create(db: &mut AnyConnection, name: &str, at_ms: i64) -> Result<String, sqlx::Error> {
    let id = fresh_id();
    sqlx::query("INSERT INTO rate_plans (id, name, is_default, created_at, updated_at) VALUES ($1, $2, 0, $3, $3)")
        .bind(id.clone())
        .bind(storable(name))
        .bind(at_ms)
        .execute(db)
        .await?;
    Ok(id)
}

/// Renames a plan as it was read; false if it has changed since.
pub(crate) async fn rename(
    db: &mut AnyConnection,
    plan: &RatePlan,
    name: &str,
    at_ms: i64,
) -> Result<bool, sqlx::Error> {
    let named = sqlx::query(
        "UPDATE rate_plans SET name = $1, updated_at = $2, version = version + CASE WHEN name = $1 THEN 0 ELSE 1 END
         WHERE id = $3 AND version = $4",
    )
    .bind(storable(name))
    .bind(at_ms)
    .bind(plan.id.clone())
    .bind(plan.version)
    .execute(db)
    .await?;
    Ok(named.rows_affected() == 1)
}

/// Locks a plan, so that two decks at once are one after the other; gives the version it had.
pub(crate) async fn lock(db: &mut AnyConnection, plan: &str, at_ms: i64) -> Result<Option<i64>, sqlx::Error> {
    let locked =
        sqlx::query("UPDATE rate_plans SET version = version + 1, updated_at = $1 WHERE id = $2 RETURNING version - 1")
            .bind(at_ms)
            .bind(plan.to_owned())
            .fetch_optional(db)
            .await?;
    locked.map(|row| row.try_get(0)).transpose()
}

/// Replaces the deck of a locked plan from `starts_at` on. Calls that run keep the rate in their lease.
pub(crate) async fn replace(
    db: &mut AnyConnection,
    plan: &str,
    deck: &[DeckRow],
    starts_at: i64,
) -> Result<DeckChange, sqlx::Error> {
    // What was announced for later never came into force.
    sqlx::query("DELETE FROM rates WHERE plan_id = $1 AND starts_at > $2")
        .bind(plan.to_owned())
        .bind(starts_at)
        .execute(&mut *db)
        .await?;
    let sql = format!("SELECT {ROW} FROM rates WHERE plan_id = $1 AND (ends_at IS NULL OR ends_at > $2)");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(plan.to_owned()).bind(starts_at).fetch_all(&mut *db).await?;
    let mut old = BTreeMap::new();
    for found in &rows {
        let (id, began): (String, i64) = (found.try_get("id")?, found.try_get("starts_at")?);
        let known = row(found)?;
        old.insert((known.item.clone(), known.prefix.clone()), (id, began, known));
    }
    let mut change = DeckChange::default();
    for new in deck {
        match old.remove(&(new.item.clone(), new.prefix.clone())) {
            Some((id, _, known)) if known == *new => {
                sqlx::query("UPDATE rates SET ends_at = NULL WHERE id = $1 AND ends_at IS NOT NULL")
                    .bind(id)
                    .execute(&mut *db)
                    .await?;
                continue;
            }
            Some((id, began, _)) => {
                end(db, &id, began, starts_at).await?;
                change.changed += 1;
            }
            None => change.added += 1,
        }
        insert(db, plan, new, starts_at).await?;
    }
    for (id, began, _) in old.into_values() {
        end(db, &id, began, starts_at).await?;
        change.ended += 1;
    }
    Ok(change)
}

/// A row that began in the same moment leaves no trace; every other one keeps its past.
async fn end(db: &mut AnyConnection, id: &str, began: i64, at: i64) -> Result<(), sqlx::Error> {
    let sql = if began >= at {
        "DELETE FROM rates WHERE id = $1 AND $2 > 0"
    } else {
        "UPDATE rates SET ends_at = $2 WHERE id = $1"
    };
    sqlx::query(sql).bind(id.to_owned()).bind(at).execute(db).await.map(drop)
}

async fn insert(db: &mut AnyConnection, plan: &str, new: &DeckRow, starts_at: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO rates (id, plan_id, item, prefix, name, unit_micros, per_units, connect_micros, first_s, next_s, free_s, min_micros,
           quantum_micros, rounding, blocked, starts_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(fresh_id())
    .bind(plan.to_owned())
    .bind(new.item.clone())
    .bind(new.prefix.clone())
    .bind(storable(&new.name))
    .bind(new.unit_micros)
    .bind(new.per_units)
    .bind(new.connect_micros)
    .bind(new.first_s)
    .bind(new.next_s)
    .bind(new.free_s)
    .bind(new.min_micros)
    .bind(new.quantum_micros)
    .bind(new.rounding.as_str())
    .bind(i64::from(new.blocked))
    .bind(starts_at)
    .execute(db)
    .await
    .map(drop)
}

fn plan(row: &sqlx::any::AnyRow) -> Result<RatePlan, sqlx::Error> {
    Ok(RatePlan {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        is_default: row.try_get::<i64, _>(2)? != 0,
        version: row.try_get(3)?,
        created_at: row.try_get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deck_is_read_from_csv_with_its_columns_in_any_order() {
        let deck = from_csv("item,prefix,unit_micros,first_s,next_s,name,blocked\r\nvoice_out,1212,15000,60,60,\"New York, \"\"NY\"\"\",\nvoice_out,1900,0,,,,1\n").unwrap();
        assert_eq!(
            (deck[0].name.as_str(), deck[0].first_s, deck[0].per_units, deck[0].blocked),
            ("New York, \"NY\"", 60, 60, false)
        );
        assert_eq!((deck[1].prefix.as_str(), deck[1].first_s, deck[1].blocked), ("1900", 1, true));
    }

    #[test]
    fn what_is_wrong_in_a_deck_is_named_with_its_line() {
        for (text, says) in [
            ("", "empty"),
            ("item,unit_micros\nvoice_in", "line 2: 1 values"),
            ("item,unit_micros\nvoice_in,cheap", "line 2: unit_micros"),
            ("item,unit_micros,colour\nvoice_in,1,2", "line 2: unknown field"),
        ] {
            assert!(from_csv(text).unwrap_err().contains(says), "{text}");
        }
        let row = &from_csv("item,unit_micros,prefix\nvoice_in,1,+1").unwrap()[0];
        assert!(row.fault().unwrap().contains("prefix"));
    }
}
