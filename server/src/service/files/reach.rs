//! Looks before the work: whether a part of a drive holds a content, or may hold a file.

use std::collections::HashSet;

use miaofs::content::Digest;
use miaofs::protocol::ids::NodeId;

use super::drive::Files;
use super::paths::names_of;
use super::scope::Walk;
use crate::backend::UserId;
use crate::backend::db::{self, Connection};
use crate::service::{Error, Reader, Scope, Writer};

/// Nodes with one content that are looked at to find one within a part of a drive.
const COPIES_MAX: usize = 1000;

impl Files {
    /// Makes sure that a reader who knows the digest of a content may read it: a node of their part of the drive has it. Whoever
    /// may read the whole drive is not asked here.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] when none has, or it is not found among [`COPIES_MAX`].
    pub(crate) async fn check_content(&self, reader: Reader, digest: Digest) -> Result<(), Error> {
        let Scope::Below(root) = reader.scope else { return Ok(()) };
        let mut read = self.db.read_drive(reader.user).await?;
        let nodes = db::files::of_content(&mut read, reader.user, digest, COPIES_MAX).await?;
        match is_any_below(&mut read, reader.user, nodes, root).await? {
            true => Ok(()),
            false => Err(Error::InsufficientScope),
        }
    }

    /// Makes sure that a file may be put at a path, before its bytes come. The put itself looks again.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`], [`Error::Invalid`].
    pub(crate) async fn check_put(&self, writer: Writer, path: &str) -> Result<(), Error> {
        if writer.scope == Scope::Drive {
            return Ok(());
        }
        let names = names_of(path)?;
        let mut read = self.db.read_drive(writer.user).await?;
        let mut walk = Walk::begin(writer);
        for name in &names {
            match walk.step(&mut read, name).await? {
                Some(next) => walk = next,
                None => return Ok(()),
            }
        }
        walk.inside().map(|_inside| ())
    }
}

/// True if one of the nodes is the root of a part of the drive, or below it.
async fn is_any_below(
    db: &mut Connection,
    user: UserId,
    mut level: Vec<NodeId>,
    root: NodeId,
) -> Result<bool, Error> {
    let mut seen: HashSet<NodeId> = level.iter().copied().collect();
    while !level.is_empty() && !level.contains(&root) {
        let pairs = db::entries::parents(db, user, &level).await?;
        level = pairs.into_iter().map(|(_, parent)| parent).filter(|it| seen.insert(*it)).collect();
    }
    Ok(!level.is_empty())
}
