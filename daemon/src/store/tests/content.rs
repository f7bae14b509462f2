//! Bytes that the server has too: pushed, given up, fetched again, written over.

use std::os::unix::fs::MetadataExt;

use miaofs::content::Digest;

use super::*;

const SIZE: u64 = 2 * CHUNK_SIZE + 100_000;

#[test]
fn a_node_is_dirty_until_it_is_pushed_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ino = write_file(&store, "file", b"hello");
    let dirty = store.dirty_nodes(Ino(0), 10).unwrap();
    assert_eq!(dirty.len(), 1, "a new file, but not the directory that it is in");
    assert!(dirty[0].content_dirty && dirty[0].base_version == 0 && dirty[0].size == 5);
    push(&store, ino, 7);
    assert_eq!(store.dirty_node(ino).unwrap(), None);
    store.change(|change| change.set_xattr(ino, b"user.x", b"1")).unwrap();
    let dirty = store.dirty_node(ino).unwrap().unwrap();
    assert_eq!((dirty.base_version, dirty.content_dirty), (7, false));
    assert!(dirty.base_state.unwrap().xattrs.is_empty());
}

#[test]
fn a_change_during_a_push_stays_dirty() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ino = make(&store, Ino::ROOT, "folder", Kind::Directory);
    let before = store.dirty_node(ino).unwrap().unwrap();
    store.change(|change| change.set_xattr(ino, b"user.x", b"1")).unwrap();
    let revision = Revision::random();
    store.begin_push(&[(ino, revision)]).unwrap();
    let (_copy, after) = crashed(dir.path());
    assert_eq!(after.dirty_node(ino).unwrap().unwrap().in_flight, [revision]);
    // The next daemon sends it again, and does not know which of both arrives.
    let next = Revision::random();
    after.begin_push(&[(ino, next)]).unwrap();
    assert_eq!(after.dirty_node(ino).unwrap().unwrap().in_flight, [revision, next]);
    let state = before.state;
    store
        .finish_push(&[Pushed { ino, change: before.change, version: 3, revision, state }], None)
        .unwrap();
    let dirty = store.dirty_node(ino).unwrap().unwrap();
    assert_eq!((dirty.base_version, dirty.in_flight), (3, vec![]));
}

#[test]
fn chunks_written_after_the_snapshot_stay_dirty() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let content = create(&store, "file");
    let mut all = bytes(1, SIZE);
    content.write_at(0, &all, 1).unwrap();
    let snapshot = store.snapshot(content.ino()).unwrap();
    assert_eq!(snapshot.dirty, [0, 1, 2]);
    content.write_at(CHUNK_SIZE + 5, b"later", 2).unwrap();
    let mut buffer = Vec::new();
    let read = |index, buffer: &mut _| store.read_chunk(&snapshot, index, buffer).unwrap();
    assert_eq!(read(1, &mut buffer), ChunkRead::ChangedSince);
    assert_eq!(read(2, &mut buffer), ChunkRead::Unchanged);
    store.mark_uploaded(&snapshot, manifest_of(&all)).unwrap();
    all[CHUNK_SIZE as usize + 5..][..5].copy_from_slice(b"later");
    for store in [&store, &crashed(dir.path()).1] {
        let dirty = store.dirty_node(content.ino()).unwrap().unwrap();
        assert!(dirty.content_dirty);
        assert_eq!(store.snapshot(content.ino()).unwrap().dirty, [1]);
        assert_eq!(read_all(store, content.ino()), all);
    }
}

#[test]
fn a_file_that_is_removed_while_it_is_uploaded_has_not_lost_anything() {
    for is_known in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let ino = write_file(&store, "file", &bytes(1, SIZE));
        if is_known {
            push(&store, ino, 1);
            let content = store.open_content(ino, Access::Write).unwrap();
            content.write_at(0, &bytes(2, SIZE), 3_000).unwrap();
        }
        let snapshot = store.snapshot(ino).unwrap();
        store.change(|change| change.unlink(Ino::ROOT, b"file")).unwrap();
        store.sync_tree().unwrap();
        let read = store.read_chunk(&snapshot, 1, &mut Vec::new());
        assert!(matches!(read, Err(Error::NoNode(_))), "{read:?}");
        for again in [store.snapshot(ino), store.snapshot_again(&snapshot).map(|it| it.0)] {
            assert!(matches!(again, Ok(_) | Err(Error::NoNode(_))), "{again:?}");
        }
    }
}

