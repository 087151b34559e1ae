//! The calls of a transaction: opened and saved together, and their events, many to a statement.

use std::collections::HashMap;

use domain::{CallId, Status, event::Name};
use serde::Serialize;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{Entry, Stamped};
use crate::store::{
    fresh_id, json_text,
    many::{places, portions},
};

/// What the transaction knows of a call it writes about; its row is locked from the first look on.
pub(super) struct Head {
    pub(super) tenant: String,
    pub(super) livemode: i64,
    pub(super) status: Status,
    pub(super) created_at: i64,
    pub(super) answered_at: Option<i64>,
    pub(super) seq: i64,
    pub(super) turns: i64,
    /// Events that are not yet in the transaction.
    pub(super) events: Vec<Row>,
}

/// An event of a call, to be stored with others in one statement.
pub(super) struct Row {
    id: String,
    seq: i64,
    name: Name,
    data: String,
    at_ms: i64,
}

/// Locks a call's row and reads what is needed to go on.
pub(super) async fn open(db: &mut AnyConnection, id: &str) -> Result<Option<Head>, sqlx::Error> {
    Ok(open_rows(db, &[id.to_owned()]).await?.pop().map(|(_, head)| head))
}

/// Opens every call of a batch but those that it makes; none for those that do not exist.
pub(super) async fn open_all(
    db: &mut AnyConnection,
    batch: &[Stamped],
) -> Result<HashMap<CallId, Option<Head>>, sqlx::Error> {
    let mut heads: HashMap<CallId, Option<Head>> = HashMap::new();
    let mut ids = Vec::new();
    for stamped in batch {
        if heads.insert(stamped.call, None).is_none() && !matches!(stamped.entry, Entry::Created(_)) {
            ids.push(stamped.call.to_string());
        }
    }
    for portion in portions(&ids) {
        for (id, head) in open_rows(db, portion).await? {
            let call = id.parse().map_err(|_| sqlx::Error::Decode("id is no id of a call".into()))?;
            heads.insert(call, Some(head));
        }
    }
    Ok(heads)
}

async fn open_rows(db: &mut AnyConnection, ids: &[String]) -> Result<Vec<(String, Head)>, sqlx::Error> {
    let places = (1..=ids.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "UPDATE calls SET version = version + 1 WHERE id IN ({places})
         RETURNING id, tenant_id, livemode, status, created_at, answered_at, event_seq, turns"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for id in ids {
        query = query.bind(id);
    }
    let rows = query.fetch_all(db).await?;
    let head = |row: &AnyRow| {
        let status: String = row.try_get("status")?;
        let head = Head {
            tenant: row.try_get("tenant_id")?,
            livemode: row.try_get("livemode")?,
            status: status.parse().map_err(|_| sqlx::Error::Decode("status is no status".into()))?,
            created_at: row.try_get("created_at")?,
            answered_at: row.try_get("answered_at")?,
            seq: row.try_get("event_seq")?,
            turns: row.try_get("turns")?,
            events: Vec::new(),
        };
        Ok::<_, sqlx::Error>((row.try_get("id")?, head))
    };
    rows.iter().map(head).collect()
}

pub(super) async fn save(db: &mut AnyConnection, id: &str, head: &Head) -> Result<(), sqlx::Error> {
    save_rows(db, &[(id, head)]).await
}

/// Stores the events that [`emit`] gave to calls, and what they know now.
pub(super) async fn close(db: &mut AnyConnection, mut heads: Vec<(String, Head)>) -> Result<(), sqlx::Error> {
    store_events(db, &mut heads).await?;
    let rows: Vec<(&str, &Head)> = heads.iter().map(|(id, head)| (id.as_str(), head)).collect();
    for portion in portions(&rows) {
        save_rows(db, portion).await?;
    }
    Ok(())
}

async fn save_rows(db: &mut AnyConnection, heads: &[(&str, &Head)]) -> Result<(), sqlx::Error> {
    let row = |n: usize| {
        let (id, seq, turns) = (3 * n + 1, 3 * n + 2, 3 * n + 3);
        format!("SELECT CAST(${id} AS TEXT) AS id, CAST(${seq} AS BIGINT) AS seq, CAST(${turns} AS BIGINT) AS turns")
    };
    let rows = (0..heads.len()).map(row).collect::<Vec<_>>().join(" UNION ALL ");
    let sql =
        format!("UPDATE calls SET event_seq = new.seq, turns = new.turns FROM ({rows}) AS new WHERE calls.id = new.id");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (id, head) in heads {
        query = query.bind((*id).to_owned()).bind(head.seq).bind(head.turns);
    }
    query.execute(db).await.map(drop)
}

/// Gives a call an event, which is stored before the transaction ends.
pub(super) fn emit(head: &mut Head, name: Name, data: &impl Serialize, at_ms: i64) {
    head.seq += 1;
    head.events.push(Row { id: fresh_id(), seq: head.seq, name, data: json_text(data), at_ms });
}

/// Stores what [`emit`] gave the calls, in the order in which it happened.
async fn store_events(db: &mut AnyConnection, heads: &mut [(String, Head)]) -> Result<(), sqlx::Error> {
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for (n, (_, head)) in heads.iter_mut().enumerate() {
        rows.extend(std::mem::take(&mut head.events).into_iter().map(|row| (n, row)));
    }
    rows.sort_by(|(_, one), (_, other)| one.id.cmp(&other.id));
    for now in portions(&rows) {
        let places = places(now.len(), 8);
        let sql = format!(
            "INSERT INTO events (id, tenant_id, call_id, call_seq, type, livemode, data, created_at) VALUES {places}"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (n, row) in now {
            let (call, head) = &heads[*n];
            query = query
                .bind(&row.id)
                .bind(&head.tenant)
                .bind(call)
                .bind(row.seq)
                .bind(row.name.as_str())
                .bind(head.livemode)
                .bind(&row.data)
                .bind(row.at_ms);
        }
        query.execute(&mut *db).await?;
    }
    Ok(())
}
