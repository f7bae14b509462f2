//! Random histories against models in memory; the seed is printed, and `MIAOFS_TEST_SEED` repeats a run.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use miaofs::content::Digest;

use super::super::Snapshot;
use super::mirror::Mirror;
use super::*;

#[path = "../../../../tests/filesystem/random.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the tests of vfs use it with the model")]
mod numbers;

pub(super) use numbers::{Random, seed_of_this_run};

/// Numbers from a seed that is printed.
pub(super) fn seeded(test: &str) -> Random {
    let seed = seed_of_this_run();
    println!("{test}: MIAOFS_TEST_SEED={seed}");
    Random::new(seed)
}

/// Names and contents that the files of one directory must have.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, Ino>,
    bytes: BTreeMap<Ino, Vec<u8>>,
    /// Contents that the server has.
    server: HashMap<Digest, Vec<u8>>,
    version: u64,
    /// Contents on their way to the server, while anything may happen to their files.
    on_their_way: Vec<(Snapshot, Vec<u8>)>,
}

impl Model {
    fn forget_unnamed(&mut self) {
        let names = &self.names;
        self.bytes.retain(|ino, _| names.values().any(|named| named == ino));
    }

    /// Fetches what is missing of a file.
    fn fetch(&self, store: &Store, ino: Ino, range: Range<u64>) {
        let digest = store.content_of(ino).unwrap().unwrap().digest;
        let all = &self.server[&digest];
        if store.manifest(ino).unwrap().is_none() {
            store.set_manifest(manifest_with_holes(all)).unwrap();
        }
        for run in store.missing(ino, range).unwrap() {
            let part = &all[run.start as usize..run.end as usize];
            store.fill(ino, digest, run.start, part).unwrap();
        }
    }

    /// Runs an operation again and again while it says what is missing, which is fetched.
    fn complete<T>(
        &self,
        store: &Store,
        ino: Ino,
        mut operation: impl FnMut() -> Availability<T>,
    ) -> T {
        for _try in 0..10 {
            match operation() {
                Availability::Ready(done) => return done,
                Availability::Missing(range) => self.fetch(store, ino, range),
            }
        }
        panic!("bytes are missing after they were fetched ten times");
    }

    /// Copies a part of a file into another, or to another place of it: half of the times chunks to their places.
    fn copy(&mut self, store: &Arc<Store>, source: Ino, target: Ino, random: &mut Random) {
        let all = self.bytes[&source].clone();
        let size = all.len() as u64;
        let mut stretch = match random.below(4) {
            0 => CopyRange { from: 0, to: 0, length: size },
            1 => {
                let from = random.below(3) * CHUNK_SIZE;
                CopyRange { from, to: from, length: (1 + random.below(2)) * CHUNK_SIZE }
            }
            _ => CopyRange {
                from: random.below(size + 1),
                to: random.below(2 * CHUNK_SIZE),
                length: random.below(CHUNK_SIZE + 9000),
            },
        };
        stretch.length = stretch.length.min(size.saturating_sub(stretch.from));
        if source == target && stretch.from.abs_diff(stretch.to) < stretch.length {
            return;
        }
        let into = store.open_content(target, Access::Write).unwrap();
        let from = store.open_content(source, Access::Read).unwrap();
        let mut left = stretch;
        let mut fetches = 0;
        while left.length > 0 {
            match into.copy_from(&from, left, 7).unwrap() {
                Copied::Done(count) => {
                    assert!(count > 0, "nothing of {left:?} was copied");
                    left.from += count;
                    left.to += count;
                    left.length -= count;
                }
                Copied::SourceMissing(range) => self.fetch(store, source, range),
                Copied::TargetMissing(range) => self.fetch(store, target, range),
            }
            fetches += 1;
            assert!(fetches < 100, "{left:?} is never done");
        }
        if stretch.length > 0 {
            let part = &all[stretch.from as usize..][..stretch.length as usize];
            let bytes = self.bytes.get_mut(&target).unwrap();
            bytes.resize(bytes.len().max((stretch.to + stretch.length) as usize), 0);
            bytes[stretch.to as usize..][..part.len()].copy_from_slice(part);
        }
    }

