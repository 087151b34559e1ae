//! The routes of agents, one file per kind of thing.

use std::str::FromStr;

use axum::extract::DefaultBodyLimit;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::http::{State, error::ApiError};

pub(crate) mod agents;
pub(crate) mod credentials;
pub(crate) mod invoke;
pub(crate) mod knowledge;
pub(crate) mod parts;
pub(crate) mod tools;
pub(crate) mod versions;
pub(crate) mod voices;

/// Every route of this room.
pub(crate) fn all() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(agents::list, agents::create))
        .routes(routes!(agents::validate))
        .routes(routes!(agents::get, agents::replace, agents::patch, agents::delete))
        .routes(routes!(agents::clone))
        .routes(routes!(parts::prompt, parts::put_prompt))
        .routes(routes!(parts::flow, parts::put_flow))
        .routes(routes!(tools::list, tools::create))
        .routes(routes!(tools::get, tools::replace, tools::delete))
        .routes(routes!(invoke::invoke))
        .routes(routes!(versions::list))
        .routes(routes!(versions::get))
        .routes(routes!(versions::restore))
        .routes(routes!(knowledge::get, knowledge::delete))
        .routes(routes!(knowledge::search))
        .merge(
            // A file is larger than any other body.
            OpenApiRouter::new()
                .routes(routes!(knowledge::list, knowledge::add))
                .layer(DefaultBodyLimit::max(knowledge::BODY_LIMIT)),
        )
        .routes(routes!(credentials::list, credentials::create))
        .routes(routes!(credentials::replace, credentials::delete))
        .routes(routes!(voices::providers))
        .routes(routes!(voices::voices))
        .routes(routes!(voices::preview))
}

/// What is no id finds nothing.
fn id<T: FromStr>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ApiError::not_found())
}
