//! The last answers of a process that is about to end: each closes its connection, so that whoever keeps
//! connections (a reverse proxy) has none left when the process stops listening.

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;

use crate::service::Services;

/// Closes the connection after the answer, once the process is asked to end.
pub(super) async fn close_connections(
    State(services): State<Services>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = next.run(request).await;
    if services.is_draining() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}
