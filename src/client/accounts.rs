//! Accounts: signing up and in, sessions, quota.

use reqwest::Method;

use super::call::Call;
use super::{Client, Error};
use crate::protocol::accounts::{
    Account, ChangePassword, CloseAccount, Devices, Session, SignIn, SignUp,
};
use crate::protocol::ids::DeviceId;
use crate::protocol::routes;

impl Client {
    /// Creates an account and signs its first device in.
    ///
    /// # Errors
    /// [`Error::Api`] with the code `AccountExists`, `SignUpClosed` or `InvitationNeeded`, among others.
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

    /// The devices that are signed in, the one that was seen last first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn devices(&self) -> Result<Devices, Error> {
        self.json(&Call::get(routes::DEVICES)).await
    }

    /// Signs a device out; one that is not signed in stays so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), Error> {
        self.delete(routes::fill(routes::DEVICE, &[&device])).await
    }

    /// Closes the account that is signed in: all its devices are signed out, and after a while all that it has goes.
    ///
    /// # Errors
    /// [`Error::Api`] with the code `WrongCredentials`, among others.
    pub async fn close_account(&self, request: &CloseAccount) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, routes::USER).json(request);
        self.send(&call.within(60).not_idempotent()).await.map(drop)
    }

    /// Who is signed in, and how much room there is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn account(&self) -> Result<Account, Error> {
        self.json(&Call::get(routes::ACCOUNT)).await
    }
}
