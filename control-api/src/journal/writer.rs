//! The task behind a [`super::Journal`]: batches in, transactions out.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use domain::{CallId, event::Name};
use serde_json::Value;
use sqlx::AnyConnection;
use tokio::sync::mpsc;

use super::{
    Counters, Entry, JournalSettings, Message, bill,
    head::{close, emit, open, open_all},
    later,
    rows::{create, emit_call, first_leg, write},
};
use crate::{
    store::{Engine, Store, fresh_id},
    time::now_ms,
};

/// Entries of one transaction where calls wait for the same writer: they take it some milliseconds.
const OF_ONE_WRITER: usize = 256;
/// The longest pause between two attempts while the database is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An entry and when it was written.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    pub(crate) call: CallId,
    pub(crate) at_ms: i64,
    pub(crate) entry: Entry,
}

/// What became of a batch's entries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    stored: u64,
    strays: u64,
    bad_transitions: u64,
}

pub(super) async fn run(
    store: Store,
    mut receiver: mpsc::UnboundedReceiver<Message>,
    counters: Arc<Counters>,
    settings: JournalSettings,
) {
    let most = if store.engine() == Engine::Sqlite { settings.batch.min(OF_ONE_WRITER) } else { settings.batch };
    let mut batch = Vec::with_capacity(most);
    let journal = fresh_id();
    while let Some(first) = receiver.recv().await {
        let mut flush = None;
        match first {
            Message::Entry(entry) => batch.push(entry),
            Message::Flush(done) => flush = Some(done),
        }
        // Company: entries that come within the gathering time share the transaction. A flush ends the wait.
        let deadline = tokio::time::Instant::now() + settings.gather;
        while flush.is_none() && batch.len() < most {
            match tokio::time::timeout_at(deadline, receiver.recv()).await {
                Ok(Some(Message::Entry(entry))) => batch.push(entry),
                Ok(Some(Message::Flush(done))) => flush = Some(done),
                Ok(None) | Err(_) => break,
            }
        }
        store_batch(&store, &journal, &mut batch, &counters).await;
        if let Some(done) = flush {
            let _ = done.send(());
        }
    }
}

/// Stores a batch however long it takes, and empties it.
async fn store_batch(store: &Store, journal: &str, batch: &mut Vec<Stamped>, counters: &Counters) {
    let entries = batch.len();
    // While the database is away nobody's owner is known, and each call is stored by itself.
    let owners = bill::owners(store, batch).await.unwrap_or_default();
    for part in bill::parts(std::mem::take(batch), &owners) {
        match persist(store, journal, &part, counters).await {
            Ok(outcome) => count(counters, outcome),
            // One entry is not to take its neighbours with it: each on its own, the culprit is counted and left out.
            Err(_) if part.len() > 1 => {
                for entry in &part {
                    store_one(store, journal, std::slice::from_ref(entry), counters).await;
                }
            }
            Err(error) => refuse(&part[0], &error, counters),
        }
    }
    counters.backlog.fetch_sub(entries, Relaxed);
}

async fn store_one(store: &Store, journal: &str, entry: &[Stamped], counters: &Counters) {
    match persist(store, journal, entry, counters).await {
        Ok(outcome) => count(counters, outcome),
        Err(error) => refuse(&entry[0], &error, counters),
    }
}

