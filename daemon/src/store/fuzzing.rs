//! Targets for a fuzzer: the redo log as a crash or a bad disk may leave it, and pages of the feed of a server that errs.

use std::path::Path;

use miaofs::protocol::changes::Changes;

use super::disk::redo::fuzzing::{sealed, try_log};
use super::exchange::rules::{NameResolution, Resolution, Rules};
use super::{Store, StoreOptions};

const OPTIONS: StoreOptions = StoreOptions { cache_limit: 1 << 20, free_floor: 0 };

/// A redo log, and one of records whose checksums are right.
pub(crate) fn redo_logs(input: &[u8]) {
    let directory = tempfile::tempdir().expect("a directory of its own");
    try_log(directory.path(), input);
    try_log(directory.path(), &sealed(input));
}

/// Two pages of a feed, each as JSON, with a line between them. The store takes a page or refuses it, and can be opened again.
pub(crate) fn feed_pages(input: &[u8]) {
    let mut halves = input.splitn(2, |byte| *byte == b'\n');
    let pages: Vec<Changes> =
        halves.by_ref().filter_map(|half| serde_json::from_slice(half).ok()).collect();
    if pages.is_empty() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory of its own");
    let rules = Rules {
        node: &|_local, _node| Resolution::TakeRemote,
        name: &|_local, _node| NameResolution::Adopt,
        conflict_name: &|name| [name, b" (conflict)"].concat(),
    };
    let store = Store::open(directory.path(), OPTIONS).expect("a new store");
    for page in &pages {
        let _taken_or_refused = store.apply(&page.nodes, &rules, page.cursor);
    }
    drop(store);
    reopen(directory.path());
}

fn reopen(directory: &Path) {
    Store::open(directory, OPTIONS).expect("a store that took pages can be opened");
}
