//! The post: claims due deliveries hook by hook, sends them, and notes what came of it.
//!
//! A hook has 8 letters under way at most and a tenant 64, counted in the rows, so all nodes together keep to it and a slow receiver
//! holds up nobody else. With `per_call` a delivery waits while an older one of its call is open and not yet ten minutes old.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Row as _};
use tokio::{sync::watch, task::JoinSet};

use super::{
    hooks::{self, Hook, Ordering},
    send::{Letter, WebhookSender},
    settle,
    sign::Secret,
};
use crate::{
    Store,
    seal::{self, NodeKey},
    store::fresh_id,
    time::Clock,
    view::Event,
};

/// Letters under way to one hook, and for one tenant.
const PER_HOOK: i64 = 8;
const PER_TENANT: i64 = 64;
/// Letters under way from one node.
const PER_NODE: usize = 512;
/// How long a claim holds, ms; longer than any attempt lasts.
const LOCK_MS: i64 = 30_000;
/// How long a delivery holds up the next of its call, ms.
const PATIENCE_MS: i64 = 600_000;
/// How often is looked without being woken.
const POLL: Duration = Duration::from_millis(500);

/// What the post works with.
#[derive(Clone, Debug)]
pub(crate) struct PostSettings {
    pub(crate) store: Store,
    pub(crate) sender: WebhookSender,
    pub(crate) key: NodeKey,
    pub(crate) clock: Clock,
    pub(crate) node: String,
}

/// The post of one node.
#[derive(Debug)]
pub(crate) struct Post {
    settings: PostSettings,
    /// Under which it claims.
    name: String,
}

/// A claimed delivery.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub(super) id: String,
    pub(super) event_id: String,
    pub(super) attempt: i64,
}

impl Post {
    pub(crate) fn new(settings: PostSettings) -> Self {
        let name = format!("{}/{}", settings.node, fresh_id());
        Self { settings, name }
    }

