//! The server's changes: after the last page the store is the server's tree, and nothing dirty is lost.

use std::sync::Mutex;
use std::time::Duration;

use miaofs::content::{CHUNK_SIZE, Digest};
use miaofs::protocol::files::{self, ContentRef, Entry, NodeState, OWNER};
use miaofs::protocol::ids::NodeId;
use miaofs::protocol::name::Name;

use super::super::node::DriveOwner;
use super::super::{DirtyNode, Invalidation, NameResolution, Resolution, Rules};
use super::*;

pub(super) const NEVER: Rules<'static> = Rules {
    node: &|local, node| panic!("nothing is dirty: {local:?} {node:?}"),
    name: &|local, node| panic!("nothing is dirty: {local:?} {node:?}"),
    conflict_name: &|name| [name, b" (conflict)"].concat(),
};

pub(super) fn state(kind: Kind, entries: &[(NodeId, &str)]) -> NodeState {
    let content =
        (kind == Kind::File).then(|| ContentRef { digest: Digest::of_nothing(), size: 0 });
    NodeState {
        uid: 3,
        gid: 4,
        mtime: 11,
        ctime: 12,
        content,
        entries: entries
            .iter()
            .map(|(parent, name)| Entry { parent: *parent, name: Name::new(*name).unwrap() })
            .collect(),
        ..NodeState::new(kind, 0o640, 10)
    }
}

pub(super) fn node(id: NodeId, version: u64, state: Option<NodeState>) -> files::Node {
    files::Node { id, version, revision: Revision::random(), state }
}

pub(super) fn with_content(mut state: NodeState, bytes: &[u8]) -> NodeState {
    state.content = Some(ContentRef { digest: Digest::of(bytes), size: bytes.len() as u64 });
    state
}

pub(super) fn ino_of(store: &Store, id: NodeId) -> Option<Ino> {
    store.view(|view| view.by_id(id)).unwrap()
}

#[test]
fn children_may_come_before_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (folder, file) = (NodeId::random(), NodeId::random());
    let child = node(file, 2, Some(state(Kind::File, &[(folder, "file")])));
    store.apply(&[child], &NEVER, 2).unwrap();
    assert!(store.view(|view| view.children(Ino::ROOT, 0, 10)).unwrap().is_empty());
    let parent = node(folder, 3, Some(state(Kind::Directory, &[(NodeId::ROOT, "folder")])));
    let invalidations = store.apply(&[parent], &NEVER, 3).unwrap();
    assert!(
        invalidations
            .contains(&Invalidation::Entry { parent: Ino::ROOT, name: b"folder".to_vec() })
    );
    let (_copy, after) = crashed(dir.path());
    for store in [&store, &after] {
        let folder = entry(store, Ino::ROOT, "folder").unwrap();
        assert_eq!(entry(store, folder, "file"), ino_of(store, file));
        assert_eq!(store.cursor().seq, 3);
        assert!(store.dirty_nodes(Ino(0), 10).unwrap().is_empty());
    }
}

#[test]
fn a_page_from_before_a_deletion_of_ours_does_not_bring_the_node_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [gone, open] = ["gone", "open"].map(|name| {
        let ino = make(&store, Ino::ROOT, name, Kind::Fifo);
        (ino, store.dirty_node(ino).unwrap().unwrap().id)
    });
    let pinned: Result<(), Error> = store.change(|change| {
        change.pin(open.0);
        Ok(())
    });
    pinned.unwrap();
    let shown =
        |(ino, id), version| node(id, version, store.dirty_node(ino).unwrap().unwrap().state);
    let page = [shown(gone, 1), shown(open, 2)];
    push(&store, gone.0, 1);
    push(&store, open.0, 2);
    for name in ["gone", "open"] {
        store.change(|change| change.unlink(Ino::ROOT, name.as_bytes())).unwrap();
    }
    push(&store, gone.0, 3);
    push(&store, open.0, 4);
    let other = make(&store, Ino::ROOT, "gone", Kind::Fifo);
    store.apply(&page, &NEVER, 2).unwrap();
    assert_eq!(entry(&store, Ino::ROOT, "gone"), Some(other));
    assert_eq!(entry(&store, Ino::ROOT, "open"), None);
    store.apply(&[node(gone.1, 3, None), node(open.1, 4, None)], &NEVER, 4).unwrap();
    // Another device had changed it, and puts it there again.
    let again = node(gone.1, 5, Some(state(Kind::Fifo, &[(NodeId::ROOT, "again")])));
    store.apply(&[again], &NEVER, 5).unwrap();
    assert_eq!(entry(&store, Ino::ROOT, "again"), ino_of(&store, gone.1));
}

