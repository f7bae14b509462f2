//! One connection, from its first byte to its last: requests in, answers out, and the reasons for which it ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::no_place;
use super::places::{Admitted, Busy};
use super::steady::Steady;
use crate::http::metrics::InFlight;
use crate::http::problem::Failure;

/// Bytes that the head of a request may have.
const HEAD_MAX: usize = 16 * 1024;
/// Bytes that are read, or kept to be written, at once. What a connection has taken for a long body it keeps, so
/// this is what each may hold; larger reads of a body are not faster.
const BUFFER_MAX: usize = 64 * 1024;
/// Requests of one HTTP/2 connection at once.
const STREAMS_MAX: u32 = 100;
/// Time between two questions whether the other end of an HTTP/2 connection is there, and for its answer.
const PING: Duration = Duration::from_secs(20);
/// Time for the end of an HTTP/2 connection to be told to the other side.
const FAREWELL: Duration = Duration::from_secs(1);

/// Times that a connection has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionTimes {
    /// Longest time until the head of a request is there: since the connection came, or since the last answer.
    pub head: Duration,
    /// Longest time in which the other side takes nothing of an answer.
    pub answer_pause: Duration,
}

/// The version of HTTP that both sides have agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2, which only TLS can agree on.
    Http2,
}

/// All that connections of a listener are served with. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    /// Where requests go.
    pub router: Router,
    /// Limits of time.
    pub times: ConnectionTimes,
    /// Cancelled when connections are to end, once they are answered.
    pub stop: CancellationToken,
}

impl Serving {
    /// Serves one stream of bytes, until it ends or has to.
    pub(super) async fn serve<S>(
        &self,
        stream: S,
        protocol: Protocol,
        peer: SocketAddr,
        place: Admitted,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let presence = place.presence();
        let io = TokioIo::new(Steady::new(stream, presence.clone(), self.times.answer_pause));
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let taken_up = presence.take_up().map(|busy| (busy, router.call(request)));
            let (presence, in_flight) = (presence.clone(), InFlight::begin());
            async move {
                let Some((busy, answer)) = taken_up else {
                    let refused = Failure::from(no_place()).into_response();
                    let busy = presence.begin();
                    return Ok(refused.map(|body| Answering::new(body, busy, in_flight)));
                };
                let answer: Response = answer.await?;
                Ok::<_, Infallible>(answer.map(|body| Answering::new(body, busy, in_flight)))
            }
        });
        match protocol {
            Protocol::Http1 => {
                let connection = http1_settings().serve_connection(io, service);
                let end = (http1::Connection::graceful_shutdown as fn(Pin<&mut _>), Duration::ZERO);
                self.drive(connection, end, &place).await;
            }
            Protocol::Http2 => {
                let connection = http2_settings().serve_connection(io, service);
                let end = (http2::Connection::graceful_shutdown as fn(Pin<&mut _>), FAREWELL);
                self.drive(connection, end, &place).await;
            }
        }
    }

    /// Drives a connection. One that has to end while it is idle has a time in which the protocol says so; one that
    /// is busy ends after its answers.
    async fn drive<C>(
        &self,
        connection: C,
        (end_gracefully, farewell): (fn(Pin<&mut C>), Duration),
        place: &Admitted,
    ) where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        tokio::select! {
            // First what has come, so that a request that is there already is answered.
            biased;
            ended = connection.as_mut() => return note(ended),
            () = self.must_leave(place) => (),
            () = self.stop.cancelled() => (),
        }
        end_gracefully(connection.as_mut());
        if place.is_busy() {
            note(connection.await);
        } else {
            let _told_or_not = tokio::time::timeout(farewell, connection).await;
        }
    }

    /// Ends when the connection has to go: to make room, or because no request comes.
    pub(super) async fn must_leave(&self, place: &Admitted) {
        tokio::select! {
            () = place.sent_away() => (),
            () = self.no_request(place) => (),
        }
    }

    /// Ends when no request has come for too long.
    async fn no_request(&self, place: &Admitted) {
        let mut look = Instant::now();
        loop {
            sleep_until(look).await;
            let since = place.idle_since();
            // One that is busy now cannot have been idle for too long before then.
            look = since.unwrap_or_else(Instant::now) + self.times.head;
            if since.is_some() && look <= Instant::now() {
                return;
            }
        }
    }
}

fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

fn http1_settings() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The time for the head is ours to watch, together with that between requests.
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    builder.max_header_size(HEAD_MAX).max_buf_size(BUFFER_MAX);
    builder
}

fn http2_settings() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PING).keep_alive_timeout(PING);
    builder.max_header_list_size(HEAD_MAX as u32).max_concurrent_streams(STREAMS_MAX);
    builder
}

/// An answer that keeps its connection busy, and counts as in flight, until it has been handed over.
struct Answering {
    body: Body,
    _busy: Busy,
    _in_flight: InFlight,
}

impl Answering {
    fn new(body: Body, busy: Busy, in_flight: InFlight) -> Self {
        Self { body, _busy: busy, _in_flight: in_flight }
    }
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
