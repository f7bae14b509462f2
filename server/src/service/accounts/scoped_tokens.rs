//! Scoped tokens: secrets that reach a part of a drive, for scripts and programs.
//!
//! A secret is 256 random bits, of which the database keeps a hash. It is looked up at every request: so one that was revoked, has
//! expired, or whose account was closed is refused from the next request on. Changing the password ends all of them, like the
//! sessions. Who tries many that are none is slowed down, for the sake of the database: none can be guessed.

use std::net::IpAddr;

use miaofs::protocol::ids::{NodeId, ScopedTokenId};
use miaofs::protocol::scoped_tokens::{
    CreateScopedToken, LIFETIME_MAX, NewScopedToken, PREFIX, ScopedToken, ScopedTokens, TOKENS_MAX,
};

use super::account::Accounts;
use crate::backend::db::scoped_tokens::{self, Grant, ScopedTokenHash};
use crate::backend::db::{self, Connection};
use crate::backend::{self, unix_now};
use crate::service::{Caller, Error, ScopedCaller};

/// The longest name, in characters.
const NAME_CHARACTERS_MAX: usize = 64;
/// Bytes of a secret.
const SECRET_BYTES: usize = 32;

impl Accounts {
    /// Makes a scoped token for a node of the caller's drive, which is at the path that the request names.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name or lifetime out of bounds, [`Error::AlreadyExists`] when the name is taken,
    /// [`Error::TooLarge`] when there are [`TOKENS_MAX`].
    pub(crate) async fn create_scoped_token(
        &self,
        caller: Caller,
        request: CreateScopedToken,
        root: NodeId,
    ) -> Result<NewScopedToken, Error> {
        check(&request)?;
        let secret: [u8; SECRET_BYTES] = rand::random();
        let text = format!("{PREFIX}{}", hex::encode(secret));
        let created_at = unix_now();
        let lifetime = |seconds: u64| created_at.saturating_add(seconds.cast_signed());
        let CreateScopedToken { name, path, operations, expires_in } = request;
        let id = ScopedTokenId::random();
        let expires_at = expires_in.map(lifetime);
        let about = ScopedToken { id, name, path, operations, created_at, expires_at };
        let grant = Grant { id, user: caller.user, root, operations };
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            self.lock(&mut transaction, caller).await?;
            insert(&mut transaction, grant, hash_of(&text), &about).await?;
            Ok::<_, Error>(transaction.commit().await?)
        })
        .await?;
        Ok(NewScopedToken { token: text, about })
    }

    /// Has tokens of one account made one after the other, and none by a session that has just ended: a new password ends all
    /// tokens that there are, and holds the account meanwhile.
    async fn lock(&self, db: &mut Connection, caller: Caller) -> Result<(), Error> {
        if !db::accounts::lock(db, caller.user).await? {
            return Err(Error::Unauthorized);
        }
        self.tokens.check_again(caller).await
    }

    /// The scoped tokens of the caller's account.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn scoped_tokens(&self, caller: Caller) -> Result<ScopedTokens, Error> {
        let tokens = scoped_tokens::list(&mut *self.db.read().await?, caller.user).await?;
        Ok(ScopedTokens { tokens })
    }

    /// Revokes a scoped token of the caller's account.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn revoke_scoped_token(
        &self,
        caller: Caller,
        id: ScopedTokenId,
    ) -> Result<(), Error> {
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            if !scoped_tokens::remove(&mut transaction, caller.user, id).await? {
                return Err(Error::NotFound("token"));
            }
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// Who shows this scoped token; `None` for text that is not written as one.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] unless there is such a token, and it has not expired; [`Error::TooManyRequests`] when many that
    /// are none came from there.
    pub(crate) async fn scoped_caller(
        &self,
        token: &str,
        from: IpAddr,
    ) -> Result<Option<ScopedCaller>, Error> {
        if !token.starts_with(PREFIX) {
            return Ok(None);
        }
        let mut read = self.db.read().await?;
        let grant = scoped_tokens::grant(&mut read, hash_of(token), unix_now()).await?;
        drop(read);
        match grant {
            Some(grant) => Ok(Some(ScopedCaller::of(grant))),
            None => {
                self.rate_limiter.check_guess(from).await?;
                Err(Error::Unauthorized)
            }
        }
    }
}

async fn insert(
    db: &mut Connection,
    grant: Grant,
    hash: ScopedTokenHash,
    about: &ScopedToken,
) -> Result<(), Error> {
    scoped_tokens::remove_expired(db, grant.user, about.created_at).await?;
    if scoped_tokens::list(db, grant.user).await?.len() >= TOKENS_MAX {
        let rule = format!("an account has at most {TOKENS_MAX} tokens; revoke some");
        return Err(Error::TooLarge(rule));
    }
    match scoped_tokens::insert(db, grant, hash, about).await {
        Err(backend::Error::Duplicate(_)) => {
            Err(Error::AlreadyExists(format!("a token named {}", about.name)))
        }
        inserted => Ok(inserted?),
    }
}

fn check(request: &CreateScopedToken) -> Result<(), Error> {
    let characters = request.name.chars().count();
    if !(1..=NAME_CHARACTERS_MAX).contains(&characters) || request.name.contains(char::is_control) {
        let rule = "a token name has 1 to 64 characters, no control characters";
        return Err(Error::Invalid(rule.to_owned()));
    }
    if request.expires_in.is_some_and(|seconds| !(1..=LIFETIME_MAX).contains(&seconds)) {
        return Err(Error::Invalid(format!("expires_in: 1 to {LIFETIME_MAX} seconds")));
    }
    Ok(())
}

/// The hash that the database knows a token by. The secret is random, so a fast hash is as good as a slow one.
fn hash_of(token: &str) -> ScopedTokenHash {
    blake3::derive_key("miaofs 2026 scoped token", token.as_bytes())
}
