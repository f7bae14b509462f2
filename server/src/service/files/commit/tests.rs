//! Commits decided, and checked against the rules of a drive written a second time, the slow way.

use std::collections::{BTreeMap, HashMap, HashSet};

use miaofs::content::Digest;
use miaofs::protocol::files::{
    ConflictReason, ContentRef, Entry, Kind, Node, NodeChange, NodeState,
};
use miaofs::protocol::ids::{NodeId, Revision};
use miaofs::protocol::name::{Bytes, Name};
use proptest::prelude::*;

use super::quota::size_of;
use super::{LoadedDrive, Verdict, resolve, usage_after, validate};
use crate::backend::db::accounts::Usage;
use crate::backend::db::files::{Record, metadata_of};

const ROOT: u8 = 0;

fn id(number: u8) -> NodeId {
    let mut bytes = [0; 16];
    bytes[15] = number;
    NodeId::from_bytes(bytes)
}

fn entry(parent: u8, name: &str) -> Entry {
    Entry { parent: id(parent), name: Name::new(name).unwrap() }
}

fn state(kind: Kind, entries: Vec<Entry>, size: u64) -> NodeState {
    let content = ContentRef { digest: Digest::of(&size.to_be_bytes()), size };
    let content = (kind == Kind::File).then_some(content);
    NodeState { content, entries, ..NodeState::new(kind, 0o644, 0) }
}

fn directory(parent: u8, name: &str) -> Option<NodeState> {
    Some(state(Kind::Directory, vec![entry(parent, name)], 0))
}

fn file(parent: u8, name: &str, size: u64) -> Option<NodeState> {
    Some(state(Kind::File, vec![entry(parent, name)], size))
}

/// Contents of a drive: states by number of node; `None` for a tombstone of a directory.
type Tree = BTreeMap<u8, Option<NodeState>>;

/// The version that every node of a [`drive`] has.
const VERSION: u64 = 5;

fn tree(nodes: impl IntoIterator<Item = (u8, Option<NodeState>)>) -> Tree {
    let root = Some(state(Kind::Directory, Vec::new(), 0));
    nodes.into_iter().chain([(ROOT, root)]).collect()
}

/// The drive as the resolver sees it, all of it loaded; every content up to 99 bytes is owned.
fn drive(tree: &Tree, changes: &[NodeChange], quota: u64) -> LoadedDrive {
    let changed: HashSet<NodeId> = changes.iter().map(|change| change.id).collect();
    let mut drive = LoadedDrive {
        usage: Usage { quota, used: 0, metadata: 0, nodes: 0, seq: VERSION },
        nodes_max: u64::MAX,
        nodes: HashMap::new(),
        holders: HashMap::new(),
        unlisted_children: HashMap::new(),
        parents: HashMap::new(),
        owned: (0..100u64).map(|size| (Digest::of(&size.to_be_bytes()), size)).collect(),
    };
    for (number, state) in tree {
        let kind = state.as_ref().map_or(Kind::Directory, |state| state.kind);
        let revision = Revision::from_bytes([*number; 16]);
        let node = Node { id: id(*number), version: VERSION, revision, state: state.clone() };
        drive.usage.used += state.as_ref().map_or(0, size_of);
        drive.usage.metadata += state.as_ref().map_or(0, metadata_of);
        drive.usage.nodes += u64::from(*number != ROOT && state.is_some());
        drive.nodes.insert(node.id, Record { kind, node });
        for entry in state.iter().flat_map(|state| &state.entries) {
            drive.holders.insert(entry.clone(), id(*number));
            drive.parents.insert(id(*number), entry.parent);
            if !changed.contains(&id(*number)) {
                drive.unlisted_children.insert(entry.parent, id(*number));
            }
        }
    }
    drive
}

fn put(number: u8, base: u64, state: Option<NodeState>) -> NodeChange {
    NodeChange { id: id(number), base, revision: Revision::from_bytes([255; 16]), state }
}

fn new(number: u8, state: Option<NodeState>) -> NodeChange {
    put(number, 0, state)
}

fn change(number: u8, state: Option<NodeState>) -> NodeChange {
    put(number, VERSION, state)
}

fn delete(number: u8) -> NodeChange {
    change(number, None)
}

fn decide(tree: &Tree, changes: &[NodeChange]) -> Vec<Verdict> {
    resolve(&drive(tree, changes, 1000), changes).unwrap()
}

fn rejected(reason: ConflictReason, current: Option<u8>) -> Verdict {
    Verdict::Reject { reason, current: current.map(id) }
}

