//! Stores of earlier formats are opened, with all that is in them.

use miaofs::protocol::ids::CommitId;
use rusqlite::{Connection, params};

use super::pull::NEVER;
use super::*;
use crate::store::Cursor;

/// The tables as format 1 made them.
const FORMAT_1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE nodes (
    ino INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    status INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    rdev INTEGER NOT NULL,
    size INTEGER NOT NULL,
    blocks INTEGER NOT NULL,
    atime INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL,
    btime INTEGER NOT NULL,
    target BLOB,
    xattrs TEXT,
    links INTEGER NOT NULL,
    subdirectories INTEGER NOT NULL,
    change INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    base INTEGER NOT NULL,
    in_flight BLOB,
    digest BLOB,
    digest_size INTEGER NOT NULL,
    previous BLOB,
    kept INTEGER NOT NULL,
    content_dirty INTEGER NOT NULL,
    unsettled INTEGER NOT NULL,
    written_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    dirty INTEGER NOT NULL
);
CREATE UNIQUE INDEX nodes_id ON nodes (id);
CREATE INDEX nodes_dirty ON nodes (ino) WHERE dirty = 1;
CREATE INDEX nodes_cached ON nodes (used_at) WHERE cached > 0;
CREATE INDEX nodes_previous ON nodes (digest) WHERE previous IS NOT NULL;
CREATE TABLE bases (ino INTEGER PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE entries (
    cookie INTEGER PRIMARY KEY,
    parent INTEGER NOT NULL,
    name BLOB NOT NULL,
    ino INTEGER NOT NULL,
    kind INTEGER NOT NULL
);
CREATE UNIQUE INDEX entries_name ON entries (parent, name);
CREATE INDEX entries_parent ON entries (parent);
CREATE INDEX entries_ino ON entries (ino);
CREATE TABLE chunks (
    ino INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    state INTEGER NOT NULL,
    PRIMARY KEY (ino, idx)
) WITHOUT ROWID;
CREATE INDEX chunks_fresh ON chunks (ino) WHERE state = 3;
CREATE TABLE manifests (digest BLOB PRIMARY KEY, size INTEGER NOT NULL, chunks BLOB NOT NULL);
CREATE TABLE graves (ino INTEGER PRIMARY KEY);
CREATE TABLE moves (source INTEGER PRIMARY KEY, target INTEGER NOT NULL);
PRAGMA user_version = 1;
INSERT INTO meta VALUES ('next_ino', 4098), ('cursor', 7), ('opened_in_boot', 'an earlier one');
";

/// Adds a row of `nodes` as format 1 had it: a file is dirty and wholly here, a directory is clean.
fn add_node(db: &Connection, ino: u64, kind: i64, links: u64, size: u64) {
    let file = kind == 0;
    let mut id = [0; 16];
    id[0] = ino as u8 - 1;
    db.execute(
        "INSERT INTO nodes (ino, id, status, kind, mode, uid, gid, rdev, size, blocks, atime, mtime, \
         ctime, btime, links, subdirectories, change, acknowledged, base, digest_size, kept, \
         content_dirty, unsettled, written_at, used_at, cached, dirty) \
         VALUES (?1, ?2, 0, ?3, 420, 5, 6, 0, ?4, 0, 1, 2, 3, 4, ?5, 0, 2, ?6, 3, 0, 0, ?7, 0, 0, 0, 0, ?7)",
        params![ino as i64, id, kind, size as i64, links as i64, if file { 1 } else { 2 }, file],
    )
    .unwrap();
}

fn add_entry(db: &Connection, cookie: u64, (parent, name): (u64, &[u8]), ino: u64, kind: i64) {
    db.execute(
        "INSERT INTO entries VALUES (?1, ?2, ?3, ?4, ?5)",
        params![cookie as i64, parent as i64, name, ino as i64, kind],
    )
    .unwrap();
}

fn store_of_format_1(dir: &Path) {
    let db = Connection::open(dir.join("state.db")).unwrap();
    db.execute_batch(FORMAT_1).unwrap();
    add_node(&db, 1, 1, 0, 0);
    add_node(&db, 2, 1, 1, 0);
    add_node(&db, 3, 0, 2, 5);
    add_node(&db, 4, 0, 1, 0);
    add_entry(&db, 1, (1, b"folder"), 2, 1);
    add_entry(&db, 5, (2, b"z"), 3, 0);
    add_entry(&db, 9, (1, b"also z"), 3, 0);
    add_entry(&db, 12, (2, b"\xff a"), 4, 0);
    std::fs::create_dir_all(dir.join("data/03")).unwrap();
    std::fs::write(dir.join("data/03/3"), b"hello").unwrap();
}

fn names_in(store: &Store, parent: Ino) -> Vec<(u64, Vec<u8>)> {
    let children = store.view(|view| view.children(parent, 0, 100)).unwrap();
    children.into_iter().map(|child| (child.cookie, child.name)).collect()
}

#[test]
fn a_store_of_format_1_is_opened_with_its_names_places_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    store_of_format_1(dir.path());
    let store = open(dir.path());
    let folder = Ino(2);
    let at_root = vec![(1, b"folder".to_vec()), (9, b"also z".to_vec())];
    let in_folder = vec![(5, b"z".to_vec()), (12, b"\xff a".to_vec())];
    assert_eq!((names_in(&store, Ino::ROOT), names_in(&store, folder)), (at_root, in_folder));
    assert_eq!(entry(&store, folder, "z"), Some(Ino(3)));
    assert_eq!(read_all(&store, Ino(3)), b"hello");
    assert_eq!(store.cursor().seq, 7);
    let dirty = store.dirty_nodes(Ino(0), 10).unwrap();
    assert_eq!(dirty.iter().map(|node| node.ino).collect::<Vec<_>>(), [Ino(3), Ino(4)]);
    let names = dirty[0].state.as_ref().unwrap().entries.len();
    assert_eq!(names, 2, "a hard link is still one");

    let made = make(&store, folder, "new", Kind::File);
    assert!(made.0 >= 4098, "{made} may be known to somebody");
    let place = names_in(&store, folder).last().unwrap().clone();
    assert!(place.0 > 12 && place.1 == b"new", "{place:?}");
    let (_copy, again) = crashed(dir.path());
    assert_eq!(names_in(&again, folder), names_in(&store, folder));
    assert_eq!(again.seen_commits().unwrap(), [], "of the cursor's history nothing is known");
    again.apply(&[], &NEVER, Cursor { seq: 8, commit: Some(CommitId::random()) }).unwrap();
    assert_eq!(again.seen_commits().unwrap().len(), 1);
}

#[test]
fn a_store_of_a_newer_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let db = Connection::open(dir.path().join("state.db")).unwrap();
    db.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(db);
    let refused = Store::open(dir.path(), OPTIONS);
    assert!(matches!(refused, Err(Error::Format { found: 99, .. })), "{refused:?}");
}

#[test]
fn a_damaged_database_is_not_made_anew_while_programs_use_the_mount() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let marker = dir.path().join("damaged");
    std::fs::write(&marker, "a page is torn").unwrap();
    let refused = Store::open_again(dir.path(), OPTIONS);
    assert!(matches!(refused, Err(Error::Damaged(_))), "{refused:?}");
    assert!(marker.exists(), "the next mount is to know");
    drop(open(dir.path()));
    assert!(!marker.exists());
}
