//! What stands for the server: keeps the contents that it is sent, and gives their bytes back.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use miaofs::content::{CHUNK_SIZE, Chunk, ChunkDigest, Digest, Manifest, hash_chunk};
use miaofs::protocol::files::Kind;
use miaofs::protocol::ids::Revision;

use super::filesystem::bytes::Bytes;
use crate::store::tests::mirror::Mirror;
use crate::store::{self, ChunkRead, Ino, Pushed, Store};
use crate::sync::{Hashed, hash};

/// Dirty nodes that are asked for at once.
const PAGE: usize = 100;

/// Contents by their digests, with the bytes of each chunk once.
#[derive(Default)]
pub(super) struct Remote {
    manifests: HashMap<Digest, Arc<Manifest>>,
    chunks: HashMap<ChunkDigest, Bytes>,
    /// Versions that were given to nodes.
    versions: u64,
    /// Contents that were sent, as they were, and are not yet known to have arrived.
    begun: Vec<Hashed>,
    /// Files some bytes of which are here and could be fetched again.
    here: BTreeSet<Ino>,
    /// Knowledge that the engine would have.
    mirror: Mirror,
}

impl Remote {
    /// Tells that it has what was begun before, and takes the contents that are dirty now, without telling.
    pub(super) fn begin(&mut self, store: &Store) {
        self.mirror.check(store);
        self.end_begun(store);
        self.mirror.check(store);
        let mut after = Ino(0);
        loop {
            let dirty = store.dirty_nodes(after, PAGE).unwrap();
            let Some(last) = dirty.last() else { return };
            after = last.ino;
            for node in dirty.iter().filter(|node| node.content_dirty) {
                let hashed = hash(store, store.snapshot(node.ino).unwrap()).unwrap();
                self.keep(store, &hashed);
                self.begun.push(hashed);
            }
        }
    }

    /// Forgets what was begun: it ends with the daemon.
    pub(super) fn forget_begun(&mut self) {
        self.begun.clear();
    }

    /// Tells what has arrived, though some of it may have changed since.
    fn end_begun(&mut self, store: &Store) {
        for Hashed { snapshot, manifest } in self.begun.drain(..) {
            match store.mark_uploaded(&snapshot, manifest) {
                Ok(()) | Err(store::Error::NoNode(_) | store::Error::Replaced(_)) => {}
                Err(error) => panic!("{} has arrived: {error}", snapshot.ino),
            }
        }
    }

    /// Takes all that is dirty, after which no bytes stay that could be fetched again.
    pub(super) fn take_all(&mut self, store: &Store) {
        self.mirror.check(store);
        self.end_begun(store);
        loop {
            let dirty = store.dirty_nodes(Ino(0), PAGE).unwrap();
            if dirty.is_empty() {
                break;
            }
            for node in dirty {
                self.take(store, node.ino);
                if node.state.is_some_and(|state| state.kind == Kind::File) {
                    self.here.insert(node.ino);
                }
            }
        }
        for ino in std::mem::take(&mut self.here) {
            store.evict(ino).unwrap();
        }
    }

    /// Does for a node what the engine does.
    fn take(&mut self, store: &Store, ino: Ino) {
        let Some(dirty) = store.dirty_node(ino).unwrap() else { return };
        if dirty.content_dirty {
            let hashed = hash(store, store.snapshot(ino).unwrap()).unwrap();
            self.keep(store, &hashed);
            store.mark_uploaded(&hashed.snapshot, hashed.manifest).unwrap();
        }
        let Some(dirty) = store.dirty_node(ino).unwrap() else { return };
        assert!(!dirty.content_dirty, "{ino} was taken, and nobody wrote to it since");
        self.versions += 1;
        let (version, revision) = (self.versions, Revision::random());
        store.begin_push(&[(ino, revision)]).unwrap();
        let pushed = Pushed { ino, change: dirty.change, version, revision, state: dirty.state };
        store.finish_push(&[pushed], None).unwrap();
    }

    /// Takes the chunks of a content that it does not have yet.
    fn keep(&mut self, store: &Store, Hashed { snapshot, manifest }: &Hashed) {
        let mut buffer = Vec::new();
        for (index, digest) in (0..).zip(manifest.chunks()) {
            if manifest.is_hole(index) || self.chunks.contains_key(digest) {
                continue;
            }
            let read = store.read_chunk(snapshot, index, &mut buffer).unwrap();
            assert_eq!(read, ChunkRead::Unchanged, "chunk {index} of {}", snapshot.ino);
            let chunk = Chunk::new(index, snapshot.size).unwrap();
            assert_eq!(hash_chunk(chunk, &buffer), *digest, "chunk {index} of {}", snapshot.ino);
            self.chunks.insert(*digest, Bytes::of(&buffer));
        }
        self.manifests.insert(manifest.digest(), Arc::clone(manifest));
    }

    /// Gives back what is missing of a range of a file.
    pub(super) fn fetch(&mut self, store: &Store, ino: Ino, range: Range<u64>) {
        let content = store.content_of(ino).unwrap().expect("what is missing is of some content");
        let manifest = &self.manifests[&content.digest];
        if store.manifest(ino).unwrap().is_none() {
            store.set_manifest(Arc::clone(manifest)).unwrap();
        }
        for run in store.missing(ino, range).unwrap() {
            let bytes = self.read(manifest, run.clone());
            store.fill(ino, content.digest, run.start, &bytes).unwrap();
        }
        self.here.insert(ino);
    }

    fn read(&self, manifest: &Manifest, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        for index in range.start / CHUNK_SIZE..range.end.div_ceil(CHUNK_SIZE) {
            let chunk = Chunk::new(index, manifest.size()).unwrap().range();
            let (start, end) = (range.start.max(chunk.start), range.end.min(chunk.end));
            let length = (end - start) as usize;
            if manifest.is_hole(index) {
                bytes.resize(bytes.len() + length, 0);
            } else {
                let digest = manifest.chunk(index).unwrap();
                bytes.extend(self.chunks[&digest].read(start - chunk.start, length));
            }
        }
        bytes
    }
}
