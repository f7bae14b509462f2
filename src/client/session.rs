//! A device's session: an access token in memory, renewed once for all callers.
//!
//! ```text
//!            renew                      near expiry, or refused
//! Renewable ───────▶ Active ───────────────────────────────────▶ Renewable
//!     │ refused
//!     ▼
//! SignedOut, and why: a person must sign in
//! ```
//!
//! Renewing brings another refresh token; the server lets go of the old one when it first sees the new
//! session, so a lost answer costs nothing. It runs in a task of its own, so that a caller who goes
//! away in the middle does not lose the new one, and under the lock, so that all callers wait for the
//! same renewal. The new session is persisted before it is used.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Error;
use super::call::Call;
use super::transport::Transport;
use crate::protocol::accounts::{Refresh, Session};
use crate::protocol::problem::Code;
use crate::protocol::routes;

/// Writes a new session's refresh token where the next start of the program finds it.
pub type Persist = Arc<dyn Fn(&Session) -> io::Result<()> + Send + Sync>;

/// Renewed when less than this much of its life is left.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);

/// The tokens of one device.
pub(super) struct Tokens {
    transport: Arc<Transport>,
    persist: Persist,
    state: Arc<Mutex<State>>,
}

enum State {
    Renewable { refresh_token: String },
    Active { access: AccessToken, expires: Instant, refresh_token: String },
    SignedOut { why: String },
}

/// An access token for one try.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct AccessToken(Arc<str>);

impl AccessToken {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tokens {
    pub(super) fn new(transport: Arc<Transport>, refresh_token: String, persist: Persist) -> Self {
        let state = Arc::new(Mutex::new(State::Renewable { refresh_token }));
        Self { transport, persist, state }
    }

    pub(super) fn with_session(
        transport: Arc<Transport>,
        session: &Session,
        persist: Persist,
    ) -> Self {
        Self { transport, persist, state: Arc::new(Mutex::new(State::active(session))) }
    }

    /// A token that should be good now; renews the session when there is none.
    pub(super) async fn access(&self) -> Result<AccessToken, Error> {
        let state = Arc::clone(&self.state).lock_owned().await;
        match &*state {
            State::Active { access, expires, .. } if Instant::now() < *expires => {
                Ok(access.clone())
            }
            State::Active { refresh_token, .. } | State::Renewable { refresh_token } => {
                let refresh = Refresh { refresh_token: refresh_token.clone() };
                self.renew(state, refresh).await
            }
            State::SignedOut { why } => Err(Error::SignedOut { why: why.clone() }),
        }
    }

    /// The server refused `refused`: unless it has been renewed since, it is not used again.
    pub(super) async fn refuse(&self, refused: &AccessToken) {
        let mut state = self.state.lock().await;
        if let State::Active { access, refresh_token, .. } = &*state
            && access == refused
        {
            *state = State::Renewable { refresh_token: refresh_token.clone() };
        }
    }

    /// Takes the session of a changed password in place of the former.
    pub(super) async fn replace(&self, session: &Session) {
        let mut state = self.state.lock().await;
        keep(&self.persist, session);
        *state = State::active(session);
    }

    /// Takes what another program was given.
    pub(super) async fn resume(&self, refresh_token: String) {
        *self.state.lock().await = State::Renewable { refresh_token };
    }

    /// Forgets the session.
    pub(super) async fn forget(&self) {
        *self.state.lock().await = State::SignedOut { why: "signed out".to_owned() };
    }

    async fn renew(
        &self,
        mut state: OwnedMutexGuard<State>,
        refresh: Refresh,
    ) -> Result<AccessToken, Error> {
        let transport = Arc::clone(&self.transport);
        let persist = Arc::clone(&self.persist);
        let renewal = tokio::spawn(async move {
            let call = Call::post(routes::REFRESH).json(&refresh);
            let answer = match transport.send(&call, None).await {
                Ok(response) => transport.json::<Session>(response).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(session) => {
                    keep(&persist, &session);
                    *state = State::active(&session);
                    Ok(AccessToken(session.access_token.into()))
                }
                Err(error) => match end_of_session(&error) {
                    Some(why) => {
                        *state = State::SignedOut { why: why.clone() };
                        Err(Error::SignedOut { why })
                    }
                    None => Err(error),
                },
            }
        });
        renewal.await.expect("renewing does not panic and nobody aborts it")
    }
}

impl State {
    fn active(session: &Session) -> Self {
        let life = Duration::from_secs(session.expires_in);
        Self::Active {
            access: AccessToken(session.access_token.as_str().into()),
            expires: Instant::now() + life.saturating_sub(EXPIRY_MARGIN.min(life / 4)),
            refresh_token: session.refresh_token.clone(),
        }
    }
}

/// A session that cannot be written down is still good for this run.
fn keep(persist: &Persist, session: &Session) {
    if let Err(error) = persist(session) {
        tracing::error!(%error, "cannot save the session: the next start will need a new sign-in");
    }
}

/// Why a refused renewal ends the session, in the server's words; `None` when it does not.
fn end_of_session(error: &Error) -> Option<String> {
    match error {
        Error::Api { problem, .. } => match problem.code {
            Code::Unauthorized | Code::WrongCredentials | Code::NotFound => {
                let told = !problem.detail.is_empty();
                Some(if told { problem.detail.clone() } else { "signed out".to_owned() })
            }
            _ => None,
        },
        _ => None,
    }
}
