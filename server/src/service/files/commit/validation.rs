//! Validation of a commit by itself, whatever the drive holds: one that fails is refused as a whole.

use std::collections::HashSet;
use std::io;

use miaofs::protocol::files::{
    COMMIT_BYTES_MAX, COMMIT_NAMES_MAX, COMMIT_NODES_MAX, ENTRIES_MAX, Kind, NodeChange, NodeState,
    SYMLINK_MAX, XATTR_LIST_MAX, XATTR_NAME_MAX, XATTR_VALUE_MAX, XATTRS_MAX,
};
use miaofs::protocol::ids::NodeId;

use crate::service::Error;

/// All bits that a mode may have: permissions, setuid, setgid and sticky.
const MODE_MAX: u32 = 0o7777;

/// Checks sizes and shapes.
///
/// # Errors
/// [`Error::TooLarge`] for more changes than a commit takes, [`Error::Invalid`] for all else.
pub(crate) fn validate(changes: &[NodeChange]) -> Result<(), Error> {
    if changes.len() > COMMIT_NODES_MAX {
        let given = changes.len();
        return Err(Error::TooLarge(format!("{given} changes, but a commit takes at most 2000")));
    }
    if names_of(changes) > COMMIT_NAMES_MAX {
        return Err(too_many_names());
    }
    if !fits(changes) {
        return Err(Error::TooLarge(
            "a commit takes at most 16 MiB of changes; send less".to_owned(),
        ));
    }
    let mut seen = HashSet::new();
    for change in changes {
        let id = change.id;
        if !seen.insert(id) {
            return Err(Error::Invalid(format!("node {id} stands twice in the commit")));
        }
        flaw(change).map_or(Ok(()), |flaw| Err(Error::Invalid(format!("node {id}: {flaw}"))))?;
    }
    Ok(())
}

/// Names that changes give.
pub(crate) fn names_of(changes: &[NodeChange]) -> usize {
    changes.iter().filter_map(|change| change.state.as_ref()).map(|state| state.entries.len()).sum()
}

/// The refusal of a commit that gives and takes too many names.
pub(crate) fn too_many_names() -> Error {
    let words = "a commit gives and takes at most 8000 names; send fewer changes";
    Error::TooLarge(words.to_owned())
}

/// True if changes have no more bytes than a commit may, however they came.
fn fits(changes: &[NodeChange]) -> bool {
    /// Takes so many bytes and no more.
    struct Room(usize);
    impl io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Room(COMMIT_BYTES_MAX), changes).is_ok()
}

fn flaw(change: &NodeChange) -> Option<&'static str> {
    match &change.state {
        None if change.id == NodeId::ROOT => Some("the root cannot be deleted"),
        None => None,
        Some(state) => flaw_of_entries(change.id, state)
            .or_else(|| flaw_of_content(state))
            .or_else(|| flaw_of_attributes(state)),
    }
}

fn flaw_of_entries(id: NodeId, state: &NodeState) -> Option<&'static str> {
    let distinct: HashSet<_> = state.entries.iter().collect();
    match (id, state.kind, state.entries.len()) {
        (NodeId::ROOT, Kind::Directory, 0) => None,
        (NodeId::ROOT, _, _) => Some("the root is a directory without a name"),
        (_, _, 0) => Some("a node has a name; without state it is deleted"),
        (_, Kind::Directory, 2..) => Some("a directory has exactly one name"),
        (_, _, count) if count > ENTRIES_MAX => Some("a node has at most 1000 names"),
        (_, _, count) if distinct.len() < count => Some("a name stands twice"),
        _ => None,
    }
}

fn flaw_of_content(state: &NodeState) -> Option<&'static str> {
    match (state.kind, &state.content, &state.target) {
        (Kind::File, None, _) => Some("a file has a content"),
        (Kind::Symlink, _, None) => Some("a symlink has a target"),
        (Kind::File, Some(_), None) => None,
        (Kind::Symlink, None, Some(target)) => match target.0.len() {
            1..=SYMLINK_MAX if !target.0.contains(&0) => None,
            _ => Some("the target of a symlink has 1 to 4095 bytes and no NUL"),
        },
        (_, None, None) => None,
        (_, Some(_), _) => Some("only a file has a content"),
        (_, _, Some(_)) => Some("only a symlink has a target"),
    }
}

fn flaw_of_attributes(state: &NodeState) -> Option<&'static str> {
    let device = matches!(state.kind, Kind::CharDevice | Kind::BlockDevice);
    if state.mode > MODE_MAX {
        Some("a mode is 0o7777 at the most")
    } else if state.rdev != 0 && !device {
        Some("only a device has a device number")
    } else {
        flaw_of_xattrs(state)
    }
}

fn flaw_of_xattrs(state: &NodeState) -> Option<&'static str> {
    let names = || state.xattrs.keys().map(String::as_bytes);
    let list: usize = names().map(|name| name.len() + 1).sum();
    let values: usize = state.xattrs.values().map(|value| value.0.len()).sum();
    if names().any(|name| !(1..=XATTR_NAME_MAX).contains(&name.len()) || name.contains(&0)) {
        Some("the name of an xattr has 1 to 255 bytes and no NUL")
    } else if state.xattrs.values().any(|value| value.0.len() > XATTR_VALUE_MAX) {
        Some("the value of an xattr has at most 65536 bytes")
    } else if list > XATTR_LIST_MAX {
        Some("the names of a node's xattrs have at most 65536 bytes in all, each with one more")
    } else if list - state.xattrs.len() + values > XATTRS_MAX {
        Some("the xattrs of a node have at most 131072 bytes in all")
    } else {
        None
    }
}
