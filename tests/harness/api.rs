//! The server's API by plain HTTP, as curl would call it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::wait::seconds;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));
/// Keeps no connections: a server that was killed and started again must not be met by an old one.
static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    let builder = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy();
    builder.timeout(seconds(120)).build().expect("a client needs nothing but memory")
});

/// A server, and a token when somebody is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    url: String,
    token: Option<String>,
}

/// Answer of the server.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status of HTTP.
    pub status: u16,
    headers: HeaderMap,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Api {
    /// The API at `url`, nobody signed in.
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), token: None }
    }

    /// The same server with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { url: self.url.clone(), token: Some(token.to_owned()) }
    }

    /// The token that is sent; panics when nobody is signed in.
    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().expect("somebody is signed in")
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Vec::new())
    }

    /// `GET` of something that may not be listening.
    ///
    /// # Errors
    /// When no answer came.
    pub(crate) fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        self.try_send(Method::GET, path, &[], Vec::new())
    }

    /// `POST` with a JSON body.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json(path, body.to_string().into_bytes())
    }

    /// `POST` with a body that is called JSON.
    pub(crate) fn send_json(&self, path: &str, body: Vec<u8>) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body)
    }

    /// `PUT` with bytes.
    pub(crate) fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.send(Method::PUT, path, &[], body.to_vec())
    }

    /// `DELETE`.
    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], Vec::new())
    }

    /// Any request; panics when there is no answer.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let what = format!("{method} {path}");
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Any request.
    ///
    /// # Errors
    /// When no answer came: no server, or a connection that broke.
    pub(crate) fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        let mut request = CLIENT.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        RUNTIME.block_on(async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
        })
    }

    /// Sends bytes as they are and answers all that comes back.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        read_all(self.connect_and_send(request))
    }

    /// Sends bytes as they are and ends the sending; answers what came back, if anything. A server
    /// may take the end for the end of the connection.
    pub(crate) fn raw_cut_off(&self, request: &[u8]) -> String {
        let stream = self.connect_and_send(request);
        let _ended = stream.shutdown(std::net::Shutdown::Write);
        read_all(stream)
    }

    /// Sends bytes as they are and closes the connection after a pause, whatever came until then.
    pub(crate) fn raw_abandoned(&self, request: &[u8], pause: std::time::Duration) {
        let _stream = self.connect_and_send(request);
        std::thread::sleep(pause);
    }

    fn connect_and_send(&self, request: &[u8]) -> TcpStream {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(seconds(30))).expect("a time above zero");
        // A server that has seen enough may close before it has read all; its answer counts.
        let _sent = stream.write_all(request);
        stream
    }
}

fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _read = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

impl Answer {
    /// Panics unless the status is this.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// Panics unless it is a problem with this status and code. Answers the problem.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{text}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{text}");
        assert_eq!(problem["status"], status, "{text}");
        problem
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in: {text}"))
    }

    /// A header, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers of ours are ASCII"))
    }
}