#[test]
fn two_nodes_may_swap_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (NodeId::random(), NodeId::random());
    let at = |name| Some(state(Kind::File, &[(NodeId::ROOT, name)]));
    store.apply(&[node(a, 1, at("a")), node(b, 2, at("b"))], &NEVER, 2).unwrap();
    let (ino_a, ino_b) = (ino_of(&store, a), ino_of(&store, b));
    store.apply(&[node(a, 3, at("b"))], &NEVER, 3).unwrap();
    store.apply(&[node(b, 3, at("a"))], &NEVER, 4).unwrap();
    assert_eq!((entry(&store, Ino::ROOT, "b"), entry(&store, Ino::ROOT, "a")), (ino_a, ino_b));
}

#[test]
fn a_new_content_keeps_the_chunks_that_are_equal() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(1, 3 * CHUNK_SIZE + 5);
    let ino = write_file(&store, "file", &all);
    push(&store, ino, 1);
    let id = store.view(|view| view.node(ino)).unwrap().id;
    all[CHUNK_SIZE as usize] ^= 1;
    all.truncate(3 * CHUNK_SIZE as usize + 1);
    let changed = with_content(state(Kind::File, &[(NodeId::ROOT, "file")]), &all);
    let invalidations = store.apply(&[node(id, 2, Some(changed))], &NEVER, 2).unwrap();
    assert!(invalidations.contains(&Invalidation::Content(ino)));
    assert_eq!(size(&store, ino), all.len() as u64);
    let reader = store.open_content(ino, Access::Read).unwrap();
    let mut buffer = [0; 1];
    assert_eq!(reader.read_at(0, &mut buffer).unwrap(), Availability::Missing(0..1));
    store.set_manifest(manifest_of(&all)).unwrap();
    let (_copy, after) = crashed(dir.path());
    for store in [&store, &after] {
        assert_eq!(
            store.missing(ino, 0..u64::MAX).unwrap(),
            [CHUNK_SIZE..2 * CHUNK_SIZE, 3 * CHUNK_SIZE..3 * CHUNK_SIZE + 1]
        );
        fetch(store, ino, &all);
        assert_eq!(read_all(store, ino), all);
        assert_eq!(store.cache_usage().bytes, all.len() as u64);
    }
}

#[test]
fn what_was_written_here_and_there_is_kept_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ino = write_file(&store, "file", b"old");
    push(&store, ino, 1);
    let id = store.view(|view| view.node(ino)).unwrap().id;
    let content = store.open_content(ino, Access::Write).unwrap();
    content.write_at(0, b"mine, longer", 9).unwrap();
    let theirs = with_content(state(Kind::File, &[(NodeId::ROOT, "file")]), b"theirs");
    let rules =
        Rules { node: &|_, _| Resolution::KeepBoth { copy_name: b"copy".to_vec() }, ..NEVER };
    store.apply(&[node(id, 2, Some(theirs))], &rules, 2).unwrap();
    let copy = entry(&store, Ino::ROOT, "copy").unwrap();
    assert_eq!(copy, ino, "who has it open goes on with the local content");
    content.write_at(0, b"M", 10).unwrap();
    let (_copy, after) = crashed(dir.path());
    for store in [&store, &after] {
        assert_eq!(read_all(store, copy), b"Mine, longer");
        assert!(store.dirty_node(copy).unwrap().unwrap().content_dirty);
        let there = ino_of(store, id).unwrap();
        assert_eq!(entry(store, Ino::ROOT, "file"), Some(there));
        assert_eq!(store.dirty_node(there).unwrap(), None);
        fetch(store, there, b"theirs");
        assert_eq!(read_all(store, there), b"theirs");
    }
}

