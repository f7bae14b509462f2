//! Resolves a node that changed here and on the server: a pure three-way merge, a group of fields at a time.
//!
//! | here | there | result |
//! |---|---|---|
//! | deleted | deleted | nothing to do |
//! | deleted | changed | the change wins: the node comes back |
//! | changed | deleted | the change wins: it is put again |
//! | content | content | both are kept, the local one under another name |
//! | anything | anything else | merged |
//!
//! Where one field changed on both sides, the local value stands: its commit is the later one. Only
//! a name is the server's then, which others have seen already.
//! That something was put into a directory or taken from it does not bring the directory back.

use std::collections::{BTreeMap, BTreeSet};

use miaofs::protocol::files::{self, Entry, Kind, NodeState};
use miaofs::protocol::name::{Bytes, NAME_MAX};

use crate::store::{DirtyNode, NameResolution, Resolution};

/// The longest ending that is kept behind the label of a conflict, with its dot.
const EXTENSION_MAX: usize = 16;
/// Bytes of a device's name that stand in the label.
const DEVICE_MAX: usize = 64;

/// Who and when stands in the names of copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConflictLabel {
    /// Name of this device.
    pub(super) device: String,
    /// Date and time, as a person reads it.
    pub(super) date: String,
}

/// Resolves a node that is dirty here and changed there.
pub(super) fn resolve(
    local: &DirtyNode,
    remote: &files::Node,
    label: &ConflictLabel,
) -> Resolution {
    match (&local.state, &remote.state) {
        (None, None) => Resolution::TakeRemote,
        (Some(state), Some(_)) if is_own(local, remote) => Resolution::Merge(state.clone()),
        (None, Some(_)) | (Some(_), None) if is_own(local, remote) => Resolution::KeepLocal,
        (None, Some(there)) if is_unchanged(local, there) => Resolution::KeepLocal,
        (None, Some(_)) => Resolution::TakeRemote,
        (Some(state), None) => changed_here(local, state),
        (Some(here), Some(there)) => both(local, here, there, label),
    }
}

/// Resolves the name of a dirty node that the server gave to `remote`.
pub(super) fn resolve_name(
    local: &DirtyNode,
    remote: &files::Node,
    label: &ConflictLabel,
) -> NameResolution {
    let (Some(here), Some(there)) = (&local.state, &remote.state) else {
        return NameResolution::RenameLocal(conflict_name(b"", label));
    };
    if local.base_state.is_none() && same_thing(local, here, there) {
        return NameResolution::Adopt;
    }
    let taken = here.entries.iter().find(|entry| there.entries.contains(entry));
    let name = taken.or(here.entries.first()).map_or(&b""[..], |entry| entry.name.as_bytes());
    NameResolution::RenameLocal(conflict_name(name, label))
}

/// `name (conflict DEVICE DATE).ext`: at most [`NAME_MAX`] bytes, no character cut in two.
pub(super) fn conflict_name(name: &[u8], label: &ConflictLabel) -> Vec<u8> {
    let device = label.device.replace(['/', '\0'], "_");
    let device = prefix(device.as_bytes(), DEVICE_MAX);
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0);
    let (stem, extension) = match dot.map(|at| name.split_at(at)) {
        Some((stem, extension)) if extension.len() <= EXTENSION_MAX => (stem, extension),
        _ => (name, &b""[..]),
    };
    let mut middle = b" (conflict ".to_vec();
    middle.extend_from_slice(device);
    middle.push(b' ');
    middle.extend_from_slice(label.date.as_bytes());
    middle.push(b')');
    let room = NAME_MAX.saturating_sub(middle.len() + extension.len());
    [prefix(stem, room), &middle, extension].concat()
}

/// The first bytes, at most `length`, without a piece of a UTF-8 character at the end.
fn prefix(bytes: &[u8], length: usize) -> &[u8] {
    if bytes.len() <= length {
        return bytes;
    }
    let is_continuation = |at: usize| bytes[at] & 0b1100_0000 == 0b1000_0000;
    let end = (length.saturating_sub(3)..=length).rev().find(|at| !is_continuation(*at));
    &bytes[..end.unwrap_or(length)]
}

/// The server shows a push of this device whose answer was lost.
fn is_own(local: &DirtyNode, remote: &files::Node) -> bool {
    local.in_flight.contains(&remote.revision)
}

