//! Zeros and reserved room: what is a hole, what takes room, and what a crash leaves of it.

use std::os::unix::fs::MetadataExt;

use miaofs::protocol::ids::NodeId;

use super::pull::{NEVER, node, state, with_content};
use super::*;

const SIZE: u64 = 3 * CHUNK_SIZE + 100_000;

/// Bytes of the disk that a node takes.
fn room(store: &Store, ino: Ino) -> u64 {
    store.data.existing(ino).unwrap().unwrap().metadata().unwrap().blocks() * 512
}

fn done(outcome: Availability<()>) {
    assert_eq!(outcome, Availability::Ready(()));
}

/// A file that the server has, with none of it here.
fn evicted(store: &Arc<Store>, all: &[u8]) -> Content {
    let ino = write_file(store, "file", all);
    push(store, ino, 7);
    store.evict(ino).unwrap();
    store.open_content(ino, Access::Write).unwrap()
}

#[test]
fn a_punched_range_is_zeros_that_take_no_room_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(1, SIZE);
    let content = create(&store, "file");
    content.write_at(0, &all, 1).unwrap();
    let before = room(&store, content.ino());
    done(content.punch(5..2 * CHUNK_SIZE + 5, 9).unwrap());
    all[5..2 * CHUNK_SIZE as usize + 5].fill(0);
    assert!(room(&store, content.ino()) <= before - 2 * CHUNK_SIZE + 8192);
    let attributes = store.view(|view| view.node(content.ino())).unwrap().attributes;
    assert_eq!((attributes.mtime, attributes.ctime, attributes.size), (9, 9, SIZE));
    for store in [&store, &crashed(dir.path()).1] {
        assert_eq!(read_all(store, content.ino()), all);
        assert!(store.dirty_node(content.ino()).unwrap().unwrap().content_dirty);
    }
}

#[test]
fn a_clean_chunk_that_is_punched_is_dirty_and_one_cut_by_it_is_fetched_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(2, SIZE);
    let content = evicted(&store, &all);
    let punch = || content.punch(CHUNK_SIZE..3 * CHUNK_SIZE + 10, 9).unwrap();
    assert_eq!(punch(), Availability::Missing(3 * CHUNK_SIZE..SIZE));
    fetch(&store, content.ino(), &all);
    done(punch());
    all[CHUNK_SIZE as usize..3 * CHUNK_SIZE as usize + 10].fill(0);
    assert_eq!(store.snapshot(content.ino()).unwrap().dirty, [1, 2, 3]);
    let (_copy, after) = crashed(dir.path());
    assert_eq!(after.snapshot(content.ino()).unwrap().dirty, [1, 2, 3]);
    for store in [&store, &after] {
        assert_eq!(read_all(store, content.ino()), all);
    }
}

#[test]
fn whole_chunks_that_are_not_here_are_punched_without_being_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(3, SIZE);
    let content = evicted(&store, &all);
    done(content.punch(CHUNK_SIZE..SIZE, 9).unwrap());
    assert_eq!(store.snapshot(content.ino()).unwrap().dirty, [1, 2, 3]);
    fetch(&store, content.ino(), &all);
    all[CHUNK_SIZE as usize..].fill(0);
    assert_eq!(read_all(&store, content.ino()), all);
}

#[test]
fn zeros_reserve_their_room_and_grow_the_file_only_if_asked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(4, CHUNK_SIZE + 10);
    let content = create(&store, "file");
    content.write_at(0, &all, 1).unwrap();
    let range = CHUNK_SIZE - 10..3 * CHUNK_SIZE;
    done(content.zero(range.clone(), Growth::KeepSize, 9).unwrap());
    all[CHUNK_SIZE as usize - 10..].fill(0);
    assert_eq!(read_all(&store, content.ino()), all);
    assert!(room(&store, content.ino()) >= 3 * CHUNK_SIZE);
    done(content.zero(range, Growth::Extend, 9).unwrap());
    all.resize(3 * CHUNK_SIZE as usize, 0);
    for store in [&store, &crashed(dir.path()).1] {
        assert_eq!(read_all(store, content.ino()), all);
    }
}

#[test]
fn reserved_room_reads_as_zeros_and_changes_no_byte_that_the_server_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(5, SIZE);
    let content = evicted(&store, &all);
    done(content.reserve(0..SIZE + CHUNK_SIZE, Growth::KeepSize, 9).unwrap());
    assert!(!store.dirty_node(content.ino()).unwrap().unwrap().content_dirty);
    assert!(room(&store, content.ino()) >= SIZE + CHUNK_SIZE - 8192);
    fetch(&store, content.ino(), &all);
    assert_eq!(read_all(&store, content.ino()), all);
    done(content.reserve(0..SIZE + 5, Growth::Extend, 9).unwrap());
    done(content.resize(SIZE + 2 * CHUNK_SIZE, 10).unwrap());
    all.resize((SIZE + 2 * CHUNK_SIZE) as usize, 0);
    for store in [&store, &crashed(dir.path()).1] {
        assert_eq!(read_all(store, content.ino()), all);
    }
}

