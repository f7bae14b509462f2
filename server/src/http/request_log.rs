//! The log of requests: one line each, at level debug or as the operator asks, and a span around all that is logged meanwhile.
//!
//! The span has the request's id, method and route pattern, and the user and device once they are known. Paths,
//! queries, headers and bodies are left out: they hold names of files, tokens and passwords. Failures are
//! logged where they are found (`problem`), within the span; this line only has their status.

use std::time::{Duration, Instant};

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

use super::origin::Origin;
use super::request_id::RequestId;
use crate::service::{Caller, ScopedCaller};

/// Level of the line of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessLog {
    /// At debug: it is there when somebody looks for something.
    Debug,
    /// At info.
    Always,
}

/// Gives a request its id and its span, and logs it when it is answered or given up.
pub(super) async fn log_request(
    State(access): State<AccessLog>,
    request: Request,
    next: Next,
) -> Response {
    let id = RequestId::choose(request.headers());
    // At the level of errors, so that no filter lets an error through without its request.
    let span = tracing::error_span!(
        "request",
        id = id.as_str(),
        method = %request.method(),
        route = Empty,
        user = Empty,
        device = Empty,
        token = Empty,
    );
    let entry = Entry::begin(&request, span.clone(), access);
    let mut response = id.clone().scope(next.run(request)).instrument(span).await;
    entry.answered(&response);
    id.put_into(response.headers_mut());
    response
}

/// Notes the pattern of the route that a request is for.
pub(super) fn note_route(route: &MatchedPath) {
    Span::current().record("route", route.as_str());
}

/// Notes who has sent the request that is being answered.
pub(super) fn note_caller(caller: &Caller) {
    let span = Span::current();
    span.record("user", display(caller.user)).record("device", display(caller.device));
}

/// Notes who has sent the request that is being answered, with the id of a scoped token.
pub(super) fn note_scoped_caller(caller: ScopedCaller) {
    let span = Span::current();
    span.record("user", display(caller.user())).record("token", display(caller.token()));
}

/// The line of one request. Dropping it before the answer says that the client went away.
struct Entry {
    span: Span,
    access: AccessLog,
    began: Instant,
    origin: Option<Origin>,
    received: Option<u64>,
    is_answered: bool,
}

impl Entry {
    fn begin(request: &Request, span: Span, access: AccessLog) -> Self {
        let origin = request.extensions().get::<Origin>().copied();
        let received = content_length(request.headers());
        Self { span, access, began: Instant::now(), origin, received, is_answered: false }
    }

    fn answered(mut self, response: &Response) {
        self.is_answered = true;
        let sent = content_length(response.headers()).or(response.body().size_hint().exact());
        self.write(Some(response.status()), sent);
    }

    fn write(&self, status: Option<StatusCode>, sent: Option<u64>) {
        let _request = self.span.enter();
        let took: Duration = self.began.elapsed();
        let origin = self.origin.map(|origin| display(origin.0));
        let (status, received) = (status.map(|status| status.as_u16()), self.received);
        match (status, self.access) {
            (Some(status), AccessLog::Always) => {
                tracing::info!(status, ?took, origin, received, sent, "answered");
            }
            (Some(status), AccessLog::Debug) => {
                tracing::debug!(status, ?took, origin, received, sent, "answered");
            }
            (None, AccessLog::Always) => {
                tracing::info!(?took, origin, received, "given up by the client");
            }
            (None, AccessLog::Debug) => {
                tracing::debug!(?took, origin, received, "given up by the client");
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_answered {
            self.write(None, None);
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
