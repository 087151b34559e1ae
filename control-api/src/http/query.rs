//! Query strings: every parameter is known or the request is refused.

use axum::{
    extract::{FromRequestParts, Query as Raw},
    http::{StatusCode, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::{cursor, error::ApiError};
use crate::{store::calls::Page, time};

/// A query string as `T`, which must `deny_unknown_fields`.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Raw::<T>::try_from_uri(&parts.uri) {
            Ok(Raw(query)) => Ok(Self(query)),
            Err(rejection) => {
                let text = rejection.body_text();
                match text.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`')) {
                    Some((field, _)) => {
                        let message = format!("there is no parameter {field:?} here");
                        Err(ApiError::new(StatusCode::BAD_REQUEST, "unknown_parameter", message).at(field))
                    }
                    None => {
                        let message = text.rsplit("string: ").next().unwrap_or("the query cannot be read").to_owned();
                        let error = ApiError::new(StatusCode::BAD_REQUEST, "validation_failed", &message);
                        // serde names a field before the colon when a value does not parse.
                        match message.split_once(": ") {
                            Some((field, _)) if !field.contains(' ') => Err(error.at(field)),
                            _ => Err(error),
                        }
                    }
                }
            }
        }
    }
}

/// For routes without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// The parameters of a page, as text; a bad value is named by its parameter.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// 1 to 200; 50 when absent.
    pub(super) limit: Option<String>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
    /// `desc` (newest first, the default) or `asc`.
    pub(super) order: Option<String>,
}

/// Reads the three page parameters. `filter` is what else the request asked: a cursor belongs to its filter.
pub(super) fn page(
    secret: &[u8; 32],
    limit: Option<&str>,
    cursor: Option<&str>,
    order: Option<&str>,
    filter: &str,
) -> Result<Page, ApiError> {
    let limit = number("limit", limit, 1, 200, 50)?;
    let ascending = match order {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(ApiError::invalid("order", "order is asc or desc")),
    };
    let after = match cursor {
        None => None,
        Some(text) => Some(cursor::read(secret, text, filter, ascending).ok_or_else(|| {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_cursor", "not a cursor of this list and filter")
                .at("cursor")
        })?),
    };
    Ok(Page { after, limit, ascending })
}

/// A whole number within its range.
pub(super) fn number(field: &str, text: Option<&str>, min: i64, max: i64, default: i64) -> Result<i64, ApiError> {
    let Some(text) = text else { return Ok(default) };
    text.parse()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| ApiError::invalid(field, format!("{field} is a whole number from {min} to {max}")))
}

/// A time.
pub(super) fn when(field: &str, text: Option<&str>) -> Result<Option<i64>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    // In a query string an unescaped + is a space.
    let read = time::parse(text).or_else(|| time::parse(&text.replace(' ', "+")));
    read.map(Some).ok_or_else(|| ApiError::invalid(field, format!("{field} is a time like 2026-11-21T00:39:12.123Z")))
}

/// One of the words of an enumeration.
pub(super) fn word<T: std::str::FromStr>(field: &str, text: Option<&str>) -> Result<Option<T>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ApiError::invalid(field, format!("{text:?} is no {field}")))
}

/// Splits what was fetched (one more than asked) into the page and the cursor of the next.
pub(super) fn cut<T>(
    secret: &[u8; 32],
    page: &Page,
    filter: &str,
    mut rows: Vec<T>,
    key: impl Fn(&T) -> (i64, String),
) -> (Vec<T>, Option<String>) {
    let limit = usize::try_from(page.limit).unwrap_or(0);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| {
        let (at, id) = key(last);
        cursor::write(secret, at, &id, filter, page.ascending)
    });
    (rows, next)
}
