//! What the order of commits promises.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use miaofs::content::Digest;
use miaofs::protocol::files::{Kind, NodeState};
use miaofs::protocol::name::Name;
use proptest::prelude::*;

use super::*;
use crate::store::Ino;

fn id(number: u64) -> NodeId {
    NodeId::from_bytes(u128::from(number).to_be_bytes())
}

/// Where a node is: directory and name.
type Place<'a> = (u64, &'a str);

fn state(kind: Kind, (parent, name): Place<'_>) -> NodeState {
    let entries = vec![Entry { parent: id(parent), name: Name::new(name).unwrap() }];
    NodeState { entries, ..NodeState::new(kind, 0o755, 0) }
}

fn node(number: u64, before: Option<Place<'_>>, now: Option<Place<'_>>) -> DirtyNode {
    DirtyNode {
        ino: Ino(number),
        id: id(number),
        change: 1,
        base_version: u64::from(before.is_some()),
        base_state: before.map(|place| state(Kind::Directory, place)),
        in_flight: Vec::new(),
        state: now.map(|place| state(Kind::Directory, place)),
        content_dirty: false,
        writers: 0,
        written_at: 0,
        size: 0,
        above: Vec::new(),
    }
}

/// The numbers of the nodes in each commit.
fn order(nodes: &[DirtyNode], waiting: &[u64]) -> Vec<Vec<u64>> {
    let ready: Vec<bool> = nodes.iter().map(|node| !waiting.contains(&node.ino.0)).collect();
    let number = |index: usize| nodes[index].ino.0;
    commits(nodes, &ready)
        .into_iter()
        .map(|commit| commit.into_iter().map(number).collect())
        .collect()
}

/// The sizes of the commits that nodes make of which each has this state, before and now.
fn sizes(count: u64, before: Option<&NodeState>, now: &NodeState) -> Vec<usize> {
    let node = |number| DirtyNode {
        base_state: before.cloned(),
        state: Some(now.clone()),
        ..node(number, None, None)
    };
    let nodes: Vec<DirtyNode> = (1..=count).map(node).collect();
    commits(&nodes, &vec![true; nodes.len()]).iter().map(Vec::len).collect()
}

#[test]
fn a_commit_has_no_more_names_and_bytes_than_the_server_takes() {
    let plain = state(Kind::Fifo, (0, "plain"));
    assert_eq!(sizes(2500, Some(&plain), &plain), [1000, 1000, 500]);
    let named = |label: &str| {
        let name = |at| Name::new(format!("{label} {at}")).unwrap();
        let entries = (0..1000).map(|at| Entry { parent: id(0), name: name(at) }).collect();
        NodeState { entries, ..plain.clone() }
    };
    let [old, new] = ["old", "new"].map(named);
    assert_eq!(sizes(10, None, &old), [8, 2]);
    assert_eq!(sizes(10, Some(&old), &new), [4, 4, 2]);
    let mut heavy = plain.clone();
    heavy.xattrs.insert("user.a".into(), miaofs::protocol::name::Bytes(vec![b'x'; 65_000]));
    let sizes = sizes(300, None, &heavy);
    assert_eq!(sizes.iter().sum::<usize>(), 300);
    assert!(sizes.iter().all(|count| count * 65_000 < COMMIT_BYTES_MAX), "{sizes:?}");
}

#[test]
fn parents_come_before_children_however_they_are_numbered() {
    let nodes = [
        node(10, None, Some((30, "leaf"))),
        node(20, None, Some((0, "top"))),
        node(30, None, Some((20, "middle"))),
    ];
    assert_eq!(order(&nodes, &[]), vec![vec![20, 30, 10]]);
}

#[test]
fn only_what_depends_on_a_waiting_node_waits_with_it() {
    let nodes = [
        node(10, None, Some((0, "waiting"))),
        node(20, None, Some((10, "below"))),
        node(30, None, Some((20, "further below"))),
        node(40, None, Some((0, "beside"))),
    ];
    assert_eq!(order(&nodes, &[10]), vec![vec![40]]);
}

