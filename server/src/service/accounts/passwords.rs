//! Passwords: argon2id, off the runtime's threads, few at once, each network in turn, and always the same work.
//!
//! Who was signed in before stands in a line of its own: however many strangers guess from however many networks, they wait
//! for each other.

use std::net::IpAddr;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

use super::turns::Turns;
use crate::backend::{self, Priority, background_thread, half_of_processors};
use crate::service::Error;

/// Hashes at once of each line, at the most: each takes 19 MiB and a core for some tens of milliseconds.
const AT_ONCE_MAX: usize = 4;

/// Outcome of the comparison of a password with a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verification {
    /// Another one.
    Wrong,
    /// The same.
    Right,
    /// The same, but the hash costs a guesser less than those that are made now: here is such a one.
    Outdated(String),
}

/// Who shows a password, or wants one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// Where they ask from.
    pub address: IpAddr,
    /// True if they are signed in, or name a device that was signed in to this account.
    pub is_known: bool,
}

/// Makes and checks hashes of passwords.
#[derive(Debug, Clone)]
pub(super) struct Passwords {
    /// Of those who are known.
    known: Turns,
    strangers: Turns,
    /// The hash of a password that nobody has.
    decoy: Arc<str>,
}

impl Passwords {
    /// Ready to hash.
    pub(super) fn new() -> Self {
        let nobodys = hex::encode(rand::random::<[u8; 32]>());
        let at_once = half_of_processors().min(AT_ONCE_MAX);
        Self {
            known: Turns::new(at_once),
            strangers: Turns::new(at_once),
            decoy: hash(&nobodys).into(),
        }
    }

    /// The PHC string of a password, with a salt of its own.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] when too many wait; [`Error::Unavailable`] while the server stops.
    pub(super) async fn hash(&self, password: String, asker: Asker) -> Result<String, Error> {
        self.compute(asker, move || hash(&password)).await
    }

    /// Compares a password with a hash. Without a hash it is wrong, after equal work: the time does not tell who has an
    /// account.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] when too many wait; [`Error::Unavailable`] while the server stops;
    /// [`Error::Backend`] for a damaged hash.
    pub(super) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
        asker: Asker,
    ) -> Result<Verification, Error> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.to_string());
        let verdict = self.compute(asker, move || verify(&password, &hash)).await??;
        Ok(if known { verdict } else { Verification::Wrong })
    }

    async fn compute<T: Send + 'static>(
        &self,
        asker: Asker,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turns = if asker.is_known { &self.known } else { &self.strangers };
        let turn = turns.take(asker.address).await?;
        let work = background_thread("password", Priority::Low, move || {
            let _until_done = turn;
            work()
        })?;
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

fn verify(password: &str, hash: &str) -> Result<Verification, Error> {
    let damaged = |error: argon2::password_hash::phc::Error| {
        backend::Error::damaged("password hash", error.to_string())
    };
    let known = PasswordHash::new(hash).map_err(damaged)?;
    if Argon2::default().verify_password(password.as_bytes(), &known).is_err() {
        return Ok(Verification::Wrong);
    }
    Ok(if is_outdated(&known) {
        Verification::Outdated(self::hash(password))
    } else {
        Verification::Right
    })
}

/// True if a hash is of an older kind than those that are made now, or takes less memory or time.
fn is_outdated(hash: &PasswordHash) -> bool {
    let (now, algorithm) = (Params::default(), Algorithm::default().ident());
    let Ok(then) = Params::try_from(hash) else { return true };
    let version = u32::from(Version::default());
    let is_older = hash.algorithm.as_str() != algorithm.as_str()
        || hash.version.is_none_or(|then| then < version);
    is_older || then.m_cost() < now.m_cost() || then.t_cost() < now.t_cost()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(is_known: bool) -> Asker {
        Asker { address: IpAddr::from([127, 0, 0, 1]), is_known }
    }

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_right() {
        let (passwords, asker) = (Passwords::new(), asker(false));
        let hash = passwords.hash("correct horse".to_owned(), asker).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        let verify = |password: &str, hash| passwords.verify(password.to_owned(), hash, asker);
        let right = verify("correct horse", Some(hash.clone())).await.unwrap();
        assert_eq!(right, Verification::Right);
        assert_eq!(verify("Correct horse", Some(hash)).await.unwrap(), Verification::Wrong);
        assert_eq!(verify("correct horse", None).await.unwrap(), Verification::Wrong);
        assert!(verify("correct horse", Some("plain".to_owned())).await.is_err());
    }

    #[tokio::test]
    async fn a_hash_that_costs_a_guesser_less_is_made_anew() {
        let (passwords, asker) = (Passwords::new(), asker(false));
        let weak = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
        let weak = Argon2::new(Algorithm::default(), Version::default(), weak);
        let weak = weak.hash_password(b"correct horse").unwrap().to_string();
        let verify = |password: &str, hash: &str| {
            passwords.verify(password.to_owned(), Some(hash.to_owned()), asker)
        };
        assert_eq!(verify("wrong", &weak).await.unwrap(), Verification::Wrong);
        let Verification::Outdated(strong) = verify("correct horse", &weak).await.unwrap() else {
            panic!("a weak hash was good enough");
        };
        assert_eq!(verify("correct horse", &strong).await.unwrap(), Verification::Right);
    }
}
