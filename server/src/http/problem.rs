//! Every answer that is not a success: RFC 9457 problems, made from the service's errors by one match.

use std::any::Any;
use std::time::Duration;

use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use miaofs::protocol::problem::{Code, MEDIA_TYPE, Problem};

use super::request_id::RequestId;
use crate::backend;
use crate::service::Error;

/// `Retry-After` where the service names no time.
const RETRY: Duration = Duration::from_secs(1);

/// A problem on its way out, with the headers that belong to it.
#[derive(Debug)]
pub(crate) struct Failure {
    problem: Box<Problem>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let header = match problem.code {
            Code::Unauthorized | Code::WrongCredentials => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Code::TooManyRequests | Code::Unavailable | Code::StorageFull => {
                Some(retry_after(RETRY))
            }
            _ => None,
        };
        Self { problem: Box::new(problem), header }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut problem = Problem::new(code_of(&error), error.to_string());
        let header = match error {
            Error::ChunksMissing(missing) => {
                problem.missing = missing;
                None
            }
            Error::WrongHost(host) => {
                problem.host = Some(host);
                None
            }
            Error::TooManyRequests { retry_after: wait }
            | Error::StorageFull { retry_after: wait } => Some(retry_after(wait)),
            Error::RangeNotSatisfiable { size } => {
                HeaderValue::try_from(format!("bytes */{size}")).ok().map(|is| (CONTENT_RANGE, is))
            }
            Error::Backend(cause) => {
                tracing::error!(error = ?cause, "a backend failed: {cause}");
                problem.detail = String::new();
                None
            }
            _ => None,
        };
        let failure = Self::from(problem);
        Self { header: header.or(failure.header), ..failure }
    }
}

/// The code of each error; all of them stand here.
fn code_of(error: &Error) -> Code {
    match error {
        Error::Invalid(_) => Code::InvalidValue,
        Error::WrongHost(_) => Code::WrongHost,
        Error::DigestMismatch(_) => Code::DigestMismatch,
        Error::LengthMismatch(_) => Code::LengthMismatch,
        Error::Unauthorized | Error::SessionEnded(_) => Code::Unauthorized,
        Error::WrongCredentials => Code::WrongCredentials,
        Error::InsufficientScope => Code::InsufficientScope,
        Error::ProofWrong => Code::ProofWrong,
        Error::SignUpClosed => Code::SignUpClosed,
        Error::InvitationNeeded(_) => Code::InvitationNeeded,
        Error::NotFound(_) => Code::NotFound,
        Error::AccountExists => Code::AccountExists,
        Error::AlreadyExists(_) => Code::AlreadyExists,
        Error::NotEmpty => Code::NotEmpty,
        Error::WrongKind(_) => Code::WrongKind,
        Error::ChunksMissing(_) => Code::ChunksMissing,
        Error::Conflict => Code::Conflict,
        Error::ConditionFailed => Code::PreconditionFailed,
        Error::AnotherHistory(_) => Code::AnotherHistory,
        Error::CommitForgotten(_) => Code::CommitForgotten,
        Error::BeginAnew(_) => Code::BeginAnew,
        Error::TooLarge(_) => Code::TooLarge,
        Error::OverQuota => Code::OverQuota,
        Error::TooManyNodes => Code::TooManyNodes,
        Error::RangeNotSatisfiable { .. } => Code::RangeNotSatisfiable,
        Error::TooManyRequests { .. } | Error::TooManyUploads => Code::TooManyRequests,
        Error::Unavailable => Code::Unavailable,
        Error::StorageFull { .. } => Code::StorageFull,
        Error::Backend(backend) => match backend {
            backend::Error::NoSpace(_) => Code::StorageFull,
            backend::Error::Busy(_)
            | backend::Error::Unreachable { .. }
            | backend::Error::Unavailable { .. }
            | backend::Error::CommitUnknown(_)
            | backend::Error::SerializationFailure(_)
            | backend::Error::Store(_)
            | backend::Error::Stopping => Code::Unavailable,
            backend::Error::Database(_)
            | backend::Error::Duplicate(_)
            | backend::Error::Locked(_)
            | backend::Error::NoData(_)
            | backend::Error::OtherVersion
            | backend::Error::Migration(_)
            | backend::Error::Migrating
            | backend::Error::DatabaseUrl(_)
            | backend::Error::Damaged { .. }
            | backend::Error::MissingBlob { .. }
            | backend::Error::File { .. }
            | backend::Error::Setup(_)
            | backend::Error::Queue(_)
            | backend::Error::Trial { .. } => Code::Internal,
        },
    }
}

fn retry_after(wait: Duration) -> (HeaderName, HeaderValue) {
    (RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)))
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let media_type = (CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        let headers: HeaderMap = [media_type].into_iter().chain(self.header).collect();
        let mut problem = self.problem;
        if let Some(id) = RequestId::current() {
            problem.request_id = id.as_str().to_owned();
        }
        (status, headers, axum::Json(problem)).into_response()
    }
}

/// The answer to a path that no route has.
pub(super) async fn unknown_route() -> Failure {
    Problem::new(Code::NotFound, "no such route; see /openapi.json").into()
}

/// The answer to a method that the route does not take.
pub(super) async fn method_not_allowed() -> Failure {
    Problem::new(Code::MethodNotAllowed, "").into()
}

/// The answer when a handler panicked, which is always a fault of this program.
pub(super) fn of_panic(panic: Box<dyn Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    tracing::error!("a handler panicked: {words}");
    Failure::from(Problem::new(Code::Internal, "")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_of(failure: Failure) -> (u16, Option<String>) {
        let answer = failure.into_response();
        let wait = answer.headers().get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().to_owned());
        (answer.status().as_u16(), wait)
    }

    #[test]
    fn whoever_is_told_to_come_again_is_told_when() {
        let tries = Error::TooManyRequests { retry_after: Duration::from_secs(7) };
        assert_eq!(wait_of(tries.into()), (429, Some("7".to_owned())));
        for (error, status) in [
            (Error::Unavailable, 503),
            (Error::Backend(backend::Error::Stopping), 503),
            (
                Error::Backend(backend::Error::Unavailable { what: "it", source: "gone".into() }),
                503,
            ),
            (Error::OverQuota, 413),
            (Error::TooManyNodes, 413),
        ] {
            let second = (status == 503).then(|| "1".to_owned());
            assert_eq!(wait_of(error.into()), (status, second));
        }
        for code in [Code::TooManyRequests, Code::Unavailable, Code::StorageFull] {
            assert!(wait_of(Problem::new(code, "").into()).1.is_some(), "{code:?}");
        }
    }
}
