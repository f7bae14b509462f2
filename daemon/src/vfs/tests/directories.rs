//! Reading directories, while they change as well.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::{Drive, at, refused};
use crate::store::Ino;
use crate::vfs::{DirCache, Error, HandleId, RenameMode};

/// Opens a directory for reading.
fn open(drive: &Drive, ino: Ino) -> HandleId {
    drive.vfs.open_directory(ino).unwrap().0
}

/// Reads on from a position, at the most `room` entries; their names, and where to go on.
fn read(drive: &Drive, stream: HandleId, after: u64, room: usize) -> (Vec<String>, u64) {
    let (mut names, mut next) = (Vec::new(), after);
    drive
        .vfs
        .read_directory(stream, after, |entry| {
            if names.len() == room {
                return ControlFlow::Break(());
            }
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            next = entry.next;
            ControlFlow::Continue(())
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
        let stream = open(&drive, directory);
        loop {
            let (names, next) = read(&drive, stream, after, step);
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
    let stream = open(&drive, directory);
    let (first, after) = read(&drive, stream, 0, 4);
    assert_eq!(first.len(), 4);
    for name in &first[2..] {
        drive.vfs.unlink(at(directory, name)).unwrap();
    }
    drive.file(directory, "new");
    let (rest, _) = read(&drive, stream, after, 100);
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
            .read_directory_stats(open(&drive, ino), 0, |entry, stat| {
                assert_eq!(entry.ino, stat.ino);
                dots.push((entry.name.to_vec(), entry.ino));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(dots[..2], [(b".".to_vec(), ino), (b"..".to_vec(), parent)]);
    }
}

#[test]
fn only_directories_are_read() {
    let drive = Drive::new();
    let file = drive.file(Ino::ROOT, "a");
    refused!(drive.vfs.open_directory(file), Error::NotDirectory);
    refused!(drive.vfs.open_directory(Ino(4711)), Error::Stale);
    let closed = open(&drive, Ino::ROOT);
    drive.vfs.release_directory(closed).unwrap();
    refused!(drive.vfs.read_directory(closed, 0, |_| ControlFlow::Continue(())), Error::BadHandle);
    refused!(drive.vfs.release_directory(closed), Error::BadHandle);
}

#[test]
fn whatever_is_renamed_replaced_or_exchanged_is_met_once_by_its_name() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    for name in ["a", "b", "c", "d", "e", "new"] {
        drive.file(directory, name);
    }
    let rename = |from, to, mode| {
        drive.vfs.rename(at(directory, from), at(directory, to), mode).unwrap();
    };
    // Each of these is done when half of the names have been met, so on both sides of the reader.
    let stream = open(&drive, directory);
    let (first, after) = read(&drive, stream, 0, 4);
    assert_eq!(first, [".", "..", "a", "b"]);
    rename("a", "a2", RenameMode::KeepTarget);
    rename("new", "b", RenameMode::Replace);
    rename("c", "e", RenameMode::Exchange);
    rename("d", "d2", RenameMode::Replace);
    let (rest, after) = read(&drive, stream, after, 100);
    assert_eq!(rest, ["c", "d2", "e"]);
    assert_eq!(read(&drive, stream, after, 100).0, [""; 0]);
    assert_eq!(read(&drive, stream, 0, 100).0, [".", "..", "a2", "b", "c", "d2", "e"]);
}

#[test]
fn a_reading_ends_though_the_reader_makes_an_entry_for_each_that_it_meets() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    drive.file(directory, "0");
    let stream = open(&drive, directory);
    let (mut after, mut count) = (0, 0);
    loop {
        let (names, next) = read(&drive, stream, after, 1);
        if names.is_empty() {
            break;
        }
        (after, count) = (next, count + 1);
        assert!(count <= 3, "it goes on and on");
        drive.file(directory, &format!("made-{count}"));
    }
    assert_eq!(count, 3, "the dots and one");
    assert_eq!(read(&drive, stream, 0, 100).0.len(), 6, "from the start the news is seen");
}

#[test]
fn the_kernel_keeps_one_stream_of_a_directory_at_a_time() {
    let drive = Drive::new();
    let (first, cache) = drive.vfs.open_directory(Ino::ROOT).unwrap();
    assert_eq!(cache, DirCache::Allowed);
    let (second, cache) = drive.vfs.open_directory(Ino::ROOT).unwrap();
    assert_eq!(cache, DirCache::Bypass);
    drive.vfs.release_directory(second).unwrap();
    assert_eq!(drive.vfs.open_directory(Ino::ROOT).unwrap().1, DirCache::Bypass);
    drive.vfs.release_directory(first).unwrap();
    assert_eq!(drive.vfs.open_directory(Ino::ROOT).unwrap().1, DirCache::Allowed);
}
