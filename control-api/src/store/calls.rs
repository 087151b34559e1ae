//! Calls as they are read: one row, or a page by keyset.

use std::collections::BTreeMap;

use domain::{CallId, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{Any, AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    Store,
    page::{Bound, Page},
};
use crate::{
    time::rfc3339,
    view::{AgentRef, Call, CostBrief, LatencyBrief, Party, RecordingBrief},
};

/// Every column a call object needs; the last leg's media and the last recording come by sub-query, so a call is one row.
const SELECT: &str = "SELECT c.id, c.tenant_id, c.livemode, c.channel, c.direction, c.status, c.ended_reason, c.sip_status,
    c.answered_by, c.degraded, c.from_addr, c.to_addr, c.verified, c.number_id, c.trunk_id, c.agent_id, c.agent_version, c.config,
    c.variables, c.metadata, c.scheduled_at, c.created_at, c.initiated_at, c.ringing_at, c.answered_at, c.ended_at, c.duration_ms, c.turns,
    c.v2v_p50_ms, c.node_id, c.version, c.billed_s, c.charged_micros, c.transfer,
    (SELECT COUNT(*) FROM leases o WHERE o.call_id = c.id AND o.state = 'open') AS open_leases,
    (SELECT l.media FROM call_legs l WHERE l.call_id = c.id AND l.role IN ('caller','callee') ORDER BY l.started_at DESC, l.id DESC LIMIT 1) AS media,
    r.state AS rec_state, r.duration_ms AS rec_ms, r.expires_at AS rec_expires
    FROM calls c LEFT JOIN recordings r
      ON r.id = (SELECT r2.id FROM recordings r2 WHERE r2.call_id = c.id ORDER BY r2.created_at DESC, r2.id DESC LIMIT 1)";

/// Which calls a list holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CallFilter {
    pub(crate) status: Option<String>,
    pub(crate) direction: Option<String>,
    pub(crate) ended_reason: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    #[serde(default)]
    pub(crate) further: Further,
}

/// Filters that came later; what an older export has written down lacks them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Further {
    pub(crate) channel: Option<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) number_id: Option<String>,
    pub(crate) trunk_id: Option<String>,
    pub(crate) campaign_id: Option<String>,
    pub(crate) answered_by: Option<String>,
    pub(crate) sentiment: Option<String>,
    pub(crate) success: Option<bool>,
    pub(crate) min_duration_ms: Option<i64>,
    pub(crate) max_duration_ms: Option<i64>,
    pub(crate) has_recording: Option<bool>,
    pub(crate) degraded: Option<bool>,
    /// In the summary, whatever its case.
    pub(crate) q: Option<String>,
    /// Notes by key.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Further {
    fn conditions(&self) -> impl Iterator<Item = (String, Bound)> {
        let texts = [
            ("c.channel", &self.channel),
            ("c.agent_id", &self.agent_id),
            ("c.number_id", &self.number_id),
            ("c.trunk_id", &self.trunk_id),
            ("c.campaign_id", &self.campaign_id),
            ("c.answered_by", &self.answered_by),
            ("c.sentiment", &self.sentiment),
        ];
        let texts = texts
            .into_iter()
            .filter_map(|(column, text)| Some((format!("{column} = {{}}"), Bound::Text(text.clone()?))));
        let flags =
            [("c.success = {}", self.success), ("c.degraded = {}", self.degraded), (HAS_RECORDING, self.has_recording)];
        let numbers = [("c.duration_ms >= {}", self.min_duration_ms), ("c.duration_ms <= {}", self.max_duration_ms)];
        let numbers = flags.map(|(sql, flag)| (sql, flag.map(i64::from))).into_iter().chain(numbers);
        let numbers = numbers.filter_map(|(sql, number)| Some((sql.to_owned(), Bound::Number(number?))));
        let q = self.q.as_ref().map(|q| {
            // Neither engine's LIKE does what the other's does.
            let found = "REPLACE(LOWER(c.summary_line), {}, '') <> LOWER(c.summary_line)";
            (found.to_owned(), Bound::Text(q.to_lowercase()))
        });
        // Notes are stored as compact JSON: inside of a string no quote stands without a backslash, so this is found as a member only.
        let notes = self.metadata.iter().map(|(key, value)| {
            let member = format!("{}:{}", Value::from(key.as_str()), Value::from(value.as_str()));
            ("REPLACE(c.metadata, {}, '') <> c.metadata".to_owned(), Bound::Text(member))
        });
        texts.chain(numbers).chain(q).chain(notes).collect::<Vec<_>>().into_iter()
    }
}

/// 1 where there is a recording that can be heard.
const HAS_RECORDING: &str = "(CASE WHEN EXISTS (SELECT 1 FROM recordings h WHERE h.call_id = c.id AND h.state IN ('stored','ready')) THEN 1 ELSE 0 END) = {}";

