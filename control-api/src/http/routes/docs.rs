//! The contract: as a document for programs and as a page for people.

use axum::{
    extract::State as Extract,
    http::header,
    response::{Html, IntoResponse, Response},
};

use crate::http::State;

/// The OpenAPI 3.1 document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", operation_id = "openapi",
    responses((status = 200, content_type = "application/json", body = Object)))]
pub(crate) async fn document(Extract(state): Extract<State>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], state.document.to_string()).into_response()
}

/// The document, rendered; one page without foreign assets.
#[utoipa::path(get, path = "/docs", tag = "operations", operation_id = "docs",
    responses((status = 200, content_type = "text/html", body = String)))]
pub(crate) async fn page() -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(include_str!("docs.html"))).into_response()
}
