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
pub(crate) enum Others {
    /// They end.
    End,
    /// They count on.
    Stay,
}

/// What is known of an access token that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Whose it is.
    pub bearer: Bearer,
    /// The refresh token that it was given for, until [`Tracker::settle_token`]: it is spent now.
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
        others: Others,
    ) -> Result<(), Error> {
        ask!(self, records => records.put_token(bearer, token, others))
    }

    /// Whose access token this is; `None` when the user has none of that id that counts (any more).
    ///
    /// # Errors
    /// When the tracker cannot be read.
    pub(crate) async fn token(&self, user: UserId, id: TokenId) -> Result<Option<Shown>, Error> {
        ask!(self, records => records.token(user, id))
    }

    /// Forgets which refresh token an access token was given for, once that is known to be spent.
    ///
    /// # Errors
    /// When the tracker cannot be written.
    pub(crate) async fn settle_token(&self, user: UserId, id: TokenId) -> Result<(), Error> {
        ask!(self, records => records.settle_token(user, id))
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
