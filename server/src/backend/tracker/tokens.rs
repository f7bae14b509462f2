//! Access tokens that count: one whose id is not here is refused, however well it is signed.
//!
//! They are keyed by user, so that all of a user's stand in one place and end together. What outlives
//! them, the sessions and their refresh tokens, stands in the database.

use std::time::Duration;

use miaofs::protocol::ids::DeviceId;

use crate::backend::{TokenId, UserId};

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
