//! Another history: what is here is compared with what a restored server has, and is again what the server has in the end.

use miaofs::protocol::files::{self, NodeState};
use miaofs::protocol::ids::NodeId;

use super::super::{Comparison, DirtyNode, Resolution, Rules};
use super::pull::{NEVER, ino_of, node, state, with_content};
use super::*;

#[test]
fn who_made_way_for_what_a_restored_server_has_lost_has_its_name_again() {
    for names in [&["a"][..], &["a", "b"]] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (old, new) = (NodeId::random(), NodeId::random());
        let entries: Vec<_> = names.iter().map(|name| (NodeId::ROOT, *name)).collect();
        let shown = node(old, 1, Some(state(Kind::File, &entries)));
        store.apply(std::slice::from_ref(&shown), &NEVER, 1).unwrap();
        let taking = state(Kind::File, &[(NodeId::ROOT, "a")]);
        store.apply(&[node(new, 2, Some(taking))], &NEVER, 2).unwrap();
        assert_eq!(entry(&store, Ino::ROOT, "a"), ino_of(&store, new));

        store.begin_comparison(Comparison::Restored { common: 1 }).unwrap();
        store.apply(&[shown], &NEVER, 1).unwrap();
        store.end_comparison(&NEVER).unwrap();
        assert_eq!(entry(&store, Ino::ROOT, "a"), ino_of(&store, old), "of {names:?}");
        let kept = entry(&store, Ino::ROOT, "a (conflict)").expect("nothing is lost");
        assert_eq!(Some(kept), ino_of(&store, new));
        let dirty = store.dirty_nodes(Ino(0), 10).unwrap();
        assert_eq!(dirty.iter().map(|node| node.ino).collect::<Vec<_>>(), [kept]);
    }
}

/// A store whose directory `d` the server had moved to `d2` when it was restored to where it was `d`, as is known here.
fn with_a_lost_move(store: &Store, ids: [NodeId; 2], meanwhile: impl FnOnce()) {
    let shown = [
        node(ids[0], 1, Some(state(Kind::Directory, &[(NodeId::ROOT, "d")]))),
        node(ids[1], 2, Some(state(Kind::Directory, &[(NodeId::ROOT, "e")]))),
    ];
    store.apply(&shown, &NEVER, 2).unwrap();
    let moved = state(Kind::Directory, &[(NodeId::ROOT, "d2")]);
    store.apply(&[node(ids[0], 3, Some(moved))], &NEVER, 3).unwrap();
    meanwhile();
    store.begin_comparison(Comparison::Restored { common: 2 }).unwrap();
    store.apply(&shown, &NEVER, 2).unwrap();
    store.end_comparison(&NEVER).unwrap();
}

/// A node that is clean is where the server has it.
fn assert_equal_or_dirty(store: &Store, id: NodeId, place: (Ino, &str)) {
    let ino = ino_of(store, id).unwrap();
    let is_dirty = store.dirty_nodes(Ino(0), 10).unwrap().iter().any(|node| node.ino == ino);
    let (parent, name) = place;
    assert!(is_dirty || entry(store, parent, name) == Some(ino), "it is clean and not {name}");
}

#[test]
fn a_directory_that_comes_back_is_where_a_restored_server_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ids @ [directory, _] = [NodeId::random(), NodeId::random()];
    with_a_lost_move(&store, ids, || {
        store.change(|change| change.unlink(Ino::ROOT, b"d2")).unwrap();
    });
    let new = node(NodeId::random(), 3, Some(state(Kind::File, &[(directory, "new")])));
    store.apply(&[new], &NEVER, 3).unwrap();
    assert_equal_or_dirty(&store, directory, (Ino::ROOT, "d"));
}

#[test]
fn a_directory_that_goes_back_is_where_a_restored_server_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ids @ [directory, other] = [NodeId::random(), NodeId::random()];
    with_a_lost_move(&store, ids, || {
        let into = entry(&store, Ino::ROOT, "e").unwrap();
        store.change(|change| change.rename((Ino::ROOT, b"d2"), (into, b"d2"))).unwrap();
    });
    let moved = node(other, 3, Some(state(Kind::Directory, &[(directory, "e")])));
    store.apply(&[moved], &NEVER, 3).unwrap();
    assert_equal_or_dirty(&store, directory, (Ino::ROOT, "d"));
}

fn holding(text: &[u8]) -> NodeState {
    with_content(state(Kind::File, &[(NodeId::ROOT, "f")]), text)
}

/// A store with a text of which the server was restored to the one before.
fn with_a_lost_text(store: &Arc<Store>, id: NodeId, meanwhile: impl FnOnce(Ino)) {
    store.apply(&[node(id, 1, Some(holding(b"common")))], &NEVER, 1).unwrap();
    store.apply(&[node(id, 2, Some(holding(b"lost")))], &NEVER, 2).unwrap();
    meanwhile(ino_of(store, id).unwrap());
    store.begin_comparison(Comparison::Restored { common: 1 }).unwrap();
    store.apply(&[node(id, 1, Some(holding(b"common")))], &NEVER, 1).unwrap();
    store.end_comparison(&NEVER).unwrap();
}

#[test]
fn what_a_restored_server_has_lost_is_no_older_than_what_another_device_changes_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = NodeId::random();
    with_a_lost_text(&store, id, |_| {});
    // Both stand on what both knew, so the rules keep both.
    let keep_both = |local: &DirtyNode, _: &files::Node| {
        assert_eq!(local.base_state, Some(holding(b"common")));
        assert_eq!(local.state, Some(holding(b"lost")));
        Resolution::KeepBoth { copy_name: b"copy".to_vec() }
    };
    let rules = Rules { node: &keep_both, ..NEVER };
    store.apply(&[node(id, 2, Some(holding(b"of another")))], &rules, 2).unwrap();
    assert!(entry(&store, Ino::ROOT, "copy").is_some());
}

#[test]
fn what_was_edited_stands_on_the_text_that_a_restored_server_has_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = NodeId::random();
    with_a_lost_text(&store, id, |ino| {
        store.open_content(ino, Access::Write).unwrap().resize(0, 5_000).unwrap();
    });
    let ino = ino_of(&store, id).unwrap();
    let dirty = store.dirty_node(ino).unwrap().expect("it is sent");
    assert_eq!((dirty.base_version, dirty.base_state), (1, Some(holding(b"lost"))));
}
