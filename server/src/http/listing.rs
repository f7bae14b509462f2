//! A directory and what it holds as JSON, written a page at a time.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use miaofs::protocol::files::Node;

use crate::service::Error;
use crate::service::files::DirectoryPages;

/// An answer of the shape of [`Listing`](miaofs::protocol::files::Listing). It breaks off when something fails after it has begun.
pub(super) struct ListingJson(pub DirectoryPages);

impl IntoResponse for ListingJson {
    fn into_response(self) -> Response {
        let Self(DirectoryPages { directory, pages }) = self;
        // The pages are read after the request's handler has returned.
        let request = tracing::Span::current();
        let head = [&b"{\"directory\":"[..], &json_of(&directory), b",\"nodes\":["].concat();
        let nodes = pages.scan(true, move |first, page| {
            let page = page.map(|nodes| json_of_page(&nodes, first));
            if let Err(error) = &page {
                request.in_scope(|| tracing::error!(%error, "a listing broke off"));
            }
            std::future::ready(Some(page))
        });
        let whole = |bytes: Bytes| stream::iter([Ok::<_, Error>(bytes)]);
        let body = whole(head.into()).chain(nodes).chain(whole(Bytes::from_static(b"]}")));
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (headers, Body::from_stream(body)).into_response()
    }
}

/// Nodes with a comma before each but the first of all.
fn json_of_page(nodes: &[Node], first: &mut bool) -> Bytes {
    let mut json = Vec::new();
    for node in nodes {
        if !std::mem::take(first) {
            json.push(b',');
        }
        json.extend_from_slice(&json_of(node));
    }
    json.into()
}

fn json_of(node: &Node) -> Vec<u8> {
    serde_json::to_vec(node).expect("a node is JSON")
}
