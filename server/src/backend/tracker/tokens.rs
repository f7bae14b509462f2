//! Access tokens that count: one whose id is not here is refused, however well it is signed.
//!
//! They are keyed by user, so that all of a user's stand in one place and end together. What outlives
//! them, the sessions and their refresh tokens, stands in the database.

use std::time::Duration;

use miaofs::protocol::ids::DeviceId;

use crate::backend::{TokenId, UserId};

/// The user and the device that a token was issued to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The user.
    pub user: UserId,
    /// The device that signed in.
    pub device: DeviceId,
}

/// An access token to be registered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccessToken {
    /// Id of the token, which it carries.
    pub id: TokenId,
    /// The refresh token that it was given for; `None` when the device signed in.
    pub predecessor: Option<TokenId>,
    /// Time until it expires.
    pub lifetime: Duration,
}

/// Treatment of the other access tokens of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OtherTokens {
    /// Revokes them.
    Revoke,
    /// Keeps them valid.
    Keep,
}

/// An access token that is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActiveToken {
    /// User and device that it was issued to.
    pub bearer: Bearer,
    /// The refresh token that it was given for, until `Tracker::mark_token_used`: it is spent now.
    pub unspent: Option<TokenId>,
}