/// Tries until the database answers; an error means that it refuses the content.
async fn persist(store: &Store, journal: &str, batch: &[Stamped], counters: &Counters) -> Result<Outcome, sqlx::Error> {
    let mark = Mark { journal, batch: fresh_id() };
    let mut outcome = Outcome::default();
    let mut pause = Duration::from_millis(50);
    loop {
        match transact(store, batch, Some(&mark), &mut outcome).await {
            Ok(()) => return Ok(outcome),
            Err(error) if is_refusal(&error) => return Err(error),
            Err(error) => {
                counters.retries.fetch_add(1, Relaxed);
                tracing::warn!(%error, entries = batch.len(), "store does not take the journal, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// A batch of a journal, as the database remembers the last one: of a connection that was lost with the commit nobody knows whether it
/// was stored.
struct Mark<'a> {
    journal: &'a str,
    batch: String,
}

impl Mark<'_> {
    /// The first statement of the batch's transaction; false if an earlier attempt has stored the batch. An attempt that is still being
    /// committed is waited for.
    async fn set(&self, db: &mut AnyConnection) -> Result<bool, sqlx::Error> {
        let set = sqlx::query(
            "INSERT INTO journal_marks (journal, batch, at) VALUES ($1, $2, $3)
             ON CONFLICT (journal) DO UPDATE SET batch = excluded.batch, at = excluded.at WHERE journal_marks.batch <> excluded.batch",
        )
        .bind(self.journal)
        .bind(&self.batch)
        .bind(now_ms())
        .execute(db)
        .await?;
        Ok(set.rows_affected() > 0)
    }
}

fn count(counters: &Counters, outcome: Outcome) {
    counters.stored.fetch_add(outcome.stored, Relaxed);
    counters.strays.fetch_add(outcome.strays, Relaxed);
    counters.bad_transitions.fetch_add(outcome.bad_transitions, Relaxed);
}

fn refuse(entry: &Stamped, error: &sqlx::Error, counters: &Counters) {
    counters.refused.fetch_add(1, Relaxed);
    tracing::error!(call_id = %entry.call, %error, "store refuses a journal entry");
}

/// True when the database is there and says no to the content: constraints, and data it cannot represent (SQLSTATE 22, 23).
pub(crate) fn is_refusal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            !matches!(error.kind(), sqlx::error::ErrorKind::Other)
                || error
                    .code()
                    .is_some_and(|code| code.len() == 5 && (code.starts_with("22") || code.starts_with("23")))
        }
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}

/// Stores entries at once, a transaction for each call that has money in it and one for the rest.
pub(crate) async fn apply(store: &Store, batch: &[Stamped]) -> Result<(), sqlx::Error> {
    let owners = bill::owners(store, batch).await?;
    for part in bill::parts(batch.to_vec(), &owners) {
        transact(store, &part, None, &mut Outcome::default()).await?;
    }
    Ok(())
}

/// Stores entries in one transaction. Nothing of it is visible, or everything; a batch with a mark is stored once. The outcome is that of
/// the attempt that stored it.
async fn transact(
    store: &Store,
    batch: &[Stamped],
    mark: Option<&Mark<'_>>,
    outcome: &mut Outcome,
) -> Result<(), sqlx::Error> {
    if batch.is_empty() {
        return Ok(());
    }
    let secret = bill::secret(store, batch).await?;
    let mut tx = store.begin().await?;
    if let Some(mark) = mark
        && !mark.set(&mut tx).await?
    {
        store.ring();
        return Ok(());
    }
    *outcome = Outcome::default();
    let mut purse = bill::purse(&mut tx, batch).await?;
    let mut heads = open_all(&mut tx, batch).await?;
    for stamped in batch {
        let id = stamped.call.to_string();
        if let Entry::Created(new) = &stamped.entry {
            if new.scheduled {
                let head = later::placed(&mut tx, &id, new).await?;
                *if head.is_some() { &mut outcome.stored } else { &mut outcome.strays } += 1;
                heads.insert(stamped.call, head);
                continue;
            }
            let mut head = create(&mut tx, &id, new).await?;
            first_leg(&mut tx, &id, new, new.created_at_ms).await?;
            emit_call(&mut tx, &id, &mut head, Name::CallCreated, stamped.at_ms).await?;
            heads.insert(stamped.call, Some(head));
            outcome.stored += 1;
            continue;
        }
        let Some(head) = heads.get_mut(&stamped.call).and_then(Option::as_mut) else {
            outcome.strays += 1;
            continue;
        };
        let legal = write(&mut tx, &id, head, stamped, purse.as_mut(), &secret).await?;
        outcome.stored += 1;
        outcome.bad_transitions += u64::from(!legal);
    }
    close(&mut tx, heads.into_iter().filter_map(|(call, head)| Some((call.to_string(), head?))).collect()).await?;
    tx.commit().await?;
    store.ring();
    Ok(())
}

/// Adds an event to a call inside the caller's transaction, which then holds the call's row; false when there is no such call.
pub(crate) async fn tell(
    db: &mut AnyConnection,
    call: CallId,
    name: Name,
    data: Value,
    at_ms: i64,
) -> Result<bool, sqlx::Error> {
    let id = call.to_string();
    let Some(mut head) = open(db, &id).await? else { return Ok(false) };
    emit(&mut head, name, &data, at_ms);
    close(db, vec![(id, head)]).await?;
    Ok(true)
}
