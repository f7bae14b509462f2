//! Who asks, once the interceptor has made sure of it, and what they may do.
//!
//! A [`Caller`] is a signed-in device, which may do all; a [`ScopedCaller`] shows a token that reaches a part of a drive. Services
//! that serve both take a [`Reader`] or a [`Writer`]; all others take a [`Caller`], which a scoped token never becomes.

use miaofs::protocol::ids::{DeviceId, NodeId, ScopedTokenId};
use miaofs::protocol::scoped_tokens::Operations;

use super::error::Error;
use crate::backend::db::scoped_tokens::Grant;
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

/// Whoever shows a scoped token. Only one that was checked makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScopedCaller(Grant);

/// A part of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of it.
    Drive,
    /// One node, with all below it.
    Below(NodeId),
}

/// Somebody who may read a part of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    /// Whose drive it is.
    pub user: UserId,
    /// The part.
    pub scope: Scope,
}

/// Somebody who may read and change a part of a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Writer {
    /// Whose drive it is.
    pub user: UserId,
    /// The part.
    pub scope: Scope,
}

impl Scope {
    /// True if the part begins at this node.
    pub(crate) fn begins_at(self, node: NodeId) -> bool {
        match self {
            Self::Drive => node == NodeId::ROOT,
            Self::Below(root) => node == root,
        }
    }
}

impl ScopedCaller {
    /// Whoever shows the token of this grant.
    pub(super) fn of(grant: Grant) -> Self {
        Self(grant)
    }

    /// The token.
    pub(crate) fn token(self) -> ScopedTokenId {
        self.0.id
    }

    /// Whose drive it is.
    pub(crate) fn user(self) -> UserId {
        self.0.user
    }

    /// The right to change what the token reaches.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] when it is for reading.
    pub(crate) fn writer(self) -> Result<Writer, Error> {
        match self.0.operations {
            Operations::Write => Ok(Writer { user: self.0.user, scope: Scope::Below(self.0.root) }),
            Operations::Read => Err(Error::InsufficientScope),
        }
    }
}

impl From<ScopedCaller> for Reader {
    fn from(caller: ScopedCaller) -> Self {
        Self { user: caller.0.user, scope: Scope::Below(caller.0.root) }
    }
}

impl From<Caller> for Reader {
    fn from(caller: Caller) -> Self {
        Self { user: caller.user, scope: Scope::Drive }
    }
}

impl From<Caller> for Writer {
    fn from(caller: Caller) -> Self {
        Self { user: caller.user, scope: Scope::Drive }
    }
}

impl From<Writer> for Reader {
    fn from(writer: Writer) -> Self {
        Self { user: writer.user, scope: writer.scope }
    }
}
