//! What the store promises, tried from outside; a crash is a copy of the directory while it is open.

mod content;
mod copies;
mod feed;
mod history;
mod holes;
mod journal;
mod lent;
mod local;
mod migrations;
pub(crate) mod mirror;
mod moves;
mod numbers;
mod power;
mod pull;
mod random;
mod speed;
#[path = "../../../../tests/filesystem/torture.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the tests of the mount use all of it")]
mod torture;

use std::path::Path;
use std::sync::Arc;

use miaofs::content::{CHUNK_SIZE, Chunk, Manifest, chunk_count, hash_chunk};
use miaofs::protocol::files::Kind;
use miaofs::protocol::ids::Revision;

use super::exchange::fill::Filled;
use super::{
    Access, Attributes, Availability, Change, ChunkRead, Content, Copied, CopyRange, DirtyNode,
    Error, Growth, Ino, NewNode, PrefetchLimits, Pushed, SeekWhence, Store, StoreOptions,
    working_for,
};

const OPTIONS: StoreOptions = StoreOptions { cache_limit: 1 << 30, free_floor: 0 };

fn open(dir: &Path) -> Arc<Store> {
    Store::open(dir, OPTIONS).unwrap()
}

/// The store as it would be found if the daemon were killed now.
fn crashed(dir: &Path) -> (tempfile::TempDir, Arc<Store>) {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(dir, copy.path());
    let store = open(copy.path());
    (copy, store)
}

/// Store of the daemon that goes on with the session of this one, killed now.
fn taken_over(dir: &Path) -> (tempfile::TempDir, Arc<Store>) {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(dir, copy.path());
    let store = Store::open_again(copy.path(), OPTIONS).unwrap();
    (copy, store)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut entries: Vec<_> = std::fs::read_dir(from).unwrap().map(Result::unwrap).collect();
    // What the database has not committed comes before what it has.
    entries.sort_by_key(|entry| entry.file_name() != "state.redo");
    for entry in entries {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => {
                std::fs::copy(entry.path(), &target).unwrap();
                let modified = entry.metadata().unwrap().modified().unwrap();
                std::fs::File::open(target).unwrap().set_modified(modified).unwrap();
            }
        }
    }
}

fn new(kind: Kind) -> NewNode {
    NewNode { kind, mode: 0o644, uid: 1, gid: 2, rdev: 0, target: None, now: 1_000 }
}

fn make(store: &Store, parent: Ino, name: &str, kind: Kind) -> Ino {
    store
        .change(|change| {
            let ino = change.insert(new(kind))?;
            change.link(parent, name.as_bytes(), ino)?;
            Ok::<_, Error>(ino)
        })
        .unwrap()
}

fn create(store: &Arc<Store>, name: &str) -> Content {
    store
        .change_and_open(Access::Write, |change| {
            let ino = change.insert(new(Kind::File))?;
            change.link(Ino::ROOT, name.as_bytes(), ino)?;
            Ok::<_, Error>(((), ino))
        })
        .unwrap()
        .1
}

fn write_file(store: &Arc<Store>, name: &str, bytes: &[u8]) -> Ino {
    let content = create(store, name);
    assert_eq!(content.write_at(0, bytes, 2_000).unwrap(), Availability::Ready(()));
    content.ino()
}

fn read_all(store: &Arc<Store>, ino: Ino) -> Vec<u8> {
    let content = store.open_content(ino, Access::Read).unwrap();
    let mut bytes = vec![0xee; size(store, ino) as usize];
    let length = bytes.len();
    assert_eq!(content.read_at(0, &mut bytes).unwrap(), Availability::Ready(length));
    bytes
}

fn entry(store: &Store, parent: Ino, name: &str) -> Option<Ino> {
    store.view(|view| view.entry(parent, name.as_bytes())).unwrap()
}

fn size(store: &Store, ino: Ino) -> u64 {
    store.view(|view| view.node(ino)).unwrap().attributes.size
}

/// Bytes that differ from place to place.
fn bytes(seed: u64, size: u64) -> Vec<u8> {
    let words = (0..size.div_ceil(8)).map(|at| (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(size as usize).collect()
}

fn manifest_of(bytes: &[u8]) -> Arc<Manifest> {
    let size = bytes.len() as u64;
    let chunks: Vec<_> = (0..chunk_count(size))
        .map(|index| {
            let chunk = Chunk::new(index, size).unwrap();
            let range = chunk.range();
            Some(hash_chunk(chunk, &bytes[range.start as usize..range.end as usize]))
        })
        .collect();
    Arc::new(Manifest::new(size, &chunks).unwrap())
}

/// The same, in which chunks of zeros are holes, as the engine makes it.
fn manifest_with_holes(bytes: &[u8]) -> Arc<Manifest> {
    let size = bytes.len() as u64;
    let plain = manifest_of(bytes);
    let chunks = (0..).zip(plain.chunks()).map(|(index, digest)| {
        let range = Chunk::new(index, size).unwrap().range();
        let part = &bytes[range.start as usize..range.end as usize];
        (*digest, size > CHUNK_SIZE && part.iter().all(|byte| *byte == 0))
    });
    Arc::new(Manifest::hashed(size, chunks.collect()).unwrap())
}

/// Tells the store that the server has a node as it is now.
fn push(store: &Store, ino: Ino, version: u64) {
    let dirty = store.dirty_node(ino).unwrap().expect("dirty");
    if dirty.content_dirty {
        let snapshot = store.snapshot(ino).unwrap();
        let mut all = Vec::new();
        let mut buffer = Vec::new();
        for index in 0..chunk_count(snapshot.size) {
            assert_eq!(
                store.read_chunk(&snapshot, index, &mut buffer).unwrap(),
                ChunkRead::Unchanged
            );
            all.extend_from_slice(&buffer);
        }
        store.mark_uploaded(&snapshot, manifest_with_holes(&all)).unwrap();
    }
    let dirty = store.dirty_node(ino).unwrap().expect("dirty until pushed");
    let revision = Revision::random();
    store.begin_push(&[(ino, revision)]).unwrap();
    let pushed = Pushed { ino, change: dirty.change, version, revision, state: dirty.state };
    store.finish_push(&[pushed], None).unwrap();
}

/// Fetches what is missing of a node, whose content is `bytes`.
fn fetch(store: &Store, ino: Ino, bytes: &[u8]) {
    let content = store.content_of(ino).unwrap().unwrap();
    if store.manifest(ino).unwrap().is_none() {
        store.set_manifest(manifest_of(bytes)).unwrap();
    }
    for run in store.missing(ino, 0..u64::MAX).unwrap() {
        let part = &bytes[run.start as usize..run.end as usize];
        store.fill(ino, content.digest, run.start, part).unwrap();
    }
}