#[test]
fn a_deleted_directory_comes_back_for_what_is_new_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (outer, inner) = (NodeId::random(), NodeId::random());
    let directory = |parent, name| Some(state(Kind::Directory, &[(parent, name)]));
    let both = [
        node(outer, 1, directory(NodeId::ROOT, "outer")),
        node(inner, 2, directory(outer, "inner")),
        node(NodeId::random(), 2, directory(outer, "empty")),
    ];
    store.apply(&both, &NEVER, 2).unwrap();
    let inner_ino = ino_of(&store, inner).unwrap();
    make(&store, inner_ino, "new", Kind::Directory);
    let gone: Vec<_> = both.iter().map(|it| node(it.id, 3, None)).collect();
    store.apply(&gone, &NEVER, 3).unwrap();
    let outer_ino = entry(&store, Ino::ROOT, "outer").unwrap();
    assert_eq!(entry(&store, outer_ino, "inner"), Some(inner_ino));
    assert_eq!(entry(&store, outer_ino, "empty"), None);
    let dirty: Vec<DirtyNode> = store.dirty_nodes(Ino(0), 10).unwrap();
    assert_eq!(dirty.len(), 3);
    assert!(
        dirty.iter().filter(|node| node.base_version == 3).all(|node| node.base_state.is_none())
    );
}

#[test]
fn equal_directories_become_one_and_other_nodes_make_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let folder = make(&store, Ino::ROOT, "folder", Kind::Directory);
    let child = make(&store, folder, "child", Kind::Directory);
    let file = write_file(&store, "file", b"mine");
    let (their_folder, their_file, their_child) =
        (NodeId::random(), NodeId::random(), NodeId::random());
    let rules = Rules {
        name: &|local, _| match local.state.as_ref().unwrap().kind {
            Kind::Directory => NameResolution::Adopt,
            _ => NameResolution::RenameLocal(b"file (mine)".to_vec()),
        },
        ..NEVER
    };
    let page = [
        node(their_child, 1, Some(state(Kind::Directory, &[(their_folder, "child")]))),
        node(their_file, 2, Some(state(Kind::File, &[(NodeId::ROOT, "file")]))),
        node(their_folder, 3, Some(state(Kind::Directory, &[(NodeId::ROOT, "folder")]))),
    ];
    store.apply(&page, &rules, 3).unwrap();
    assert_eq!(ino_of(&store, their_folder), Some(folder));
    assert_eq!(ino_of(&store, their_child), Some(child));
    assert_eq!(entry(&store, Ino::ROOT, "file (mine)"), Some(file));
    assert_eq!(entry(&store, Ino::ROOT, "file"), ino_of(&store, their_file));
    assert_eq!(entry(&store, folder, "child"), Some(child));
}

#[test]
fn a_file_that_the_server_deleted_lives_while_it_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ino = write_file(&store, "file", b"hello");
    push(&store, ino, 1);
    let id = store.view(|view| view.node(ino)).unwrap().id;
    let reader = store.open_content(ino, Access::Read).unwrap();
    let invalidations = store.apply(&[node(id, 2, None)], &NEVER, 2).unwrap();
    let name = b"file".to_vec();
    assert_eq!(invalidations, [Invalidation::Deleted { parent: Ino::ROOT, child: ino, name }]);
    assert_eq!(read_all(&store, ino), b"hello");
    drop(reader);
    assert!(matches!(store.view(|view| view.node(ino)), Err(Error::NoNode(_))));
    assert!(store.dirty_nodes(Ino(0), 10).unwrap().is_empty());
}

#[test]
fn a_node_deleted_here_and_changed_there_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ino = write_file(&store, "file", b"hello");
    push(&store, ino, 1);
    let id = store.view(|view| view.node(ino)).unwrap().id;
    store.change(|change| change.unlink(Ino::ROOT, b"file")).unwrap();
    let changed = with_content(state(Kind::File, &[(NodeId::ROOT, "file")]), b"changed");
    let rules = Rules { node: &|_, _| Resolution::TakeRemote, ..NEVER };
    store.apply(&[node(id, 2, Some(changed))], &rules, 2).unwrap();
    store.sync_tree().unwrap();
    let back = entry(&store, Ino::ROOT, "file").unwrap();
    fetch(&store, back, b"changed");
    store.sync_tree().unwrap();
    assert_eq!(read_all(&store, back), b"changed");
    assert!(store.dirty_nodes(Ino(0), 10).unwrap().is_empty());
}

