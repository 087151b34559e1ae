//! Fan-out: a published event becomes a delivery for each hook that wants it.

use std::collections::HashMap;

use domain::TenantId;
use sqlx::AnyConnection;

use super::hooks::{self, Hook};
use crate::{
    BoxFuture,
    outbox::{Consumer, Published},
    store::fresh_id,
    time::Clock,
};

/// The consumer `webhooks`: its deliveries commit with its cursor, so each hook gets an event's delivery exactly once.
pub(crate) struct FanOut {
    pub(crate) clock: Clock,
}

impl Consumer for FanOut {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    fn take<'a>(
        &'a self,
        tx: &'a mut AnyConnection,
        events: &'a [Published],
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let mut hooks: HashMap<TenantId, Vec<Hook>> = HashMap::new();
            for published in events {
                let of_tenant = match hooks.entry(published.tenant) {
                    std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::hash_map::Entry::Vacant(new) => {
                        new.insert(hooks::enabled(tx, published.tenant).await?)
                    }
                };
                for hook in of_tenant.iter().filter(|hook| hook.wants(published)) {
                    insert(tx, hook, published, self.clock.now_ms()).await?;
                }
            }
            Ok(())
        })
    }
}

/// Leaves a delivery; false when the hook has one of this event.
pub(super) async fn insert(
    tx: &mut AnyConnection,
    hook: &Hook,
    published: &Published,
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    let event = &published.event;
    let made = sqlx::query(
        "INSERT INTO webhook_deliveries (id, webhook_id, tenant_id, event_id, type, call_id, call_seq, state, next_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $8) ON CONFLICT (webhook_id, event_id) DO NOTHING",
    )
    .bind(fresh_id())
    .bind(&hook.id)
    .bind(published.tenant.to_string())
    .bind(&event.id)
    .bind(&event.kind)
    .bind(event.call_id.clone())
    .bind(event.seq)
    .bind(now_ms)
    .execute(tx)
    .await?;
    Ok(made.rows_affected() == 1)
}
