//! Shelves that were asked lately, so that a call does not read every document of its agent again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use domain::{AgentId, TenantId};
use sqlx::Row as _;

use super::Shelf;
use crate::Store;

/// Bytes of documents that are kept at most; what was asked longest ago goes first.
const MOST: i64 = 128 << 20;

/// What tells two states of an agent's documents apart: how many, how much, and since when.
type Print = [i64; 3];

struct Kept {
    print: Print,
    shelf: Arc<Shelf>,
    asked: Instant,
}

/// Shelves in memory; cheap to clone.
#[derive(Clone)]
pub struct Shelves(Arc<(Store, Mutex<HashMap<AgentId, Kept>>)>);

impl Shelves {
    /// None yet.
    pub fn new(store: Store) -> Self {
        Self(Arc::new((store, Mutex::default())))
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<AgentId, Kept>> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an agent knows now; `None` if it knows nothing.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn of(&self, tenant: TenantId, agent: AgentId) -> Result<Option<Arc<Shelf>>, sqlx::Error> {
        let print = self.print(tenant, agent).await?;
        if print[0] == 0 {
            self.kept().remove(&agent);
            return Ok(None);
        }
        if let Some(kept) = self.kept().get_mut(&agent).filter(|kept| kept.print == print) {
            kept.asked = Instant::now();
            return Ok(Some(kept.shelf.clone()));
        }
        let Some(shelf) = self.0.0.shelf(tenant, agent).await? else { return Ok(None) };
        let mut all = self.kept();
        all.insert(agent, Kept { print, shelf: shelf.clone(), asked: Instant::now() });
        while all.len() > 1 && all.values().map(|kept| kept.print[1]).sum::<i64>() > MOST {
            let oldest = all.iter().min_by_key(|(_, kept)| kept.asked).map(|(agent, _)| *agent);
            oldest.map(|oldest| all.remove(&oldest));
        }
        Ok(Some(shelf))
    }

    async fn print(&self, tenant: TenantId, agent: AgentId) -> Result<Print, sqlx::Error> {
        let row = sqlx::query(
            "SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT), COALESCE(MAX(created_at), 0) FROM knowledge_docs
             WHERE agent_id = $1 AND tenant_id = $2",
        )
        .bind(agent.to_string())
        .bind(tenant.to_string())
        .fetch_one(self.0.0.pool())
        .await?;
        Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?])
    }
}
