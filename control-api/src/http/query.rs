//! Query strings: every parameter is known or the request is refused.

use axum::{
    extract::{FromRequestParts, Query as Raw},
    http::{StatusCode, Uri, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::error::ApiError;
use crate::time;

/// A query string as `T`, which must `deny_unknown_fields`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    // No database stores the NUL character, and nothing that is looked for has one.
    if let Some(pair) = query.split('&').find(|pair| pair.contains("%00")) {
        let field = pair.split('=').next().unwrap_or_default();
        return Err(ApiError::invalid(field, format!("{field} must not contain the character U+0000")));
    }
    // The framework's reader works on a URI; a query is one without the rest.
    let uri = Uri::try_from(format!("/?{query}")).map_err(|_| ApiError::not_found())?;
    let rejection = match Raw::<T>::try_from_uri(&uri) {
        Ok(Raw(query)) => return Ok(query),
        Err(rejection) => rejection,
    };
    let text = rejection.body_text();
    if let Some((field, _)) = text.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`')) {
        let message = format!("there is no parameter {field:?} here");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "unknown_parameter", message).at(field));
    }
    let message = text.rsplit("string: ").next().unwrap_or("the query cannot be read").to_owned();
    let error = ApiError::new(StatusCode::BAD_REQUEST, "validation_failed", &message);
    // serde names a field before the colon when a value does not parse.
    match message.split_once(": ") {
        Some((field, _)) if !field.contains(' ') => Err(error.at(field)),
        _ => Err(error),
    }
}

/// For routes without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoParameters {}

/// The parameters of every list, as text; a bad value is named by its parameter.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// 1 to 200; 50 when absent.
    pub(crate) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// `desc` (newest first, the default) or `asc`.
    pub(crate) order: Option<String>,
    /// Created at or after this time.
    pub(crate) created_after: Option<String>,
    /// Created before this time.
    pub(crate) created_before: Option<String>,
}

/// The parameters of a list: those of all lists, and the filters `F` of this one, which must `deny_unknown_fields`.
pub(crate) struct Paged<F>(pub(crate) PageQuery, pub(crate) F);

impl<F: DeserializeOwned, S: Sync> FromRequestParts<S> for Paged<F> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        const OURS: [&str; 5] = ["limit", "cursor", "order", "created_after", "created_before"];
        let query = parts.uri.query().unwrap_or_default();
        let (page, filters): (Vec<&str>, Vec<&str>) =
            query.split('&').partition(|pair| OURS.contains(&pair.split('=').next().unwrap_or_default()));
        Ok(Self(read(&page.join("&"))?, read(&filters.join("&"))?))
    }
}

/// A whole number within its range.
pub(crate) fn number(field: &str, text: Option<&str>, min: i64, max: i64, default: i64) -> Result<i64, ApiError> {
    let Some(text) = text else { return Ok(default) };
    text.parse()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| ApiError::invalid(field, format!("{field} is a whole number from {min} to {max}")))
}

/// A time.
pub(crate) fn when(field: &str, text: Option<&str>) -> Result<Option<i64>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    // In a query string an unescaped + is a space.
    let read = time::parse(text).or_else(|| time::parse(&text.replace(' ', "+")));
    read.map(Some).ok_or_else(|| ApiError::invalid(field, format!("{field} is a time like 2026-11-21T00:39:12.123Z")))
}

/// One of the words of an enumeration.
pub(crate) fn word<T: std::str::FromStr>(field: &str, text: Option<&str>) -> Result<Option<T>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ApiError::invalid(field, format!("{text:?} is no {field}")))
}
