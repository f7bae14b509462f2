//! Accounts: signing up, in and out, and what an account has.

use std::net::IpAddr;
use std::sync::Arc;

use miaofs::protocol::accounts::{
    Account, ChangePassword, CloseAccount, Device, Devices, Session, SignIn, SignUp,
};
use miaofs::protocol::ids::DeviceId;

use super::invitations;
use super::passwords::{Asker, Passwords, Verification};
use super::rate_limit::RateLimiter;
use super::tokens::{TokenPair, Tokens};
use crate::backend::db::accounts::Login;
use crate::backend::db::sessions::Ending;
use crate::backend::db::{self, Connection, Db};
use crate::backend::tracker::{Bearer, Tracker};
use crate::backend::{self, UserId, unix_now};
use crate::service::{Caller, Error, Policy, SignUps, counted};

/// The longest name of an account and of a device, in characters.
const NAME_CHARACTERS_MAX: usize = 64;
/// The shortest password, in characters.
const PASSWORD_CHARACTERS_MIN: usize = 8;
/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Stands for a name that no account can have, where tries are counted and logged.
const NO_NAME: &str = "?";

/// An account whose password was shown.
struct Verified {
    login: Login,
    /// A hash that is to stand in place of the one that was verified.
    renewed: Option<String>,
}

/// Accounts and their sessions.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    pub(super) db: Db,
    pub(super) tokens: Tokens,
    passwords: Passwords,
    pub(super) rate_limiter: RateLimiter,
    policy: Arc<Policy>,
}

impl Accounts {
    /// Accounts of this database, with sessions signed by `tokens`.
    pub(crate) fn new(db: Db, tracker: Tracker, tokens: Tokens, policy: Arc<Policy>) -> Self {
        let (passwords, rate_limiter) = (Passwords::new(), RateLimiter::new(tracker));
        Self { db, tokens, passwords, rate_limiter, policy }
    }

    /// Makes an account with an empty drive and signs its first device in.
    ///
    /// # Errors
    /// [`Error::SignUpClosed`], [`Error::InvitationNeeded`], [`Error::TooManyRequests`], [`Error::Invalid`] for a name, password
    /// or device out of bounds, [`Error::AccountExists`].
    pub(super) async fn sign_up(&self, request: SignUp, from: IpAddr) -> Result<Session, Error> {
        if self.policy.sign_up == SignUps::Closed {
            return Err(Error::SignUpClosed);
        }
        let name = checked_name(&request.name)?;
        check_password(&request.password)?;
        check_device(&request.device)?;
        self.rate_limiter.check(&name, from).await?;
        let asker = Asker { address: from, is_known: false };
        let password = self.passwords.hash(request.password, asker).await?;

        let invitation = request.invitation.as_deref();
        let make = || self.make_account((&name, &password), invitation);
        let user = db::retry_transaction(make).await?;
        let verified = Verified { login: Login { user, password }, renewed: None };
        self.begin_session(verified, &name, &request.device).await
    }

    async fn make_account(
        &self,
        (name, password): (&str, &str),
        invitation: Option<&str>,
    ) -> Result<UserId, Error> {
        let mut transaction = self.db.write().await?;
        // First, so that nobody learns without one which names are taken.
        if self.policy.sign_up == SignUps::Invite {
            invitations::take(&mut transaction, invitation).await?;
        }
        let user = make(&mut transaction, (name, password), self.policy.quota).await?;
        transaction.commit().await?;
        Ok(user)
    }

    /// Signs a device in. An unknown name and a wrong password answer alike, after alike time, and are logged.
    ///
    /// # Errors
    /// [`Error::WrongCredentials`], [`Error::TooManyRequests`], [`Error::Invalid`] for the device.
    pub(super) async fn sign_in(&self, request: SignIn, from: IpAddr) -> Result<Session, Error> {
        check_device(&request.device)?;
        let name = checked_name(&request.name).unwrap_or_else(|_no_name| NO_NAME.to_owned());
        self.rate_limiter.check(&name, from).await?;
        let is_known = self.knows(&name, &request.device).await?;
        let asker = Asker { address: from, is_known };
        let verified = self.verify(&name, request.password.clone(), asker).await?;
        match self.begin_session(verified, &name, &request.device).await {
            // The hash is another one by now: perhaps only since another sign-in has made it anew.
            Err(Error::WrongCredentials) => {
                let verified = self.verify(&name, request.password, asker).await?;
                self.begin_session(verified, &name, &request.device).await
            }
            begun => begun,
        }
    }

    /// Trades a refresh token for a new session; again for the same one when the answer was lost.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when the token is not good (any more); [`Error::TooManyRequests`].
    pub(crate) async fn refresh(
        &self,
        refresh_token: &str,
        from: IpAddr,
    ) -> Result<Session, Error> {
        self.rate_limiter.check_renewal(from).await?;
        let (bearer, pair) = self.tokens.renew(refresh_token).await?;
        let mut read = self.db.read().await?;
        let name = db::accounts::name(&mut read, bearer.user).await?.ok_or(Error::Unauthorized)?;
        Ok(self.session(bearer, name, pair))
    }

