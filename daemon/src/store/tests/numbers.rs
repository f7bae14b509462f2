//! Inode numbers that follow from ids: each is that of one node at a time.

use miaofs::protocol::ids::NodeId;

use super::super::Invalidation;
use super::pull::{NEVER, ino_of, node, state, with_content};
use super::*;

/// In November 2026.
const NOW: i64 = 1_796_000_000_000_000_000;
/// Numbers below are counted.
const FIRST: Ino = Ino(1 << 32);

#[test]
fn of_two_nodes_with_one_number_the_second_has_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut bytes = NodeId::made_at(NOW).to_bytes();
    let [one, two] = [1, 2].map(|last| {
        bytes[15] = last;
        NodeId::from_bytes(bytes)
    });
    for (id, name, seq) in [(one, "one", 1), (two, "two", 2)] {
        let new = state(Kind::File, &[(NodeId::ROOT, name)]);
        store.apply(&[node(id, seq, Some(new))], &NEVER, seq).unwrap();
    }
    assert!(ino_of(&store, one).is_some_and(|ino| ino >= FIRST));
    assert!(ino_of(&store, two).is_some_and(|ino| ino < FIRST));
}

#[test]
fn a_node_that_comes_back_has_its_number_again_when_nobody_remembers_that() {
    let dir = tempfile::tempdir().unwrap();
    let (id, text) = (NodeId::made_at(NOW), b"text");
    let there = with_content(state(Kind::File, &[(NodeId::ROOT, "file")]), text);
    let mut seq = 0;
    let mut apply = |store: &Store, state| {
        seq += 1;
        store.apply(&[node(id, seq, state)], &NEVER, seq).unwrap()
    };
    let store = open(dir.path());
    apply(&store, Some(there.clone()));
    let first = ino_of(&store, id).unwrap();
    fetch(&store, first, text);
    apply(&store, None);
    apply(&store, Some(there.clone()));
    let second = ino_of(&store, id).unwrap();
    assert!(second < FIRST, "{second}");
    fetch(&store, second, text);
    store.sync_tree().unwrap();
    assert_eq!(read_all(&store, second), text);
    apply(&store, None);
    // The data files of both are still to go.
    let (copy, after) = crashed(dir.path());
    let told = apply(&after, Some(there));
    let third = ino_of(&after, id).unwrap();
    fetch(&after, third, text);
    after.sync_tree().unwrap();
    assert_eq!(read_all(&after, third), text);
    assert!(told.contains(&Invalidation::Content(third)), "the kernel may have pages of before");
    apply(&after, None);
    drop(after);
    let last = open(copy.path());
    apply(&last, Some(with_content(state(Kind::File, &[(NodeId::ROOT, "file")]), text)));
    assert_eq!(ino_of(&last, id), Some(first));
}
