//! Reads what a client is still sending when it is answered already, so that it comes to read the answer.
//!
//! A connection that is closed with bytes unread is reset, and the answer may be lost with it (RFC 9112,
//! section 9.6). So an answer waits a while for the rest of its request's body, if that is not too much.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::middleware::Next;
use axum::response::Response;
use futures::stream::{Stream, StreamExt as _};
use tokio::sync::oneshot;

/// Bytes that are read and thrown away at the most: twice the longest body that any route takes.
const LEFT_MAX: u64 = 128 * 1024 * 1024;
/// Longest time for all of them.
const LEFT_TIME: Duration = Duration::from_secs(30);
/// Longest pause of the sender meanwhile.
const LEFT_PAUSE: Duration = Duration::from_secs(5);

/// Answers a request after all of its body was read.
pub(super) async fn read_to_the_end(request: Request, next: Next) -> Response {
    let wanted = is_worth_reading(request.headers());
    let (parts, body) = request.into_parts();
    let (sender, mut receiver) = oneshot::channel();
    let lent = Lent { body: Some(body.into_data_stream()), back: wanted.then_some(sender) };
    let answer = next.run(Request::from_parts(parts, Body::from_stream(lent))).await;
    if let Ok(left) = receiver.try_recv() {
        let _in_time_or_not = tokio::time::timeout(LEFT_TIME, throw_away(left)).await;
    }
    answer
}

/// True if the rest may be read: not when it is known to be too much, nor when the client waits to be
/// told that its body is wanted.
fn is_worth_reading(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_none_or(|length| length <= LEFT_MAX) && !headers.contains_key(EXPECT)
}

async fn throw_away(mut left: BodyDataStream) {
    let mut read = 0;
    while read <= LEFT_MAX
        && let Ok(Some(Ok(bytes))) = tokio::time::timeout(LEFT_PAUSE, left.next()).await
    {
        read += bytes.len() as u64;
    }
}

/// The body of a request, which comes back when its handler is done with it.
struct Lent {
    body: Option<BodyDataStream>,
    back: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.body {
            Some(body) => body.poll_next_unpin(context),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // The request was given up when nobody takes it back.
            let _unwanted = back.send(body);
        }
    }
}
