//! What the merge promises, by table and by random names.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use miaofs::content::Digest;
use miaofs::protocol::files::ContentRef;
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::Name;
use proptest::prelude::*;

use super::*;
use crate::store::Ino;

fn label() -> ConflictLabel {
    ConflictLabel { device: "laptop".to_owned(), date: "2026-11-23 10.00.00".to_owned() }
}

fn content(text: &str) -> Option<ContentRef> {
    Some(ContentRef { digest: Digest::of(text.as_bytes()), size: text.len() as u64 })
}

fn entry(name: &str) -> Entry {
    Entry { parent: NodeId::ROOT, name: Name::new(name).unwrap() }
}

fn file(text: &str) -> NodeState {
    NodeState {
        uid: 1,
        gid: 1,
        btime: 1,
        content: content(text),
        entries: vec![entry("a.txt")],
        ..NodeState::new(Kind::File, 0o644, 10)
    }
}

fn local(base: Option<NodeState>, state: Option<NodeState>) -> DirtyNode {
    DirtyNode {
        ino: Ino(7),
        id: NodeId::random(),
        change: 1,
        base_version: u64::from(base.is_some()),
        base_state: base,
        in_flight: Vec::new(),
        state,
        content_dirty: false,
        writers: 0,
        written_at: 0,
        size: 0,
        above: Vec::new(),
    }
}

fn remote(state: Option<NodeState>) -> files::Node {
    files::Node { id: NodeId::random(), version: 9, revision: Revision::random(), state }
}

#[test]
fn deletions_lose_against_changes_on_either_side() {
    let (base, edited) = (file("old"), file("new"));
    let cases = [
        (None, None, Resolution::TakeRemote),
        (None, Some(edited.clone()), Resolution::TakeRemote),
        (None, Some(base.clone()), Resolution::KeepLocal),
        (Some(edited), None, Resolution::KeepLocal),
        (Some(base.clone()), None, Resolution::TakeRemote),
    ];
    for (here, there, expected) in cases {
        let case = format!("{here:?} against {there:?}");
        let result = resolve(&local(Some(base.clone()), here), &remote(there), &label());
        assert_eq!(result, expected, "{case}");
    }
}

#[test]
fn the_times_of_a_directory_alone_do_not_bring_it_back() {
    let base = NodeState { kind: Kind::Directory, content: None, ..file("") };
    let touched = NodeState { mtime: 20, ctime: 20, ..base.clone() };
    let changed = NodeState { mode: 0o700, ..touched.clone() };
    let cases = [
        (Some(touched.clone()), None, Resolution::TakeRemote),
        (None, Some(touched), Resolution::KeepLocal),
        (Some(changed.clone()), None, Resolution::KeepLocal),
        (None, Some(changed), Resolution::TakeRemote),
    ];
    for (here, there, expected) in cases {
        let case = format!("{here:?} against {there:?}");
        let result = resolve(&local(Some(base.clone()), here), &remote(there), &label());
        assert_eq!(result, expected, "{case}");
    }
}

#[test]
fn two_new_contents_are_both_kept_and_equal_ones_are_one() {
    let base = file("old");
    let node = local(Some(base.clone()), Some(file("mine")));
    let copy_name = b"a (conflict laptop 2026-11-23 10.00.00).txt".to_vec();
    let kept = Resolution::KeepBoth { copy_name };
    assert_eq!(resolve(&node, &remote(Some(file("theirs"))), &label()), kept);
    assert_eq!(resolve(&node, &remote(Some(file("mine"))), &label()), Resolution::TakeRemote);

    let unhashed = DirtyNode { content_dirty: true, ..local(Some(base), Some(file("old"))) };
    assert_eq!(resolve(&unhashed, &remote(Some(file("theirs"))), &label()), kept);
}

#[test]
fn attributes_here_and_content_there_are_merged() {
    let base = file("old");
    let here = NodeState { mode: 0o600, entries: vec![entry("b.txt")], ..base.clone() };
    let there = NodeState { mtime: 20, ctime: 20, ..file("theirs") };
    let expected = NodeState { mode: 0o600, entries: vec![entry("b.txt")], ..there.clone() };
    let node = local(Some(base), Some(here));
    assert_eq!(resolve(&node, &remote(Some(there)), &label()), Resolution::Merge(expected));
}

#[test]
fn a_push_whose_answer_was_lost_is_recognised() {
    let there = remote(Some(file("first try")));
    let mut node = local(Some(file("old")), Some(file("second try")));
    node.in_flight = vec![there.revision, Revision::random()];
    assert_eq!(resolve(&node, &there, &label()), Resolution::Merge(file("second try")));
}

#[test]
fn hard_links_added_on_both_sides_are_all_there() {
    let names = |names: &[&str]| names.iter().map(|name| entry(name)).collect::<Vec<_>>();
    let merged = merge_entries(&names(&["a", "b"]), &names(&["a", "b", "c"]), &names(&["b", "d"]));
    assert_eq!(merged, names(&["b", "c", "d"]));
    assert_eq!(merge_entries(&names(&["a"]), &names(&["b"]), &names(&["c"])), names(&["c"]));
}

#[test]
fn a_name_taken_by_the_same_thing_is_shared_and_by_another_is_left() {
    let directory = NodeState { kind: Kind::Directory, content: None, ..file("") };
    let new = local(None, Some(directory.clone()));
    assert_eq!(resolve_name(&new, &remote(Some(directory)), &label()), NameResolution::Adopt);
    let new = local(None, Some(file("mine")));
    let renamed = b"a (conflict laptop 2026-11-23 10.00.00).txt".to_vec();
    assert_eq!(
        resolve_name(&new, &remote(Some(file("theirs"))), &label()),
        NameResolution::RenameLocal(renamed)
    );
}

proptest! {
    #[test]
    fn a_conflict_name_is_a_name_and_keeps_characters_whole(
        name in "[a-z.秒é😀]{1,250}", device in "[a-z/秒😀]{1,80}",
    ) {
        let mut name = name;
        while name.len() > NAME_MAX {
            name.pop();
        }
        let label = ConflictLabel { device, ..label() };
        let made = conflict_name(name.as_bytes(), &label);
        prop_assert!(made != name.as_bytes());
        prop_assert!(std::str::from_utf8(&made).is_ok());
        prop_assert!(Name::new(made).is_ok());
    }
}
