//! The pace of bodies: whoever sends one goes on sending, or it is given up.
//!
//! Only the time counts in which the server waits for the sender. While it waits for something else, a sender cannot
//! send much, and is not to blame.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::stream::{Stream, StreamExt as _};
use miaofs::protocol::problem::{Code, Problem};
use tokio::time::{Instant, Sleep, sleep_until};

use super::problem::Failure;

/// Bytes in a second that a body comes with at least, on average, once it has taken longer than a pause may.
const RATE_MIN: u64 = 4 * 1024;

/// Bounds of how slowly a body may come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Longest time in which nothing comes, and time that a body may take whatever its rate.
    pub pause: Duration,
}

impl Pace {
    /// Longest pause that comes now of a sender who has sent so many bytes, for whom was waited so long; and what
    /// happens after it.
    fn patience(self, bytes: u64, waited: Duration) -> (Duration, TooSlow) {
        let allowed = self.pause.max(Duration::from_secs(bytes / RATE_MIN));
        let left = allowed.saturating_sub(waited);
        if left < self.pause {
            (left, TooSlow::Rate)
        } else {
            (self.pause, TooSlow::Paused(self.pause))
        }
    }
}

/// A body that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TooSlow {
    Paused(Duration),
    Rate,
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused(pause) => write!(f, "nothing came for {} s", pause.as_secs()),
            Self::Rate => write!(f, "it came with less than {RATE_MIN} bytes a second"),
        }
    }
}

impl std::error::Error for TooSlow {}

/// Gives a request's body up that does not keep the pace. Whatever its handler makes of that, the client is told why.
pub(super) async fn keep(State(pace): State<Pace>, request: Request, next: Next) -> Response {
    let given_up = Arc::new(OnceLock::new());
    let body = |body| Body::from_stream(Paced::new(body, pace, given_up.clone()));
    let answer = next.run(request.map(body)).await;
    match given_up.get() {
        Some(why) if !answer.status().is_success() => {
            Failure::from(Problem::new(Code::TooSlow, why.to_string())).into_response()
        }
        _ => answer,
    }
}

/// A body, and how long the server has waited for it.
struct Paced {
    body: BodyDataStream,
    pace: Pace,
    bytes: u64,
    waited: Duration,
    /// Since when the server waits for more, and until when.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Set when it is given up.
    given_up: Arc<OnceLock<TooSlow>>,
}

impl Paced {
    fn new(body: Body, pace: Pace, given_up: Arc<OnceLock<TooSlow>>) -> Self {
        let body = body.into_data_stream();
        Self { body, pace, bytes: 0, waited: Duration::ZERO, wait: None, given_up }
    }

    /// Ends when the sender has taken too long.
    fn poll_patience(&mut self, context: &mut Context<'_>) -> Poll<TooSlow> {
        let (longest, why) = self.pace.patience(self.bytes, self.waited);
        let (_, wait) = self.wait.get_or_insert_with(|| {
            let since = Instant::now();
            (since, Box::pin(sleep_until(since + longest)))
        });
        ready!(wait.as_mut().poll(context));
        Poll::Ready(*self.given_up.get_or_init(|| why))
    }
}

impl Stream for Paced {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.body.poll_next_unpin(context) {
            Poll::Ready(frame) => {
                if let Some((since, _)) = self.wait.take() {
                    self.waited += since.elapsed();
                }
                if let Some(Ok(bytes)) = &frame {
                    self.bytes += bytes.len() as u64;
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                let why = ready!(self.poll_patience(context));
                Poll::Ready(Some(Err(axum::Error::new(why))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { pause: Duration::from_secs(30) };

    // How long a sender of so many bytes may pause who was waited for so many seconds, and what it is else.
    fn patience(bytes: u64, waited: u64) -> (u64, TooSlow) {
        let (time, why) = PACE.patience(bytes, Duration::from_secs(waited));
        (time.as_secs(), why)
    }

    #[test]
    fn a_sender_may_pause_and_be_slow_but_neither_for_long() {
        let paused = TooSlow::Paused(PACE.pause);
        assert_eq!(patience(0, 0), (30, paused));
        assert_eq!(patience(10, 20), (10, TooSlow::Rate));
        assert_eq!(patience(10, 31), (0, TooSlow::Rate));
        assert_eq!(patience(100 * RATE_MIN, 31), (30, paused));
        assert_eq!(patience(100 * RATE_MIN, 99), (1, TooSlow::Rate));
        assert_eq!(patience(1 << 40, 100_000), (30, paused));
    }

    #[tokio::test]
    async fn only_the_time_counts_in_which_the_server_waits() {
        let pace = Pace { pause: Duration::from_millis(100) };
        let frames = [&b"one"[..], b"two"].map(|frame| Ok::<_, axum::Error>(Bytes::from(frame)));
        let body = futures::stream::iter(frames).chain(futures::stream::pending());
        let mut paced = Paced::new(Body::from_stream(body), pace, Arc::default());
        for _ in 0..2 {
            paced.next().await.unwrap().unwrap();
            tokio::time::sleep(2 * pace.pause).await;
        }
        let start = Instant::now();
        let error = paced.next().await.unwrap().unwrap_err();
        assert!(error.to_string().starts_with("nothing came"), "{error}");
        assert!(start.elapsed() >= pace.pause, "{:?}", start.elapsed());
    }
}
