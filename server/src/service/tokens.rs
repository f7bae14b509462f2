//! Tokens: signed access tokens and secret refresh tokens, both of which count only while the
//! tracker knows their id.
//!
//! An access token is a JWT (RFC 7519), HS256 with the key in the data directory. A refresh token
//! is 32 random bytes in hex; the tracker keeps a hash of it only.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Caller, Error};
use crate::backend::tracker::{Bearer, Tracker};
use crate::backend::{self, TokenId, unix_now};

const KEY_BYTES: usize = 32;

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
    /// For one refresh.
    pub refresh: String,
}

/// Gives out and checks tokens.
#[derive(Clone)]
pub struct Tokens {
    tracker: Tracker,
    keys: Arc<(EncodingKey, DecodingKey)>,
    access_ttl: Duration,
    refresh_ttl: Duration,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Signs with the key in the file, which is made when absent.
    ///
    /// # Errors
    /// [`Error::Backend`] when the file cannot be read, made, or is damaged.
    pub fn new(tracker: Tracker, key_file: &Path, lifetimes: [Duration; 2]) -> Result<Self, Error> {
        let key = load_or_make_key(key_file)?;
        let keys = (EncodingKey::from_secret(&key), DecodingKey::from_secret(&key));
        let [access_ttl, refresh_ttl] = lifetimes;
        Ok(Self { tracker, keys: Arc::new(keys), access_ttl, refresh_ttl })
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
        self.tracker.end_device(bearer).await?;
        let access = TokenId::random();
        let refresh: [u8; 32] = rand::random();
        self.tracker.put_token(access, bearer, self.access_ttl).await?;
        self.tracker.put_refresh(id_of_secret(&refresh), bearer, self.refresh_ttl).await?;
        Ok(Pair { access: self.sign(access), refresh: hex::encode(refresh) })
    }

    /// Whose access token it is.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] unless it is signed by this server, not expired and not ended.
    pub async fn check(&self, token: &str) -> Result<Caller, Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        let claims = jsonwebtoken::decode::<Claims>(token, &self.keys.1, &validation)
            .map_err(|_any_flaw| Error::Unauthorized)?
            .claims;
        let id: TokenId = claims.jti.parse().map_err(|_not_ours| Error::Unauthorized)?;
        let bearer = self.tracker.token(id).await?.ok_or(Error::Unauthorized)?;
        Ok(Caller { user: bearer.user, device: bearer.device, token: id })
    }

    /// Uses a refresh token up and says whose it was.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when it is none, expired, or used before.
    pub async fn redeem(&self, refresh_token: &str) -> Result<Bearer, Error> {
        let mut secret = [0; 32];
        hex::decode_to_slice(refresh_token, &mut secret).map_err(|_flaw| Error::Unauthorized)?;
        self.tracker.take_refresh(id_of_secret(&secret)).await?.ok_or(Error::Unauthorized)
    }

    fn sign(&self, id: TokenId) -> String {
        let now = unix_now();
        let lifetime = i64::try_from(self.access_ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = Claims { jti: id.to_string(), iat: now, exp: now.saturating_add(lifetime) };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.keys.0)
            .expect("plain claims serialize and an HMAC takes any key")
    }
}

/// The id that the tracker knows a refresh token by: whoever reads the tracker learns no token.
fn id_of_secret(secret: &[u8; 32]) -> TokenId {
    let hash = blake3::derive_key("miaofs 2026 refresh token id", secret);
    let (id, _rest) = hash.split_first_chunk().expect("32 bytes are more than 16");
    TokenId::from_bytes(*id)
}

fn load_or_make_key(path: &Path) -> Result<[u8; KEY_BYTES], backend::Error> {
    match std::fs::read(path) {
        Ok(bytes) => {
            bytes.try_into().map_err(|_length| backend::Error::Damaged { what: "token key" })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_key(path).map_err(|error| backend::Error::file(path, error))
        }
        Err(error) => Err(backend::Error::file(path, error)),
    }
}

/// Writes the key under another name first: a crash leaves a whole key or none.
fn make_key(path: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    let key: [u8; KEY_BYTES] = rand::random();
    let unfinished = path.with_extension("key.new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(&key)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::UserId;
    use miaofs::protocol::ids::DeviceId;
    use std::os::unix::fs::PermissionsExt as _;

    async fn tokens(directory: &Path) -> Tokens {
        let tracker = Tracker::open(&directory.join("tracker.db")).await.unwrap();
        let lifetimes = [Duration::from_secs(60); 2];
        Tokens::new(tracker, &directory.join("token.key"), lifetimes).unwrap()
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
    async fn a_refresh_token_works_once() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = tokens(directory.path()).await;
        let bearer = Bearer { user: UserId(7), device: DeviceId::random() };
        let pair = tokens.begin(bearer).await.unwrap();
        assert_eq!(tokens.redeem(&pair.refresh).await.unwrap(), bearer);
        assert!(matches!(tokens.redeem(&pair.refresh).await, Err(Error::Unauthorized)));
        assert!(matches!(tokens.redeem(&pair.access).await, Err(Error::Unauthorized)));
    }

    #[tokio::test]
    async fn nobody_else_can_read_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let _made = tokens(directory.path()).await;
        let metadata = std::fs::metadata(directory.path().join("token.key")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
}
