//! One way to change an agent, shared by everything that does: read, judge, store the next version if it differs.

use std::time::Duration;

use axum::http::StatusCode;
use domain::{
    AgentId, AgentSpec,
    agent::{
        fault::{Fault, Warning},
        template,
        tools::ToolKind,
    },
};
use serde_json::{Map, Value};

use super::{
    credentials,
    document::{self, Good},
    knowledge,
    rows::{self, Change, Changed, Stored},
};
use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        error::{ApiError, Detail},
        etag::IfMatch,
    },
};

/// How often a change is tried again that somebody else overtook.
const TRIES: u128 = 25;

/// What the request believes it changes, and whether it must say so.
pub(crate) type Precondition<'a> = (&'a IfMatch, bool);

/// The names in an agent's tools have so long to find their addresses.
const LOOKUPS: Duration = Duration::from_secs(5);

/// An agent of the actor's tenant at its newest version, or 404.
pub(crate) async fn find(state: &State, actor: &Actor, id: AgentId) -> Result<Stored, ApiError> {
    state.app.store.agent(actor.tenant, id, None).await?.ok_or_else(ApiError::not_found)
}

/// Makes an agent of a checked document; it knows what the agent knows that it is `like`.
pub(crate) async fn create(
    state: &State,
    actor: &Actor,
    good: &Good,
    like: Option<AgentId>,
) -> Result<Stored, ApiError> {
    let (_, by) = actor.named();
    let change = Change { tenant: actor.tenant, livemode: actor.livemode, by: &by, note: good.note.as_deref() };
    credentials_exist(state, actor, &good.spec).await?;
    places_are_open(state, &good.spec).await?;
    let mut tx = state.app.store.begin().await?;
    let id = AgentId(uuid::Uuid::now_v7());
    let Some(made) = rows::create(&mut tx, &change, id, &good.spec).await? else {
        let message = format!("a tenant has at most {} agents", rows::MOST);
        return Err(ApiError::new(StatusCode::CONFLICT, "too_many_agents", message));
    };
    if let Some(like) = like {
        knowledge::copy(&mut tx, like, id).await?;
    }
    audit::note(&mut tx, actor, "agent.create", "agent", &id.to_string(), None).await?;
    tx.commit().await?;
    state.app.store.changed();
    Ok(made)
}

/// Changes an agent by what `make` makes of what is stored; nothing is stored when nothing differs.
pub(crate) async fn edit(
    state: &State,
    actor: &Actor,
    id: AgentId,
    if_match: Precondition<'_>,
    make: impl Fn(&Stored) -> Result<Good, ApiError>,
) -> Result<(Stored, Vec<Warning>), ApiError> {
    let (_, by) = actor.named();
    for attempt in 0..TRIES {
        if attempt > 0 {
            // Those who collided come back at different moments.
            let apart = uuid::Uuid::now_v7().as_u128() % (5 * attempt.min(8) + 1);
            tokio::time::sleep(Duration::from_millis(u64::try_from(apart).unwrap_or(0))).await;
        }
        let stored = find(state, actor, id).await?;
        if_match.0.check(stored.version, if_match.1)?;
        let good = make(&stored)?;
        credentials_exist(state, actor, &good.spec).await?;
        places_are_open(state, &good.spec).await?;
        let change = Change { tenant: actor.tenant, livemode: actor.livemode, by: &by, note: good.note.as_deref() };
        let mut tx = state.app.store.begin().await?;
        match rows::change(&mut tx, &change, &stored, &good.spec).await? {
            Changed::Same => return Ok((stored, good.warnings)),
            Changed::Stored => {
                let diff = audit::diff(&stored.config, &good.spec.document());
                audit::note(&mut tx, actor, "agent.update", "agent", &id.to_string(), Some(&diff)).await?;
                tx.commit().await?;
                state.app.store.changed();
                return Ok((find(state, actor, id).await?, good.warnings));
            }
            Changed::Conflict => tx.rollback().await?,
        }
    }
    Err(ApiError::new(StatusCode::CONFLICT, "busy", "others keep changing this agent; try again"))
}