#[test]
fn a_file_that_grows_soon_after_it_was_closed_keeps_what_it_grew_by() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(1, SIZE);
    let ino = write_file(&store, "file", &all);
    push(&store, ino, 7);
    let write = |offset: u64, part: &[u8]| {
        let content = store.open_content(ino, Access::Write).unwrap();
        assert_eq!(content.write_at(offset, part, 3).unwrap(), Availability::Ready(()));
    };
    write(0, b"first");
    write(SIZE, b"then behind");
    all[..5].copy_from_slice(b"first");
    all.extend_from_slice(b"then behind");
    let (_copy, after) = crashed(dir.path());
    assert_eq!(read_all(&after, ino), all);
}

#[test]
fn a_file_deleted_here_is_told_to_the_server_if_it_may_know_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let known = write_file(&store, "known", b"hello");
    let unknown = write_file(&store, "unknown", b"hello");
    push(&store, known, 7);
    store.change(|change| change.unlink(Ino::ROOT, b"known")).unwrap();
    store.change(|change| change.unlink(Ino::ROOT, b"unknown")).unwrap();
    assert_eq!(store.dirty_node(unknown).unwrap(), None);
    let dirty = store.dirty_node(known).unwrap().unwrap();
    assert_eq!((dirty.base_version, dirty.state.is_none()), (7, true));
    let revision = Revision::random();
    let change = dirty.change;
    store
        .finish_push(&[Pushed { ino: known, change, version: 8, revision, state: None }], None)
        .unwrap();
    assert!(store.dirty_nodes(Ino(0), 10).unwrap().is_empty());
}

#[test]
fn bytes_are_given_up_only_when_the_server_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = bytes(2, SIZE);
    let ino = write_file(&store, "file", &all);
    assert_eq!(store.evict(ino).unwrap(), 0);
    let snapshot = store.snapshot(ino).unwrap();
    store.mark_uploaded(&snapshot, manifest_of(&all)).unwrap();
    assert_eq!(store.evict(ino).unwrap(), 0, "the node is not pushed yet");
    push(&store, ino, 7);
    assert_eq!(store.cache_usage().bytes, SIZE);
    assert_eq!(store.evict(ino).unwrap(), SIZE);
    assert_eq!(store.cache_usage().bytes, 0);
    let content = store.open_content(ino, Access::Read).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(content.read_at(5, &mut buffer).unwrap(), Availability::Missing(5..15));
    let (_copy, after) = crashed(dir.path());
    for store in [&store, &after] {
        fetch(store, ino, &all);
        assert_eq!(read_all(store, ino), all);
        assert_eq!(store.cache_usage().bytes, SIZE);
        assert_eq!(store.dirty_node(ino).unwrap(), None);
    }
}

#[test]
fn a_file_that_is_open_and_of_which_nothing_is_here_keeps_its_size_when_killed() {
    for all in [bytes(5, SIZE), vec![0; SIZE as usize]] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let content = create(&store, "file");
        content.write_at(0, &all, 1).unwrap();
        push(&store, content.ino(), 7);
        store.evict(content.ino()).unwrap();
        let (_copy, after) = crashed(dir.path());
        fetch(&after, content.ino(), &all);
        assert_eq!(read_all(&after, content.ino()), all);
    }
}

/// The digest of an only chunk is another than that of the same bytes with more behind them.
#[test]
fn a_chunk_that_becomes_the_only_one_or_is_that_no_more_is_dirty() {
    for (before, after) in [(SIZE, CHUNK_SIZE), (CHUNK_SIZE, SIZE)] {
        for grows_by_writing in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path());
            let mut all = bytes(4, before);
            let ino = write_file(&store, "file", &all);
            push(&store, ino, 7);
            store.evict(ino).unwrap();
            let content = store.open_content(ino, Access::Write).unwrap();
            let change = || match grows_by_writing && after > before {
                true => content.write_at(after - 1, &[0], 3).unwrap(),
                false => content.resize(after, 3).unwrap(),
            };
            assert_eq!(change(), Availability::Missing(0..CHUNK_SIZE));
            fetch(&store, ino, &all);
            assert_eq!(change(), Availability::Ready(()));
            all.resize(after as usize, 0);
            let snapshot = store.snapshot(ino).unwrap();
            assert!(snapshot.dirty.contains(&0), "{before} bytes became {after}");
            assert_eq!(store.evict(ino).unwrap(), 0);
            assert_eq!(read_all(&store, ino), all);
        }
    }
}