#[test]
fn two_nodes_swap_their_names() {
    let tree = tree([(1, file(0, "a", 1)), (2, file(0, "b", 1))]);
    let changes = [change(1, file(0, "b", 1)), change(2, file(0, "a", 1))];
    assert_eq!(decide(&tree, &changes), [Verdict::Apply; 2]);
}

#[test]
fn half_a_swap_waits_for_the_other_half() {
    let tree = tree([(1, file(0, "a", 1)), (2, file(0, "b", 1))]);
    let changes = [change(1, file(0, "b", 1)), put(2, 4, file(0, "a", 1))];
    let stale = rejected(ConflictReason::Stale, Some(2));
    assert_eq!(decide(&tree, &changes), [rejected(ConflictReason::Dependent, Some(2)), stale]);
}

#[test]
fn a_new_node_takes_the_name_of_one_deleted_beside_it() {
    let tree = tree([(1, file(0, "a", 1))]);
    let changes = [new(2, file(0, "a", 2)), delete(1)];
    assert_eq!(decide(&tree, &changes), [Verdict::Apply; 2]);
    let taken = rejected(ConflictReason::NameTaken, Some(1));
    assert_eq!(decide(&tree, &changes[..1]), [taken]);
}

#[test]
fn only_what_rests_on_a_rejected_change_is_rejected() {
    let tree = tree([(1, file(0, "a", 1))]);
    let changes = [
        new(4, file(3, "c", 1)),
        new(3, directory(2, "b")),
        new(2, directory(0, "a")),
        new(5, file(0, "e", 1)),
    ];
    let dependent = rejected(ConflictReason::Dependent, None);
    let taken = rejected(ConflictReason::NameTaken, Some(1));
    assert_eq!(decide(&tree, &changes), [dependent, dependent, taken, Verdict::Apply]);
}

#[test]
fn a_tree_is_deleted_together_but_not_with_a_child_left() {
    let tree = tree([(1, directory(0, "d")), (2, file(1, "f", 1)), (3, directory(1, "e"))]);
    let whole = [delete(1), delete(2), delete(3)];
    assert_eq!(decide(&tree, &whole), [Verdict::Apply; 3]);
    let left = rejected(ConflictReason::NotEmpty, Some(3));
    assert_eq!(decide(&tree, &whole[..2]), [left, Verdict::Apply]);
    let moved = [delete(1), put(2, 4, None), change(3, directory(0, "e"))];
    let dependent = rejected(ConflictReason::Dependent, Some(2));
    let stale = rejected(ConflictReason::Stale, Some(2));
    assert_eq!(decide(&tree, &moved), [dependent, stale, Verdict::Apply]);
}

#[test]
fn what_is_put_into_a_directory_beats_its_deletion() {
    let tree = tree([(1, directory(0, "d"))]);
    let changes = [delete(1), new(2, file(1, "f", 1))];
    assert_eq!(decide(&tree, &changes), [rejected(ConflictReason::NotEmpty, None), Verdict::Apply]);
}

#[test]
fn a_directory_cannot_come_to_be_inside_itself() {
    let tree = tree([(1, directory(0, "a")), (2, directory(1, "b")), (3, directory(2, "c"))]);
    let cycle = rejected(ConflictReason::Cycle, Some(1));
    assert_eq!(decide(&tree, &[change(1, directory(3, "a"))]), [cycle]);
    let inverted = [change(1, directory(2, "a")), change(2, directory(0, "b"))];
    assert_eq!(decide(&tree, &inverted), [Verdict::Apply; 2]);
    let half = [inverted[0].clone(), put(2, 4, directory(0, "b"))];
    assert_eq!(decide(&tree, &half)[0], rejected(ConflictReason::Dependent, Some(1)));
    let each_other = [new(8, directory(9, "x")), new(9, directory(8, "y"))];
    let expected =
        [rejected(ConflictReason::Dependent, None), rejected(ConflictReason::Cycle, None)];
    assert_eq!(decide(&tree, &each_other), expected);
}

#[test]
fn a_parent_must_be_a_directory_that_is_there() {
    let tree = tree([(1, file(0, "f", 1)), (2, None)]);
    let inside = |parent| decide(&tree, &[new(9, file(parent, "x", 1))]);
    assert_eq!(inside(1), [rejected(ConflictReason::NoParent, Some(1))]);
    assert_eq!(inside(2), [rejected(ConflictReason::NoParent, Some(2))]);
    assert_eq!(inside(7), [rejected(ConflictReason::NoParent, None)]);
    let revived = [new(9, file(2, "x", 1)), change(2, directory(0, "d"))];
    assert_eq!(decide(&tree, &revived), [Verdict::Apply; 2]);
}

