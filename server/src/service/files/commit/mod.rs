//! What a commit does to a drive, decided without touching it: a pure function of the changes and
//! of what the drive holds.
//!
//! A commit is checked as the state that it ends in, so the order of its changes does not matter:
//! two nodes may swap names, a file may take the name of one that is deleted beside it. A change that
//! cannot be is rejected, and with it only what rests on it; [`resolve`] goes on until the state
//! that is left holds:
//!
//! - no two nodes have the same name in the same directory;
//! - every name is in a directory that is not deleted, and every directory is below the root;
//! - a deleted directory is empty;
//! - every content belongs to the user, and the drive did not grow beyond its quota or its limit of nodes.
//!
//! Where two changes of one commit exclude each other, the earlier one wins; between a deletion and
//! what is put into the deleted directory, the latter.

mod drive;
mod quota;
mod resolver;
#[cfg(test)]
mod tests;
mod validation;

use miaofs::protocol::files::NodeChange;

use crate::service::Error;

pub(super) use drive::{LoadedDrive, Verdict};
pub(super) use quota::{applied, usage_after};
pub(super) use validation::{names_of, too_many_names, validate};

/// Decides on every change, in their order.
///
/// # Errors
/// [`Error::Invalid`] when a change would make a node another kind.
pub(super) fn resolve(drive: &LoadedDrive, changes: &[NodeChange]) -> Result<Vec<Verdict>, Error> {
    resolver::Resolver::new(drive, changes)?.resolve()
}
