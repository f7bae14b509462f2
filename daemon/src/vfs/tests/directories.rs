//! Reading directories, while they change as well.

use std::collections::BTreeSet;

use super::{Drive, at, refused};
use crate::store::Ino;
use crate::vfs::{Error, Room};

/// Reads on from a place, at the most `room` entries; their names, and where to go on.
fn read(drive: &Drive, ino: Ino, after: u64, room: usize) -> (Vec<String>, u64) {
    let (mut names, mut next) = (Vec::new(), after);
    drive
        .vfs
        .read_directory(ino, after, |entry| {
            if names.len() == room {
                return Room::Full;
            }
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            next = entry.next;
            Room::Left
        })
        .unwrap();
    (names, next)
}

#[test]
fn every_entry_comes_once_however_small_the_steps() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    let mut expected: BTreeSet<String> = (0..700).map(|number| format!("file-{number}")).collect();
    for name in &expected {
        drive.file(directory, name);
    }
    expected.extend([".".to_owned(), "..".to_owned()]);
    for step in [1, 3, 256, 257, 1000] {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let (names, next) = read(&drive, directory, after, step);
            if names.is_empty() {
                break;
            }
            all.extend(names);
            after = next;
        }
        assert_eq!(all.len(), expected.len(), "in steps of {step}");
        assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), expected, "in steps of {step}");
    }
}

#[test]
fn a_stream_skips_and_repeats_nothing_while_others_come_and_go() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    for name in ["a", "b", "c", "d"] {
        drive.file(directory, name);
    }
    let (first, after) = read(&drive, directory, 0, 4);
    assert_eq!(first.len(), 4);
    for name in &first[2..] {
        drive.vfs.unlink(at(directory, name)).unwrap();
    }
    drive.file(directory, "new");
    let (rest, _) = read(&drive, directory, after, 100);
    let seen: BTreeSet<&str> = first[2..].iter().chain(&rest).map(String::as_str).collect();
    assert!(["a", "b", "c", "d"].iter().all(|name| seen.contains(name)), "{first:?} {rest:?}");
    assert_eq!(first.len() + rest.len() - 2, seen.len());
}

#[test]
fn the_dots_are_the_directory_and_its_parent() {
    let drive = Drive::new();
    let outer = drive.directory(Ino::ROOT, "outer");
    let inner = drive.directory(outer, "inner");
    for (ino, parent) in [(inner, outer), (outer, Ino::ROOT), (Ino::ROOT, Ino::ROOT)] {
        let mut dots = Vec::new();
        drive
            .vfs
            .read_directory_stats(ino, 0, |entry, stat| {
                assert_eq!(entry.ino, stat.ino);
                dots.push((entry.name.to_vec(), entry.ino));
                Room::Left
            })
            .unwrap();
        assert_eq!(dots[..2], [(b".".to_vec(), ino), (b"..".to_vec(), parent)]);
    }
}

#[test]
fn only_directories_are_read() {
    let drive = Drive::new();
    let file = drive.file(Ino::ROOT, "a");
    refused!(drive.vfs.read_directory(file, 0, |_| Room::Left), Error::NotDirectory);
    refused!(drive.vfs.read_directory(Ino(4711), 0, |_| Room::Left), Error::Stale);
}
