//! Making, finding, linking and removing.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{ADA, Drive, IfExists, READ, ROOT_USER, WRITE, at, refused};
use crate::store::Ino;
use crate::vfs::{Error, NodeSpec, RenameMode, SetXattr};
use miaofs::protocol::files::Kind;

#[test]
fn what_was_made_is_found_and_belongs_to_its_maker() {
    let drive = Drive::new();
    assert_eq!(drive.find(Ino::ROOT, "a"), None);
    let made = drive.make(ADA, Ino::ROOT, "a", (Kind::File, 0o640));
    assert_eq!(drive.find(Ino::ROOT, "a"), Some(made.ino));
    let attributes = made.attributes;
    assert_eq!((attributes.uid, attributes.gid, attributes.mode), (1000, 100, 0o640));
    assert_eq!((attributes.size, made.links), (0, 1));
}

#[test]
fn a_name_is_taken_once_and_is_not_longer_than_255_bytes() {
    let drive = Drive::new();
    let new = NodeSpec { kind: Kind::File, mode: 0o644, rdev: 0, target: None };
    drive.file(Ino::ROOT, "a");
    refused!(drive.vfs.create(ADA, at(Ino::ROOT, "a"), new), Error::Exists);
    drive.file(Ino::ROOT, &"x".repeat(255));
    let long = "x".repeat(256);
    refused!(drive.vfs.create(ADA, at(Ino::ROOT, &long), new), Error::NameTooLong);
    refused!(drive.vfs.lookup(at(Ino::ROOT, &long)), Error::NameTooLong);
}

#[test]
fn only_directories_hold_names() {
    let drive = Drive::new();
    let file = drive.file(Ino::ROOT, "a");
    let new = NodeSpec { kind: Kind::File, mode: 0o644, rdev: 0, target: None };
    refused!(drive.vfs.create(ADA, at(file, "b"), new), Error::NotDirectory);
    refused!(drive.vfs.lookup(at(file, "b")), Error::NotDirectory);
    refused!(drive.vfs.create(ADA, at(Ino(4711), "b"), new), Error::Stale);
}

#[test]
fn a_directory_counts_the_directories_in_it() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    assert_eq!(drive.stat(directory).links, 2);
    drive.directory(directory, "one");
    drive.directory(directory, "two");
    drive.file(directory, "file");
    assert_eq!(drive.stat(directory).links, 4);
    drive.vfs.remove_directory(at(directory, "one")).unwrap();
    assert_eq!(drive.stat(directory).links, 3);
}

#[test]
fn a_set_group_id_directory_hands_its_group_down() {
    let drive = Drive::new();
    let shared = drive.make(ROOT_USER, Ino::ROOT, "shared", (Kind::Directory, 0o2775)).ino;
    let file = drive.make(ADA, shared, "file", (Kind::File, 0o644)).attributes;
    let inner = drive.make(ADA, shared, "inner", (Kind::Directory, 0o755)).attributes;
    assert_eq!((file.gid, file.mode), (0, 0o644));
    assert_eq!((inner.gid, inner.mode), (0, 0o2755));
}

#[test]
fn a_change_in_a_directory_moves_its_times() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    let before = drive.stat(directory).attributes;
    drive.file(directory, "a");
    let made = drive.stat(directory).attributes;
    assert!(made.mtime > before.mtime && made.ctime > before.ctime);
    drive.vfs.unlink(at(directory, "a")).unwrap();
    assert!(drive.stat(directory).attributes.mtime > made.mtime);
}

#[test]
fn special_files_and_symlinks_keep_what_they_are() {
    let drive = Drive::new();
    let device = NodeSpec { kind: Kind::CharDevice, mode: 0o600, rdev: 0x103, target: None };
    let null = drive.vfs.create(ROOT_USER, at(Ino::ROOT, "null"), device).unwrap();
    assert_eq!((null.attributes.kind, null.attributes.rdev), (Kind::CharDevice, 0x103));
    let target = Some(&b"../where ever"[..]);
    let link = NodeSpec { kind: Kind::Symlink, mode: 0o777, rdev: 0, target };
    let link = drive.vfs.create(ADA, at(Ino::ROOT, "link"), link).unwrap();
    assert_eq!(link.attributes.size, 13);
    assert_eq!(&*drive.vfs.read_link(link.ino).unwrap(), b"../where ever");
    refused!(drive.vfs.read_link(null.ino), Error::NotSymlink);
}

#[test]
fn removing_looks_at_what_is_removed() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    drive.file(directory, "a");
    refused!(drive.vfs.unlink(at(Ino::ROOT, "d")), Error::IsDirectory);
    refused!(drive.vfs.remove_directory(at(Ino::ROOT, "d")), Error::NotEmpty);
    refused!(drive.vfs.remove_directory(at(directory, "a")), Error::NotDirectory);
    refused!(drive.vfs.unlink(at(directory, "b")), Error::NoName);
    drive.vfs.unlink(at(directory, "a")).unwrap();
    drive.vfs.remove_directory(at(Ino::ROOT, "d")).unwrap();
    assert_eq!(drive.find(Ino::ROOT, "d"), None);
}