    /// Ends the caller's session.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(super) async fn sign_out(&self, caller: Caller) -> Result<(), Error> {
        let bearer = Bearer { user: caller.user, device: caller.device };
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            self.tokens.sign_out(&mut transaction, bearer).await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// Changes the password, ends every session and every scoped token, and begins a new one for the caller.
    ///
    /// # Errors
    /// [`Error::WrongCredentials`] for the old password, [`Error::Invalid`] for the new one,
    /// [`Error::TooManyRequests`].
    pub(super) async fn change_password(
        &self,
        caller: Caller,
        request: ChangePassword,
        from: IpAddr,
    ) -> Result<Session, Error> {
        check_password(&request.new)?;
        let (name, login) = self.verify_caller(caller, request.old, from).await?;
        let asker = Asker { address: from, is_known: true };
        let password = self.passwords.hash(request.new, asker).await?;

        let bearer = Bearer { user: caller.user, device: caller.device };
        let change = || async {
            let mut transaction = self.db.write().await?;
            if !db::accounts::lock_verified(&mut transaction, &login).await? {
                return Err(Error::WrongCredentials);
            }
            db::accounts::set_password(&mut transaction, caller.user, &password).await?;
            self.tokens.end_user(&mut transaction, caller.user, Ending::PasswordChanged).await?;
            let pair = self.tokens.begin(&mut transaction, bearer).await?;
            transaction.commit().await?;
            Ok::<_, Error>(pair)
        };
        let pair = db::retry_transaction(change).await?;
        Ok(self.session(bearer, name, pair))
    }

    /// Closes the caller's account: all its sessions end, and after the grace it goes with all that it has.
    ///
    /// # Errors
    /// [`Error::WrongCredentials`], [`Error::TooManyRequests`].
    pub(super) async fn close(
        &self,
        caller: Caller,
        request: CloseAccount,
        from: IpAddr,
    ) -> Result<(), Error> {
        let (name, login) = self.verify_caller(caller, request.password, from).await?;
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            if !db::accounts::lock_verified(&mut transaction, &login).await? {
                return Err(Error::WrongCredentials);
            }
            db::closed_users::close(&mut transaction, caller.user, unix_now()).await?;
            self.tokens.end_user(&mut transaction, caller.user, Ending::Closed).await?;
            Ok(transaction.commit().await?)
        })
        .await?;
        tracing::info!(user = %caller.user, "account {name} was closed by its owner");
        Ok(())
    }

    /// The caller's name and login, if the password is the account's.
    async fn verify_caller(
        &self,
        caller: Caller,
        password: String,
        from: IpAddr,
    ) -> Result<(String, Login), Error> {
        let mut read = self.db.read().await?;
        let name = db::accounts::name(&mut read, caller.user).await?.ok_or(Error::Unauthorized)?;
        drop(read);
        self.rate_limiter.check(&name, from).await?;
        let asker = Asker { address: from, is_known: true };
        let verified = self.verify(&name, password, asker).await?;
        Ok((name, verified.login))
    }

    /// Who the caller is, and the room of the drive.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] when the account was closed meanwhile.
    pub(crate) async fn account(&self, caller: Caller) -> Result<Account, Error> {
        let mut read = self.db.read().await?;
        let name = db::accounts::name(&mut read, caller.user).await?.ok_or(Error::Unauthorized)?;
        let usage =
            db::accounts::usage(&mut read, caller.user).await?.ok_or(Error::Unauthorized)?;
        Ok(Account {
            name,
            quota: usage.quota,
            used: counted(usage.used, usage.metadata),
            metadata: usage.metadata,
            nodes: usage.nodes,
            max_nodes: self.policy.max_nodes,
            max_file_size: self.policy.max_file_size,
        })
    }

    /// The devices that are signed in to the caller's account.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn devices(&self, caller: Caller) -> Result<Devices, Error> {
        let bearer = Bearer { user: caller.user, device: caller.device };
        Ok(db::sessions::devices(&mut *self.db.read().await?, bearer).await?)
    }

    /// Signs a device of the caller's account out.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not signed in.
    pub(super) async fn revoke(&self, caller: Caller, device: DeviceId) -> Result<(), Error> {
        let bearer = Bearer { user: caller.user, device };
        let had_one = db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            let ended = self.tokens.end_device(&mut transaction, bearer, Ending::Revoked).await?;
            transaction.commit().await?;
            Ok::<_, Error>(ended)
        })
        .await?;
        if had_one { Ok(()) } else { Err(Error::NotFound("device that is signed in")) }
    }

    /// Who shows this access token.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] unless it is signed by this server, not expired and not ended;
    /// [`Error::Backend`] when that cannot be known now.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<Caller, Error> {
        self.tokens.check(token).await
    }

    /// True if such a device was signed in to the account of this name.
    async fn knows(&self, name: &str, device: &Device) -> Result<bool, Error> {
        match device.id {
            Some(id) => Ok(db::accounts::has_device(&mut *self.db.read().await?, name, id).await?),
            None => Ok(false),
        }
    }

    /// The account of a name if the password is its own. Whoever guesses is logged, in words that a program which bans
    /// their addresses reads: `server/deploy/fail2ban`.
    async fn verify(&self, name: &str, password: String, asker: Asker) -> Result<Verified, Error> {
        let mut read = self.db.read().await?;
        let login = db::accounts::login(&mut read, name).await?;
        drop(read);
        let hash = login.as_ref().map(|login| login.password.clone());
        match (login, self.passwords.verify(password, hash, asker).await?) {
            (Some(login), Verification::Right) => Ok(Verified { login, renewed: None }),
            (Some(login), Verification::Outdated(hash)) => {
                Ok(Verified { login, renewed: Some(hash) })
            }
            (None, _) | (_, Verification::Wrong) => {
                tracing::warn!("sign-in failed for account {name} from {}", asker.address);
                Err(Error::WrongCredentials)
            }
        }
    }

    async fn begin_session(
        &self,
        verified: Verified,
        name: &str,
        device: &Device,
    ) -> Result<Session, Error> {
        let id = device.id.unwrap_or_else(DeviceId::random);
        let begin = || self.try_begin_session(&verified, id, device);
        let pair = db::retry_transaction(begin).await?;
        let bearer = Bearer { user: verified.login.user, device: id };
        Ok(self.session(bearer, name.to_owned(), pair))
    }

    async fn try_begin_session(
        &self,
        Verified { login, renewed }: &Verified,
        id: DeviceId,
        device: &Device,
    ) -> Result<TokenPair, Error> {
        let user = login.user;
        let bearer = Bearer { user, device: id };
        let mut transaction = self.db.write().await?;
        // Whoever disables the account or changes its password ends the sessions that are there, and waits for this
        // one; if they came first, what was verified is good no more.
        if !db::accounts::lock_verified(&mut transaction, login).await? {
            return Err(Error::WrongCredentials);
        }
        if let Some(hash) = renewed {
            db::accounts::set_password(&mut transaction, user, hash).await?;
        }
        db::accounts::see_device(&mut transaction, user, id, device).await?;
        let surplus = self.surplus_devices(&mut transaction, bearer).await?;
        for device in surplus {
            let other = Bearer { user, device };
            self.tokens.end_device(&mut transaction, other, Ending::Displaced).await?;
        }
        let pair = self.tokens.begin(&mut transaction, bearer).await?;
        transaction.commit().await?;
        Ok::<_, Error>(pair)
    }

    /// The devices whose sessions end because this one signs in: those that have not been used for longest.
    async fn surplus_devices(
        &self,
        db: &mut Connection,
        bearer: Bearer,
    ) -> Result<Vec<DeviceId>, Error> {
        let Some(others_max) = self.policy.max_devices.checked_sub(1) else {
            return Ok(Vec::new());
        };
        let mut others = db::sessions::other_devices(db, bearer).await?;
        let kept = usize::try_from(others_max).unwrap_or(usize::MAX).min(others.len());
        Ok(others.split_off(kept))
    }

    fn session(&self, bearer: Bearer, name: String, pair: TokenPair) -> Session {
        Session {
            access_token: pair.access,
            expires_in: self.tokens.access_ttl().as_secs(),
            refresh_token: pair.refresh,
            name,
            device: bearer.device,
        }
    }
}

