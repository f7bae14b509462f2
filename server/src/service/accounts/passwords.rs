//! Passwords: argon2id, off the runtime's threads, few at once, each network in turn, and always the same work.

use std::net::IpAddr;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};

use super::turns::Turns;
use crate::backend;
use crate::service::Error;

/// Hashes at once: each takes 19 MiB and a core for some tens of milliseconds.
const AT_ONCE: usize = 4;

/// Makes and checks hashes of passwords.
#[derive(Debug, Clone)]
pub(super) struct Passwords {
    turns: Turns,
    /// The hash of a password that nobody has.
    decoy: Arc<str>,
}

impl Passwords {
    /// Ready to hash.
    pub(super) fn new() -> Self {
        let nobodys = hex::encode(rand::random::<[u8; 32]>());
        Self { turns: Turns::new(AT_ONCE), decoy: hash(&nobodys).into() }
    }

    /// The PHC string of a password, with a salt of its own.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] when too many wait; [`Error::Unavailable`] while the server stops.
    pub(super) async fn hash(&self, password: String, from: IpAddr) -> Result<String, Error> {
        self.compute(from, move || hash(&password)).await
    }

    /// True if the password is the one of the hash. Without a hash it is not, after equal work: the
    /// time does not tell who has an account.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] when too many wait; [`Error::Unavailable`] while the server stops;
    /// [`Error::Backend`] for a damaged hash.
    pub(super) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
        from: IpAddr,
    ) -> Result<bool, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.to_string());
        Ok(self.compute(from, move || verify(&password, &hash)).await?? && known)
    }

    async fn compute<T: Send + 'static>(
        &self,
        from: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.turns.take(from).await?;
        let work = tokio::task::spawn_blocking(move || {
            let _until_done = turn;
            work()
        });
        work.await.map_err(|_stopping| Error::Unavailable)
    }
}

/// The PHC string of a password, with a salt of its own, on this thread.
pub(super) fn hash(password: &str) -> String {
    Argon2::default()
        .hash_password(password.as_bytes())
        .expect("the default parameters are valid and the system has random numbers")
        .to_string()
}

fn verify(password: &str, hash: &str) -> Result<bool, Error> {
    let damaged = |error: argon2::password_hash::phc::Error| {
        backend::Error::damaged("password hash", error.to_string())
    };
    let hash = PasswordHash::new(hash).map_err(damaged)?;
    Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_right() {
        let (passwords, from) = (Passwords::new(), IpAddr::from([127, 0, 0, 1]));
        let hash = passwords.hash("correct horse".to_owned(), from).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        let verify = |password: &str, hash| passwords.verify(password.to_owned(), hash, from);
        assert!(verify("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!verify("Correct horse", Some(hash)).await.unwrap());
        assert!(!verify("correct horse", None).await.unwrap());
        assert!(verify("correct horse", Some("plain".to_owned())).await.is_err());
    }
}