#[test]
fn room_that_the_disk_or_the_floor_has_not_is_refused_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let ino = write_file(&open(dir.path()), "file", b"hello");
    let floor = StoreOptions { cache_limit: 1 << 30, free_floor: u64::MAX / 2 };
    for (options, length) in [(floor, 1 << 20), (OPTIONS, 1 << 44)] {
        let store = Store::open(dir.path(), options).unwrap();
        let content = store.open_content(ino, Access::Write).unwrap();
        for growth in [Growth::KeepSize, Growth::Extend] {
            assert!(matches!(content.reserve(0..length, growth, 9), Err(Error::NoSpace)));
            assert!(matches!(content.zero(0..length, growth, 9), Err(Error::NoSpace)));
        }
        let beyond = content.punch(0..(1 << 44) + 1, 9);
        assert!(matches!(beyond, Err(Error::TooLarge(_))), "{beyond:?}");
        assert_eq!(read_all(&store, ino), b"hello");
        assert!(room(&store, ino) <= 4096);
    }
}

#[test]
fn data_and_holes_are_found_here_and_where_only_the_manifest_tells() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = {
        let mut all = bytes(6, SIZE);
        all[CHUNK_SIZE as usize..2 * CHUNK_SIZE as usize].fill(0);
        all
    };
    let content = create(&store, "file");
    let ino = content.ino();
    content.write_at(0, &all[..CHUNK_SIZE as usize], 1).unwrap();
    content.write_at(2 * CHUNK_SIZE, &all[2 * CHUNK_SIZE as usize..], 1).unwrap();
    let check = |what: &str| {
        let (data, hole) = (
            |offset| content.seek(offset, SeekWhence::Data).unwrap(),
            |offset| content.seek(offset, SeekWhence::Hole).unwrap(),
        );
        assert_eq!(data(5), Some(5), "{what}");
        assert_eq!(hole(5), Some(CHUNK_SIZE), "{what}");
        assert_eq!(data(CHUNK_SIZE + 5), Some(2 * CHUNK_SIZE), "{what}");
        assert_eq!(hole(CHUNK_SIZE + 5), Some(CHUNK_SIZE + 5), "{what}");
        assert_eq!(hole(2 * CHUNK_SIZE), Some(SIZE), "{what}");
        assert_eq!(data(SIZE - 1), Some(SIZE - 1), "{what}");
        assert_eq!((data(SIZE), hole(SIZE), hole(u64::MAX)), (None, None, None), "{what}");
    };
    check("dirty");
    push(&store, ino, 7);
    check("clean");
    store.evict(ino).unwrap();
    check("evicted");
    fetch(&store, ino, &all);
    check("fetched");
    content.resize(SIZE + CHUNK_SIZE, 9).unwrap();
    assert_eq!(content.seek(SIZE + 5000, SeekWhence::Data).unwrap(), None);
    assert_eq!(content.seek(0, SeekWhence::Hole).unwrap(), Some(CHUNK_SIZE));
}

#[test]
fn zeros_that_were_written_take_no_room_once_the_server_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(7, SIZE);
    all[CHUNK_SIZE as usize..3 * CHUNK_SIZE as usize].fill(0);
    let ino = write_file(&store, "file", &all);
    let before = room(&store, ino);
    push(&store, ino, 7);
    assert!(
        room(&store, ino) <= before - 2 * CHUNK_SIZE,
        "{} of {before} bytes",
        room(&store, ino)
    );
    let blocks = |store: &Store| store.view(|view| view.node(ino)).unwrap().blocks * 512;
    assert_eq!(blocks(&store), room(&store, ino));
    assert_eq!(store.cache_usage().bytes, SIZE - 2 * CHUNK_SIZE);
    assert_eq!(read_all(&store, ino), all);
    store.evict(ino).unwrap();
    assert!(blocks(&store) >= SIZE - 2 * CHUNK_SIZE, "it is as large as before");
}

#[test]
fn chunks_without_data_are_known_to_be_zeros_unless_they_were_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = create(&store, "file");
    content.resize(64 * CHUNK_SIZE + 5, 1).unwrap();
    content.write_at(3 * CHUNK_SIZE - 1, b"xx", 2).unwrap();
    done(content.reserve(8 * CHUNK_SIZE..9 * CHUNK_SIZE, Growth::KeepSize, 3).unwrap());
    let snapshot = store.snapshot(content.ino()).unwrap();
    content.write_at(5 * CHUNK_SIZE, &[0], 4).unwrap();
    done(content.punch(6 * CHUNK_SIZE..6 * CHUNK_SIZE + 1, 5).unwrap());
    let holes = store.holes_of(&snapshot, &snapshot.dirty).unwrap();
    let expected: Vec<u64> = (0..=64).filter(|index| ![2, 3, 5, 6].contains(index)).collect();
    assert_eq!(holes, expected);
}

#[test]
fn a_manifest_that_comes_tells_how_many_blocks_a_file_takes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(8, SIZE);
    all[..2 * CHUNK_SIZE as usize].fill(0);
    let state = with_content(state(Kind::File, &[(NodeId::ROOT, "file")]), &all);
    store.apply(&[node(NodeId::random(), 2, Some(state))], &NEVER, 2).unwrap();
    let ino = entry(&store, Ino::ROOT, "file").unwrap();
    let content = store.open_content(ino, Access::Read).unwrap();
    let blocks = || store.view(|view| view.node(ino)).unwrap().blocks;
    assert!(!content.knows_holes().unwrap());
    assert_eq!(content.seek(0, SeekWhence::Hole).unwrap(), Some(SIZE), "all may be data");
    assert_eq!(blocks(), SIZE.div_ceil(512));
    store.set_manifest(manifest_with_holes(&all)).unwrap();
    assert!(content.knows_holes().unwrap());
    assert_eq!(content.seek(0, SeekWhence::Data).unwrap(), Some(2 * CHUNK_SIZE));
    assert_eq!(blocks(), (SIZE - 2 * CHUNK_SIZE).div_ceil(512));
}
