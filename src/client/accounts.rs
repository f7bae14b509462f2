//! Accounts: signing up and in, sessions, quota.

use super::call::Call;
use super::{Client, Error};
use crate::protocol::accounts::{Account, ChangePassword, Session, SignIn, SignUp};
use crate::protocol::routes;

impl Client {
    /// Creates an account and signs its first device in.
    ///
    /// # Errors
    /// [`Error::Api`] with the code `AccountExists` or `SignUpClosed`, among others.
    pub async fn sign_up(&self, request: &SignUp) -> Result<Session, Error> {
        self.public(Call::post(routes::SIGN_UP).json(request).within(60).not_idempotent()).await
    }

    /// Signs a device in.
    ///
    /// # Errors
    /// [`Error::Api`] with the code `WrongCredentials`, among others.
    pub async fn sign_in(&self, request: &SignIn) -> Result<Session, Error> {
        self.public(Call::post(routes::SIGN_IN).json(request).within(60)).await
    }

    /// Ends this device's session; the client is signed out afterwards, whatever the server says.
    ///
    /// # Errors
    /// [`Error`] when the server could not be told.
    pub async fn sign_out(&self) -> Result<(), Error> {
        let answer = self.send(&Call::post(routes::SIGN_OUT)).await;
        if let Some(tokens) = &self.tokens {
            tokens.forget().await;
        }
        answer.map(drop)
    }

    /// Changes the password, which ends every other session.
    ///
    /// # Errors
    /// [`Error::Api`] with the code `WrongCredentials`, among others.
    pub async fn change_password(&self, request: &ChangePassword) -> Result<(), Error> {
        let call = Call::post(routes::PASSWORD).json(request).within(60).not_idempotent();
        let session: Session = self.json(&call).await?;
        if let Some(tokens) = &self.tokens {
            tokens.replace(&session).await;
        }
        Ok(())
    }

    /// Who is signed in, and how much room there is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn account(&self) -> Result<Account, Error> {
        self.json(&Call::get(routes::ACCOUNT)).await
    }
}
