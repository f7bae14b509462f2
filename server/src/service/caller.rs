//! Who asks, once the interceptor has made sure of it.

use miaofs::protocol::ids::DeviceId;

use crate::backend::{TokenId, UserId};

/// A signed-in device. Only a token that was checked makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Whose drive it is.
    pub user: UserId,
    /// The device that asks.
    pub device: DeviceId,
    /// The token that it showed.
    pub token: TokenId,
}
