//! Scoped tokens: made, listed and revoked.

use super::call::Call;
use super::{Client, Error};
use crate::protocol::ids::ScopedTokenId;
use crate::protocol::routes;
use crate::protocol::scoped_tokens::{CreateScopedToken, NewScopedToken, ScopedTokens};

impl Client {
    /// Makes a scoped token. Not repeated by itself: the second time its name is taken.
    ///
    /// # Errors
    /// [`Error::Api`] with the code `NotFound` for the path or `AlreadyExists` for the name, among others.
    pub async fn create_scoped_token(
        &self,
        request: &CreateScopedToken,
    ) -> Result<NewScopedToken, Error> {
        let call = Call::post(routes::SCOPED_TOKENS).json(request).within(60).not_idempotent();
        self.json(&call).await
    }

    /// All scoped tokens of the account.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn scoped_tokens(&self) -> Result<ScopedTokens, Error> {
        self.json(&Call::get(routes::SCOPED_TOKENS).within(60)).await
    }

    /// Revokes a scoped token: the next request with it is refused.
    ///
    /// # Errors
    /// [`Error::Api`] with the code `NotFound`, among others.
    pub async fn revoke_scoped_token(&self, id: ScopedTokenId) -> Result<(), Error> {
        let path = routes::fill(routes::SCOPED_TOKEN, &[&id]);
        self.send(&Call::new(reqwest::Method::DELETE, path).within(60)).await.map(drop)
    }
}
