//! The OpenAPI document, generated from the handlers and served.

use std::sync::Arc;

use axum::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use miaofs::protocol::routes;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "miaofs",
    description = "A cloud drive: accounts, drives, uploads and downloads. Errors are RFC 9457 problems."
))]
struct Document;

const SCHEME: &str = "bearer";

/// The document without any route yet: what it is about, and that a token is needed.
pub(super) fn frame() -> OpenApi {
    let mut document = Document::openapi();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme(SCHEME, bearer);
    document.security = Some(vec![SecurityRequirement::new(SCHEME, [] as [&str; 0])]);
    document
}

/// The finished document as JSON, which [`openapi`] finds in a request's extensions.
#[derive(Clone)]
pub(super) struct Rendered(Arc<str>);

impl Rendered {
    /// Renders the document once.
    pub(super) fn new(document: &OpenApi) -> Self {
        Self(document.to_json().expect("the document is made of plain structs").into())
    }
}

/// This document.
#[utoipa::path(get, path = routes::OPENAPI, tag = "operation", security(()),
    responses((status = 200, description = "the OpenAPI document", body = Object)))]
pub(super) async fn openapi(Extension(Rendered(json)): Extension<Rendered>) -> Response {
    ([(CONTENT_TYPE, "application/json")], json.to_string()).into_response()
}
