//! Who changed what (API §1.2). Rows are only ever added, and secrets are blanked before they are.

use axum::{Json, extract::State as Extract};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Row as _, any::AnyRow};
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        list::{List, Listing},
        query::{PageQuery, Paged},
    },
    store::page::Bound,
    time::rfc3339,
};

/// Something that was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    id: String,
    at: String,
    actor: Named,
    /// As `trunk.update`.
    action: String,
    object: Named,
    /// What changed, by field: `{"field":{"from":…,"to":…}}`.
    #[schema(value_type = Option<Object>)]
    diff: Option<Value>,
    ip: Option<String>,
    request_id: Option<String>,
}

/// A kind and an id.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Named {
    kind: String,
    id: Option<String>,
}

/// Which rows.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// A user's or a key's id.
    actor_id: Option<String>,
    action: Option<String>,
    object_kind: Option<String>,
    object_id: Option<String>,
}

/// What was done in the tenant, newest first.
#[utoipa::path(get, path = "/api/v1/audit-log", tag = "people", operation_id = "listAuditLog", params(PageQuery, Filter),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Done>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, filter): Paged<Filter>,
) -> Result<Json<List<Done>>, ApiError> {
    actor.needs("audit:read")?;
    let listing = Listing::open(&state, &actor, ("audit-log", &filter), &page).await?;
    let select =
        "SELECT a.id, a.actor_kind, a.actor_id, a.action, a.object_kind, a.object_id, a.diff, a.ip, a.request_id, a.created_at
         FROM audit_log a WHERE 1 = 1";
    let Filter { actor_id, action, object_kind, object_id } = filter;
    let mut conditions = vec![("a.tenant_id = {}".to_owned(), Bound::Text(actor.tenant.to_string()))];
    for (column, value) in
        [("actor_id", actor_id), ("action", action), ("object_kind", object_kind), ("object_id", object_id)]
    {
        conditions.extend(value.map(|value| (format!("a.{column} = {{}}"), Bound::Text(value))));
    }
    let (sql, values) = listing.page.finish(select.to_owned(), "a", conditions);
    let rows = state.app.store.fetch(sql, values).await?;
    let rows = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(listing.close(rows, |(at, done)| (*at, done.id.clone()), |(_, done)| done)))
}

fn read(row: &AnyRow) -> Result<(i64, Done), sqlx::Error> {
    let at = row.try_get("created_at")?;
    let done = Done {
        id: row.try_get("id")?,
        at: rfc3339(at),
        actor: Named { kind: row.try_get("actor_kind")?, id: row.try_get("actor_id")? },
        action: row.try_get("action")?,
        object: Named { kind: row.try_get("object_kind")?, id: row.try_get("object_id")? },
        diff: row.try_get::<Option<String>, _>("diff")?.and_then(|diff| serde_json::from_str(&diff).ok()),
        ip: row.try_get("ip")?,
        request_id: row.try_get("request_id")?,
    };
    Ok((at, done))
}