#[test]
fn a_change_sent_again_holds_already() {
    let tree = tree([(1, file(0, "a", 1)), (2, None)]);
    let mut again = put(1, 0, file(0, "a", 1));
    again.revision = Revision::from_bytes([1; 16]);
    let mut deleted = put(2, 0, None);
    deleted.revision = Revision::from_bytes([2; 16]);
    let already_applied = Verdict::AlreadyApplied { version: VERSION };
    assert_eq!(decide(&tree, &[again, deleted]), [already_applied, already_applied]);
    assert_eq!(decide(&tree, &[put(9, 3, None)]), [Verdict::AlreadyApplied { version: 0 }]);
    assert_eq!(
        decide(&tree, &[new(1, file(0, "a", 1))])[0],
        rejected(ConflictReason::Stale, Some(1))
    );
}

#[test]
fn a_content_must_be_the_users_unless_it_stays() {
    let tree = tree([(1, file(0, "a", 500))]);
    let renamed = change(1, file(0, "b", 500));
    assert_eq!(decide(&tree, &[renamed]), [Verdict::Apply]);
    let no_content = rejected(ConflictReason::NoContent, None);
    assert_eq!(decide(&tree, &[new(2, file(0, "c", 500))]), [no_content]);
    let mut wrong_size = new(2, file(0, "c", 5));
    wrong_size.state.as_mut().unwrap().content.as_mut().unwrap().size = 6;
    assert_eq!(decide(&tree, &[wrong_size]), [no_content]);
}

#[test]
fn only_growth_is_refused_when_the_quota_is_reached() {
    let tree = tree([(1, file(0, "a", 60)), (2, file(0, "b", 60))]);
    let over = rejected(ConflictReason::OverQuota, None);
    let changes = [
        change(1, file(0, "a", 50)),
        change(2, file(0, "c", 60)),
        new(3, file(0, "d", 20)),
        new(4, file(0, "e", 5)),
        new(5, directory(0, "f")),
    ];
    let verdicts = resolve(&drive(&tree, &changes, 115), &changes).unwrap();
    let apply = Verdict::Apply;
    assert_eq!(verdicts, [apply, apply, over, apply, apply]);
    let verdicts = resolve(&drive(&tree, &changes, 10), &changes).unwrap();
    assert_eq!(verdicts, [apply, apply, over, over, apply]);
}

#[test]
fn what_is_no_content_counts_beyond_a_mebibyte() {
    let large = |number: u8, bytes: usize| {
        let mut state = state(Kind::Fifo, vec![entry(0, &number.to_string())], 0);
        let value = |at: usize| Bytes(vec![b'x'; (bytes - at).min(1 << 16)]);
        let values = (0..bytes).step_by(1 << 16).map(|at| (format!("user.{at}"), value(at)));
        state.xattrs = values.collect();
        Some(state)
    };
    let full = tree((1..9).map(|number| (number, large(number, 120_000))));
    let changes = [
        new(20, large(20, 120_000)),
        new(21, directory(0, "a")),
        change(1, file(0, "no kind changes", 0).map(|_| large(1, 10).unwrap())),
        new(22, large(22, 100_000)),
    ];
    let (apply, over) = (Verdict::Apply, rejected(ConflictReason::OverQuota, None));
    let drive_of = |quota| drive(&full, &changes, quota);
    assert_eq!(resolve(&drive_of(200_000), &changes).unwrap(), [apply; 4]);
    let drive = drive_of(1000);
    assert!(drive.usage.metadata < 1 << 20, "{}", drive.usage.metadata);
    let verdicts = resolve(&drive, &changes).unwrap();
    assert_eq!(verdicts, [apply, apply, apply, over]);
    let left = after(&full, &changes, |index| verdicts[index] == apply);
    let usage = usage_after(&drive, &changes, &verdicts);
    let metadata: u64 = left.values().flatten().map(metadata_of).sum();
    assert_eq!((usage.metadata, usage.nodes), (metadata, left.len() as u64 - 1));
}

#[test]
fn a_drive_has_as_many_nodes_as_it_may() {
    let tree = tree([(1, directory(0, "a")), (2, file(0, "b", 1)), (3, None)]);
    let changes = [
        new(4, directory(0, "c")),
        new(5, directory(0, "d")),
        delete(1),
        change(2, file(0, "e", 1)),
    ];
    let mut drive = drive(&tree, &changes, 1000);
    drive.nodes_max = 2;
    let apply = Verdict::Apply;
    let full = rejected(ConflictReason::TooManyNodes, None);
    assert_eq!(resolve(&drive, &changes).unwrap(), [apply, full, apply, apply]);
    // More than the operator lets it have from now on: nothing of that goes.
    drive.nodes_max = 0;
    assert_eq!(resolve(&drive, &changes).unwrap(), [full, full, apply, apply]);
}

