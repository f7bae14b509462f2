//! What people do with accounts by the network, each with its line in the audit log.

use std::net::IpAddr;

use miaofs::protocol::accounts::{ChangePassword, CloseAccount, Session, SignIn, SignUp};
use miaofs::protocol::ids::{DeviceId, NodeId, ScopedTokenId};
use miaofs::protocol::scoped_tokens::{CreateScopedToken, NewScopedToken};

use super::account::{Accounts, checked_name};
use crate::service::audit::{Actor, AuditEvent, AuditLog, AuditSubject};
use crate::service::{Caller, Error};

/// The accounts, with whatever changes one or begins a session of it. The only way to do that.
#[derive(Debug, Clone)]
pub(crate) struct AuditedAccounts {
    accounts: Accounts,
    audit: AuditLog,
}

impl AuditedAccounts {
    /// These accounts with this log.
    pub(crate) fn new(accounts: Accounts, audit: AuditLog) -> Self {
        Self { accounts, audit }
    }

    /// As [`Accounts::sign_up`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn sign_up(&self, request: SignUp, from: IpAddr) -> Result<Session, Error> {
        let session = self.accounts.sign_up(request, from).await?;
        self.note_session(AuditEvent::SignedUp, from, &session).await;
        Ok(session)
    }

    /// As [`Accounts::sign_in`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn sign_in(&self, request: SignIn, from: IpAddr) -> Result<Session, Error> {
        // Whatever cannot be a name may be a password that was typed into the wrong field.
        let name = checked_name(&request.name).ok();
        let signed_in = self.accounts.sign_in(request, from).await;
        match &signed_in {
            Ok(session) => self.note_session(AuditEvent::SignedIn, from, session).await,
            Err(Error::WrongCredentials) => {
                let subject = AuditSubject { account: name.as_deref(), ..AuditSubject::default() };
                self.audit.note(AuditEvent::SignInFailed, Actor::Client(from), subject).await;
            }
            Err(_) => (),
        }
        signed_in
    }

    /// As [`Accounts::sign_out`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn sign_out(&self, caller: Caller, from: IpAddr) -> Result<(), Error> {
        self.accounts.sign_out(caller).await?;
        self.note(AuditEvent::SignedOut, caller, from).await;
        Ok(())
    }

    /// As [`Accounts::change_password`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn change_password(
        &self,
        caller: Caller,
        request: ChangePassword,
        from: IpAddr,
    ) -> Result<Session, Error> {
        let changed = self.accounts.change_password(caller, request, from).await;
        match &changed {
            Ok(_) => self.note(AuditEvent::PasswordChanged, caller, from).await,
            Err(Error::WrongCredentials) => {
                self.note(AuditEvent::PasswordChangeFailed, caller, from).await;
            }
            Err(_) => (),
        }
        changed
    }

    /// As [`Accounts::revoke`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn revoke(
        &self,
        caller: Caller,
        device: DeviceId,
        from: IpAddr,
    ) -> Result<(), Error> {
        self.accounts.revoke(caller, device).await?;
        self.note(AuditEvent::DeviceRevoked { revoked: device }, caller, from).await;
        Ok(())
    }

    /// As [`Accounts::close`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn close(
        &self,
        caller: Caller,
        request: CloseAccount,
        from: IpAddr,
    ) -> Result<(), Error> {
        let closed = self.accounts.close(caller, request, from).await;
        match &closed {
            Ok(()) => self.note(AuditEvent::AccountClosed, caller, from).await,
            Err(Error::WrongCredentials) => {
                self.note(AuditEvent::AccountCloseFailed, caller, from).await;
            }
            Err(_) => (),
        }
        closed
    }

    /// As [`Accounts::create_scoped_token`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn create_scoped_token(
        &self,
        caller: Caller,
        (request, root): (CreateScopedToken, NodeId),
        from: IpAddr,
    ) -> Result<NewScopedToken, Error> {
        let made = self.accounts.create_scoped_token(caller, request, root).await?;
        let event = AuditEvent::ScopedTokenMade { scoped_token: made.about.id };
        self.note(event, caller, from).await;
        Ok(made)
    }

    /// As [`Accounts::revoke_scoped_token`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn revoke_scoped_token(
        &self,
        caller: Caller,
        id: ScopedTokenId,
        from: IpAddr,
    ) -> Result<(), Error> {
        self.accounts.revoke_scoped_token(caller, id).await?;
        self.note(AuditEvent::ScopedTokenRevoked { scoped_token: id }, caller, from).await;
        Ok(())
    }

    async fn note(&self, event: AuditEvent, caller: Caller, from: IpAddr) {
        let (user, device) = (Some(caller.user), Some(caller.device));
        let subject = AuditSubject { account: None, user, device };
        self.audit.note(event, Actor::Client(from), subject).await;
    }

    /// Notes the beginning of a session. Its line has name and number of the account, others the number alone.
    async fn note_session(&self, event: AuditEvent, from: IpAddr, session: &Session) {
        if !self.audit.is_kept() {
            return;
        }
        let caller = self.accounts.authenticate(&session.access_token).await.ok();
        let subject = AuditSubject {
            account: Some(&session.name),
            user: caller.map(|caller| caller.user),
            device: Some(session.device),
        };
        self.audit.note(event, Actor::Client(from), subject).await;
    }
}
