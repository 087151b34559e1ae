//! Calls that are placed later (API §1.6): a row from the request on, and at its time a job that places it on some node.
//!
//! What was judged at the request is judged again by the dialling itself: caller ID, destination, credit, caps, the number of calls.

use std::sync::Arc;

use domain::{AgentId, AgentSpec, BootId, CallId, EndedReason, TenantId, TrunkId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use crate::{
    BoxFuture, DialRefused, DialRequest, Forbidden, NewCall, Plan, Switchboard,
    jobs::{Context, Fault, Handler, Job, NewJob, enqueue},
    journal::later,
    routing::ANONYMOUS,
    store::Store,
    time::now_ms,
};

/// The job that places a call.
const KIND: &str = "call.place";
/// A call can be asked for so long ahead, ms.
pub(crate) const AHEAD_MS: i64 = 30 * 24 * 3_600_000;
/// Calls of a tenant that wait at most.
pub(crate) const MOST: i64 = 10_000;
/// A call that could not be placed so long after its time is not placed any more, ms: nobody expects it then.
const LATE_MS: i64 = 10 * 60_000;

/// What the row of a call does not tell of the request.
#[derive(Debug, Serialize, Deserialize)]
struct Wish {
    call: CallId,
    /// The id of the number that is shown, or a SIP URI.
    from: Option<String>,
    trunk: Option<TrunkId>,
    ring_timeout_ms: Option<u64>,
    max_duration_ms: Option<u64>,
    record: Option<bool>,
    /// Of a stored agent: the version of the moment, and not the one that was found at the request.
    latest: bool,
}

impl Store {
    /// Keeps a call that was judged until its time; false if as many wait as may.
    pub(crate) async fn schedule(
        &self,
        request: &DialRequest,
        plan: &Plan,
        due_ms: i64,
        latest: bool,
    ) -> Result<bool, sqlx::Error> {
        let asked = request.from.as_ref().map(|from| from.expose().clone());
        let shown = plan.from.clone().or_else(|| request.from.clone()).unwrap_or_else(|| ANONYMOUS.to_owned().into());
        let new = NewCall {
            tenant: request.tenant,
            livemode: request.livemode,
            channel: domain::Channel::Sip,
            direction: domain::Direction::Outbound,
            from: shown,
            to: request.to.clone(),
            number_id: plan.number,
            trunk_id: plan.trunk,
            agent_id: request.agent_id,
            agent_version: request.agent_version,
            config: Some(request.agent.document()),
            variables: request.variables.clone(),
            metadata: request.metadata.clone(),
            sip_call_id: None,
            node_id: String::new(),
            boot_id: BootId(uuid::Uuid::nil()),
            created_at_ms: now_ms(),
            scheduled: false,
            verified: None,
        };
        let wish = Wish {
            call: request.call,
            from: plan.number.map(|id| id.to_string()).or(asked),
            trunk: request.trunk,
            ring_timeout_ms: request.ring_timeout_ms,
            max_duration_ms: request.max_duration_ms,
            record: request.record,
            latest,
        };
        let job = NewJob {
            tenant: Some(request.tenant),
            kind: KIND,
            dedupe_key: format!("{KIND}:{}", request.call),
            payload: serde_json::to_value(wish).unwrap_or_default(),
            run_at_ms: due_ms,
        };
        let mut tx = self.begin().await?;
        if later::waiting(&mut tx, request.tenant).await? >= MOST {
            return Ok(false);
        }
        later::keep(&mut tx, request.call, &new, due_ms).await?;
        enqueue(&mut tx, job).await?;
        tx.commit().await?;
        self.ring();
        Ok(true)
    }
}

/// Places calls whose time has come.
pub(crate) struct PlaceLater {
    pub(crate) switchboard: Arc<dyn Switchboard>,
    pub(crate) node: String,
    pub(crate) boot: BootId,
}

impl Handler for PlaceLater {
    fn kind(&self) -> &'static str {
        KIND
    }

    /// A node that is full or goes leaves them to the others.
    fn ready(&self) -> bool {
        let health = self.switchboard.health();
        !health.draining && health.calls < health.max_calls
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let wish: Wish =
                serde_json::from_value(job.payload.clone()).map_err(|error| Fault::Never(error.to_string()))?;
            self.place(context, job, wish).await
        })
    }
}

impl PlaceLater {
    async fn place(&self, context: &Context, job: &Job, wish: Wish) -> Result<(), Fault> {
        let (store, call) = (&context.store, wish.call);
        let Some(kept) = Kept::read(store, call).await? else { return Ok(()) };
        let over_at_ms = kept.due_ms.saturating_add(LATE_MS);
        let unwanted = match kept.tenant_is_active {
            false => Some(EndedReason::Canceled),
            true if context.clock.now_ms() > over_at_ms => Some(EndedReason::ScheduleExpired),
            true => None,
        };
        if let Some(reason) = unwanted {
            return end(context, call, reason).await;
        }
        let Some((agent, agent_version)) = kept.agent(store, wish.latest).await? else {
            return end(context, call, EndedReason::NoAgent).await;
        };
        let mut db = store.pool().acquire().await?;
        // From here on it is this run's: whoever cancels it asks the node.
        if !later::take(&mut db, call, &self.node, self.boot).await? {
            return Ok(());
        }
        drop(db);
        let Err(refused) = self.switchboard.dial(kept.request(wish, agent, agent_version)).await else { return Ok(()) };
        let passes = matches!(
            refused,
            DialRefused::Draining | DialRefused::NoCapacity | DialRefused::Concurrency | DialRefused::StoreUnavailable
        );
        let mut tx = store.begin().await?;
        if passes && job.attempt < job.max_attempts {
            later::give_back(&mut tx, call, self.boot).await?;
            tx.commit().await?;
            return Err(Fault::Again(refused.to_string()));
        }
        later::end_taken(&mut tx, call, reason(&refused), context.clock.now_ms()).await?;
        tx.commit().await?;
        store.ring();
        tracing::info!(call_id = %call, %refused, "a call that was to be placed now is not");
        Ok(())
    }
}