#[test]
fn the_kind_of_a_node_never_changes() {
    let tree = tree([(1, file(0, "a", 1)), (2, None)]);
    let changes = [change(1, directory(0, "a"))];
    assert!(resolve(&drive(&tree, &changes, 1000), &changes).is_err());
    let changes = [change(2, file(0, "b", 1))];
    assert!(resolve(&drive(&tree, &changes, 1000), &changes).is_err());
}

#[test]
fn shapes_that_no_drive_holds_are_refused() {
    let root = |state| NodeChange { id: NodeId::ROOT, ..change(1, state) };
    assert!(validate(&[root(Some(state(Kind::Directory, Vec::new(), 0)))]).is_ok());
    assert!(validate(&[new(1, file(0, "a", 1)), new(2, directory(0, "b"))]).is_ok());
    let with = |alter: fn(&mut NodeState)| {
        let mut state = file(0, "a", 1);
        alter(state.as_mut().unwrap());
        vec![new(1, state)]
    };
    let xattrs = |xattrs: &mut dyn Iterator<Item = (&str, usize)>| {
        let mut state = file(0, "a", 1);
        let xattrs = xattrs.map(|(name, size)| (name.to_owned(), Bytes(vec![0; size])));
        state.as_mut().unwrap().xattrs = xattrs.collect();
        vec![new(1, state)]
    };
    let many_names: Vec<String> = (0..257).map(|at| format!("{at:0255}")).collect();
    let longest = "x".repeat(255);
    assert!(validate(&xattrs(&mut [(&*longest, 1 << 16), ("y", 1000)].into_iter())).is_ok());
    assert!(validate(&xattrs(&mut many_names[1..].iter().map(|name| (&**name, 0)))).is_ok());
    let refused = [
        vec![root(None)],
        vec![root(directory(0, "a"))],
        vec![delete(1), delete(1)],
        vec![new(1, Some(state(Kind::Directory, vec![entry(0, "a"), entry(0, "b")], 0)))],
        with(|state| state.entries.clear()),
        with(|state| state.entries = vec![entry(0, "a"), entry(0, "a")]),
        with(|state| state.entries = (0..1001).map(|at| entry(0, &at.to_string())).collect()),
        with(|state| state.mode = 0o10000),
        with(|state| state.content = None),
        with(|state| state.kind = Kind::Symlink),
        with(|state| state.rdev = 7),
        xattrs(&mut [("user.big", (1 << 16) + 1)].into_iter()),
        xattrs(&mut [("user.a", 1 << 16), ("user.b", 1 << 16)].into_iter()),
        xattrs(&mut [("", 1)].into_iter()),
        xattrs(&mut [("user.\0", 1)].into_iter()),
        xattrs(&mut [(&*"x".repeat(256), 1)].into_iter()),
        xattrs(&mut many_names.iter().map(|name| (&**name, 0))),
    ];
    for changes in refused {
        assert!(validate(&changes).is_err(), "{:?}", changes[0]);
    }
    let many: Vec<_> =
        (0..2001).map(|_| NodeChange { id: NodeId::random(), ..delete(1) }).collect();
    assert!(validate(&many[..2000]).is_ok() && validate(&many).is_err());
}

/// The tree after the changes with a certain verdict.
fn after(tree: &Tree, changes: &[NodeChange], applies: impl Fn(usize) -> bool) -> Tree {
    let mut tree = tree.clone();
    for (_, change) in changes.iter().enumerate().filter(|(index, _)| applies(*index)) {
        tree.insert(change.id.to_bytes()[15], change.state.clone());
    }
    tree
}

/// Says which rule of a drive a tree breaks.
fn broken_rule(tree: &Tree) -> Result<(), String> {
    let mut names = HashSet::new();
    for (number, state) in tree {
        let Some(state) = state else { continue };
        for entry in &state.entries {
            if !names.insert(entry) {
                return Err(format!("two nodes are {entry:?}"));
            }
            // Every name leads up to the root in at most as many steps as there are nodes.
            let mut at = entry.parent;
            for _ in 0..=tree.len() {
                if at == NodeId::ROOT {
                    break;
                }
                match tree.get(&at.to_bytes()[15]) {
                    Some(Some(parent)) if parent.kind == Kind::Directory => {
                        at = parent.entries[0].parent;
                    }
                    _ => return Err(format!("{number} is in {at}, which is no directory")),
                }
            }
            if at != NodeId::ROOT {
                return Err(format!("{number} is not below the root"));
            }
        }
    }
    Ok(())
}