#[test]
fn damaged_bytes_never_count_as_here() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(3, SIZE);
    let ino = write_file(&store, "file", &all);
    push(&store, ino, 7);
    store.evict(ino).unwrap();
    let digest = store.content_of(ino).unwrap().unwrap().digest;
    assert_eq!(store.fill(ino, Digest::of(b"other"), 0, &all).unwrap(), Filled::Superseded);
    all[10] ^= 1;
    let whole = store.fill(ino, digest, 0, &all[..CHUNK_SIZE as usize]);
    assert!(matches!(whole, Err(Error::Corrupt { index: 0, .. })));
    let half = CHUNK_SIZE as usize / 2;
    store.fill(ino, digest, half as u64, &all[half..2 * half]).unwrap();
    let rest = store.fill(ino, digest, 0, &all[..half]);
    assert!(matches!(rest, Err(Error::Corrupt { index: 0, .. })));
    assert_eq!(store.missing(ino, 0..CHUNK_SIZE).unwrap(), vec![0..CHUNK_SIZE]);
}

#[test]
fn writing_into_a_chunk_that_is_not_here_asks_for_it_and_whole_chunks_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(4, SIZE);
    let ino = write_file(&store, "file", &all);
    push(&store, ino, 7);
    store.evict(ino).unwrap();
    let content = store.open_content(ino, Access::Write).unwrap();
    let first = 0..CHUNK_SIZE;
    assert_eq!(content.write_at(5, b"x", 3).unwrap(), Availability::Missing(first.clone()));
    assert_eq!(content.resize(10, 3).unwrap(), Availability::Missing(first));
    let last = 2 * CHUNK_SIZE..SIZE;
    assert_eq!(content.resize(SIZE + 1, 3).unwrap(), Availability::Missing(last.clone()));
    assert_eq!(content.write_at(SIZE + 9, b"x", 3).unwrap(), Availability::Missing(last));
    let second = bytes(5, CHUNK_SIZE);
    assert_eq!(content.write_at(CHUNK_SIZE, &second, 3).unwrap(), Availability::Ready(()));
    all[CHUNK_SIZE as usize..2 * CHUNK_SIZE as usize].copy_from_slice(&second);
    assert_eq!(store.snapshot(ino).unwrap().dirty, [1]);
    fetch(&store, ino, &all);
    assert_eq!(read_all(&store, ino), all);
    assert_eq!(store.evict(ino).unwrap(), 0, "it is dirty");
}

#[test]
fn a_file_cut_and_grown_again_is_zeros_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = bytes(6, SIZE);
    let ino = write_file(&store, "file", &all);
    push(&store, ino, 7);
    store.evict(ino).unwrap();
    let content = store.open_content(ino, Access::Write).unwrap();
    assert_eq!(content.resize(2 * CHUNK_SIZE, 3).unwrap(), Availability::Ready(()));
    assert_eq!(content.resize(SIZE, 3).unwrap(), Availability::Ready(()));
    assert_eq!(store.snapshot(ino).unwrap().dirty, [2]);
    let mut expected = all.clone();
    expected[2 * CHUNK_SIZE as usize..].fill(0);
    let (_copy, after) = crashed(dir.path());
    for store in [&store, &after] {
        fetch(store, ino, &all);
        assert_eq!(read_all(store, ino), expected);
    }
}

#[test]
fn the_cache_stays_within_its_limit_and_dirty_bytes_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { cache_limit: 3 * CHUNK_SIZE, free_floor: 0 };
    let store = Store::open(dir.path(), options).unwrap();
    let inos: Vec<Ino> = (0..4)
        .map(|index| {
            let ino = write_file(&store, &format!("{index}"), &bytes(index, CHUNK_SIZE));
            push(&store, ino, index + 1);
            ino
        })
        .collect();
    let dirty = write_file(&store, "dirty", &bytes(9, 4 * CHUNK_SIZE));
    fetch(&store, inos[0], &bytes(0, CHUNK_SIZE));
    assert!(store.cache_usage().bytes <= 3 * CHUNK_SIZE);
    assert_eq!(read_all(&store, dirty), bytes(9, 4 * CHUNK_SIZE));
    for (index, ino) in (0..).zip(&inos) {
        fetch(&store, *ino, &bytes(index, CHUNK_SIZE));
        assert_eq!(read_all(&store, *ino), bytes(index, CHUNK_SIZE));
    }
}

