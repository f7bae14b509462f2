//! Copies between files: chunks by reference, other bytes on the disk, and what a crash in between leaves.

use std::os::unix::fs::MetadataExt;

use miaofs::content::{CHUNK_SIZE, Digest};

use super::*;

const SIZE: u64 = 2 * CHUNK_SIZE + 100_000;

/// Copies a stretch step by step, as long as nothing is missing.
fn copy(source: &Content, target: &Content, stretch: CopyRange) -> Copied {
    let mut done = 0;
    while done < stretch.length {
        let (from, to) = (stretch.from + done, stretch.to + done);
        let left = CopyRange { from, to, length: stretch.length - done };
        match target.copy_from(source, left, 9).unwrap() {
            Copied::Done(0) => break,
            Copied::Done(count) => done += count,
            missing => return missing,
        }
    }
    Copied::Done(done)
}

fn whole(length: u64) -> CopyRange {
    CopyRange { from: 0, to: 0, length }
}

/// A file that the server has, none of it here, whose manifest is known; and an empty one.
fn absent_and_empty(store: &Arc<Store>, all: &[u8]) -> (Content, Content) {
    let ino = write_file(store, "source", all);
    push(store, ino, 1);
    store.evict(ino).unwrap();
    (store.open_content(ino, Access::Read).unwrap(), create(store, "target"))
}

#[test]
fn a_copy_of_what_is_not_here_takes_no_bytes_and_needs_no_upload() {
    for size in [5, CHUNK_SIZE, SIZE, 3 * CHUNK_SIZE] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let all = bytes(1, size);
        let (source, target) = absent_and_empty(&store, &all);
        assert_eq!(copy(&source, &target, whole(u64::MAX >> 1)), Copied::Done(size));
        assert_eq!(
            store.data.existing(target.ino()).unwrap().unwrap().metadata().unwrap().blocks(),
            0
        );
        let (_copy, after) = crashed(dir.path());
        for store in [&store, &after] {
            let dirty = store.dirty_node(target.ino()).unwrap().unwrap();
            assert!(!dirty.content_dirty, "{size} bytes");
            assert_eq!(dirty.state.unwrap().content.unwrap().digest, Digest::of(&all));
            assert_eq!(self::size(store, target.ino()), size);
            fetch(store, target.ino(), &all);
            assert_eq!(read_all(store, target.ino()), all);
        }
    }
}

#[test]
fn a_copy_in_several_calls_leads_to_the_same_content() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = bytes(1, 4 * CHUNK_SIZE + 5);
    let (source, target) = absent_and_empty(&store, &all);
    let ends = [0, 2 * CHUNK_SIZE, 3 * CHUNK_SIZE, all.len() as u64];
    for part in ends.windows(2) {
        let stretch = CopyRange { from: part[0], to: part[0], length: part[1] - part[0] };
        assert_eq!(copy(&source, &target, stretch), Copied::Done(stretch.length));
        let is_dirty = store.dirty_node(target.ino()).unwrap().unwrap().content_dirty;
        assert_eq!(is_dirty, part[1] < all.len() as u64);
        let (_copy, after) = crashed(dir.path());
        fetch(&after, target.ino(), &all);
        assert_eq!(read_all(&after, target.ino()), all[..part[1] as usize]);
    }
}

#[test]
fn what_is_here_of_a_copy_can_be_read_offline_and_is_cache() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = bytes(2, SIZE);
    let ino = write_file(&store, "source", &all);
    push(&store, ino, 1);
    let source = store.open_content(ino, Access::Read).unwrap();
    let target = create(&store, "target");
    assert_eq!(copy(&source, &target, whole(SIZE)), Copied::Done(SIZE));
    assert_eq!(read_all(&store, target.ino()), all);
    assert_eq!(store.cache_usage().bytes, 2 * SIZE);
    let target = target.ino();
    push(&store, target, 2);
    assert_eq!(store.evict(target).unwrap(), SIZE);
    fetch(&store, target, &all);
    assert_eq!(read_all(&store, target), all);
}