impl Store {
    /// A page of a tenant's calls, one more than asked if there are more.
    pub(crate) async fn calls(
        &self,
        tenant: TenantId,
        livemode: bool,
        filter: &CallFilter,
        page: &Page,
    ) -> Result<Vec<(i64, Call)>, sqlx::Error> {
        let mut conditions = vec![
            ("c.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string())),
            ("c.livemode = {}".to_owned(), Bound::Number(livemode.into())),
        ];
        let texts = [
            ("c.status", filter.status.clone()),
            ("c.direction", filter.direction.clone()),
            ("c.ended_reason", filter.ended_reason.clone()),
            ("c.from_addr", filter.from.clone()),
            ("c.to_addr", filter.to.clone()),
        ];
        conditions.extend(
            texts.into_iter().filter_map(|(column, value)| Some((format!("{column} = {{}}"), Bound::Text(value?)))),
        );
        conditions.extend(filter.further.conditions());
        let (sql, values) = page.finish(format!("{SELECT} WHERE c.deleted_at IS NULL"), "c", conditions);
        let rows = self.fetch(sql, values).await?;
        rows.iter().map(|row| Ok((row.try_get("created_at")?, read(row)?))).collect()
    }

    /// One call of a tenant.
    pub(crate) async fn call(
        &self,
        tenant: TenantId,
        livemode: bool,
        call: CallId,
    ) -> Result<Option<Call>, sqlx::Error> {
        let sql = format!("{SELECT} WHERE c.id = $1 AND c.tenant_id = $2 AND c.livemode = $3 AND c.deleted_at IS NULL");
        let row = sqlx::query::<Any>(AssertSqlSafe(sql))
            .bind(call.to_string())
            .bind(tenant.to_string())
            .bind(i64::from(livemode))
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read).transpose()
    }
}

/// The call as its own transaction sees it; for the data of its events.
pub(crate) async fn inside(connection: &mut sqlx::AnyConnection, call: &str) -> Result<Option<Call>, sqlx::Error> {
    let sql = format!("{SELECT} WHERE c.id = $1");
    let row = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(call).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &AnyRow) -> Result<Call, sqlx::Error> {
    let at = |column: &str| -> Result<Option<i64>, sqlx::Error> { row.try_get(column) };
    let when = |column: &str| -> Result<Option<String>, sqlx::Error> { Ok(at(column)?.map(rfc3339)) };
    let object = |column: &str| -> Result<Map<String, Value>, sqlx::Error> {
        Ok(serde_json::from_str(&row.try_get::<String, _>(column)?).unwrap_or_default())
    };
    let config: Option<Value> =
        row.try_get::<Option<String>, _>("config")?.and_then(|text| serde_json::from_str(&text).ok());
    let from_config = |key: &str| config.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let agent_id: Option<String> = row.try_get("agent_id")?;
    let agent = (agent_id.is_some() || config.is_some()).then(|| AgentRef {
        id: agent_id,
        name: from_config("name"),
        version: row.try_get("agent_version").ok().flatten(),
        mode: from_config("mode"),
    });
    let (initiated, ringing, answered, ended) =
        (at("initiated_at")?, at("ringing_at")?, at("answered_at")?, at("ended_at")?);
    let ring_ms = ringing.or(initiated).zip(answered.or(ended)).map(|(from, to)| (to - from).max(0));
    let recording = row.try_get::<Option<String>, _>("rec_state")?.map(|state| -> Result<_, sqlx::Error> {
        Ok(RecordingBrief { state, duration_ms: at("rec_ms")?, expires_at: when("rec_expires")? })
    });
    let media: Option<String> = row.try_get("media")?;
    Ok(Call {
        id: row.try_get("id")?,
        tenant_id: row.try_get("tenant_id")?,
        livemode: row.try_get::<i64, _>("livemode")? != 0,
        channel: row.try_get("channel")?,
        direction: row.try_get("direction")?,
        status: row.try_get("status")?,
        activity: None,
        ended_reason: row.try_get("ended_reason")?,
        sip_status: row.try_get("sip_status")?,
        answered_by: row.try_get("answered_by")?,
        degraded: row.try_get::<i64, _>("degraded")? != 0,
        from: Party { address: row.try_get("from_addr")?, verified: row.try_get("verified")? },
        to: Party { address: row.try_get("to_addr")?, verified: None },
        number_id: row.try_get("number_id")?,
        trunk_id: row.try_get("trunk_id")?,
        agent,
        variables: object("variables")?,
        metadata: object("metadata")?,
        scheduled_at: when("scheduled_at")?,
        created_at: rfc3339(row.try_get("created_at")?),
        initiated_at: initiated.map(rfc3339),
        ringing_at: ringing.map(rfc3339),
        answered_at: answered.map(rfc3339),
        ended_at: ended.map(rfc3339),
        duration_ms: row.try_get("duration_ms")?,
        ring_ms,
        billed_s: row.try_get("billed_s")?,
        turns: row.try_get("turns")?,
        media: media.and_then(|text| serde_json::from_str(&text).ok()),
        latency: at("v2v_p50_ms")?.map(|p50| LatencyBrief { voice_to_voice: [("p50", p50)].into() }),
        recording: recording.transpose()?,
        cost: CostBrief {
            is_final: ended.is_some() && row.try_get::<i64, _>("open_leases")? == 0,
            charged_micros: row.try_get("charged_micros")?,
            currency: "USD",
        },
        transfer: row.try_get::<Option<String>, _>("transfer")?.and_then(|text| serde_json::from_str(&text).ok()),
        node_id: row.try_get("node_id")?,
        version: row.try_get("version")?,
    })
}