    /// Delivers until told to stop; what is under way then is finished.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let post = Arc::new(self);
        let mut bell = post.settings.store.listen();
        let mut under_way = JoinSet::new();
        loop {
            if under_way.len() < PER_NODE {
                match post.claim().await {
                    Ok(claimed) => {
                        for (hook, claimed) in claimed {
                            under_way.spawn(Arc::clone(&post).one(hook, claimed));
                        }
                    }
                    Err(error) => tracing::debug!(%error, "store does not give deliveries"),
                }
            }
            tokio::select! {
                () = bell.rung() => {}
                () = tokio::time::sleep(POLL) => {}
                Some(_) = under_way.join_next() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Claims what may be sent now.
    async fn claim(&self) -> Result<Vec<(Arc<Hook>, Claimed)>, sqlx::Error> {
        let now = self.settings.clock.now_ms();
        let sql = format!(
            "SELECT {}, (SELECT COUNT(*) FROM webhook_deliveries s WHERE s.tenant_id = w.tenant_id AND s.webhook_id = w.id
                   AND s.state = 'sending' AND s.locked_until >= $1) AS of_hook,
                 (SELECT COUNT(*) FROM webhook_deliveries t WHERE t.tenant_id = w.tenant_id
                   AND t.state = 'sending' AND t.locked_until >= $1) AS of_tenant
             FROM webhooks w WHERE w.enabled = 1 AND w.deleted_at IS NULL AND EXISTS (
               SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.state IN ('pending','sending')
                 AND d.next_at <= $1 AND d.locked_until < $1)",
            hooks::COLUMNS
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(now).fetch_all(self.settings.store.pool()).await?;
        let mut of_tenants: HashMap<domain::TenantId, i64> = HashMap::new();
        let mut all = Vec::new();
        for row in rows {
            let hook = Arc::new(hooks::read(&row)?);
            let of_tenant = of_tenants.entry(hook.tenant).or_insert(row.try_get("of_tenant")?);
            let free = (PER_HOOK - row.try_get::<i64, _>("of_hook")?).min(PER_TENANT - *of_tenant);
            if free > 0 {
                let claimed = self.claim_of(&hook, now, free).await?;
                *of_tenant += claimed.len() as i64;
                all.extend(claimed.into_iter().map(|claimed| (Arc::clone(&hook), claimed)));
            }
        }
        Ok(all)
    }

    async fn claim_of(&self, hook: &Hook, now: i64, limit: i64) -> Result<Vec<Claimed>, sqlx::Error> {
        let due = "webhook_id = $4 AND state IN ('pending','sending') AND next_at <= $3 AND locked_until < $3";
        let head = match hook.draft.ordering {
            Ordering::None => String::new(),
            Ordering::PerCall => format!(
                "AND (d.call_id IS NULL OR NOT EXISTS (SELECT 1 FROM webhook_deliveries e WHERE e.webhook_id = d.webhook_id
                   AND e.call_id = d.call_id AND e.call_seq < d.call_seq AND e.state IN ('pending','sending')
                   AND e.created_at > $3 - {PATIENCE_MS}))"
            ),
        };
        // As with jobs: the condition stands outside too, for rows that changed while they were waited for.
        let sql = format!(
            "UPDATE webhook_deliveries SET state = 'sending', locked_by = $1, locked_until = $2, attempts = attempts + 1
             WHERE id IN (SELECT d.id FROM webhook_deliveries d WHERE {due} {head} ORDER BY d.next_at, d.call_seq, d.id LIMIT $5)
               AND {due} RETURNING id, event_id, attempts"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(self.name.clone())
            .bind(now + LOCK_MS)
            .bind(now)
            .bind(&hook.id)
            .bind(limit)
            .fetch_all(self.settings.store.writers())
            .await?;
        rows.iter()
            .map(|row| Ok(Claimed { id: row.try_get(0)?, event_id: row.try_get(1)?, attempt: row.try_get(2)? }))
            .collect()
    }

    /// Sends one letter and notes the outcome. Without the note it is sent again after its lock: at least once.
    async fn one(self: Arc<Self>, hook: Arc<Hook>, claimed: Claimed) {
        let PostSettings { store, sender, key, clock, .. } = &self.settings;
        let event = match store.event(&hook.tenant.to_string(), &claimed.event_id).await {
            Ok(event) => event,
            Err(error) => {
                tracing::debug!(%error, "store does not give an event to deliver");
                return;
            }
        };
        let started = clock.now_ms();
        let attempt = match event {
            None => super::Attempt { error: Some("event_gone"), ..Default::default() },
            Some(event) => match letter(&hook, key, &event, claimed.attempt, started) {
                Some(letter) => sender.send(&letter, started / 1000).await,
                None => super::Attempt { error: Some("secret_unreadable"), ..Default::default() },
            },
        };
        let noted = settle::note(store, &self.name, &hook, &claimed, &attempt, started, clock.now_ms()).await;
        if let Err(error) = noted {
            tracing::warn!(delivery = %claimed.id, %error, "the outcome of a delivery could not be stored");
        }
        store.ring();
    }
}

/// An event as a hook gets it; none when the hook's secret does not open.
pub(crate) fn letter(hook: &Hook, key: &NodeKey, event: &Event, attempt: i64, now_ms: i64) -> Option<Letter> {
    let open = |column, sealed: &str| match seal::open(key, ("webhooks", &hook.id, column), sealed) {
        Ok(bytes) => Some(Secret::from_bytes(bytes)),
        Err(error) => {
            tracing::error!(webhook = %hook.id, %error, "the secret of a webhook cannot be read");
            None
        }
    };
    let mut secrets = vec![open("sealed_secret", &hook.sealed_secret)?];
    if let Some(old) = &hook.sealed_old_secret
        && hook.old_secret_until.is_some_and(|until| until > now_ms)
    {
        secrets.extend(open("sealed_old_secret", old));
    }
    Some(Letter {
        url: hook.draft.url.clone(),
        headers: hook.draft.headers.clone(),
        secrets,
        id: event.id.clone(),
        kind: event.kind.clone(),
        seq: event.seq,
        attempt,
        body: serde_json::to_vec(event).unwrap_or_default(),
    })
}
