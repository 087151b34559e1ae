//! What an agent knows: documents cut into passages, and the passages that answer a question.
//!
//! A document is read and indexed before the request that brings it is answered: there is nothing to wait for, and what cannot be read
//! is said to whoever sent it.

mod index;
mod passages;
mod shelves;
pub(crate) mod text;

use std::{collections::BTreeMap, sync::Arc};

use domain::{AgentId, TenantId, agent::records::Knowledge, event::Name};
use serde_json::json;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

pub use shelves::Shelves;

use self::index::Index;
use crate::{
    NewEvent, Store, emit, seal,
    store::{fresh_id, json_text, storable},
    time::now_ms,
};

/// Documents of an agent at most.
pub(crate) const MOST: i64 = 500;
/// Bytes of an agent's documents together at most.
pub(crate) const MOST_BYTES: i64 = 50 << 20;

/// A document, without what it says.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) kind: String,
    pub(crate) bytes: i64,
    pub(crate) status: String,
    pub(crate) created_at: i64,
}

/// A document that is to be added, cut and counted.
pub(crate) struct Cut {
    pub(crate) title: String,
    pub(crate) kind: text::Kind,
    bytes: usize,
    sha256: String,
    passages: Vec<(String, BTreeMap<String, u32>)>,
}

/// What became of adding a document.
pub(crate) enum Added {
    New(Document),
    /// The same bytes are there already.
    Known(Document),
    /// The agent has as many, or as much, as it may.
    Full,
}

/// A passage that was found.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Its document.
    pub doc_id: String,
    /// The document's title.
    pub title: String,
    /// What it says.
    pub text: String,
    /// Above 0, at most 1.
    pub score: f64,
}

/// Reads and cuts a document; takes its time over large ones.
///
/// # Errors
/// A sentence about why it cannot be read.
pub(crate) fn cut(title: String, kind: text::Kind, bytes: &[u8]) -> Result<Cut, String> {
    let passages = passages::passages(&text::read(kind, bytes)?);
    let passages = passages.into_iter().map(|passage| (storable(&passage), passages::terms(&passage))).collect();
    Ok(Cut { title, kind, bytes: bytes.len(), sha256: seal::sha256_hex(bytes), passages })
}

const SELECT: &str = "SELECT id, title, kind, bytes, status, created_at FROM knowledge_docs";

/// Adds a document to an agent.
pub(crate) async fn add(
    tx: &mut AnyConnection,
    tenant: TenantId,
    livemode: bool,
    agent: AgentId,
    cut: &Cut,
) -> Result<Added, sqlx::Error> {
    let document = Document {
        id: fresh_id(),
        title: storable(&cut.title),
        kind: cut.kind.as_str().to_owned(),
        bytes: i64::try_from(cut.bytes).unwrap_or(i64::MAX),
        status: "ready".to_owned(),
        created_at: now_ms(),
    };
    if let Some(row) =
        sqlx::query::<sqlx::Any>(sqlx::AssertSqlSafe(format!("{SELECT} WHERE agent_id = $1 AND sha256 = $2")))
            .bind(agent.to_string())
            .bind(&cut.sha256)
            .fetch_optional(&mut *tx)
            .await?
    {
        return Ok(Added::Known(read(&row)?));
    }
    let made = sqlx::query(
        "INSERT INTO knowledge_docs (id, tenant_id, agent_id, title, kind, bytes, sha256, status, created_at)
         SELECT $1, $2, $3, $4, $5, $6, $7, 'ready', $8
         WHERE (SELECT COUNT(*) FROM knowledge_docs WHERE agent_id = $9) < $10
           AND (SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM knowledge_docs WHERE agent_id = $11) + $12 <= $13",
    )
    .bind(&document.id)
    .bind(tenant.to_string())
    .bind(agent.to_string())
    .bind(&document.title)
    .bind(&document.kind)
    .bind(document.bytes)
    .bind(&cut.sha256)
    .bind(document.created_at)
    .bind(agent.to_string())
    .bind(MOST)
    .bind(agent.to_string())
    .bind(document.bytes)
    .bind(MOST_BYTES)
    .execute(&mut *tx)
    .await?;
    if made.rows_affected() == 0 {
        return Ok(Added::Full);
    }
    for (n, (text, terms)) in cut.passages.iter().enumerate() {
        sqlx::query("INSERT INTO knowledge_chunks (doc_id, n, agent_id, text, terms) VALUES ($1, $2, $3, $4, $5)")
            .bind(&document.id)
            .bind(i64::try_from(n).unwrap_or(i64::MAX))
            .bind(agent.to_string())
            .bind(text)
            .bind(json_text(terms))
            .execute(&mut *tx)
            .await?;
    }
    let data = json!({"agent_id": agent, "doc_id": document.id});
    emit(tx, NewEvent { tenant, livemode, kind: Name::KnowledgeReady, data }).await?;
    Ok(Added::New(document))
}