fn changed_here(local: &DirtyNode, here: &NodeState) -> Resolution {
    if !local.content_dirty && is_unchanged(local, here) {
        Resolution::TakeRemote
    } else {
        Resolution::KeepLocal
    }
}

/// True if a state is what both sides began with, as far as it can bring a deleted node back: a
/// directory's times only say that something in it changed, and that speaks for itself.
fn is_unchanged(local: &DirtyNode, state: &NodeState) -> bool {
    let Some(base) = &local.base_state else { return false };
    match base.kind {
        Kind::Directory => {
            let (mtime, ctime) = (state.mtime, state.ctime);
            NodeState { mtime, ctime, ..base.clone() } == *state
        }
        _ => base == state,
    }
}

/// Two nodes of one name that no one needs twice.
fn same_thing(local: &DirtyNode, here: &NodeState, there: &NodeState) -> bool {
    match (here.kind, there.kind) {
        (Kind::Directory, Kind::Directory) => true,
        (Kind::File, Kind::File) => !local.content_dirty && here.content == there.content,
        (Kind::Symlink, Kind::Symlink) => here.target == there.target,
        (here, there) => here == there,
    }
}

fn both(
    local: &DirtyNode,
    here: &NodeState,
    there: &NodeState,
    label: &ConflictLabel,
) -> Resolution {
    let base = local.base_state.as_ref();
    let changed_here = local.content_dirty || base.is_none_or(|base| here.content != base.content);
    let changed_there = base.is_none_or(|base| there.content != base.content);
    let same = !local.content_dirty && here.content == there.content;
    if here.kind == Kind::File && changed_here && changed_there && !same {
        let name = here.entries.first().map_or(&b""[..], |entry| entry.name.as_bytes());
        return Resolution::KeepBoth { copy_name: conflict_name(name, label) };
    }
    let merged = match base {
        Some(base) => merge(base, here, there),
        None => here.clone(),
    };
    if merged == *there && !local.content_dirty {
        Resolution::TakeRemote
    } else {
        Resolution::Merge(merged)
    }
}

fn merge(base: &NodeState, here: &NodeState, there: &NodeState) -> NodeState {
    NodeState {
        kind: there.kind,
        mode: pick(&base.mode, &here.mode, &there.mode),
        uid: pick(&base.uid, &here.uid, &there.uid),
        gid: pick(&base.gid, &here.gid, &there.gid),
        rdev: there.rdev,
        mtime: pick(&base.mtime, &here.mtime, &there.mtime),
        ctime: here.ctime.max(there.ctime),
        btime: pick(&base.btime, &here.btime, &there.btime),
        target: there.target.clone(),
        xattrs: merge_xattrs(&base.xattrs, &here.xattrs, &there.xattrs),
        content: pick(&base.content, &here.content, &there.content),
        entries: merge_entries(&base.entries, &here.entries, &there.entries),
    }
}

/// The side that changed; the local one when both did.
fn pick<T: PartialEq + Clone>(base: &T, here: &T, there: &T) -> T {
    if here == base { there.clone() } else { here.clone() }
}

fn merge_xattrs(
    base: &BTreeMap<String, Bytes>,
    here: &BTreeMap<String, Bytes>,
    there: &BTreeMap<String, Bytes>,
) -> BTreeMap<String, Bytes> {
    let names: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
    let merged = names.into_iter().filter_map(|name| {
        let value = pick(&base.get(name), &here.get(name), &there.get(name));
        Some((name.clone(), value?.clone()))
    });
    merged.collect()
}

/// Names come and go one by one; a node of a single name that was moved on both sides is where the
/// server has it.
fn merge_entries(base: &[Entry], here: &[Entry], there: &[Entry]) -> Vec<Entry> {
    let set = |entries: &[Entry]| entries.iter().cloned().collect::<BTreeSet<_>>();
    let (base, here, there) = (set(base), set(here), set(there));
    let merged = if here == there || here == base {
        there
    } else if there == base {
        here
    } else if base.len() <= 1 && here.len() <= 1 {
        there
    } else {
        let kept = base.iter().filter(|entry| here.contains(entry) && there.contains(entry));
        let added = here.difference(&base).chain(there.difference(&base));
        let merged: BTreeSet<Entry> = kept.chain(added).cloned().collect();
        if merged.is_empty() { there } else { merged }
    };
    merged.into_iter().collect()
}

#[cfg(test)]
mod moves;
#[cfg(test)]
mod own_changes;
#[cfg(test)]
mod tests;
