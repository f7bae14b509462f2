//! Tokens: signed access tokens, which count only while the tracker knows their id, and secret
//! refresh tokens, which count while the database knows their session.
//!
//! An access token is a JWT (RFC 7519), HS256 with the key in the data directory (or one of several, while it is replaced). A refresh token is
//! what its session begins with, at random, and a secret, in hex; the database keeps hashes of both only. The
//! secret is the number of renewals and a code that the key makes of both: so a device that shows a refresh
//! token again, because the answer was lost, is given the same pair, and a database that was restored from an
//! older copy knows a token that it gave after that was made. (Secrets of before were random.)
//!
//! A tracker that has lost its memory makes every access token a 401, after which clients renew: no
//! person has to sign in again, and what was ended stays ended.
//!
//! A change of a session tells the tracker before the transaction commits, while the session's row is
//! held: so an end comes either before a renewal, which then finds no session, or after it, and ends
//! the access token that it gave.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::refresh_token::{DerivedKeys, RefreshToken};
use crate::backend::db::sessions::{self, ActiveSession, Ending, Renewal, Standing};
use crate::backend::db::{self, Connection, Db, scoped_tokens};
use crate::backend::tracker::{AccessToken, Bearer, OtherTokens, Tracker};
use crate::backend::{self, TokenId, TokenKeys, UserId, even_for, unix_now};
use crate::service::{Caller, Error};

/// Time for which a refresh token still renews after a token that was given for it was shown: the same
/// request may have been sent twice, and come late once.
const REUSE_GRACE: Duration = Duration::from_secs(60);
/// The longest time for which a clock must have gone evenly before a session is over by it.
const CERTAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Pause between two deletions of expired sessions.
const FORGET: Duration = Duration::from_secs(10 * 60);

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    jti: String,
    iat: i64,
    exp: i64,
}

/// A fresh pair.
pub(crate) struct TokenPair {
    /// For `Authorization: Bearer`.
    pub access: String,
    /// For the next refresh.
    pub refresh: String,
}

impl std::fmt::Debug for TokenPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenPair").finish_non_exhaustive()
    }
}

/// State of a refresh token that was shown, with respect to its session.
enum RefreshState {
    /// The one that was given last.
    Newest,
    /// The one before, good until a token that was given for it was shown, and for the grace.
    Predecessor,
    /// One that was given later than the database knows: it was restored from an older copy.
    Ahead,
    /// One before that, within the grace of the last renewal: a request that came late, perhaps.
    Late,
    /// Two hold it.
    Stolen,
}