    fn check(&self, store: &Arc<Store>) {
        let found = store.view(|view| view.children(Ino::ROOT, 0, 1000)).unwrap();
        let found: BTreeMap<String, Ino> = found
            .into_iter()
            .map(|child| (String::from_utf8(child.name).unwrap(), child.ino))
            .collect();
        assert_eq!(found, self.names);
        for (ino, expected) in &self.bytes {
            let content = store.open_content(*ino, Access::Read).unwrap();
            assert_eq!(size(store, *ino), expected.len() as u64);
            let mut bytes = vec![0xee; expected.len()];
            self.check_holes(store, *ino);
            self.complete(store, *ino, || content.read_at(0, &mut bytes).unwrap());
            assert!(bytes == *expected, "the bytes of {ino}");
            self.check_holes(store, *ino);
        }
    }

    fn write(&mut self, store: &Arc<Store>, ino: Ino, random: &mut Random) {
        let offset = random.below(2 * CHUNK_SIZE + CHUNK_SIZE / 2);
        let longest = if random.below(4) == 0 { CHUNK_SIZE } else { 9000 };
        let length = 1 + random.below(longest);
        let new = bytes(random.below(1000), length);
        let content = store.open_content(ino, Access::Write).unwrap();
        self.complete(store, ino, || content.write_at(offset, &new, 5).unwrap());
        let all = self.bytes.get_mut(&ino).unwrap();
        all.resize(all.len().max((offset + length) as usize), 0);
        all[offset as usize..(offset + length) as usize].copy_from_slice(&new);
    }

    fn resize(&mut self, store: &Arc<Store>, ino: Ino, random: &mut Random) {
        let size = match random.below(3) {
            0 => random.below(3) * CHUNK_SIZE,
            _ => random.below(2 * CHUNK_SIZE + 100_000),
        };
        let content = store.open_content(ino, Access::Write).unwrap();
        self.complete(store, ino, || content.resize(size, 6).unwrap());
        self.bytes.get_mut(&ino).unwrap().resize(size as usize, 0);
    }

    /// Punches, makes zeros of, or reserves a range, which may lie behind the end or begin with a chunk.
    fn allocate(&mut self, store: &Arc<Store>, ino: Ino, random: &mut Random) {
        let start = match random.below(3) {
            0 => random.below(3) * CHUNK_SIZE,
            _ => random.below(2 * CHUNK_SIZE + 200_000),
        };
        let longest = if random.below(2) == 0 { 2 * CHUNK_SIZE } else { 20_000 };
        let range = start..start + 1 + random.below(longest);
        let growth = if random.below(2) == 0 { Growth::Extend } else { Growth::KeepSize };
        let content = store.open_content(ino, Access::Write).unwrap();
        let what = random.below(3);
        self.complete(store, ino, || match what {
            0 => content.punch(range.clone(), 7).unwrap(),
            1 => content.zero(range.clone(), growth, 7).unwrap(),
            _ => content.reserve(range.clone(), growth, 7).unwrap(),
        });
        let all = self.bytes.get_mut(&ino).unwrap();
        if what < 2 {
            let inside = range.start.min(all.len() as u64)..range.end.min(all.len() as u64);
            all[inside.start as usize..inside.end as usize].fill(0);
        }
        if what > 0 && growth == Growth::Extend {
            all.resize(all.len().max(range.end as usize), 0);
        }
    }

    /// Where data is said to be must be all that is not zero.
    fn check_holes(&self, store: &Arc<Store>, ino: Ino) {
        let (content, all) = (store.open_content(ino, Access::Read).unwrap(), &self.bytes[&ino]);
        let mut at = 0;
        while at < all.len() as u64 {
            let data = content.seek(at, SeekWhence::Data).unwrap();
            let until = data.unwrap_or(all.len() as u64);
            let hole = &all[at as usize..until as usize];
            assert!(hole.iter().all(|byte| *byte == 0), "data in a hole of {ino} behind {at}");
            at = match data {
                Some(data) => {
                    content.seek(data, SeekWhence::Hole).unwrap().expect("the end at least")
                }
                None => break,
            };
        }
    }

    /// Begins to bring the content of a file to the server.
    fn begin_upload(&mut self, store: &Store, ino: Ino) {
        if store.dirty_node(ino).unwrap().is_some_and(|node| node.content_dirty) {
            let snapshot = store.snapshot(ino).unwrap();
            self.on_their_way.push((snapshot, self.bytes[&ino].clone()));
        }
    }

