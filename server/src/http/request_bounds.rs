//! Bounds of what stands before a request's body, so that each refusal is a problem that a client can read.
//!
//! A head that is larger than 16 KiB in all is refused by the connection itself (`connections`), without a body.

use axum::extract::Request;
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use miaofs::protocol::problem::{Code, Problem};

use super::problem::Failure;

/// Bytes that the path and query of a request may have: a path of 4,096 bytes, each percent-encoded, and the rest.
const ADDRESS_MAX: usize = 13 * 1024;
/// Bytes that the names and values of all header fields may have.
const HEADERS_MAX: usize = 8 * 1024;

/// Refuses a request whose address or header fields are too long.
pub(super) async fn check(request: Request, next: Next) -> Response {
    match excess(request.uri(), request.headers()) {
        Some((code, max)) => {
            let detail = format!("at most {max} bytes");
            Failure::from(Problem::new(code, detail)).into_response()
        }
        None => next.run(request).await,
    }
}

fn excess(address: &Uri, headers: &HeaderMap) -> Option<(Code, usize)> {
    let address = address.path_and_query().map_or(0, |address| address.as_str().len());
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    if address > ADDRESS_MAX {
        Some((Code::AddressTooLong, ADDRESS_MAX))
    } else if fields.sum::<usize>() > HEADERS_MAX {
        Some((Code::HeadersTooLong, HEADERS_MAX))
    } else {
        None
    }
}
