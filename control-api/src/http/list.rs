//! One shape for all lists: `{"data":[…],"next_cursor":…}`, paged by keyset.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    actor::Actor,
    cursor,
    error::ApiError,
    query::{self, PageQuery},
};
use crate::store::page::Page;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// The objects.
    pub(crate) data: Vec<T>,
    /// Pass it as `cursor` for the next page; `null` at the end.
    pub(crate) next_cursor: Option<String>,
}

/// A list that is being answered: which page, and what its cursors belong to.
pub(crate) struct Listing {
    secret: [u8; 32],
    filter: String,
    /// What to ask the store for.
    pub(crate) page: Page,
}

impl Listing {
    /// Reads the page's parameters. `what` names the list and its filters: a cursor is good for nothing else.
    pub(crate) async fn open(
        state: &State,
        actor: &Actor,
        what: impl std::fmt::Debug,
        query: &PageQuery,
    ) -> Result<Self, ApiError> {
        let created_after = query::when("created_after", query.created_after.as_deref())?;
        let created_before = query::when("created_before", query.created_before.as_deref())?;
        let limit = query::number("limit", query.limit.as_deref(), 1, 200, 50)?;
        let ascending = match query.order.as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err(ApiError::invalid("order", "order is asc or desc")),
        };
        let secret = state.app.store.secret().await?;
        let filter = format!("{} {} {what:?} {created_after:?} {created_before:?}", actor.tenant, actor.livemode);
        let after = query.cursor.as_deref().map(|text| {
            cursor::read(&secret, text, &filter, ascending).ok_or_else(|| {
                ApiError::new(StatusCode::BAD_REQUEST, "invalid_cursor", "not a cursor of this list and filter")
                    .at("cursor")
            })
        });
        let after = after.transpose()?;
        Ok(Self { secret, filter, page: Page { after, limit, ascending, created_after, created_before } })
    }

    /// The page of what was fetched (one more than asked, if there is more); `key` is a row's sort key and id.
    pub(crate) fn close<R, T>(
        self,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> (i64, String),
        show: impl FnMut(R) -> T,
    ) -> List<T> {
        let limit = usize::try_from(self.page.limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| {
            let (at, id) = key(last);
            cursor::write(&self.secret, at, &id, &self.filter, self.page.ascending)
        });
        List { data: rows.into_iter().map(show).collect(), next_cursor }
    }
}