    /// The server has a content, whatever its file is now.
    fn finish_upload(&mut self, store: &Store, random: &mut Random) {
        if self.on_their_way.is_empty() {
            return;
        }
        let chosen = random.below(self.on_their_way.len() as u64) as usize;
        let (snapshot, all) = self.on_their_way.swap_remove(chosen);
        let manifest = manifest_with_holes(&all);
        self.server.insert(Digest::of(&all), all);
        match store.mark_uploaded(&snapshot, manifest) {
            Ok(()) | Err(Error::Replaced(_) | Error::NoNode(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn push(&mut self, store: &Store, ino: Ino) {
        let Some(dirty) = store.dirty_node(ino).unwrap() else { return };
        self.version += 1;
        let all = self.bytes[&ino].clone();
        if dirty.content_dirty {
            let snapshot = store.snapshot(ino).unwrap();
            let manifest = manifest_with_holes(&all);
            let mut buffer = Vec::new();
            for (index, digest) in (0..).zip(manifest.chunks()) {
                let chunk = Chunk::new(index, snapshot.size).unwrap();
                if snapshot.dirty.contains(&index) {
                    store.read_chunk(&snapshot, index, &mut buffer).unwrap();
                    assert_eq!(hash_chunk(chunk, &buffer), *digest);
                } else {
                    let base = snapshot.base_manifest.as_ref().unwrap();
                    assert_eq!(base.chunk(index), Some(*digest), "chunk {index} is not dirty");
                }
            }
            store.mark_uploaded(&snapshot, manifest).unwrap();
            self.server.insert(Digest::of(&all), all);
        } else {
            let content = dirty.state.as_ref().and_then(|state| state.content).unwrap();
            assert_eq!(content.digest, Digest::of(&all), "the content that {ino} is said to have");
        }
        push(store, ino, self.version);
        assert_eq!(store.dirty_node(ino).unwrap(), None);
    }

    fn step(&mut self, store: &Arc<Store>, random: &mut Random) {
        let name = format!("{}", random.below(4));
        let target = format!("{}", random.below(4));
        let Some(ino) = self.names.get(&name).copied() else {
            let ino = create(store, &name).ino();
            self.names.insert(name, ino);
            self.bytes.insert(ino, Vec::new());
            return;
        };
        match random.below(22) {
            0 => {
                store.change(|change| change.unlink(Ino::ROOT, name.as_bytes())).unwrap();
                self.names.remove(&name);
            }
            1 if self.names.get(&target) != Some(&ino) => {
                store
                    .change(|change| {
                        if change.entry(Ino::ROOT, target.as_bytes())?.is_some() {
                            change.unlink(Ino::ROOT, target.as_bytes())?;
                        }
                        change.unlink(Ino::ROOT, name.as_bytes())?;
                        change.link(Ino::ROOT, target.as_bytes(), ino)
                    })
                    .unwrap();
                self.names.remove(&name);
                self.names.insert(target, ino);
            }
            2 | 3 => self.push(store, ino),
            4 | 5 => {
                store.evict(ino).unwrap();
            }
            6 | 7 => self.resize(store, ino, random),
            8..=10 => {
                let other = self.names.get(&target).copied().unwrap_or(ino);
                self.copy(store, ino, other, random);
            }
            11..=13 => self.allocate(store, ino, random),
            14 | 15 => self.begin_upload(store, ino),
            16 | 17 => self.finish_upload(store, random),
            _ => self.write(store, ino, random),
        }
        self.forget_unnamed();
    }
}

#[test]
fn random_operations_leave_what_a_model_says_also_after_crashes() {
    let mut random = seeded("operations");
    let mut dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let (mut model, mut mirror) = (Model::default(), Mirror::default());
    for _step in 0..250 {
        model.step(&store, &mut random);
        mirror.check(&store);
        match random.below(25) {
            0 => {
                model.on_their_way.clear();
                (dir, store) = crashed(dir.path());
            }
            1 => {
                model.on_their_way.clear();
                drop(store);
                store = open(dir.path());
            }
            2 => drop(store.sync_all().unwrap()),
            3 => model.check(&store),
            _ => {}
        }
        let lost = dir.path().join("lost+found");
        assert!(!lost.exists(), "nothing is astray: {lost:?}");
    }
    model.check(&store);
}
