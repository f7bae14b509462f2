//! Targets for a fuzzer: what stores answer.

use super::{etag, multipart};

/// Listings of multipart uploads, and entity tags.
pub(crate) fn listings(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _page = multipart::read_page(text);
    let plain = etag::plain(text);
    assert_eq!(etag::plain(&plain), plain);
}
