//! What routes answer, for the document: refusals that follow from the shape of a route stand here once, not at each handler.
//!
//! A handler's annotation names its successes and the refusals that are its own. [`complete`] adds those that
//! every route of its kind has, and gives every refusal the body of a problem.

use axum::http::StatusCode;
use miaofs::protocol::problem::{Code, MEDIA_TYPE, Problem, REQUEST_ID};
use serde_json::json;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Response};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::request_id::PATTERN;

/// Refusals of every route that takes a token or changes something.
const GUARDED: [u16; 6] = [414, 429, 431, 500, 503, 507];
/// Refusals of routes that only say how the process is.
const OPERATION: [u16; 4] = [414, 431, 500, 503];
/// Refusals of a route that reads a body.
const WITH_BODY: [u16; 5] = [400, 408, 413, 415, 422];

/// Name of the header of the request's id among the components.
const ID_HEADER: &str = "RequestId";

/// Tag of the routes that say how the process is.
const OPERATION_TAG: &str = "operation";

/// Adds to each operation what all of its kind may answer, and to each answer what all of them have.
pub(super) fn complete(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    components.headers.insert(ID_HEADER.to_owned(), RefOr::T(request_id_header()));
    add_problem(components);
    let operations = document.paths.paths.values_mut().flat_map(operations);
    for operation in operations {
        for status in common(operation) {
            let responses = &mut operation.responses.responses;
            responses.entry(status.to_string()).or_insert_with(|| {
                let name = component_name(status);
                components.responses.entry(name.clone()).or_insert_with(|| described(status));
                RefOr::Ref(Ref::from_response_name(name))
            });
        }
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response {
                finish(status.parse().unwrap_or_default(), response);
            }
        }
    }
    for (name, response) in &mut components.responses {
        let is_named = |status: &u16| component_name(*status) == *name;
        if let (RefOr::T(response), Some(status)) = (response, (400..600).find(is_named)) {
            finish(status, response);
        }
    }
}

/// The schema of a problem, also when no handler names it.
fn add_problem(components: &mut Components) {
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, .. } = path;
    [get, put, post, delete].into_iter().flatten()
}

/// The statuses of refusals that follow from the shape of an operation.
fn common(operation: &Operation) -> Vec<u16> {
    let tags = operation.tags.as_deref().unwrap_or_default();
    if tags.iter().any(|tag| tag == OPERATION_TAG) {
        return OPERATION.to_vec();
    }
    let mut statuses = GUARDED.to_vec();
    // An own list of schemes, which is empty, stands at public operations only.
    if operation.security.is_none() {
        statuses.push(401);
    }
    if operation.request_body.is_some() {
        statuses.extend(WITH_BODY);
    } else if operation.parameters.is_some() {
        statuses.push(400);
    }
    statuses.retain(|status| Code::ALL.iter().any(|code| code.status() == *status));
    statuses
}

/// `PayloadTooLarge` for 413.
fn component_name(status: u16) -> String {
    let status = StatusCode::from_u16(status).ok();
    let words = status.and_then(|status| status.canonical_reason()).unwrap_or("Problem");
    words.split([' ', '-']).collect()
}

/// A refusal with the codes that it may have.
fn described(status: u16) -> RefOr<Response> {
    let codes: Vec<&Code> = Code::ALL.iter().filter(|code| code.status() == status).collect();
    let told = codes.iter().map(|code| format!("`{}`: {}", word(**code), code.title()));
    let mut response = Response::new(told.collect::<Vec<_>>().join("; "));
    if let [code, ..] = codes[..] {
        let mut content = Content::new(Some(Ref::from_schema_name(Problem::name())));
        content.example = Some(json!({
            "status": status, "code": word(*code), "title": code.title(), "detail": "…", "request_id": "7",
        }));
        response.content.insert(MEDIA_TYPE.to_owned(), content.into());
    }
    RefOr::T(response)
}

/// A code as it is written.
fn word(code: Code) -> String {
    let json = serde_json::to_value(code).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

/// Gives an answer the headers that belong to its status, and a refusal the body of a problem.
fn finish(status: u16, response: &mut Response) {
    let reference = Ref::new(format!("#/components/headers/{ID_HEADER}"));
    response.headers.entry(REQUEST_ID.to_owned()).or_insert(RefOr::Ref(reference));
    if status >= 400 && !response.content.contains_key(MEDIA_TYPE) {
        response.content.clear();
        let content = Content::new(Some(Ref::from_schema_name(Problem::name())));
        response.content.insert(MEDIA_TYPE.to_owned(), content.into());
    }
    let header = match status {
        401 => ("WWW-Authenticate", text("the scheme of the token", "^Bearer")),
        416 => ("Content-Range", text("the size of the content", r"^bytes \*/[0-9]+$")),
        429 | 503 | 507 => ("Retry-After", seconds("seconds after which to come again")),
        _ => return,
    };
    response.headers.entry(header.0.to_owned()).or_insert(RefOr::T(header.1));
}

fn text(description: &str, pattern: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    let mut header = Header::new(schema.build());
    header.description = Some(description.to_owned());
    header
}

fn seconds(description: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    let mut header = Header::new(schema.build());
    header.description = Some(description.to_owned());
    header
}

fn request_id_header() -> Header {
    text("id of the request, by which the server's log has it", PATTERN)
}