/// Makes an account with an empty drive.
///
/// # Errors
/// [`Error::AccountExists`].
pub(super) async fn make(
    db: &mut Connection,
    (name, password): (&str, &str),
    quota: u64,
) -> Result<UserId, Error> {
    let user = match db::accounts::insert(db, name, password, quota).await {
        Err(backend::Error::Duplicate(_)) => return Err(Error::AccountExists),
        inserted => inserted?,
    };
    db::files::insert_root(db, user).await?;
    Ok(user)
}

/// The name as tables hold it: in lower case, so that `Anna` and `anna` are one account.
pub(super) fn checked_name(name: &str) -> Result<String, Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.bytes().all(allowed) {
        let rule = "an account name has 1 to 64 letters, digits, '.', '_', '-' or '@'";
        return Err(Error::Invalid(rule.to_owned()));
    }
    Ok(name.to_ascii_lowercase())
}

pub(super) fn check_password(password: &str) -> Result<(), Error> {
    let long_enough = password.chars().count() >= PASSWORD_CHARACTERS_MIN;
    if long_enough && password.len() <= PASSWORD_BYTES_MAX {
        return Ok(());
    }
    let rule = "a password has at least 8 characters and at most 1024 bytes";
    Err(Error::Invalid(rule.to_owned()))
}

/// The name of a device becomes part of file names, so it holds nothing that those may not.
fn check_device(device: &Device) -> Result<(), Error> {
    let characters = device.name.chars().count();
    let forbidden = device.name.contains(|is: char| is.is_control() || is == '/');
    if (1..=NAME_CHARACTERS_MAX).contains(&characters) && !forbidden {
        return Ok(());
    }
    let rule = "a device name has 1 to 64 characters, no '/' and no control characters";
    Err(Error::Invalid(rule.to_owned()))
}

#[cfg(test)]
mod tests;