async fn end(context: &Context, call: CallId, reason: EndedReason) -> Result<(), Fault> {
    let mut tx = context.store.begin().await?;
    later::end_waiting(&mut tx, call, reason, context.clock.now_ms()).await?;
    tx.commit().await?;
    context.store.ring();
    Ok(())
}

/// What the row says of a refusal.
const fn reason(refused: &DialRefused) -> EndedReason {
    match refused {
        DialRefused::BadAddress => EndedReason::UnknownNumber,
        DialRefused::Forbidden(Forbidden::DoNotCall) => EndedReason::DoNotCall,
        DialRefused::Forbidden(_) | DialRefused::CallerIdNotOwned => EndedReason::ForbiddenDestination,
        DialRefused::NoTrunk => EndedReason::TrunkDown,
        DialRefused::NoCredit => EndedReason::InsufficientCredit,
        DialRefused::SpendCap => EndedReason::SpendCap,
        DialRefused::Concurrency => EndedReason::Concurrency,
        DialRefused::StoreUnavailable | DialRefused::NoCapacity => EndedReason::NoCapacity,
        DialRefused::Draining => EndedReason::Draining,
    }
}

/// A call that waits, as its row has it.
struct Kept {
    row: AnyRow,
    tenant: TenantId,
    tenant_is_active: bool,
    agent_id: Option<AgentId>,
    due_ms: i64,
    asked_at_ms: i64,
}

impl Kept {
    async fn read(store: &Store, call: CallId) -> Result<Option<Self>, sqlx::Error> {
        let sql = format!(
            "SELECT tenant_id, livemode, to_addr, agent_id, agent_version, config, variables, metadata, created_at, scheduled_at,
                    (SELECT t.status FROM tenants t WHERE t.id = calls.tenant_id) AS tenant_status
             FROM calls WHERE id = $1 AND {}",
            later::WAITS
        );
        let found = sqlx::query(AssertSqlSafe(sql)).bind(call.to_string()).fetch_optional(store.pool()).await?;
        let Some(row) = found else { return Ok(None) };
        let id = |text: String| sqlx::Error::Decode(format!("{text} is no uuid").into());
        let tenant: String = row.try_get("tenant_id")?;
        Ok(Some(Self {
            tenant: tenant.parse().map_err(|_| id(tenant))?,
            tenant_is_active: row.try_get::<String, _>("tenant_status")? == "active",
            agent_id: row.try_get::<Option<String>, _>("agent_id")?.and_then(|id| id.parse().ok()),
            due_ms: row.try_get("scheduled_at")?,
            asked_at_ms: row.try_get("created_at")?,
            row,
        }))
    }

    /// Who speaks; none when it is no more.
    async fn agent(&self, store: &Store, latest: bool) -> Result<Option<(Arc<AgentSpec>, Option<i64>)>, Fault> {
        if let Some(id) = self.agent_id {
            let Some((agent, version)) = store.agent_to_run(self.tenant, id).await? else { return Ok(None) };
            if latest {
                return Ok(Some((Arc::new(agent), Some(version))));
            }
        }
        let config: Option<String> = self.row.try_get("config")?;
        let document: Value = config.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        // What an older version took may be nothing that this one runs.
        let Ok(agent) = AgentSpec::read(&document) else { return Ok(None) };
        Ok(Some((Arc::new(agent), self.row.try_get("agent_version")?)))
    }

    fn request(self, wish: Wish, agent: Arc<AgentSpec>, agent_version: Option<i64>) -> DialRequest {
        let map = |column: &str| {
            let text: String = self.row.try_get(column).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        };
        DialRequest {
            call: wish.call,
            tenant: self.tenant,
            livemode: self.row.try_get::<i64, _>("livemode").is_ok_and(|live| live != 0),
            to: self.row.try_get::<String, _>("to_addr").unwrap_or_default().into(),
            from: wish.from.map(Into::into),
            trunk: wish.trunk,
            agent,
            agent_id: self.agent_id,
            agent_version,
            variables: map("variables"),
            metadata: map("metadata"),
            ring_timeout_ms: wish.ring_timeout_ms,
            max_duration_ms: wish.max_duration_ms,
            record: wish.record,
            asked_at_ms: Some(self.asked_at_ms),
        }
    }
}

/// Ends a call that waits for its time; false if it does not wait (any more).
pub(crate) async fn cancel(db: &mut AnyConnection, call: CallId) -> Result<bool, sqlx::Error> {
    later::end_waiting(db, call, EndedReason::Canceled, now_ms()).await
}
