//! Chunks that are damaged behind the store's back, and the search for them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;

use miaofs::client::Client;
use miaofs::content::{Chunk, Manifest, chunk_count, hash_chunk};
use miaofs::protocol::files::Kind;
use miaofs::protocol::ids::Revision;

use super::*;
use crate::store::{Access, Ino, NewNode, Pushed, StoreOptions};
use crate::sync::core::EngineSettings;

const SIZE: u64 = 9 << 20;

/// A store with one file that the server has, all of which is here.
fn store(dir: &std::path::Path) -> (Arc<Store>, Ino) {
    let options = StoreOptions { cache_limit: 1 << 30, free_floor: 0 };
    let store = Store::open(dir, options).unwrap();
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at / 7) as u8).collect();
    let kind = Kind::File;
    let new = NewNode { kind, mode: 0o644, uid: 1, gid: 2, rdev: 0, target: None, now: 1 };
    let made = store.change_and_open::<_, Error>(Access::Write, |change| {
        let ino = change.insert(new)?;
        change.link(Ino::ROOT, b"file", ino)?;
        Ok(((), ino))
    });
    let content = made.unwrap().1;
    content.write_at(0, &bytes, 2).unwrap();
    let ino = content.ino();
    drop(content);
    let chunks = (0..chunk_count(SIZE)).map(|index| {
        let chunk = Chunk::new(index, SIZE).unwrap();
        let range = chunk.range();
        Some(hash_chunk(chunk, &bytes[range.start as usize..range.end as usize]))
    });
    let manifest = Arc::new(Manifest::new(SIZE, &chunks.collect::<Vec<_>>()).unwrap());
    let snapshot = store.snapshot(ino).unwrap();
    store.mark_uploaded(&snapshot, manifest).unwrap();
    let dirty = store.dirty_node(ino).unwrap().unwrap();
    let revision = Revision::random();
    store.begin_push(&[(ino, revision)]).unwrap();
    let pushed = Pushed { ino, change: dirty.change, version: 7, revision, state: dirty.state };
    store.finish_push(&[pushed], None).unwrap();
    (store, ino)
}

fn damage(dir: &std::path::Path, ino: Ino, offset: u64) {
    let path = dir.join(format!("data/{:02x}/{ino}", ino.0 % 256));
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"damage", offset).unwrap();
}

#[test]
fn a_chunk_that_does_not_match_is_given_up_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ino) = store(dir.path());
    damage(dir.path(), ino, 5 << 20);
    let (mut found, mut from) = (Verification::default(), ChunkPosition::default());
    while let Some(next) = verify_step(&store, from, &mut found).unwrap() {
        from = next;
    }
    assert_eq!((found.chunks, found.given_up, found.unknown), (3, 1, 0));
    assert_eq!(found.damaged, ["/file"]);
    assert_eq!(store.missing(ino, 0..SIZE).unwrap(), vec![4 << 20..8 << 20]);
    assert_eq!(store.cache_usage().bytes, SIZE - (4 << 20));
}

#[tokio::test]
async fn in_idle_time_damaged_chunks_are_found_and_the_place_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ino) = store(dir.path());
    damage(dir.path(), ino, 8 << 20);
    let settings = EngineSettings {
        account: "ada".to_owned(),
        device: "one".to_owned(),
        bwlimit: NonZeroU64::new(1),
        deletions_limit: 1,
    };
    let client = Client::new("http://127.0.0.1:1").unwrap();
    let (core, _invalidations) = Core::new(Arc::clone(&store), client, settings);
    let short = Duration::from_millis(20);
    let pace = Pace { idle: short, pause: short, period: Duration::from_secs(3600) };
    let place = |store: &Store| store.scrub_place().unwrap();
    assert_eq!(place(&store), (ChunkPosition::default(), 0));
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let reader = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let content = store.open_content(ino, Access::Read).unwrap();
            while !*stopped.borrow_and_update() {
                content.read_at(0, &mut [0; 16]).unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for _try in 0..5 {
        scrub_while_idle(&core, pace).await.unwrap();
    }
    assert_eq!(place(&store), (ChunkPosition::default(), 0), "somebody reads all the time");
    stop.send_replace(true);
    reader.await.unwrap();
    scrub_while_idle(&core, pace).await.unwrap();
    assert_eq!(store.missing(ino, 0..SIZE).unwrap(), vec![8 << 20..SIZE]);
    let (position, began) = place(&store);
    assert_eq!(position, ChunkPosition::default(), "it was at the end");
    assert!(began > 0 && !is_due(position, began, pace), "and is not due again");
}
