//! Sends one request and reads one answer; the only file that speaks HTTP.
//!
//! Each try of a request to the server has a random id of its own in [`REQUEST_ID`], which stands in the debug
//! log here, in the error when it is refused, and in the server's log.
//!
//! What is meant for the server goes to its URL and nowhere else: redirects are not followed, since a
//! password or a refresh token in a body would go along.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;

use super::call::{Call, Limit};
use super::counters::Counters;
use super::trust::Trust;
use super::{Error, TlsFault};
use crate::protocol::problem::{Code, Problem, REQUEST_ID};

/// Time for which a connection is kept without a request: less than servers and proxies do, so that none is closed just
/// when it is used again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Until a connection is established.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the next bytes of an answer come, for [`Limit::Read`].
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a body that a very slow link sends in a second.
const SLOWEST_LINK: u64 = 16 * 1024;
/// Until bytes sent are acknowledged by the other machine, so that a dead one is noticed.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a refusal's body that are read.
const PROBLEM_MAX: usize = 1024 * 1024;

/// Connections to one server.
pub(super) struct Transport {
    url: String,
    parsed: Url,
    connections: RwLock<Connections>,
    counters: Arc<Counters>,
}

/// Connections that are kept from one request to the next.
#[derive(Clone)]
struct Connections {
    trust: Arc<Trust>,
    /// To the server, for [`Limit::Read`].
    streams: reqwest::Client,
    /// To the server, for [`Limit::Answer`].
    calls: reqwest::Client,
    /// To stores, once there are any. They may have certificates of CAs that everybody knows.
    stores: Arc<OnceLock<reqwest::Client>>,
}

impl Connections {
    fn new(url: &Url, trust: Arc<Trust>) -> Result<Self, Error> {
        let builder = || {
            let builder = trust.of_server(url, builder())?;
            Ok::<_, Error>(builder.redirect(redirect::Policy::none()))
        };
        let streams = builder()?.read_timeout(READ_TIMEOUT).build().map_err(Error::Setup)?;
        let calls = builder()?.build().map_err(Error::Setup)?;
        Ok(Self { trust, streams, calls, stores: Arc::default() })
    }

    fn stores(&self) -> Result<&reqwest::Client, Error> {
        if let Some(made) = self.stores.get() {
            return Ok(made);
        }
        let builder = self.trust.of_stores(builder())?.read_timeout(READ_TIMEOUT);
        let made = builder.build().map_err(Error::Setup)?;
        Ok(self.stores.get_or_init(|| made))
    }
}

