//! Directories that the server's changes move: each is in one place, and none is cut off.

use miaofs::protocol::files;
use miaofs::protocol::ids::NodeId;

use super::super::{DirtyNode, Resolution, Rules};
use super::pull::{NEVER, ino_of, node, state};
use super::*;

/// Rules for a directory that was moved here and, by others, not at all.
const MOVED: Rules<'static> = Rules { node: &|_, _| Resolution::KeepLocal, ..NEVER };

/// The directories at these paths, made by the server at version 1.
fn with_directories<const N: usize>(store: &Store, places: [(usize, &str); N]) -> [NodeId; N] {
    let ids = [(); N].map(|()| NodeId::random());
    let parent = |at: usize| if at == 0 { NodeId::ROOT } else { ids[at - 1] };
    let nodes: Vec<_> = places
        .iter()
        .zip(ids)
        .map(|((at, name), id)| node(id, 1, Some(state(Kind::Directory, &[(parent(*at), *name)]))))
        .collect();
    store.apply(&nodes, &NEVER, 1).unwrap();
    ids
}

fn move_here(store: &Store, (directory, name): (NodeId, &str), into: NodeId) {
    let (moved, into) = (ino_of(store, directory).unwrap(), ino_of(store, into).unwrap());
    store
        .change(|change| {
            let parent = change.parent_of(moved)?;
            change.rename((parent, name.as_bytes()), (into, name.as_bytes()))
        })
        .unwrap();
}

#[test]
fn of_directories_that_were_moved_into_each_other_the_one_moved_here_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [x, y, inner] = with_directories(&store, [(0, "x"), (0, "y"), (1, "inner")]);
    move_here(&store, (y, "y"), inner);
    let there = state(Kind::Directory, &[(y, "x")]);
    store.apply(&[node(x, 2, Some(there))], &MOVED, 2).unwrap();
    let (_copy, killed) = crashed(dir.path());
    for store in [&store, &killed] {
        let [x, y, inner] = [x, y, inner].map(|id| ino_of(store, id).unwrap());
        assert_eq!(entry(store, Ino::ROOT, "y"), Some(y));
        assert_eq!(entry(store, Ino::ROOT, "x"), None);
        assert_eq!(entry(store, y, "x"), Some(x));
        assert_eq!(entry(store, x, "inner"), Some(inner));
        assert_eq!(entry(store, inner, "y"), None);
        assert_eq!(
            store.dirty_nodes(Ino(0), 10).unwrap(),
            [],
            "what went back is as the server has it"
        );
    }
}

#[test]
fn a_cycle_that_a_page_leaves_stops_nobody_and_ends_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [x, y] = with_directories(&store, [(0, "x"), (1, "y")]);
    // There, y went to the root at first, then x into it; the first page shows only the latter.
    let at = |parent, name| Some(state(Kind::Directory, &[(parent, name)]));
    store.apply(&[node(x, 3, at(y, "x"))], &NEVER, 3).unwrap();
    let (ino_x, ino_y) = (ino_of(&store, x).unwrap(), ino_of(&store, y).unwrap());
    let way = store.view(|view| view.way_up(ino_x)).unwrap();
    assert_eq!(way, [(ino_y, b"x".to_vec()), (ino_x, b"y".to_vec())]);
    store.apply(&[node(y, 4, at(NodeId::ROOT, "y"))], &NEVER, 4).unwrap();
    let way = store.view(|view| view.way_up(ino_x)).unwrap();
    assert_eq!(way, [(ino_y, b"x".to_vec()), (Ino::ROOT, b"y".to_vec())]);
}

#[test]
fn a_directory_that_takes_the_name_of_one_that_goes_into_it_is_in_one_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [x, y] = with_directories(&store, [(0, "x"), (0, "y")]);
    let (ino_x, ino_y) = (ino_of(&store, x).unwrap(), ino_of(&store, y).unwrap());
    store.change(|change| change.set_xattr(ino_y, b"user.color", b"red")).unwrap();
    let at = |parent, name| state(Kind::Directory, &[(parent, name)]);
    let nodes = [node(x, 3, Some(at(NodeId::ROOT, "y"))), node(y, 4, Some(at(x, "y")))];
    let merged = |_: &DirtyNode, _: &files::Node| Resolution::Merge(at(x, "y"));
    store.apply(&nodes, &Rules { node: &merged, ..NEVER }, 4).unwrap();
    assert_eq!(entry(&store, Ino::ROOT, "y"), Some(ino_x));
    assert_eq!(entry(&store, ino_x, "y"), Some(ino_y));
    assert_eq!(entry(&store, Ino::ROOT, "x"), None, "it has moved");
}

#[test]
fn a_directory_comes_back_though_others_of_the_batch_wait_for_it_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (gone, inside, moved) = (NodeId::random(), NodeId::random(), NodeId::random());
    let directory = |at| Some(state(Kind::Directory, &[at]));
    let before = [
        node(gone, 1, directory((NodeId::ROOT, "gone"))),
        node(inside, 2, directory((NodeId::ROOT, "inside"))),
        node(moved, 3, directory((NodeId::ROOT, "moved"))),
    ];
    store.apply(&before, &NEVER, 3).unwrap();
    store.change(|change| change.unlink(Ino::ROOT, b"gone")).unwrap();
    let root = Ino::ROOT;
    store.change(|change| change.rename((root, b"moved"), (root, b"taken"))).unwrap();
    // Each has to make way for, or to be in, the next one.
    let after = [
        node(gone, 4, directory((inside, "gone"))),
        node(inside, 5, directory((NodeId::ROOT, "taken"))),
        node(moved, 6, directory((gone, "moved"))),
    ];
    let rules = Rules { node: &|_, _| Resolution::TakeRemote, ..NEVER };
    store.apply(&after, &rules, 6).unwrap();
    let at = |parent, name: &str| entry(&store, parent, name);
    let inside_at = at(Ino::ROOT, "taken").unwrap();
    assert_eq!(Some(inside_at), ino_of(&store, inside));
    let gone_at = at(inside_at, "gone").unwrap();
    assert_eq!(Some(gone_at), ino_of(&store, gone));
    assert_eq!(at(gone_at, "moved"), ino_of(&store, moved));
}

#[test]
fn a_directory_that_comes_back_makes_no_cycle_with_what_another_device_moved() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [above, gone, moved] = [NodeId::random(), NodeId::random(), NodeId::random()];
    let directory = |at| Some(state(Kind::Directory, &[at]));
    let before = [
        node(above, 1, directory((NodeId::ROOT, "above"))),
        node(gone, 2, directory((above, "gone"))),
        node(moved, 3, directory((NodeId::ROOT, "moved"))),
    ];
    store.apply(&before, &NEVER, 3).unwrap();
    let into = ino_of(&store, gone).unwrap();
    store.change(|change| change.rename((Ino::ROOT, b"moved"), (into, b"moved"))).unwrap();
    // Another one takes the name of the directory that something new is in, and what it was in goes below that.
    let after = [
        node(gone, 4, None),
        node(NodeId::random(), 5, directory((above, "gone"))),
        node(above, 6, directory((moved, "above"))),
    ];
    let rules = Rules { node: &|_, _| Resolution::TakeRemote, ..NEVER };
    store.apply(&after, &rules, 6).unwrap();
    for id in [above, gone, moved] {
        let ino = ino_of(&store, id).expect("it is there");
        let way = store.view(|view| view.way_up(ino)).unwrap();
        assert_eq!(way.last().map(|(parent, _)| *parent), Some(Ino::ROOT), "{way:?}");
    }
}
