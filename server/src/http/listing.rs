//! A directory and what it holds as JSON, made a page at a time.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use miaofs::protocol::files::Node;

use crate::backend::UserId;
use crate::backend::spool::{Spool, Spooled, Spools};
use crate::service::Error;
use crate::service::files::DirectoryPages;

/// An answer of the shape of [`Listing`](miaofs::protocol::files::Listing): what was gathered of it, and what is still to
/// be read.
pub(super) struct ListingJson {
    gathered: Spool,
    rest: Option<BoxStream<'static, Result<Bytes, Error>>>,
}

impl ListingJson {
    /// Gathers a listing as fast as it can be read, so that a slow client holds no transaction. Only when it cannot be
    /// kept anywhere, the rest is read as the client takes it, and breaks off when something fails.
    ///
    /// # Errors
    /// Those of reading it.
    pub(super) async fn gather(
        pages: DirectoryPages,
        spools: &Spools,
        user: UserId,
    ) -> Result<Self, Error> {
        let (mut gathered, mut json) = (spools.open(user), json_of_pages(pages));
        while let Some(bytes) = json.next().await {
            if gathered.push(&bytes?).await? == Spooled::InMemory {
                return Ok(Self { gathered, rest: Some(json) });
            }
        }
        Ok(Self { gathered, rest: None })
    }
}

impl IntoResponse for ListingJson {
    fn into_response(self) -> Response {
        // This is read after the request's handler has returned.
        let request = tracing::Span::current();
        let gathered = stream::try_unfold((self.gathered, 0), async |(spool, offset)| {
            let bytes = spool.read(offset).await?;
            Ok::<_, Error>(bytes.map(|bytes| {
                let behind = offset + bytes.len() as u64;
                (bytes, (spool, behind))
            }))
        });
        let body = gathered.chain(stream::iter(self.rest).flatten()).inspect_err(move |error| {
            request.in_scope(|| tracing::error!(%error, "a listing broke off"));
        });
        let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (headers, Body::from_stream(body)).into_response()
    }
}

fn json_of_pages(pages: DirectoryPages) -> BoxStream<'static, Result<Bytes, Error>> {
    let DirectoryPages { directory, pages } = pages;
    let head = [&b"{\"directory\":"[..], &json_of(&directory), b",\"nodes\":["].concat();
    let nodes = pages.scan(true, |first, page| {
        std::future::ready(Some(page.map(|nodes| json_of_page(&nodes, first))))
    });
    let whole = |bytes: Bytes| stream::iter([Ok(bytes)]);
    whole(head.into()).chain(nodes).chain(whole(Bytes::from_static(b"]}"))).boxed()
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