fn used(tree: &Tree) -> u64 {
    tree.values().flatten().map(size_of).sum()
}

/// A small tree: each node in a directory made before it, or a tombstone.
fn any_tree() -> impl Strategy<Value = Tree> {
    let node = (any::<bool>(), any::<prop::sample::Index>(), 0..4u8, 0..50u64, 0..6u8);
    prop::collection::vec(node, 0..8).prop_map(|nodes| {
        let mut tree = tree([]);
        let mut names = HashSet::new();
        for (number, (is_file, parent, name, size, fate)) in (1u8..).zip(nodes) {
            let directories: Vec<u8> = tree
                .iter()
                .filter(|(_, state)| state.as_ref().is_some_and(|s| s.kind == Kind::Directory))
                .map(|(number, _)| *number)
                .collect();
            let name = ["a", "b", "c", "d"][name as usize];
            let parent = *parent.get(&directories);
            if fate == 0 || !names.insert((parent, name)) {
                tree.insert(number, None);
            } else if is_file {
                tree.insert(number, file(parent, name, size));
            } else {
                tree.insert(number, directory(parent, name));
            }
        }
        tree
    })
}

/// A node, whether its base is right, and unless it is deleted: parent, name, second name, size.
type AnyChange = (u8, bool, Option<(u8, u8, Option<u8>, u64)>);

/// Changes to any of the nodes 1 to 9, some of them new, some stale, some of nonsense.
fn any_changes() -> impl Strategy<Value = Vec<AnyChange>> {
    let wish = (0..11u8, 0..4u8, prop::option::of(0..4u8), 0..110u64);
    let fresh = prop::bool::weighted(0.9);
    prop::collection::vec((1..10u8, fresh, prop::option::weighted(0.75, wish)), 0..9)
}

fn changes_for(tree: &Tree, wishes: Vec<AnyChange>) -> Vec<NodeChange> {
    let mut seen = HashSet::new();
    let wishes = wishes.into_iter().filter(|(number, ..)| seen.insert(*number));
    let names = ["a", "b", "c", "d"];
    wishes
        .map(|(number, fresh, wish)| {
            let there = tree.get(&number);
            // A file, when there is none: even numbers; tombstones are of directories.
            let is_file = match there {
                Some(Some(state)) => state.kind == Kind::File,
                Some(None) => false,
                None => number % 2 == 0,
            };
            let base = if there.is_some() == fresh { VERSION } else { 0 };
            let state = wish.and_then(|(parent, name, second, size)| match is_file {
                false => directory(parent, names[name as usize]),
                true => {
                    let mut entries = vec![entry(parent, names[name as usize])];
                    entries.extend(second.map(|name| entry(ROOT, names[name as usize])));
                    entries.dedup();
                    Some(state(Kind::File, entries, size))
                }
            });
            put(number, base, state)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn whatever_is_committed_the_drive_keeps_its_rules(
        tree in any_tree(),
        wishes in any_changes(),
        quota in 0..400u64,
    ) {
        let changes = changes_for(&tree, wishes);
        let drive = drive(&tree, &changes, quota);
        let verdicts = resolve(&drive, &changes).unwrap();
        prop_assert_eq!(verdicts.len(), changes.len());

        let left = after(&tree, &changes, |index| verdicts[index] == Verdict::Apply);
        prop_assert_eq!(broken_rule(&left), Ok(()), "{:#?}", verdicts);
        prop_assert!(used(&left) <= quota.max(used(&tree)));

        // Nothing is rejected when all that could be meant can be had.
        let sound = |index: usize| !matches!(
            verdicts[index],
            Verdict::AlreadyApplied { .. }
                | Verdict::Reject { reason: ConflictReason::Stale | ConflictReason::NoContent, .. }
        );
        let all = after(&tree, &changes, sound);
        if broken_rule(&all).is_ok() && used(&all) <= quota {
            for (index, verdict) in verdicts.iter().enumerate().filter(|(index, _)| sound(*index)) {
                prop_assert_eq!(*verdict, Verdict::Apply, "change {} of {:#?}", index, changes);
            }
        }
        // What the drive itself stands against is named as it stands.
        for (change, verdict) in changes.iter().zip(&verdicts) {
            let stale = matches!(verdict, Verdict::Reject { reason: ConflictReason::Stale, .. });
            let number = change.id.to_bytes()[15];
            let current = if tree.contains_key(&number) { VERSION } else { 0 };
            prop_assert!(!stale || change.base != current);
        }
    }
}
