//! The write-ahead log while very much is changed, and when a part of it is gone.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};

use super::*;

/// Changes of names in a row: enough for several times the longest log.
const CHANGES: usize = 30_000;
const DIRECTORIES: usize = 300;

#[test]
fn in_a_burst_of_changes_the_log_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let directory =
        |number| make(&store, Ino::ROOT, &format!("directory {number}"), Kind::Directory);
    let directories: Vec<_> = (0..DIRECTORIES).map(directory).collect();
    let log = dir.path().join("state.db-wal");
    let mut longest = 0;
    for number in 0..CHANGES {
        let parent = directories[number * 7919 % DIRECTORIES];
        make(&store, parent, &format!("entry {number}"), Kind::File);
        longest = longest.max(fs::metadata(&log).unwrap().len());
    }
    // What comes while the last pass waits for its turn is above the limit.
    assert!(longest < 128 << 20, "{} MiB", longest >> 20);
    drop(store);
}

/// Texts of all files that have a name in a store, and of those in its `lost+found`.
fn texts(dir: &Path, store: &Arc<Store>, names: &[String]) -> BTreeSet<Vec<u8>> {
    let named = names.iter().filter_map(|name| entry(store, Ino::ROOT, name));
    let mut found: BTreeSet<_> = named.map(|ino| read_all(store, ino)).collect();
    let mut left = vec![dir.join("lost+found")];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(at).into_iter().flatten().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => left.push(entry.path()),
                false => drop(found.insert(fs::read(entry.path()).unwrap())),
            }
        }
    }
    found
}

#[test]
fn wherever_the_log_is_cut_no_text_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let names: Vec<_> = (0..6).map(|number| format!("file {number}")).collect();
    for name in &names {
        write_file(&store, name, name.as_bytes());
        if name != "file 5" {
            store.tree().db.commit_all().unwrap();
        }
    }
    let all: BTreeSet<_> = names.iter().map(|name| name.clone().into_bytes()).collect();
    let length = fs::metadata(dir.path().join("state.db-wal")).unwrap().len();
    for left in (0..=length).step_by(4096 + 24) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let log = OpenOptions::new().write(true).open(copy.path().join("state.db-wal")).unwrap();
        log.set_len(left + 32).unwrap();
        let after = open(copy.path());
        make(&after, Ino::ROOT, "new", Kind::Directory);
        let found = texts(copy.path(), &after, &names);
        assert!(all.is_subset(&found), "{left} bytes of {length}: {found:?}");
    }
}
