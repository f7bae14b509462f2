//! The server's API as Rust calls: one typed method for each route, sessions, retry.
//!
//! A [`Client`] is cheap to clone and safe to share. It keeps its session alive by itself
//! (`session`), repeats what may be repeated (`retry`), and tells failures apart by what a caller
//! can do about them ([`Error`]). It never decides what to send, and never touches a disk: the new
//! refresh token of a session is handed to the callback that the caller gave.
//!
//! One file a feature, named like the feature's file in `protocol`.

mod accounts;
mod call;
mod changes;
mod counters;
mod downloads;
mod error;
mod files;
mod health;
mod retry;
mod scoped_tokens;
mod session;
mod tls_fault;
mod transport;
mod trust;
mod uploads;

use std::sync::Arc;

use reqwest::{Method, Response};
use serde::de::DeserializeOwned;

use crate::protocol::accounts::Session;
use crate::protocol::problem::Code;

use call::{Call, Idempotency};
use counters::Counters;
use session::Tokens;
use transport::Transport;

pub use counters::Traffic;
pub use downloads::{ContentStream, Download};
pub use error::Error;
pub use retry::Retry;
pub use session::Persist;
pub use tls_fault::TlsFault;
pub use trust::{Plain, Trust};

/// The API of one server, for one device when it is signed in.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    tokens: Option<Arc<Tokens>>,
    retry: Retry,
}

impl Client {
    /// A client that is not signed in, for the server at `url` (`http://` or `https://`, with a
    /// path prefix if the server is behind one), which trusts whom the machine trusts. Connects to
    /// nothing yet.
    ///
    /// # Errors
    /// [`Error::Url`] when `url` is not one of a web server, [`Error::Setup`] when the machine
    /// cannot do TLS.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::trusting(url, Trust::default())
    }

    /// The same, which trusts whom it is told to.
    ///
    /// # Errors
    /// [`Error::Url`] and [`Error::Setup`], [`Error::NoCertificate`] when there is none in `trust`.
    pub fn trusting(url: &str, trust: Trust) -> Result<Self, Error> {
        let transport = Transport::new(url, trust, Arc::new(Counters::default()))?;
        Ok(Self { transport: Arc::new(transport), tokens: None, retry: Retry::default() })
    }

    /// The same client, signed in with what a former session left.
    ///
    /// `persist` gets every new session before its tokens are used; it writes the refresh token
    /// where the next start finds it.
    #[must_use]
    pub fn signed_in(self, refresh_token: String, persist: Persist) -> Self {
        let tokens = Tokens::new(Arc::clone(&self.transport), refresh_token, persist);
        Self { tokens: Some(Arc::new(tokens)), ..self }
    }

    /// The same client, signed in with a session just made; see [`Client::signed_in`].
    #[must_use]
    pub fn with_session(self, session: &Session, persist: Persist) -> Self {
        let tokens = Tokens::with_session(Arc::clone(&self.transport), session, persist);
        Self { tokens: Some(Arc::new(tokens)), ..self }
    }

    /// Goes on with another session, in this client and all its clones: a person signed in again, and
    /// has perhaps said anew whom to trust.
    ///
    /// # Errors
    /// [`Error::NoCertificate`] when there is none in `trust`; all goes on as before then.
    pub async fn resume(&self, refresh_token: String, trust: Trust) -> Result<(), Error> {
        self.transport.trust(trust)?;
        if let Some(tokens) = &self.tokens {
            tokens.resume(refresh_token).await;
        }
        Ok(())
    }

    /// Says what each request would be refused for before anything is sent.
    ///
    /// # Errors
    /// [`Error::Plain`] where what is sent could be read on its way.
    pub fn check(&self) -> Result<(), Error> {
        self.transport.check()
    }

    /// The same client, repeating failed calls as `retry` says.
    #[must_use]
    pub fn with_retry(&self, retry: Retry) -> Self {
        Self { retry, ..self.clone() }
    }

    /// The server's URL as given, without a trailing slash.
    pub fn url(&self) -> &str {
        self.transport.url()
    }

    /// Requests and bytes so far, of this client and all its clones.
    pub fn traffic(&self) -> Traffic {
        self.transport.counters().traffic()
    }

    /// Sends `call` with a token, renews the session if it is refused, repeats what may be.
    async fn send(&self, call: &Call) -> Result<Response, Error> {
        self.retry_of(call).run(|| self.authorised(call)).await
    }

    /// Like [`Client::send`], and reads the answer; a broken answer is asked for again.
    async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        let attempt = || async { self.transport.json(self.authorised(call).await?).await };
        self.retry_of(call).run(attempt).await
    }

    async fn public<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let attempt = || async {
            let response = self.transport.send(&call, None).await?;
            self.transport.json(response).await
        };
        self.retry_of(&call).run(attempt).await
    }

    /// One try; a second one only if the first failed for its token and there is a newer.
    async fn authorised(&self, call: &Call) -> Result<Response, Error> {
        let tokens = self.tokens.as_ref().ok_or_else(Error::signed_out)?;
        let access = tokens.access().await?;
        match self.transport.send(call, Some(access.as_str())).await {
            Err(error) if error.code() == Some(Code::Unauthorized) => {
                tokens.refuse(&access).await;
                let renewed = tokens.access().await?;
                self.transport.send(call, Some(renewed.as_str())).await
            }
            answer => answer,
        }
    }

    fn retry_of(&self, call: &Call) -> Retry {
        match call.idempotency {
            Idempotency::Idempotent => self.retry,
            Idempotency::NotIdempotent => Retry::NEVER,
        }
    }

    /// A `DELETE` of something that may be gone already.
    async fn delete(&self, path: String) -> Result<(), Error> {
        match self.send(&Call::new(Method::DELETE, path)).await {
            Err(error) if error.code() == Some(Code::NotFound) => Ok(()),
            answer => answer.map(drop),
        }
    }
}