#[test]
fn a_chunk_changed_after_a_copy_is_the_only_dirty_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(3, 3 * CHUNK_SIZE);
    let (source, target) = absent_and_empty(&store, &all);
    copy(&source, &target, whole(3 * CHUNK_SIZE));
    let new = bytes(4, CHUNK_SIZE);
    assert_eq!(target.write_at(CHUNK_SIZE, &new, 10).unwrap(), Availability::Ready(()));
    let snapshot = store.snapshot(target.ino()).unwrap();
    assert_eq!(snapshot.dirty, [1]);
    assert_eq!(snapshot.base_manifest.unwrap().digest(), Digest::of(&all));
    fetch(&store, target.ino(), &all);
    all[CHUNK_SIZE as usize..][..CHUNK_SIZE as usize].copy_from_slice(&new);
    assert_eq!(read_all(&store, target.ino()), all);
}

#[test]
fn bytes_for_another_place_must_be_here_and_are_copied_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = bytes(5, SIZE);
    let (source, target) = absent_and_empty(&store, &all);
    let stretch = CopyRange { from: 10, to: 7, length: 5000 };
    assert_eq!(copy(&source, &target, stretch), Copied::SourceMissing(10..5010));
    fetch(&store, source.ino(), &all);
    assert_eq!(copy(&source, &target, stretch), Copied::Done(5000));
    let (_copy, after) = crashed(dir.path());
    for store in [&store, &after] {
        let copied = read_all(store, target.ino());
        assert_eq!(copied[..7], [0; 7]);
        assert_eq!(copied[7..], all[10..5010]);
        assert!(store.dirty_node(target.ino()).unwrap().unwrap().content_dirty);
    }
}

#[test]
fn a_part_of_a_chunk_that_is_not_here_in_the_target_must_be_fetched_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let all = bytes(6, SIZE);
    let (absent, target) = absent_and_empty(&store, &all);
    assert_eq!(target.write_at(0, b"hello", 3).unwrap(), Availability::Ready(()));
    let into = store.open_content(absent.ino(), Access::Write).unwrap();
    let stretch = CopyRange { from: 0, to: CHUNK_SIZE + 3, length: 5 };
    let chunk = CHUNK_SIZE..2 * CHUNK_SIZE;
    assert_eq!(copy(&target, &into, stretch), Copied::TargetMissing(chunk));
    let end = CopyRange { from: 0, to: SIZE + 3, length: 5 };
    assert_eq!(copy(&target, &into, end), Copied::TargetMissing(2 * CHUNK_SIZE..SIZE));
}

#[test]
fn a_target_that_leans_on_another_content_takes_nothing_by_reference() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (old, new) = (bytes(7, 3 * CHUNK_SIZE), bytes(8, 3 * CHUNK_SIZE));
    let (source, target) = absent_and_empty(&store, &new);
    target.write_at(0, &old, 4).unwrap();
    push(&store, target.ino(), 2);
    store.evict(target.ino()).unwrap();
    let stretch = CopyRange { from: CHUNK_SIZE, to: CHUNK_SIZE, length: CHUNK_SIZE };
    let needed = Copied::SourceMissing(CHUNK_SIZE..2 * CHUNK_SIZE);
    assert_eq!(copy(&source, &target, stretch), needed);
    // Over all of it, nothing of the other is left.
    assert_eq!(copy(&source, &target, whole(3 * CHUNK_SIZE)), Copied::Done(3 * CHUNK_SIZE));
    fetch(&store, target.ino(), &new);
    assert_eq!(read_all(&store, target.ino()), new);
}

#[test]
fn bytes_that_a_reference_took_the_place_of_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut all = bytes(9, 3 * CHUNK_SIZE);
    all[CHUNK_SIZE as usize..2 * CHUNK_SIZE as usize].fill(0);
    let manifest = {
        let hole = manifest_of(&all);
        let chunks = [hole.chunk(0), None, hole.chunk(2)];
        Arc::new(Manifest::new(3 * CHUNK_SIZE, &chunks).unwrap())
    };
    let source = create(&store, "source");
    source.write_at(0, &all, 1).unwrap();
    let snapshot = store.snapshot(source.ino()).unwrap();
    store.mark_uploaded(&snapshot, manifest).unwrap();
    push(&store, source.ino(), 1);
    store.evict(source.ino()).unwrap();
    let target = create(&store, "target");
    target.write_at(0, &bytes(10, 3 * CHUNK_SIZE), 1).unwrap();
    assert_eq!(copy(&source, &target, whole(3 * CHUNK_SIZE)), Copied::Done(3 * CHUNK_SIZE));
    let file = store.data.existing(target.ino()).unwrap().unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 0, "the hole is one again");
    let (_copy, after) = crashed(dir.path());
    for store in [&store, &after] {
        fetch(store, target.ino(), &all);
        assert_eq!(read_all(store, target.ino()), all);
        assert!(!store.dirty_node(target.ino()).unwrap().unwrap().content_dirty);
    }
}

