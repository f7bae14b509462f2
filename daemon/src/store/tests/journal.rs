//! The write-ahead log while very much is changed.

use std::fs;

use super::*;

/// Changes of names in a row: enough for several times the longest log.
const CHANGES: u32 = 30_000;
const DIRECTORIES: u64 = 300;

#[test]
fn in_a_burst_of_changes_the_log_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..DIRECTORIES {
        make(&store, Ino::ROOT, &format!("directory {number}"), Kind::Directory);
    }
    let log = dir.path().join("state.db-wal");
    let mut longest = 0;
    for number in 0..CHANGES {
        let number = u64::from(number);
        let parent = Ino(2 + number * 7919 % DIRECTORIES);
        make(&store, parent, &format!("entry {number}"), Kind::File);
        longest = longest.max(fs::metadata(&log).unwrap().len());
    }
    // What comes while the last pass waits for its turn is above the limit.
    assert!(longest < 128 << 20, "{} MiB", longest >> 20);
    drop(store);
}
