//! What the routes of numbers, trunks and rules have in common.

use axum::http::StatusCode;
use domain::{AgentId, TenantId};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::AnyConnection;

use crate::{
    http::{
        change::Change,
        error::{ApiError, Detail},
    },
    routing::{Faults, rows},
};

/// How a body changes what is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    /// PUT.
    Replace,
    /// PATCH.
    Patch,
}

impl Edit {
    /// The document as it is to be.
    pub(super) fn read<T: DeserializeOwned>(
        self,
        change: Change,
        stored: &Value,
        read_only: &[&str],
    ) -> Result<T, ApiError> {
        match self {
            Self::Replace => change.replace(stored, read_only),
            Self::Patch => change.patch(stored, read_only),
        }
    }
}

/// Refuses a document with faults, all of them at once.
pub(super) fn sound(faults: Faults) -> Result<(), ApiError> {
    if faults.0.is_empty() {
        return Ok(());
    }
    let details = faults.0.into_iter();
    Err(ApiError::faults(
        details.map(|fault| Detail { field: fault.field, code: "invalid".into(), message: fault.rule }).collect(),
    ))
}

/// Refuses agents that are not the tenant's; whose they are instead is not told.
pub(super) async fn agents(db: &mut AnyConnection, tenant: TenantId, ids: &[AgentId]) -> Result<(), ApiError> {
    if rows::agents_exist(db, tenant, ids).await? { Ok(()) } else { Err(ApiError::not_found()) }
}

/// Something else stands on the object: 409 with what it is.
pub(super) fn in_use(users: Vec<(&'static str, String)>) -> ApiError {
    let mut error =
        ApiError::new(StatusCode::CONFLICT, "in_use", "something else names this object; change that first");
    error.details = users
        .into_iter()
        .map(|(kind, name)| Detail { field: kind.into(), code: "in_use".into(), message: name })
        .collect();
    error
}
