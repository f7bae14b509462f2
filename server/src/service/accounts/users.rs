//! What an operator does with accounts from the command line, beside a server that may be running.

use super::account::{self, check_password, checked_name};
use super::passwords;
use super::tokens;
use crate::backend::db::sessions::Ending;
use crate::backend::db::{self, Db, accounts, closed_users, users};
use crate::backend::tracker::Tracker;
use crate::backend::{Backends, UserId, unix_now};
use crate::service::Error;
use crate::service::audit::{Actor, AuditEvent, AuditLog, AuditSubject};

pub(crate) use crate::backend::db::users::{Status, User};

/// Accounts that are listed at once.
const PAGE: u32 = 500;

/// The accounts of a server.
#[derive(Debug)]
pub(crate) struct Users {
    db: Db,
    tracker: Tracker,
    audit: AuditLog,
}

impl Users {
    /// The accounts that these backends hold.
    pub(crate) fn new(backends: &Backends) -> Self {
        let (db, tracker) = (backends.db.clone(), backends.tracker.clone());
        Self { db, tracker, audit: AuditLog::new(backends) }
    }

    /// Some accounts after one, in the order in which they were made; none at the end.
    ///
    /// # Errors
    /// [`Error::Backend`].
    pub(crate) async fn page(&self, after: Option<UserId>) -> Result<Vec<User>, Error> {
        let after = after.unwrap_or(UserId(i64::MIN));
        Ok(users::page(&mut *self.db.read().await?, after, PAGE).await?)
    }

    /// Makes an account whose drive may have so many bytes.
    ///
    /// # Errors
    /// [`Error::AccountExists`]; [`Error::Invalid`] for the name and the password.
    pub(crate) async fn add(&self, name: &str, password: &str, quota: u64) -> Result<User, Error> {
        let name = checked_name(name)?;
        check_password(password)?;
        let password = passwords::hash(password);
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            account::make(&mut transaction, (&name, &password), quota).await?;
            Ok::<_, Error>(transaction.commit().await?)
        })
        .await?;
        let user = self.find(&name).await?;
        self.note(AuditEvent::AccountAdded, &user).await;
        Ok(user)
    }

    /// Closes an account: all its sessions end, and after the grace it goes with all that it has.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn close(&self, name: &str) -> Result<User, Error> {
        let user = self.find(name).await?;
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            closed_users::close(&mut transaction, user.id, unix_now()).await?;
            tokens::end_user(&mut transaction, &self.tracker, (user.id, Ending::Closed)).await?;
            Ok::<_, Error>(transaction.commit().await?)
        })
        .await?;
        self.note(AuditEvent::AccountDeleted, &user).await;
        self.find(name).await
    }

    /// Lets a closed account be used again.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when it is not closed, or its removal has begun.
    pub(crate) async fn restore(&self, name: &str) -> Result<User, Error> {
        let user = self.find(name).await?;
        let restored = db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            let restored = closed_users::restore(&mut transaction, user.id).await?;
            transaction.commit().await?;
            Ok::<_, Error>(restored)
        })
        .await?;
        if !restored {
            let why = "the account is not closed, or its removal has begun";
            return Err(Error::Invalid(why.to_owned()));
        }
        self.note(AuditEvent::AccountRestored, &user).await;
        self.find(name).await
    }

    /// Changes the quota of an account to so many bytes. What its drive holds stays, even if it is more.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn set_quota(&self, name: &str, quota: u64) -> Result<User, Error> {
        let user = self.find(name).await?;
        db::retry_transaction(|| async {
            let mut transaction = self.db.write().await?;
            users::set_quota(&mut transaction, user.id, quota).await?;
            transaction.commit().await
        })
        .await?;
        self.note(AuditEvent::QuotaChanged { quota }, &user).await;
        self.find(name).await
    }

    /// Lets an account be used, or ends its use: then all of its tokens end at once.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when it is closed.
    pub(crate) async fn set_enabled(&self, name: &str, is_enabled: bool) -> Result<User, Error> {
        let (status, event) = match is_enabled {
            true => (Status::Active, AuditEvent::AccountEnabled),
            false => (Status::Disabled, AuditEvent::AccountDisabled),
        };
        let user = self.find(name).await?;
        let set = || async {
            let mut transaction = self.db.write().await?;
            if !users::set_status(&mut transaction, user.id, status).await? {
                return Err(Error::Invalid("the account is closed; see: user restore".to_owned()));
            }
            if !is_enabled {
                let ending = (user.id, Ending::Disabled);
                tokens::end_user(&mut transaction, &self.tracker, ending).await?;
            }
            Ok::<_, Error>(transaction.commit().await?)
        };
        db::retry_transaction(set).await?;
        self.note(event, &user).await;
        self.find(name).await
    }

    /// Replaces the password of an account and ends all of its tokens.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for the password.
    pub(crate) async fn set_password(&self, name: &str, password: String) -> Result<User, Error> {
        check_password(&password)?;
        let user = self.find(name).await?;
        let password = passwords::hash(&password);
        let set = || async {
            let mut transaction = self.db.write().await?;
            accounts::set_password(&mut transaction, user.id, &password).await?;
            let ending = (user.id, Ending::PasswordChanged);
            tokens::end_user(&mut transaction, &self.tracker, ending).await?;
            Ok::<_, Error>(transaction.commit().await?)
        };
        db::retry_transaction(set).await?;
        self.note(AuditEvent::PasswordReplaced, &user).await;
        Ok(user)
    }

    async fn note(&self, event: AuditEvent, user: &User) {
        let subject = AuditSubject { account: Some(&user.name), user: Some(user.id), device: None };
        self.audit.note(event, Actor::Operator, subject).await;
    }

    async fn find(&self, name: &str) -> Result<User, Error> {
        let no_such = || Error::NotFound("account of this name");
        let name = checked_name(name).map_err(|_no_such_name| no_such())?;
        users::by_name(&mut *self.db.read().await?, &name).await?.ok_or_else(no_such)
    }
}