/// Takes a document away; false if there is none.
pub(crate) async fn remove(tx: &mut AnyConnection, agent: AgentId, id: &str) -> Result<bool, sqlx::Error> {
    sqlx::query("DELETE FROM knowledge_chunks WHERE doc_id = $1 AND agent_id = $2")
        .bind(id)
        .bind(agent.to_string())
        .execute(&mut *tx)
        .await?;
    let gone = sqlx::query("DELETE FROM knowledge_docs WHERE id = $1 AND agent_id = $2")
        .bind(id)
        .bind(agent.to_string())
        .execute(tx)
        .await?;
    Ok(gone.rows_affected() == 1)
}

/// Gives an agent what another one knows.
pub(crate) async fn copy(tx: &mut AnyConnection, from: AgentId, to: AgentId) -> Result<(), sqlx::Error> {
    let documents = sqlx::query("SELECT id FROM knowledge_docs WHERE agent_id = $1 ORDER BY created_at, id")
        .bind(from.to_string())
        .fetch_all(&mut *tx)
        .await?;
    for row in documents {
        let (old, new): (String, String) = (row.try_get(0)?, fresh_id());
        sqlx::query(
            "INSERT INTO knowledge_docs (id, tenant_id, agent_id, title, kind, bytes, sha256, status, error, created_at)
             SELECT $1, tenant_id, $2, title, kind, bytes, sha256, status, error, created_at FROM knowledge_docs WHERE id = $3",
        )
        .bind(&new)
        .bind(to.to_string())
        .bind(&old)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO knowledge_chunks (doc_id, n, agent_id, text, terms, embedding)
             SELECT $1, n, $2, text, terms, embedding FROM knowledge_chunks WHERE doc_id = $3",
        )
        .bind(&new)
        .bind(to.to_string())
        .bind(&old)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// The passages of an agent in memory, ready to be asked.
#[derive(Debug)]
pub struct Shelf {
    index: Index,
    /// Document, title, text; numbered as in the index.
    passages: Vec<(String, String, String)>,
}

impl Shelf {
    /// The best passages for a question, best first.
    #[must_use]
    pub fn search(&self, question: &str, top: usize, min_score: f64) -> Vec<Passage> {
        let found = self.index.search(question, top, min_score);
        let passage = |found: index::Found| {
            let (doc_id, title, text) = self.passages.get(found.passage)?.clone();
            Some(Passage { doc_id, title, text, score: found.score })
        };
        found.into_iter().filter_map(passage).collect()
    }

    /// What an agent with these settings is told about a question.
    #[must_use]
    pub fn answer(&self, question: &str, settings: &Knowledge) -> Vec<String> {
        let top = usize::try_from(settings.top_k).unwrap_or(usize::MAX);
        let mut room = usize::try_from(settings.max_chars).unwrap_or(usize::MAX);
        let mut told = Vec::new();
        for passage in self.search(question, top, settings.min_score) {
            let text: String = passage.text.chars().take(room).collect();
            room -= text.chars().count();
            if !text.is_empty() {
                told.push(text);
            }
        }
        told
    }
}

impl Store {
    /// The documents of an agent, newest first.
    pub(crate) async fn knowledge(&self, agent: AgentId) -> Result<Vec<Document>, sqlx::Error> {
        let sql = format!("{SELECT} WHERE agent_id = $1 ORDER BY created_at DESC, id DESC");
        let rows =
            sqlx::query::<sqlx::Any>(sqlx::AssertSqlSafe(sql)).bind(agent.to_string()).fetch_all(self.pool()).await?;
        rows.iter().map(read).collect()
    }

    /// What an agent knows, in memory; `None` if it knows nothing.
    pub async fn shelf(&self, tenant: TenantId, agent: AgentId) -> Result<Option<Arc<Shelf>>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT c.doc_id, d.title, c.text, c.terms FROM knowledge_chunks c JOIN knowledge_docs d ON d.id = c.doc_id
             WHERE c.agent_id = $1 AND d.tenant_id = $2 ORDER BY d.created_at, c.doc_id, c.n",
        )
        .bind(agent.to_string())
        .bind(tenant.to_string())
        .fetch_all(self.pool())
        .await?;
        let mut shelf = Shelf { index: Index::default(), passages: Vec::with_capacity(rows.len()) };
        for row in &rows {
            let terms: BTreeMap<String, u32> = serde_json::from_str(&row.try_get::<String, _>(3)?).unwrap_or_default();
            shelf.index.add(&terms);
            shelf.passages.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        }
        Ok((!shelf.passages.is_empty()).then(|| Arc::new(shelf)))
    }
}

fn read(row: &AnyRow) -> Result<Document, sqlx::Error> {
    Ok(Document {
        id: row.try_get("id")?,
        title: row.try_get("title")?,
        kind: row.try_get("kind")?,
        bytes: row.try_get("bytes")?,
        status: row.try_get("status")?,
        created_at: row.try_get("created_at")?,
    })
}
