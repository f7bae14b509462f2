//! A page of the feed as JSON. A large one is written a part at a time, and what is written is not kept.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use miaofs::protocol::changes::Changes;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::service::Error;
use crate::service::files::FeedPage;

/// Bytes that are written together.
const PART: usize = 256 * 1024;
/// Longest time for a large page to be taken: others wait for its room.
const TIME: Duration = Duration::from_secs(120);
/// Beginning of the JSON of a page.
const HEAD: &[u8] = b"{\"nodes\":[";

/// An answer of the shape of [`Changes`]. A large one breaks off when its reader is too slow.
pub(super) struct FeedJson(pub FeedPage);

/// Bytes of a page, and whether more come.
enum Part {
    More(Bytes),
    Last(Bytes),
}

impl IntoResponse for FeedJson {
    fn into_response(self) -> Response {
        let Self(FeedPage { page, share, .. }) = self;
        let Some(share) = share else { return axum::Json(page).into_response() };
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            if tokio::time::timeout(TIME, send(page, &sender)).await.is_err() {
                tracing::debug!("a page of the feed broke off, since its reader is slow");
            }
            drop(share);
        });
        let body = Body::from_stream(stream::unfold(Some(receiver), take));
        ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
    }
}

/// Writes a page until nobody takes it any more.
async fn send(mut page: Changes, sender: &Sender<Part>) {
    let nodes = std::mem::take(&mut page.nodes);
    let empty = serde_json::to_vec(&page).expect("a page is JSON");
    let mut part = HEAD.to_vec();
    for (index, node) in nodes.into_iter().enumerate() {
        if index > 0 {
            part.push(b',');
        }
        serde_json::to_writer(&mut part, &node).expect("a node is JSON");
        drop(node);
        if part.len() >= PART
            && sender.send(Part::More(std::mem::take(&mut part).into())).await.is_err()
        {
            return;
        }
    }
    part.extend_from_slice(&empty[HEAD.len()..]);
    let _nobody_takes_it = sender.send(Part::Last(part.into())).await;
}

/// The next part. When there should be one and none comes, the reader was too slow.
async fn take(
    receiver: Option<Receiver<Part>>,
) -> Option<(Result<Bytes, Error>, Option<Receiver<Part>>)> {
    let mut receiver = receiver?;
    match receiver.recv().await {
        Some(Part::More(bytes)) => Some((Ok(bytes), Some(receiver))),
        Some(Part::Last(bytes)) => Some((Ok(bytes), None)),
        None => Some((Err(Error::Unavailable), None)),
    }
}

#[cfg(test)]
mod tests {
    use miaofs::protocol::files::{Kind, Node, NodeState};
    use miaofs::protocol::ids::{CommitId, NodeId, Revision};
    use miaofs::protocol::name::Bytes as Value;

    use super::*;

    #[tokio::test]
    async fn a_page_in_parts_is_the_same_json() {
        let mut state = NodeState::new(Kind::Fifo, 0o644, 5);
        state.xattrs.insert("user.large".into(), Value(vec![b'x'; 60_000]));
        let node = |version| Node {
            id: NodeId::random(),
            version,
            revision: Revision::random(),
            state: Some(state.clone()),
        };
        for count in [0, 1, 30] {
            let nodes = (0..count).map(node).collect();
            let commit = (count > 0).then(CommitId::random);
            let page = Changes { nodes, cursor: 7, commit, head: 9 };
            let (sender, mut receiver) = mpsc::channel(100);
            send(page.clone(), &sender).await;
            drop(sender);
            let (mut json, mut parts) = (Vec::new(), 0);
            while let Some(Part::More(bytes) | Part::Last(bytes)) = receiver.recv().await {
                assert!(bytes.len() < 2 * PART);
                json.extend_from_slice(&bytes);
                parts += 1;
            }
            assert_eq!(json, serde_json::to_vec(&page).unwrap());
            assert_eq!(parts > 1, count == 30);
        }
    }
}
