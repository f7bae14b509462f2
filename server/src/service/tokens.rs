//! Tokens: signed access tokens and secret refresh tokens, both of which count only while the
//! tracker knows their id.
//!
//! An access token is a JWT (RFC 7519), HS256 with the key in the data directory. A refresh token
//! is 32 bytes in hex that nobody can guess; the tracker keeps a hash of it only. A session begins with
//! random ones; the next is computed from the one before with the key, so that a device that shows a
//! refresh token again, because the answer was lost, is given the same pair.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Caller, Error};
use crate::backend::tracker::{Bearer, Renewal, TrackedPair, Tracker};
use crate::backend::{TokenId, TokenKey, unix_now};

const KEY_BYTES: usize = 32;
/// Bytes of a refresh token.
const SECRET_BYTES: usize = 32;
/// How long a refresh token still renews after a token that was given for it was shown: the same
/// request may have been sent twice, and come late once.
const REUSE_GRACE: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct Claims {
    jti: String,
    iat: i64,
    exp: i64,
}

/// A fresh pair.
#[derive(Debug)]
pub struct Pair {
    /// For `Authorization: Bearer`.
    pub access: String,
    /// For the next refresh.
    pub refresh: String,
}

/// The secret of a refresh token.
type Secret = [u8; SECRET_BYTES];

/// What the key in the data directory is used for.
struct Keys {
    sign: EncodingKey,
    verify: DecodingKey,
    succeed: [u8; KEY_BYTES],
}

/// Gives out and checks tokens.
#[derive(Clone)]
pub struct Tokens {
    tracker: Tracker,
    keys: Arc<Keys>,
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
    /// Signs with this key.
    pub fn new(tracker: Tracker, key: &TokenKey, lifetimes: [Duration; 2]) -> Self {
        let keys = Arc::new(Keys {
            sign: EncodingKey::from_secret(key.as_bytes()),
            verify: DecodingKey::from_secret(key.as_bytes()),
            succeed: key.derive("miaofs 2026 refresh token succession"),
        });
        let [access_ttl, refresh_ttl] = lifetimes;
        Self { tracker, keys, access_ttl, refresh_ttl, reuse_grace: REUSE_GRACE }
    }

    /// How long an access token is good.
    pub fn access_ttl(&self) -> Duration {
        self.access_ttl
    }

    /// A new pair for a device, whose former tokens end.
    ///
    /// # Errors
    /// [`Error::Backend`] when the tracker cannot be written.
    pub async fn begin(&self, bearer: Bearer) -> Result<Pair, Error> {
        let secret: Secret = rand::random();
        self.tracker.begin_session(bearer, self.tracked(&secret)).await?;
        Ok(self.pair(&secret))
    }

    /// Whose access token it is.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] unless it is signed by this server, not expired and not ended.
    pub async fn check(&self, token: &str) -> Result<Caller, Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.keys.verify, &validation)
            .map_err(|_any_flaw| Error::Unauthorized)?
            .claims;
        let id: TokenId = claims.jti.parse().map_err(|_not_ours| Error::Unauthorized)?;
        let bearer = self.tracker.token(id).await?.ok_or(Error::Unauthorized)?;
        Ok(Caller { user: bearer.user, device: bearer.device, token: id })
    }

    /// Trades a refresh token for the pair that follows it, and says whose it is. The same token is
    /// traded for the same pair until that is shown, and for [`REUSE_GRACE`] longer; whoever shows it
    /// later than that has stolen it, or it was stolen from them, and the device's tokens end.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when it is none, expired, ended, or was spent long ago.
    pub async fn renew(&self, refresh_token: &str) -> Result<(Bearer, Pair), Error> {
        let mut secret = [0; SECRET_BYTES];
        hex::decode_to_slice(refresh_token, &mut secret).map_err(|_flaw| Error::Unauthorized)?;
        let next: Secret = *blake3::keyed_hash(&self.keys.succeed, &secret).as_bytes();
        let shown = refresh_id(&secret);
        match self.tracker.renew_session(shown, self.tracked(&next), self.reuse_grace).await? {
            Renewal::Renewed(bearer) => Ok((bearer, self.pair(&next))),
            Renewal::Stolen(Bearer { user, device }) => {
                tracing::warn!(%user, %device, "a spent refresh token was shown: the session ends");
                Err(Error::Unauthorized)
            }
            Renewal::Unknown => Err(Error::Unauthorized),
        }
    }

    fn tracked(&self, secret: &Secret) -> TrackedPair {
        TrackedPair {
            access: access_id(secret),
            access_ttl: self.access_ttl,
            refresh: refresh_id(secret),
            refresh_ttl: self.refresh_ttl,
        }
    }

    fn pair(&self, secret: &Secret) -> Pair {
        Pair { access: self.sign(access_id(secret)), refresh: hex::encode(secret) }
    }

    fn sign(&self, id: TokenId) -> String {
        let now = unix_now();
        let lifetime = i64::try_from(self.access_ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims { jti: id.to_string(), iat: now, exp: now.saturating_add(lifetime) };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.keys.sign)
            .expect("plain claims serialize and an HMAC takes any key")
    }
}