/// Gives out and checks tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    db: Db,
    tracker: Tracker,
    keys: Arc<DerivedKeys>,
    access_ttl: Duration,
    refresh_ttl: Duration,
    reuse_grace: Duration,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Signs with the first of these keys.
    pub(crate) fn new(
        db: Db,
        tracker: Tracker,
        keys: &TokenKeys,
        lifetimes: [Duration; 2],
    ) -> Self {
        let keys = Arc::new(DerivedKeys::new(keys));
        let [access_ttl, refresh_ttl] = lifetimes;
        Self { db, tracker, keys, access_ttl, refresh_ttl, reuse_grace: REUSE_GRACE }
    }

    /// Lifetime of an access token.
    pub(crate) fn access_ttl(&self) -> Duration {
        self.access_ttl
    }

    /// A new pair for a device, whose former tokens end. They count when the caller's transaction
    /// commits.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn begin(
        &self,
        db: &mut Connection,
        bearer: Bearer,
    ) -> Result<TokenPair, Error> {
        let token = RefreshToken::new(&self.keys, rand::random(), 0);
        let (session, refresh) = (token.session_id(), token.id());
        sessions::begin(db, session, bearer, refresh, self.expires_at()).await?;
        self.tracker.put_token(bearer, self.access(token, None), OtherTokens::Revoke).await?;
        Ok(self.pair(bearer.user, token))
    }

    /// Ends the tokens of a device, for a reason that it is told; `false` when it has no session.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn end_device(
        &self,
        db: &mut Connection,
        bearer: Bearer,
        ending: Ending,
    ) -> Result<bool, Error> {
        let had_one = sessions::end_device(db, bearer, ending).await?;
        self.tracker.revoke_device(bearer).await?;
        Ok(had_one)
    }

    /// Ends the tokens of a device that wishes so itself.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn sign_out(&self, db: &mut Connection, bearer: Bearer) -> Result<(), Error> {
        sessions::remove_device(db, bearer).await?;
        Ok(self.tracker.revoke_device(bearer).await?)
    }

    /// Ends all tokens of a user, scoped ones too, for a reason that the devices are told.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn end_user(
        &self,
        db: &mut Connection,
        user: UserId,
        ending: Ending,
    ) -> Result<(), Error> {
        end_user(db, &self.tracker, (user, ending)).await
    }

    /// Whose access token it is.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] unless it is signed by this server, not expired and not ended;
    /// [`Error::Backend`] when the tracker cannot say.
    pub(crate) async fn check(&self, token: &str) -> Result<Caller, Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let decode = |key| jsonwebtoken::decode::<Claims>(token, key, &validation).ok();
        let claims = self.keys.verify.iter().find_map(decode).ok_or(Error::Unauthorized)?.claims;
        let id: TokenId = claims.jti.parse().map_err(|_not_ours| Error::Unauthorized)?;
        let user = UserId(claims.sub.parse().map_err(|_not_ours| Error::Unauthorized)?);
        let shown = self.tracker.token(user, id).await?.ok_or(Error::Unauthorized)?;
        if let Some(predecessor) = shown.unspent {
            let spend = || async {
                let mut transaction = self.db.write().await?;
                sessions::spend(&mut transaction, shown.bearer, predecessor).await?;
                transaction.commit().await
            };
            db::retry_transaction(spend).await?;
            self.tracker.mark_token_used(user, id).await?;
        }
        Ok(Caller { user, device: shown.bearer.device, token: id })
    }

    /// Makes sure that the token which a caller has shown has not ended since.
    ///
    /// # Errors
    /// [`Error::Unauthorized`]; [`Error::Backend`] when the tracker cannot say.
    pub(super) async fn check_again(&self, caller: Caller) -> Result<(), Error> {
        let shown = self.tracker.token(caller.user, caller.token).await?;
        shown.map(|_good| ()).ok_or(Error::Unauthorized)
    }

    /// Trades a refresh token for the pair that follows it, and says whose it is. The same token is
    /// traded for the same pair until that is shown, and for [`REUSE_GRACE`] longer; whoever shows it
    /// later than that has stolen it, or it was stolen from them, and the device's tokens end
    /// (RFC 9700, section 4.14.2).
    ///
    /// # Errors
    /// [`Error::SessionEnded`] says why when it was ended; [`Error::Unauthorized`] when it is none, expired, or was
    /// spent long ago.
    pub(crate) async fn renew(&self, refresh_token: &str) -> Result<(Bearer, TokenPair), Error> {
        let shown = RefreshToken::from_text(refresh_token).ok_or(Error::Unauthorized)?;
        // Whoever shows a token of no session does not keep others from writing.
        expect_active(&mut *self.db.read().await?, shown.session_id()).await?;
        db::retry_transaction(|| self.try_renew(shown)).await
    }

    async fn try_renew(&self, shown: RefreshToken) -> Result<(Bearer, TokenPair), Error> {
        let mut transaction = self.db.write().await?;
        let session =
            sessions::lock_row(&mut transaction, shown.session_id(), self.over_before()).await?;
        let Some(session) = session else {
            // Perhaps it was ended just now.
            expect_active(&mut transaction, shown.session_id()).await?;
            return Err(Error::Unauthorized);
        };
        let (bearer, next) = (session.bearer, shown.next(&self.keys, session.refresh));
        let renewed = match self.state_of(&session, shown) {
            RefreshState::Newest | RefreshState::Ahead => {
                let [id, predecessor] = [shown.session_id(), shown.id()];
                let renewal = Renewal { predecessor, refresh: next.id() };
                sessions::renew(&mut transaction, id, renewal, self.expires_at()).await?;
                let access = self.access(next, Some(shown.id()));
                self.tracker.put_token(bearer, access, OtherTokens::Revoke).await?;
                Ok((bearer, self.pair(bearer.user, next)))
            }
            RefreshState::Predecessor => {
                let access = self.access(next, Some(shown.id()));
                self.tracker.put_token(bearer, access, OtherTokens::Keep).await?;
                Ok((bearer, self.pair(bearer.user, next)))
            }
            RefreshState::Late => Err(Error::Unauthorized),
            RefreshState::Stolen => {
                let Bearer { user, device } = bearer;
                tracing::warn!(%user, %device, "a spent refresh token was shown: the session ends");
                self.end_device(&mut transaction, bearer, Ending::Stolen).await?;
                Err(Error::SessionEnded(words(Ending::Stolen)))
            }
        };
        transaction.commit().await?;
        renewed
    }

    fn state_of(&self, session: &ActiveSession, token: RefreshToken) -> RefreshState {
        let shown = token.id();
        let grace = i64::try_from(self.reuse_grace.as_secs()).unwrap_or(i64::MAX);
        let is_over = |since: i64| since <= unix_now().saturating_sub(grace);
        if shown == session.refresh {
            return RefreshState::Newest;
        }
        if session.predecessor == Some(shown) {
            let stolen = session.spent_at.is_some_and(is_over);
            return if stolen { RefreshState::Stolen } else { RefreshState::Predecessor };
        }
        if token.is_ahead(&self.keys, session.refresh) {
            return RefreshState::Ahead;
        }
        if is_over(session.renewed_at) { RefreshState::Stolen } else { RefreshState::Late }
    }

    /// Forgets sessions whose time is over, until `stop`.
    pub(crate) async fn forget_forever(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(FORGET)).await.is_some() {
            if let Err(error) = self.forget_expired().await {
                tracing::error!(%error, "sessions whose time is over cannot be forgotten");
            }
        }
    }

    async fn forget_expired(&self) -> Result<(), backend::Error> {
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            sessions::remove_expired(&mut transaction, self.over_before()).await?;
            transaction.commit().await
        })
        .await?;
        self.tracker.remove_expired().await
    }

    /// The time before which a session must have expired to be over. A clock that has jumped lately tells of none: nobody is
    /// to sign in again because of it.
    fn over_before(&self) -> i64 {
        if even_for() >= self.refresh_ttl.min(CERTAIN) { unix_now() } else { i64::MIN }
    }

    /// When a session ends that is renewed now.
    fn expires_at(&self) -> i64 {
        let lifetime = i64::try_from(self.refresh_ttl.as_secs()).unwrap_or(i64::MAX);
        unix_now().saturating_add(lifetime)
    }

    fn access(&self, token: RefreshToken, predecessor: Option<TokenId>) -> AccessToken {
        AccessToken { id: token.access_id(), predecessor, lifetime: self.access_ttl }
    }

    fn pair(&self, user: UserId, token: RefreshToken) -> TokenPair {
        TokenPair { access: self.sign(user, token.access_id()), refresh: token.to_text() }
    }

    fn sign(&self, user: UserId, id: TokenId) -> String {
        let now = unix_now();
        let lifetime = i64::try_from(self.access_ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            sub: user.to_string(),
            jti: id.to_string(),
            iat: now,
            exp: now.saturating_add(lifetime),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.keys.sign)
            .expect("plain claims serialize and an HMAC takes any key")
    }
}

