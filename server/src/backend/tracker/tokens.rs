//! Access tokens that count: one whose id is not here is refused, however well it is signed.
//!
//! They are keyed by user, so that all of a user's stand in one place and end together. What outlives
//! them, the sessions and their refresh tokens, stands in the database.

use std::time::Duration;

use miaofs::protocol::ids::DeviceId;

use super::{Tracker, ask};
use crate::backend::{Error, TokenId, UserId};

/// Whose token it is, and of which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The user.
    pub user: UserId,
    /// The device that signed in.
    pub device: DeviceId,
}

/// An access token that is to count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessToken {
    /// Its id.
    pub id: TokenId,
    /// The refresh token that it was given for; `None` when the device signed in.
    pub predecessor: Option<TokenId>,
    /// How long it counts.
    pub lifetime: Duration,
}

/// What becomes of the other access tokens of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtherTokens {
    /// They end.
    Revoke,
    /// They count on.
    Keep,
}

/// What is known of an access token that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActiveToken {
    /// Whose it is.
    pub bearer: Bearer,
    /// The refresh token that it was given for, until [`Tracker::mark_token_used`]: it is spent now.
    pub unspent: Option<TokenId>,
}

impl Tracker {
    /// Lets an access token count from now on.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn put_token(
        &self,
        bearer: Bearer,
        token: AccessToken,
        others: OtherTokens,
    ) -> Result<(), Error> {
        ask!(self, records => records.put_token(bearer, token, others))
    }

    /// Whose access token this is; `None` when the user has none of that id that counts (any more).
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn token(
        &self,
        user: UserId,
        id: TokenId,
    ) -> Result<Option<ActiveToken>, Error> {
        ask!(self, records => records.token(user, id))
    }

    /// Forgets which refresh token an access token was given for, once that is known to be spent.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn mark_token_used(&self, user: UserId, id: TokenId) -> Result<(), Error> {
        ask!(self, records => records.mark_token_used(user, id))
    }

    /// Ends the access tokens of a device.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn end_device(&self, bearer: Bearer) -> Result<(), Error> {
        ask!(self, records => records.end_device(bearer))
    }

    /// Ends the access tokens of a user.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn end_user(&self, user: UserId) -> Result<(), Error> {
        ask!(self, records => records.end_user(user))
    }
}