/// Where tools ask is judged when they are stored, and again whenever they ask.
async fn places_are_open(state: &State, spec: &AgentSpec) -> Result<(), ApiError> {
    let deadline = tokio::time::Instant::now() + LOOKUPS;
    let tools = spec.tools.iter().enumerate().filter(|(_, tool)| tool.kind == ToolKind::Http);
    for (n, tool) in tools {
        let url = tool.config.get("url").and_then(Value::as_str).unwrap_or_default();
        let url = template::fill(url, |_| Some("x".to_owned()));
        let guard = state.app.tools.outward().guard();
        // A name that has no address in time is judged when it is asked, like one that has none at all.
        let judged = tokio::time::timeout_at(deadline, guard.check(&url)).await.unwrap_or_else(|_| guard.read(&url));
        if let Err(why) = judged {
            let error = ApiError::new(StatusCode::BAD_REQUEST, "url_forbidden", why.to_string());
            return Err(error.at(format!("tools[{n}].config.url")));
        }
    }
    Ok(())
}

/// A credential that is missing and one of another tenant are the same: none.
pub(crate) async fn credentials_exist(state: &State, actor: &Actor, spec: &AgentSpec) -> Result<(), ApiError> {
    let by_tools: Vec<(usize, &str)> = spec
        .tools
        .iter()
        .enumerate()
        .filter_map(|(n, tool)| Some((n, tool.config.get("credential_id")?.as_str()?)))
        .collect();
    for id in credentials::named(spec) {
        let found = state.app.store.credential(actor.tenant, &id).await?;
        if let (Some(row), Some((n, _))) = (&found, by_tools.iter().find(|(_, named)| *named == id))
            && row.provider != "webhook"
        {
            // A vendor's key goes to that vendor and to nobody else.
            let message = "a tool takes a credential of the provider webhook";
            return Err(ApiError::invalid(format!("tools[{n}].config.credential_id"), message));
        }
        if found.is_none() {
            let at =
                [("stt", &spec.stt.credential_id), ("llm", &spec.llm.credential_id), ("tts", &spec.tts.credential_id)]
                    .into_iter()
                    .find(|(_, named)| named.as_ref() == Some(&id))
                    .map(|(stage, _)| format!("{stage}.credential_id"))
                    .or_else(|| {
                        let (n, _) = by_tools.iter().find(|(_, named)| *named == id)?;
                        Some(format!("tools[{n}].config.credential_id"))
                    })
                    .unwrap_or_else(|| "credential_id".to_owned());
            return Err(ApiError::invalid(at, "there is no such credential"));
        }
    }
    Ok(())
}

/// Lays a patch over the stored document; for routes that change a part.
pub(crate) fn with(
    state: &State,
    actor: &Actor,
    stored: &Stored,
    patch: Value,
    note: Option<&str>,
) -> Result<Good, ApiError> {
    let mut good =
        document::patched(patch, actor.tenant, stored, &*state.app.agents).map_err(|faults| refused("", faults))?;
    if good.note.is_none() {
        good.note = note.map(str::to_owned);
    }
    Ok(good)
}

/// The answer to a document with faults: the gravest in front, all of them in `details`. `under` is where the document stands.
pub(crate) fn refused(under: &str, faults: Vec<Fault>) -> ApiError {
    let path = |field: &str| match (under.is_empty(), field.is_empty()) {
        (true, _) => field.to_owned(),
        (false, true) => under.to_owned(),
        (false, false) => format!("{under}.{field}"),
    };
    let rank = |fault: &&Fault| {
        [Fault::READ_ONLY, Fault::UNKNOWN, Fault::FLOW].iter().position(|code| *code == fault.code).unwrap_or(9)
    };
    let Some(first) = faults.iter().min_by_key(rank) else { return ApiError::invalid(under, "cannot be taken") };
    let mut error = ApiError::new(StatusCode::BAD_REQUEST, first.code, first.message.clone());
    if !path(&first.field).is_empty() {
        error = error.at(path(&first.field));
    }
    if faults.len() > 1 {
        let detail = |fault: &Fault| Detail {
            field: path(&fault.field),
            code: fault.code.into(),
            message: fault.message.clone(),
        };
        error.details = faults.iter().map(detail).collect();
    }
    error
}

/// A body as a JSON value.
pub(crate) fn value(body: Map<String, Value>) -> Value {
    Value::Object(body)
}