/// Refuses a session that is known to be over, and says why where that is known.
async fn expect_active(db: &mut Connection, session: TokenId) -> Result<(), Error> {
    match sessions::standing(db, session).await? {
        Standing::Active => Ok(()),
        Standing::Ended(ending) => Err(Error::SessionEnded(words(ending))),
        Standing::Unknown => Err(Error::SessionEnded("the session is over")),
    }
}

/// The reason as the device is told.
const fn words(ending: Ending) -> &'static str {
    match ending {
        Ending::Displaced => "signed out, since another device signed in",
        Ending::Revoked => "signed out by another device",
        Ending::PasswordChanged => "signed out by a change of the password",
        Ending::Disabled => "signed out, since the operator disabled the account",
        Ending::Closed => "the account was closed",
        Ending::Stolen => "signed out, since its token was used twice: somebody may have copied it",
    }
}

/// Ends all tokens of a user, scoped ones too, within the caller's transaction, for a reason that the devices are told.
///
/// # Errors
/// [`Error::Backend`].
pub(super) async fn end_user(
    db: &mut Connection,
    tracker: &Tracker,
    (user, ending): (UserId, Ending),
) -> Result<(), Error> {
    sessions::end_user(db, user, ending).await?;
    scoped_tokens::remove_all(db, user).await?;
    Ok(tracker.revoke_user(user).await?)
}

#[cfg(test)]
mod tests;