/// The id that the tracker knows a refresh token by: whoever reads the tracker learns no token.
fn refresh_id(secret: &Secret) -> TokenId {
    id_from(&blake3::derive_key("miaofs 2026 refresh token id", secret))
}

/// The id of the access token that is given with a refresh token.
fn access_id(secret: &Secret) -> TokenId {
    id_from(&blake3::derive_key("miaofs 2026 access token id", secret))
}

fn id_from(hash: &[u8; 32]) -> TokenId {
    let (id, _rest) = hash.split_first_chunk().expect("32 bytes are more than 16");
    TokenId::from_bytes(*id)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::backend::UserId;
    use miaofs::protocol::ids::DeviceId;
    use std::os::unix::fs::PermissionsExt as _;

    async fn tokens(directory: &Path) -> Tokens {
        let tracker = Tracker::open(&directory.join("tracker.db")).await.unwrap();
        let lifetimes = [Duration::from_secs(60); 2];
        let key = TokenKey::load(&directory.join("token.key")).unwrap();
        Tokens::new(tracker, &key, lifetimes)
    }

    #[tokio::test]
    async fn a_token_counts_until_it_is_ended_and_only_where_it_was_signed() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tokens_here = tokens(here.path()).await;
        let bearer = Bearer { user: UserId(7), device: DeviceId::random() };
        let pair = tokens_here.begin(bearer).await.unwrap();
        let caller = tokens_here.check(&pair.access).await.unwrap();
        assert_eq!((caller.user, caller.device), (bearer.user, bearer.device));

        let forger = tokens(elsewhere.path()).await;
        let forged = forger.sign(caller.token);
        assert!(matches!(tokens_here.check(&forged).await, Err(Error::Unauthorized)));
        assert!(matches!(tokens_here.check("a.b.c").await, Err(Error::Unauthorized)));
        let reopened = tokens(here.path()).await;
        assert!(reopened.check(&pair.access).await.is_ok(), "the key is kept");

        tokens_here.begin(bearer).await.unwrap();
        assert!(matches!(tokens_here.check(&pair.access).await, Err(Error::Unauthorized)));
    }

    #[tokio::test]
    async fn a_lost_answer_is_given_again_and_a_spent_refresh_token_ends_the_session() {
        let directory = tempfile::tempdir().unwrap();
        let mut tokens = tokens(directory.path()).await;
        let bearer = Bearer { user: UserId(7), device: DeviceId::random() };
        let first = tokens.begin(bearer).await.unwrap();
        let (_, lost) = tokens.renew(&first.refresh).await.unwrap();
        let (whose, second) = tokens.renew(&first.refresh).await.unwrap();
        assert_eq!((whose, &second.refresh), (bearer, &lost.refresh));
        assert!(matches!(tokens.renew(&second.access).await, Err(Error::Unauthorized)));

        tokens.check(&second.access).await.unwrap();
        tokens.renew(&first.refresh).await.expect("the grace is not over");
        tokens.check(&second.access).await.unwrap();
        tokens.reuse_grace = Duration::ZERO;
        assert!(matches!(tokens.renew(&first.refresh).await, Err(Error::Unauthorized)));
        assert!(matches!(tokens.check(&second.access).await, Err(Error::Unauthorized)));
        assert!(matches!(tokens.renew(&second.refresh).await, Err(Error::Unauthorized)));
    }

    #[tokio::test]
    async fn nobody_else_can_read_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let _made = tokens(directory.path()).await;
        let metadata = std::fs::metadata(directory.path().join("token.key")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}
