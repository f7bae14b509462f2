//! Accounts of the measured server, and requests in their name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use miaofs::protocol::{batch, routes};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::Outcome;

/// The measured server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    url: Arc<str>,
    http: reqwest::Client,
}

/// Somebody with a drive, signed in.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    server: Server,
    token: Arc<str>,
}

impl Server {
    /// The server at this URL.
    ///
    /// # Errors
    /// When no client can be set up.
    pub(crate) fn new(url: &str) -> Outcome<Self> {
        let http = reqwest::Client::builder().no_proxy().tcp_nodelay(true);
        let http = http.timeout(Duration::from_secs(120)).build()?;
        Ok(Self { url: url.trim_end_matches('/').into(), http })
    }

    /// A new account.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn sign_up(&self) -> Outcome<Account> {
        let name = format!("load{:016x}", rand::random::<u64>());
        let body = json!({ "name": name, "password": "correct horse battery", "device": { "name": "load" } });
        let request = self.http.post(format!("{}{}", self.url, routes::SIGN_UP));
        let session: Value =
            serde_json::from_slice(&answer(request_with_json(request, &body)?).await?)?;
        let token = session["access_token"].as_str().ok_or("a session without a token")?;
        Ok(Account { server: self.clone(), token: token.into() })
    }

    /// Sum of a gauge or counter over its labels; 0 when it is not there yet.
    ///
    /// # Errors
    /// When the server does not tell.
    pub(crate) async fn metric(&self, name: &str) -> Outcome<u64> {
        let body = answer(self.http.get(format!("{}{}", self.url, routes::METRICS))).await?;
        let text = String::from_utf8(body)?;
        let mut sum = 0.0;
        for line in text.lines() {
            if let Some((series, value)) = line.rsplit_once(' ')
                && series.split('{').next() == Some(name)
            {
                sum += value.parse::<f64>()?;
            }
        }
        Ok(sum as u64)
    }
}

impl Account {
    /// `POST` with JSON; answers what came back.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let answered = self.post_bytes(path, "application/json", serde_json::to_vec(body)?).await?;
        Ok(serde_json::from_slice(&answered)?)
    }

    /// `POST` with bytes; answers what came back.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn post_bytes(
        &self,
        path: &str,
        media_type: &str,
        body: Vec<u8>,
    ) -> Outcome<Vec<u8>> {
        answer(self.request(Method::POST, path).header("content-type", media_type).body(body)).await
    }

    /// Makes contents the account's own, as many as fit into batches.
    ///
    /// # Errors
    /// When they are refused.
    pub(crate) async fn batch(&self, contents: &[Vec<u8>]) -> Outcome<()> {
        let mut body = Vec::new();
        for (number, bytes) in contents.iter().enumerate() {
            batch::push(&mut body, miaofs::content::Digest::of(bytes), bytes);
            if body.len() > batch::BODY_MAX / 2 || number + 1 == contents.len() {
                let body = std::mem::take(&mut body);
                self.post_bytes(routes::BATCH, batch::MEDIA_TYPE, body).await?;
            }
        }
        Ok(())
    }

    /// A request in the account's name.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let Server { url, http } = &self.server;
        http.request(method, format!("{url}{path}")).bearer_auth(&self.token)
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// When it is no success.
pub(crate) async fn answer(request: RequestBuilder) -> Outcome<Vec<u8>> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.bytes().await?.to_vec();
    match status.is_success() {
        true => Ok(body),
        false => Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into()),
    }
}

fn request_with_json(request: RequestBuilder, body: &Value) -> Outcome<RequestBuilder> {
    Ok(request.header("content-type", "application/json").body(serde_json::to_vec(body)?))
}

/// Has all workers begin at once and work to their end; answers the time from the beginning to the end of the last, and what
/// each of them made.
///
/// # Errors
/// The first of theirs.
pub(crate) async fn together<T, W, F>(
    workers: impl IntoIterator<Item = W>,
    work: impl Fn(W) -> F,
) -> Outcome<(Duration, Vec<T>)>
where
    T: Send + 'static,
    F: Future<Output = Outcome<T>> + Send + 'static,
{
    let workers: Vec<F> = workers.into_iter().map(work).collect();
    let start = Arc::new(Barrier::new(workers.len() + 1));
    let mut set = JoinSet::new();
    for worker in workers {
        let start = start.clone();
        set.spawn(async move {
            start.wait().await;
            worker.await
        });
    }
    start.wait().await;
    let began = Instant::now();
    let mut made = Vec::new();
    while let Some(done) = set.join_next().await {
        made.push(done??);
    }
    Ok((began.elapsed(), made))
}