#[test]
fn an_upload_that_a_copy_overtook_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (own, all) = (bytes(11, SIZE), bytes(12, SIZE));
    let (source, target) = absent_and_empty(&store, &all);
    target.write_at(0, &own, 1).unwrap();
    let snapshot = store.snapshot(target.ino()).unwrap();
    assert_eq!(copy(&source, &target, whole(SIZE)), Copied::Done(SIZE));
    let known = store.mark_uploaded(&snapshot, manifest_of(&own));
    assert!(matches!(known, Err(Error::Replaced(_))), "{known:?}");
    fetch(&store, target.ino(), &all);
    assert_eq!(read_all(&store, target.ino()), all);
}

#[test]
fn a_content_that_waits_for_its_commit_is_not_exchanged_for_a_part_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (own, all) = (bytes(13, SIZE), bytes(14, SIZE));
    let (source, target) = absent_and_empty(&store, &all);
    target.write_at(0, &own, 1).unwrap();
    let snapshot = store.snapshot(target.ino()).unwrap();
    store.mark_uploaded(&snapshot, manifest_of(&own)).unwrap();
    target.resize(0, 2).unwrap();
    let missing = copy(&source, &target, whole(2 * CHUNK_SIZE));
    assert_eq!(missing, Copied::SourceMissing(0..CHUNK_SIZE));
    let node = store.dirty_node(target.ino()).unwrap().unwrap();
    assert_eq!(node.state.unwrap().content.unwrap().digest, Digest::of(&own));
}

#[test]
fn holes_stay_holes_in_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let source = create(&store, "source");
    source.write_at(0, b"first", 1).unwrap();
    source.write_at(20 * CHUNK_SIZE, b"last", 1).unwrap();
    let target = create(&store, "target");
    target.write_at(CHUNK_SIZE, &bytes(1, CHUNK_SIZE), 1).unwrap();
    let length = 20 * CHUNK_SIZE + 4;
    assert_eq!(copy(&source, &target, whole(length)), Copied::Done(length));
    let file = store.data.existing(target.ino()).unwrap().unwrap();
    assert!(file.metadata().unwrap().blocks() * 512 < CHUNK_SIZE);
    assert_eq!(read_all(&store, target.ino()), read_all(&store, source.ino()));
    let within = CopyRange { from: 0, to: length, length: 5 };
    assert_eq!(copy(&target, &target, within), Copied::Done(5));
    assert!(read_all(&store, target.ino()).ends_with(b"lastfirst"));
}

#[test]
fn an_upload_that_a_copy_overtook_leaves_the_copy_as_it_is() {
    for (before, after) in
        [(100_000, 5), (5, 100_000), (5, SIZE), (SIZE, 5), (SIZE, SIZE + 1), (5, 5)]
    {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let all = bytes(1, after);
        let (source, _) = absent_and_empty(&store, &all);
        let old = bytes(2, before);
        let ino = write_file(&store, "file", &old);
        let on_its_way = store.snapshot(ino).unwrap();
        let target = store.open_content(ino, Access::Write).unwrap();
        assert_eq!(target.resize(0, 8).unwrap(), Availability::Ready(()));
        assert_eq!(copy(&source, &target, whole(after)), Copied::Done(after));
        let marked = store.mark_uploaded(&on_its_way, manifest_with_holes(&old));
        assert!(matches!(marked, Err(Error::Replaced(_))), "{before} {after}: {marked:?}");
        let (_copy, killed) = crashed(dir.path());
        for store in [&store, &killed] {
            let content = store.content_of(ino).unwrap().unwrap();
            assert_eq!(content.digest, Digest::of(&all), "{before} {after}");
            fetch(store, ino, &all);
            assert_eq!(read_all(store, ino), all);
        }
    }
}
