//! What the processes of one server ask of each other; a reverse proxy never lets clients through to it.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::auth::bearer;
use super::json::Path;
use super::problem::Failure;
use super::ranges::{Wanted, wanted};
use crate::backend::BlobId;
use crate::service::{Error, Services};

/// A blob that is staged here, whole or a range of it.
///
/// # Errors
/// 401 without a pass for it, 404 when it is not here (any more).
pub(super) async fn blob(
    State(services): State<Services>,
    Path(id): Path<BlobId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let pass = bearer(&headers).ok_or(Error::Unauthorized)?;
    let blob = services.staged.open(id, pass).await?;
    let size = blob.size;
    let (status, range) = match wanted(&headers, &format!("\"{id}\""), size)? {
        Wanted::NotModified => return Ok(StatusCode::NOT_MODIFIED.into_response()),
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let value = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        headers.extend(HeaderValue::try_from(value).ok().map(|value| (CONTENT_RANGE, value)));
    }
    Ok((status, headers, Body::from_stream(blob.read(range))).into_response())
}