impl Transport {
    pub(super) fn new(url: &str, trust: Trust, counters: Arc<Counters>) -> Result<Self, Error> {
        let parsed = Url::parse(url).map_err(|_unparsable| Error::Url(url.to_owned()))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(Error::Url(url.to_owned()));
        }
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            connections: RwLock::new(Connections::new(&parsed, Arc::new(trust))?),
            parsed,
            counters,
        })
    }

    /// Trusts others from now on, on new connections.
    pub(super) fn trust(&self, trust: Trust) -> Result<(), Error> {
        if *self.connections().trust != trust {
            self.replace(Connections::new(&self.parsed, Arc::new(trust))?);
        }
        Ok(())
    }

    /// An error if what is sent could be read on its way.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.connections().trust.check(&self.parsed)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Sends `call` once; anything but a success is an error.
    pub(super) async fn send(&self, call: &Call, token: Option<&str>) -> Result<Response, Error> {
        let url = format!("{}{}", self.url, call.path);
        let connections = self.connections();
        connections.trust.check(&self.parsed)?;
        let mut request = match call.limit {
            Limit::Read => connections.streams.request(call.method.clone(), url),
            Limit::Answer(limit) => {
                let body = call.payload.as_ref().map_or(0, |payload| payload.bytes.len() as u64);
                let limit = limit + Duration::from_secs(body / SLOWEST_LINK);
                connections.calls.request(call.method.clone(), url).timeout(limit)
            }
        };
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let id = format!("{:016x}", rand::random::<u64>());
        let began = Instant::now();
        let answer = self.exchange(request.header(REQUEST_ID, &id), call).await;
        let answer = answer.map_err(|error| error.of_request(&id));
        tracing::debug!(
            method = %call.method,
            path = call.path,
            status = status_of(&answer),
            error = answer.as_ref().err().map(tracing::field::display),
            took = ?began.elapsed(),
            request_id = id,
            "request"
        );
        answer
    }

    /// Reads a signed URL of a store, which gets neither token nor id of ours; the log has only its host.
    pub(super) async fn fetch(&self, url: &str, call: &Call) -> Result<Response, Error> {
        let began = Instant::now();
        let (connections, parsed) = (self.connections(), Url::parse(url));
        let parsed = parsed.map_err(|_unparsable| Error::Malformed("no URL of a store".into()))?;
        connections.trust.check(&parsed)?;
        let answer = self.exchange(connections.stores()?.get(parsed.clone()), call).await;
        tracing::debug!(
            method = %call.method,
            host = parsed.host_str(),
            status = status_of(&answer),
            error = answer.as_ref().err().map(tracing::field::display),
            took = ?began.elapsed(),
            "request to a store"
        );
        answer
    }

    /// Reads the whole of a JSON answer.
    pub(super) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let bytes = response.bytes().await?;
        self.counters.received(bytes.len());
        serde_json::from_slice(&bytes).map_err(|error| Error::Malformed(error.to_string()))
    }

    async fn exchange(&self, mut request: RequestBuilder, call: &Call) -> Result<Response, Error> {
        let mut sent = 0;
        if let Some(range) = &call.range {
            request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        }
        if let Some(payload) = &call.payload {
            sent = payload.bytes.len();
            request = request.header(CONTENT_TYPE, payload.media_type).body(payload.bytes.clone());
        }
        self.counters.request(sent);
        let response = match request.send().await.map_err(Error::from) {
            Err(error @ Error::TimedOut(_)) => {
                self.reconnect();
                return Err(error);
            }
            response => response?,
        };
        let status = response.status();
        if status.is_success() {
            Ok(response)
        } else if status.is_redirection() {
            Err(redirected(&response))
        } else if status == StatusCode::UPGRADE_REQUIRED {
            Err(Error::Tls { fault: TlsFault::WantsTls, source: None })
        } else {
            Err(self.refusal(response).await)
        }
    }

    fn connections(&self) -> Connections {
        self.connections.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has later requests make new connections: what swallowed one request may swallow all that are kept.
    fn reconnect(&self) {
        match Connections::new(&self.parsed, self.connections().trust) {
            Ok(new) => self.replace(new),
            Err(error) => tracing::warn!(%error, "no new connections can be set up"),
        }
    }

    fn replace(&self, connections: Connections) {
        *self.connections.write().unwrap_or_else(PoisonError::into_inner) = connections;
    }

    async fn refusal(&self, mut response: Response) -> Error {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok().map(Duration::from_secs));
        let id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let id = id.unwrap_or_default().to_owned();
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = response.chunk().await {
            self.counters.received(bytes.len());
            body.extend_from_slice(&bytes);
            if body.len() > PROBLEM_MAX {
                break;
            }
        }
        let problem = serde_json::from_slice(&body).unwrap_or_else(|_not_a_problem| Problem {
            status: status.as_u16(),
            ..Problem::new(Code::Unknown, format!("HTTP status {status}"))
        });
        Error::Api { problem: Box::new(problem), retry_after }.of_request(&id)
    }
}

/// Names whom an answer sends to; the path may be somebody's secret.
fn redirected(response: &Response) -> Error {
    let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
    let to = place.and_then(|place| response.url().join(place).ok());
    Error::Redirected(to.map_or_else(String::new, |to| to.origin().ascii_serialization()))
}

/// HTTP status of an answer, if one came.
fn status_of(answer: &Result<Response, Error>) -> Option<u16> {
    match answer {
        Ok(response) => Some(response.status().as_u16()),
        Err(error) => error.status(),
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(UNACKNOWLEDGED_TIMEOUT)
        .tcp_keepalive(Duration::from_secs(15))
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http1_only()
        .user_agent(concat!("miaofs/", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::client::{Client, Retry};
    use crate::protocol::uploads::Known;

    /// Refuses one request and answers with the id that came with it.
    async fn refuse(listener: &TcpListener) -> String {
        let (mut connection, _from) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(connection.read_buf(&mut head).await.unwrap(), 0, "the request ends early");
        }
        let refusal = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        connection.write_all(refusal).await.unwrap();
        let head = String::from_utf8(head).unwrap();
        let header = head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
        header.expect("a request has an id").to_owned()
    }

    #[tokio::test]
    async fn each_try_has_an_id_and_the_error_has_that_of_the_last() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let retry = Retry { times: 1, first: Duration::from_millis(1), ..Retry::default() };
        let client = client.with_retry(retry);
        let call = Call::post("/x").json(&Known { digests: Vec::new() });
        let server = async { [refuse(&listener).await, refuse(&listener).await] };
        let (answer, ids) = tokio::join!(client.public::<()>(call), server);
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.len() == 16 && u64::from_str_radix(id, 16).is_ok()));
        assert_eq!(answer.unwrap_err().request_id(), Some(ids[1].as_str()));
    }
}
