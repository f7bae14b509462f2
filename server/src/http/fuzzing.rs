//! Targets for a fuzzer: what requests have in their headers, and forms.

use axum::body::Body;
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH, IF_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use miaofs::protocol::files::PATH_MAX;

use super::forms::{Part, next_part};
use super::origin::{Network, TrustedProxies};
use super::ranges::{Wanted, wanted};
use super::request_id::RequestId;
use super::{auth, uploads};

/// Lines of values, in order: the size of a content in its digits, then ranges, conditions, and what other headers hold.
pub(crate) fn headers(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let size = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
    let names = [
        RANGE,
        IF_RANGE,
        IF_NONE_MATCH,
        AUTHORIZATION,
        HeaderName::from_static("content-md5"),
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("x-forwarded-for"),
    ];
    let value = |line: &[u8]| HeaderValue::from_bytes(line).ok();
    let pairs = names.into_iter().zip(lines).filter(|(_, line)| !line.is_empty());
    let headers: HeaderMap = pairs.filter_map(|(name, line)| Some((name, value(line)?))).collect();
    let size: u64 = size.unwrap_or(1000);
    if let Ok(Wanted::Part(range)) = wanted(&headers, "\"abc\"", size) {
        assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
    }
    let _token = auth::bearer(&headers);
    let _md5 = uploads::content_md5(&headers);
    let id = RequestId::choose(&headers);
    assert!((1..=64).contains(&id.as_str().len()));
    let network: Network = "10.0.0.0/8".parse().expect("it is a network");
    TrustedProxies::from(vec![network]).origin([10, 0, 0, 1].into(), &headers);
    if let Some(Ok(text)) = headers.get(AUTHORIZATION).map(HeaderValue::to_str) {
        let _network = text.parse::<Network>();
    }
}

/// The body of a form, behind a line with the media type.
pub(crate) fn forms(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (media_type, body) = input.split_at(end);
    let Ok(media_type) = HeaderValue::from_bytes(media_type) else { return };
    let body = body.get(1..).unwrap_or_default().to_vec();
    let mut request = Request::new(Body::from(body));
    request.headers_mut().insert(CONTENT_TYPE, media_type);
    let read = async {
        let mut form = Multipart::from_request(request, &()).await.ok()?;
        while let Some(part) = next_part(&mut form).await.ok()? {
            match part {
                Part::Path(path) => assert!(path.len() <= PATH_MAX),
                Part::File(mut file) => while file.chunk().await.ok()?.is_some() {},
            }
        }
        Some(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let _read_or_refused = runtime.expect("a runtime without drivers").block_on(read);
}