#[test]
fn a_replaced_node_goes_with_its_replacement_or_not_at_all() {
    let nodes = [node(10, Some((0, "name")), None), node(20, None, Some((0, "name")))];
    assert_eq!(order(&nodes, &[20]), Vec::<Vec<u64>>::new());
    let together = order(&nodes, &[]);
    assert_eq!(together.len(), 1);
    assert_eq!(together[0].len(), 2);
}

#[test]
fn names_passed_on_in_a_ring_are_one_group() {
    let nodes = [
        node(10, Some((0, "a")), Some((0, "b"))),
        node(20, Some((0, "b")), Some((0, "c"))),
        node(30, Some((0, "c")), Some((0, "a"))),
    ];
    assert_eq!(order(&nodes, &[]).len(), 1);
    assert_eq!(order(&nodes, &[20]), Vec::<Vec<u64>>::new());
}

#[test]
fn directories_that_go_below_what_was_below_each_other_go_together_or_not_at_all() {
    let below = |number, before, name, above: &[u64]| DirtyNode {
        above: above.iter().copied().map(id).collect(),
        ..node(number, Some(before), Some((above[0], name)))
    };
    // 2 was in 1 and 4 in 3; now 2 and 4 have the places of 1 and 3, and these are in the other one.
    let nodes = [
        below(1, (0, "a"), "a", &[4, 0]),
        below(2, (1, "b"), "a", &[0]),
        below(3, (0, "c"), "c", &[2, 0]),
        below(4, (3, "d"), "c", &[0]),
    ];
    assert_eq!(order(&nodes, &[]).len(), 1);
    for waiting in 1..=4 {
        assert_eq!(order(&nodes, &[waiting]), Vec::<Vec<u64>>::new());
    }
}

#[test]
fn a_directory_is_deleted_after_what_it_held() {
    let nodes = [
        node(10, Some((0, "directory")), None),
        node(20, Some((10, "moved")), Some((0, "moved"))),
        node(30, Some((10, "deleted")), None),
    ];
    let commit = order(&nodes, &[]).concat();
    assert_eq!(commit.len(), 3);
    assert_eq!(commit[2], 10);
    assert_eq!(order(&nodes, &[20]), vec![vec![30]]);
}

#[test]
fn a_content_is_given_up_only_after_a_copy_of_it_names_it() {
    let content = Some(ContentRef { digest: Digest::of_nothing(), size: 0 });
    let mut source = node(10, Some((0, "source")), None);
    source.base_state.as_mut().unwrap().content = content;
    let mut copy = node(20, None, Some((0, "copy")));
    copy.state.as_mut().unwrap().content = content;
    let changed = node(30, Some((0, "changed")), Some((0, "changed")));
    let mut nodes = [source, copy, changed];
    nodes[2].base_state.as_mut().unwrap().content = content;
    assert_eq!(order(&nodes, &[20]), Vec::<Vec<u64>>::new());
    assert_eq!(order(&nodes, &[]).concat(), [20, 10, 30]);
    nodes[1].base_state.clone_from(&nodes[1].state);
    assert_eq!(order(&nodes, &[20]).concat(), [10, 30], "the server knows the copy already");
}

proptest! {
    #[test]
    fn every_node_of_a_random_tree_comes_once_and_after_its_directory(
        parents in proptest::collection::vec(any::<u16>(), 1..3000),
    ) {
        let nodes: Vec<DirtyNode> = parents
            .iter()
            .enumerate()
            .map(|(index, random)| {
                let parent = u64::from(*random) % (index as u64 + 1);
                node(index as u64 + 1, None, Some((parent, "n")))
            })
            .collect();
        let commits = commits(&nodes, &vec![true; nodes.len()]);
        prop_assert!(commits.iter().all(|commit| commit.len() <= COMMIT_NODES_MAX));
        let mut seen = vec![false; nodes.len() + 1];
        seen[0] = true;
        for index in commits.concat() {
            let parent = u64::from(parents[index]) % (index as u64 + 1);
            prop_assert!(seen[parent as usize], "{} before its directory", index);
            prop_assert!(!std::mem::replace(&mut seen[index + 1], true));
        }
        prop_assert!(seen.iter().all(|seen| *seen));
    }
}
