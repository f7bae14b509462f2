//! The part of a drive that whoever asks may reach: found by walking, in the transaction that reads or changes.
//!
//! So a node that is moved out of the part is out of it from the next request on. Outside of it, what is there and what is
//! not is refused alike.

use miaofs::protocol::files::{Entry, Node};
use miaofs::protocol::ids::NodeId;
use miaofs::protocol::name::Name;

use crate::backend::db::{self, Connection};
use crate::service::{Error, Reader, Scope};

/// A walk from the root of a drive, name by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    reader: Reader,
    /// The node that it has come to.
    pub at: NodeId,
    /// True once it has come to where the part begins.
    is_inside: bool,
}

impl Walk {
    /// At the root.
    pub(super) fn begin(reader: impl Into<Reader>) -> Self {
        let reader = reader.into();
        let at = NodeId::ROOT;
        Self { reader, at, is_inside: reader.scope.begins_at(at) }
    }

    /// Goes on to the node of a name; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] when there is none, and it would be outside.
    pub(super) async fn step(
        self,
        db: &mut Connection,
        name: &Name,
    ) -> Result<Option<Self>, Error> {
        match db::entries::child(db, self.reader.user, self.at, name).await? {
            Some(at) => {
                let is_inside = self.is_inside || self.reader.scope.begins_at(at);
                Ok(Some(Self { at, is_inside, ..self }))
            }
            None => self.inside().map(|_inside| None),
        }
    }

    /// The walk, which has come to within the part.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] when it has not.
    pub(super) fn inside(self) -> Result<Self, Error> {
        if self.is_inside { Ok(self) } else { Err(Error::InsufficientScope) }
    }
}

/// The node that names lead to.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::InsufficientScope`] outside of what the reader may reach.
pub(super) async fn walk(
    db: &mut Connection,
    reader: impl Into<Reader>,
    names: &[Name],
) -> Result<NodeId, Error> {
    let mut walk = Walk::begin(reader);
    for name in names {
        let next = walk.step(db, name).await?;
        walk = next.ok_or(Error::NotFound("file or directory"))?;
    }
    Ok(walk.inside()?.at)
}

/// A node as the reader of a part of a drive sees it: of its names, those that `is_seen` knows to be in the part.
pub(super) fn shown(reader: Reader, mut node: Node, is_seen: impl Fn(&Entry) -> bool) -> Node {
    if reader.scope != Scope::Drive
        && let Some(state) = &mut node.state
    {
        state.entries.retain(is_seen);
    }
    node
}