/// The tree as another thread sees it while a batch is applied.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    size: u64,
    old_name: Option<Ino>,
    new_names: usize,
}

impl Seen {
    fn look(store: &Store, ino: Ino) -> Self {
        let seen = store.view::<_, Error>(|view| {
            Ok(Self {
                size: view.node(ino)?.attributes.size,
                old_name: view.entry(Ino::ROOT, b"written")?,
                new_names: view.children(Ino::ROOT, 0, 1000)?.len(),
            })
        });
        seen.unwrap()
    }
}

#[test]
fn who_reads_the_tree_while_many_changes_are_applied_sees_none_of_them_and_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let written = create(&store, "written");
    written.write_at(0, b"first", 1).unwrap();
    let last = write_file(&store, "last", b"");
    let id_of = |ino| store.dirty_node(ino).unwrap().unwrap().id;
    let (first_id, last_id) = (id_of(written.ino()), id_of(last));
    push(&store, written.ino(), 1);
    push(&store, last, 2);
    written.write_at(0, b"more than before", 3).unwrap();
    store.change(|change| change.touch(last, 4, 4)).unwrap();

    let seen = Mutex::new(None);
    let rule = |local: &DirtyNode, _: &files::Node| {
        if local.ino == last {
            let (answer, answered) = std::sync::mpsc::channel();
            let (reader, ino) = (Arc::clone(&store), written.ino());
            std::thread::spawn(move || answer.send(Seen::look(&reader, ino)));
            let found = answered.recv_timeout(Duration::from_secs(20));
            *seen.lock().unwrap() = Some(found.expect("a reader does not wait for the batch"));
        }
        Resolution::TakeRemote
    };
    let at = |name: &str| Some(state(Kind::File, &[(NodeId::ROOT, name)]));
    let new = (0..100).map(|index| node(NodeId::random(), 10 + index, at(&format!("{index}"))));
    let mut nodes = vec![node(first_id, 5, at("renamed"))];
    nodes.extend(new);
    nodes.push(node(last_id, 200, at("last")));
    store.apply(&nodes, &Rules { node: &rule, ..NEVER }, 200).unwrap();

    let before = Seen { size: 16, old_name: Some(written.ino()), new_names: 2 };
    assert_eq!(seen.lock().unwrap().take(), Some(before));
    let after = Seen { size: 0, old_name: None, new_names: 102 };
    assert_eq!(Seen::look(&store, ino_of(&store, first_id).unwrap()), after);
}

#[test]
fn what_is_the_drives_owners_belongs_to_whoever_mounts_it_and_other_numbers_travel() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.tree().owner = DriveOwner { uid: 1, gid: 2 };
    let owner_of = |ino: Ino| {
        let attributes = store.view(|view| view.node(ino)).unwrap().attributes;
        (attributes.uid, attributes.gid)
    };
    let sent = |ino: Ino| {
        let state = store.dirty_node(ino).unwrap().unwrap().state.unwrap();
        (state.uid, state.gid)
    };
    let chown = |ino: Ino, uid: u32| {
        let change = store.change(|change| {
            let attributes = Attributes { uid, mode: 0o600, ..change.node(ino)?.attributes };
            change.set_attributes(ino, &attributes)
        });
        change.unwrap();
    };
    let own = write_file(&store, "own", b"made by 1, of group 2");
    assert_eq!(sent(own), (OWNER, OWNER));
    chown(own, 7);
    assert_eq!(sent(own), (7, OWNER));

    let [theirs, numbered] = [(); 2].map(|()| NodeId::random());
    let at = |name: &str, uid| NodeState { uid, ..state(Kind::File, &[(NodeId::ROOT, name)]) };
    let nodes = [node(theirs, 1, Some(at("a", OWNER))), node(numbered, 1, Some(at("b", 1)))];
    store.apply(&nodes, &NEVER, 1).unwrap();
    let [theirs, numbered] = [theirs, numbered].map(|id| ino_of(&store, id).unwrap());
    assert_eq!((owner_of(theirs), owner_of(numbered)), ((1, 4), (1, 4)));
    chown(theirs, 1);
    chown(numbered, 1);
    assert_eq!((sent(theirs).0, sent(numbered).0), (OWNER, 1), "each as the server has it");
}
