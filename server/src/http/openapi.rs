//! The OpenAPI document, generated from the handlers and served.

use std::sync::Arc;

use axum::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use miaofs::protocol::routes;
use serde_json::Value;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};

use super::{responses, schemas};

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "miaofs",
    description = "A cloud drive: accounts, drives, uploads and downloads. Every refusal is a problem of RFC 9457 with \
        a stable code. A body of the wrong media type is 415, one that is not JSON or JSON of another shape 400; a field or \
        parameter that is not described is refused. Only what is no HTTP, or has a head of more than 16 KiB, is \
        answered without a body."
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
    /// Completes the document and renders it, once.
    pub(super) fn new(mut document: OpenApi) -> Self {
        responses::complete(&mut document);
        let mut json = serde_json::to_value(document).expect("a document is made of plain structs");
        schemas::bound(&mut json);
        unlink(&mut json);
        Self(json.to_string().into())
    }
}

/// Takes the links to other items of the program out of all descriptions.
fn unlink(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" || name == "summary" => {
                        *text = without_links(text);
                    }
                    other => unlink(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(unlink),
        _ => (),
    }
}

/// `` [`a`](b) `` and `` [`a`] `` become `` `a` ``; lines that say where such a link leads go.
fn without_links(text: &str) -> String {
    let lines = text.lines().filter(|line| !(line.starts_with("[`") && line.contains("`]: ")));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut parts = text.trim_end().split("[`");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("`]").unwrap_or((part, ""));
        let rest = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((_place, rest)) => rest,
            None => rest,
        };
        plain.push_str(&format!("`{name}`{rest}"));
    }
    plain
}

/// This document.
#[utoipa::path(get, path = routes::OPENAPI, tag = "operation", security(()),
    responses((status = 200, description = "an OpenAPI document", body = Object)))]
pub(super) async fn openapi(Extension(Rendered(json)): Extension<Rendered>) -> Response {
    ([(CONTENT_TYPE, "application/json")], json.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_no_links_into_the_program() {
        let of = without_links;
        assert_eq!(of("see [`proof`](super::proof) and [`Known`]."), "see `proof` and `Known`.");
        assert_eq!(of("an [`A`] b\n\n[`A`]: super::A"), "an `A` b");
        assert_eq!(of("[0, 1] (both)"), "[0, 1] (both)");
    }
}
