//! Routes that take contents: whole, in ranges, and where their chunks are.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_RANGE, LOCATION, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, StreamExt as _};
use miaofs::protocol::batch;
use miaofs::protocol::downloads::{DownloadQuery, Locate, Located, SmallContents};
use miaofs::protocol::routes;

use super::json::{Json, Query};
use super::problem::Failure;
use super::ranges::{Wanted, wanted};
use crate::service::downloads::Readable;
use crate::service::{Caller, Error, Reader, Services};

/// A content, whole or a range of it; or where a store has it, to be asked with the same `Range`.
#[utoipa::path(get, path = routes::DOWNLOAD, tag = "download",
    params(DownloadQuery,
        ("range" = Option<String>, Header, description = "one range of bytes", example = "bytes=0-99"),
        ("if-range" = Option<String>, Header, description = "entity tag that the range is of"),
        ("if-none-match" = Option<String>, Header, description = "entity tags that one has")),
    responses(
        (status = 200, description = "all of it", body = String, content_type = "application/octet-stream",
            headers(("etag" = String), ("accept-ranges" = String))),
        (status = 206, description = "the range", body = String, content_type = "application/octet-stream",
            headers(("etag" = String), ("content-range" = String))),
        (status = 304, description = "it is what one has", headers(("etag" = String))),
        (status = 307, description = "a store has it; the token is not for that one", headers(("location" = String))),
        (status = 404, description = "nothing is there, or it is not one's own"),
        (status = 409, description = "no file"),
        (status = 416, description = "the content has none of the bytes")))]
pub(super) async fn download(
    State(services): State<Services>,
    reader: Reader,
    Query(query): Query<DownloadQuery>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let name = query.path.as_deref().and_then(disposition);
    // A signed URL is for GET alone, and the store knows nothing of our entity tags.
    let movable =
        query.through.is_none() && method == Method::GET && !headers.contains_key(IF_RANGE);
    let content = find(&services, reader, query).await?;
    let etag = format!("\"{}\"", content.digest);
    let wanted = wanted(&headers, &etag, content.size())?;
    if movable && wanted != Wanted::NotModified {
        let disposition = name.as_ref().and_then(|name| name.to_str().ok());
        if let Some(url) = services.downloads.redirection(&content, disposition).await? {
            return Ok(redirect(&url)?);
        }
    }
    let common: [(HeaderName, HeaderValue); 4] = [
        (ETAG, HeaderValue::try_from(etag).map_err(|_never| Error::Unavailable)?),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let mut response = answer(&services, &content, wanted).await?;
    response.headers_mut().extend(common);
    response.headers_mut().extend(name.map(|name| (CONTENT_DISPOSITION, name)));
    Ok(response)
}

/// To a URL that holds for a while: it must be asked for anew each time.
fn redirect(url: &str) -> Result<Response, Error> {
    let location = HeaderValue::try_from(url).map_err(|_never| Error::Unavailable)?;
    let headers = [(LOCATION, location), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}

/// Under which name a browser saves the file at a path: RFC 6266 with the encoding of RFC 8187.
fn disposition(path: &str) -> Option<HeaderValue> {
    let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    let encoded: String = name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    });
    HeaderValue::try_from(format!("attachment; filename*=UTF-8''{encoded}")).ok()
}

async fn find(
    services: &Services,
    reader: Reader,
    query: DownloadQuery,
) -> Result<Readable, Error> {
    let digest = match query {
        DownloadQuery { digest: Some(digest), path: None, .. } => {
            services.files.check_content(reader, digest).await?;
            digest
        }
        DownloadQuery { digest: None, path: Some(path), .. } => {
            let node = services.files.resolve(reader, &path).await?;
            let content = node.state.and_then(|state| state.content);
            content.ok_or(Error::WrongKind("only a file can be downloaded"))?.digest
        }
        _ => return Err(Error::Invalid("give either path or digest".to_owned())),
    };
    services.downloads.open(reader.user, digest).await
}

/// Answers with the bytes, after the first of them are there: a store that does not give them is an error
/// that the client can read, and not a body that breaks off.
async fn answer(
    services: &Services,
    content: &Readable,
    wanted: Wanted,
) -> Result<Response, Error> {
    let size = content.size();
    let (status, range) = match wanted {
        Wanted::NotModified => return Ok(StatusCode::NOT_MODIFIED.into_response()),
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end - 1;
        let value = HeaderValue::try_from(format!("bytes {}-{last}/{size}", range.start));
        headers.extend(value.ok().map(|value| (CONTENT_RANGE, value)));
    }
    let mut bytes = Box::pin(services.downloads.read(content, range));
    let first = bytes.next().await.transpose()?;
    let body = Body::from_stream(stream::iter(first.map(Ok)).chain(bytes));
    Ok((status, headers, body).into_response())
}

/// Many small contents, one after the other.
#[utoipa::path(post, path = routes::CONTENTS, tag = "download", request_body = SmallContents,
    responses((status = 200, description = "as a batch, those that are one's own and small",
        body = String, content_type = batch::MEDIA_TYPE)))]
pub(super) async fn contents(
    State(services): State<Services>,
    caller: Caller,
    Json(request): Json<SmallContents>,
) -> Result<Response, Failure> {
    let records = services.downloads.small(caller, request).await?;
    let headers = [(CONTENT_TYPE, batch::MEDIA_TYPE), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(records.map(Ok::<_, Infallible>))).into_response())
}

/// Where the chunks of a content are.
#[utoipa::path(post, path = routes::LOCATE, tag = "download", request_body = Locate,
    responses((status = 200, description = "the chunks that there are", body = Located),
        (status = 404, description = "the content is not one's own")))]
pub(super) async fn locate(
    State(services): State<Services>,
    caller: Caller,
    Json(request): Json<Locate>,
) -> Result<axum::Json<Located>, Failure> {
    Ok(axum::Json(services.downloads.locate(caller, request).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_can_be_said_in_a_header() {
        let of = |path| disposition(path).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(of("/a/b.txt").as_deref(), Some("attachment; filename*=UTF-8''b.txt"));
        assert_eq!(
            of("/\"\r\n秒").as_deref(),
            Some("attachment; filename*=UTF-8''%22%0D%0A%E7%A7%92")
        );
        assert_eq!(of("/"), None);
    }
}