#[test]
fn blocks_of_chunks_that_never_became_whole_go_when_their_inode_leaves_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = bytes(1, SIZE);
    let ino = write_file(&store, "file", &all);
    push(&store, ino, 1);
    store.evict(ino).unwrap();
    let digest = store.content_of(ino).unwrap().unwrap().digest;
    store.fill(ino, digest, CHUNK_SIZE, &all[CHUNK_SIZE as usize..][..65_536]).unwrap();
    let blocks = || store.data.existing(ino).unwrap().unwrap().metadata().unwrap().blocks();
    assert!(blocks() > 0);
    for number in 0..2100 {
        let other = make(&store, Ino::ROOT, &format!("other {number}"), Kind::File);
        store.open_content(other, Access::Read).unwrap();
    }
    let last = write_file(&store, "last", b"fetched");
    push(&store, last, 2);
    assert_eq!(blocks(), 0);
    fetch(&store, ino, &all);
    assert_eq!(read_all(&store, ino), all);
}

#[test]
fn what_was_pushed_and_is_above_the_limit_goes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { cache_limit: CHUNK_SIZE, free_floor: 0 };
    let store = Store::open(dir.path(), options).unwrap();
    let ino = write_file(&store, "file", &bytes(1, 3 * CHUNK_SIZE));
    push(&store, ino, 1);
    assert!(store.cache_usage().bytes <= CHUNK_SIZE);
    let blocks = |ino| store.data.blocks(ino).unwrap() * 512;
    assert!(blocks(ino) <= CHUNK_SIZE, "{} bytes of the disk", blocks(ino));
}

#[test]
fn files_that_are_not_here_are_found_in_the_order_of_their_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let inos: Vec<Ino> = (0..6)
        .map(|index| {
            let ino = write_file(&store, &format!("{index}"), &bytes(index, 1000 + index));
            push(&store, ino, index + 1);
            store.evict(ino).unwrap();
            ino
        })
        .collect();
    fetch(&store, inos[3], &bytes(3, 1003));
    write_file(&store, "local", b"never pushed");
    let found = |after: Ino, batch| {
        let position = store.position(after).unwrap().unwrap();
        let files = store.uncached_after(position, batch).unwrap();
        files.into_iter().map(|(ino, _)| ino).collect::<Vec<_>>()
    };
    let batch = PrefetchLimits { files: 2, bytes: u64::MAX, largest: 5000 };
    assert_eq!(found(inos[1], batch), [inos[2], inos[4]]);
    assert_eq!(found(inos[4], batch), [inos[5], inos[0]], "then those listed before");
    assert_eq!(found(inos[1], PrefetchLimits { bytes: 1500, ..batch }), [inos[2]]);
    assert_eq!(found(inos[3], PrefetchLimits { largest: 1004, ..batch }), [inos[4], inos[0]]);
}

#[test]
fn a_disk_that_is_too_full_refuses_a_write_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ino = write_file(&store, "file", b"hello");
    drop(store);
    let options = StoreOptions { cache_limit: 0, free_floor: u64::MAX };
    let store = Store::open(dir.path(), options).unwrap();
    let content = store.open_content(ino, Access::Write).unwrap();
    assert!(matches!(content.write_at(5, b" again", 3), Err(Error::NoSpace)));
    assert_eq!(read_all(&store, ino), b"hello");
}

#[test]
fn a_time_that_was_set_is_not_undone_by_a_write_that_a_kill_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ino = write_file(&store, "file", &bytes(1, 100));
    let stamp = 1_000_000_000_000_000_000;
    store
        .change(|change| {
            let attributes = Attributes { mtime: stamp, ..change.node(ino)?.attributes };
            change.set_attributes(ino, &attributes)
        })
        .unwrap();
    let mtime = |store: &Store| store.view(|view| view.node(ino)).unwrap().attributes.mtime;
    let (_copy, killed) = crashed(dir.path());
    assert_eq!(mtime(&killed), stamp);
    // The mark of a write that did not come to change a byte.
    let content = store.open_content(ino, Access::Write).unwrap();
    let now = crate::store::disk::meta::now();
    content.mark_dirty(&mut content.inode.content_state_mut(), &(0..10), now).unwrap();
    let (_copy, killed) = crashed(dir.path());
    assert_eq!(mtime(&killed), now, "neither what was set nor the time of the write");
}