#[test]
fn what_the_kernel_may_have_open_outlives_its_name_until_it_is_forgotten() {
    let drive = Drive::new();
    let removed = drive.directory(Ino::ROOT, "removed");
    let replaced = drive.directory(Ino::ROOT, "replaced");
    let fifo = drive.make(ADA, Ino::ROOT, "fifo", (Kind::Fifo, 0o600)).ino;
    drive.directory(Ino::ROOT, "other");
    drive.vfs.remove_directory(at(Ino::ROOT, "removed")).unwrap();
    let mode = RenameMode::Replace;
    drive.vfs.rename(at(Ino::ROOT, "other"), at(Ino::ROOT, "replaced"), mode).unwrap();
    drive.vfs.unlink(at(Ino::ROOT, "fifo")).unwrap();
    for ino in [removed, replaced, fifo] {
        assert_eq!(drive.stat(ino).links, 0);
        drive.vfs.set_xattr(ADA, ino, (b"user.a", b"1"), SetXattr::Always).unwrap();
        assert_eq!(drive.vfs.xattr(ino, b"user.a").unwrap(), b"1");
        drive.vfs.sync_directory(ino).unwrap();
    }
    let new = NodeSpec { kind: Kind::File, mode: 0o644, rdev: 0, target: None };
    refused!(drive.vfs.create(ADA, at(removed, "a"), new), Error::NoName);
    [removed, replaced, fifo].into_iter().for_each(|ino| drive.vfs.forget(ino));
    drive.file(Ino::ROOT, "any change");
    for ino in [removed, replaced, fifo] {
        refused!(drive.vfs.stat(ino), Error::Stale);
    }
}

#[test]
fn a_file_that_is_open_outlives_its_name() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"still here");
    let handle = drive.open(ino, WRITE);
    drive.vfs.unlink(at(Ino::ROOT, "a")).unwrap();
    assert_eq!(drive.stat(ino).links, 0);
    drive.write(handle, 10, b" and written");
    assert_eq!(drive.read(handle, 0, 100), b"still here and written");
    drive.vfs.release(handle).unwrap();
    refused!(drive.vfs.stat(ino), Error::Stale);
    refused!(drive.vfs.open(ADA, ino, READ), Error::Stale);
}

#[test]
fn a_second_name_is_the_same_file() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"one");
    let before = drive.stat(ino).attributes.ctime;
    let linked = drive.vfs.link(ino, at(Ino::ROOT, "b")).unwrap();
    assert_eq!((linked.ino, linked.links), (ino, 2));
    assert!(linked.attributes.ctime > before);
    refused!(drive.vfs.link(ino, at(Ino::ROOT, "a")), Error::Exists);
    drive.vfs.unlink(at(Ino::ROOT, "a")).unwrap();
    assert_eq!(drive.stat(ino).links, 1);
    assert_eq!(drive.content(ino), b"one");
    let directory = drive.directory(Ino::ROOT, "d");
    refused!(drive.vfs.link(directory, at(Ino::ROOT, "e")), Error::LinkToDirectory);
}

#[test]
fn making_and_opening_respects_what_is_there() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"kept");
    let open =
        |if_exists| drive.vfs.create_and_open(ADA, at(Ino::ROOT, "a"), 0o600, (WRITE, if_exists));
    refused!(open(IfExists::Fail), Error::Exists);
    let (found, handle, _) = open(IfExists::Open).unwrap();
    assert_eq!((found.ino, found.attributes.mode), (ino, 0o644));
    assert_eq!(drive.read(handle, 0, 10), b"kept");
}

#[test]
fn a_name_that_comes_and_goes_is_opened_or_made_and_never_in_the_way() {
    let drive = Drive::new();
    let elsewhere = drive.file(Ino::ROOT, "elsewhere");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                // Either may find that the other has been there before.
                let _taken = drive.vfs.link(elsewhere, at(Ino::ROOT, "a"));
                let _gone = drive.vfs.unlink(at(Ino::ROOT, "a"));
            }
        });
        let opened: Vec<_> = (0..3000)
            .map(|_| {
                let how = (WRITE, IfExists::Open);
                let opened = drive.vfs.create_and_open(ADA, at(Ino::ROOT, "a"), 0o644, how);
                opened.map(|(_, handle, _)| drive.vfs.release(handle).unwrap())
            })
            .collect();
        ended.store(true, Ordering::Relaxed);
        let failed: Vec<_> = opened.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "{} of 3000, first {:?}", failed.len(), failed.first());
    });
}
