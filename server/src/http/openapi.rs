//! The OpenAPI document, generated from the handlers and served.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
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
pub fn frame() -> OpenApi {
    let mut document = Document::openapi();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document.components.get_or_insert_default().add_security_scheme(SCHEME, bearer);
    document.security = Some(vec![SecurityRequirement::new(SCHEME, [] as [&str; 0])]);
    document
}

/// Serves the finished document.
pub fn route<S: Clone + Send + Sync + 'static>(document: OpenApi) -> Router<S> {
    let json = document.to_json().expect("the document is made of plain structs");
    let json: Arc<str> = json.into();
    let serve = move || {
        let json = json.clone();
        async move { ([(CONTENT_TYPE, "application/json")], json.to_string()).into_response() }
    };
    Router::new().route(routes::OPENAPI, get(serve))
}
