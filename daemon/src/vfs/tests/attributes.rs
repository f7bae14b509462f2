//! Mode, owner, times, and the bits that a change of owner or content takes away.

use super::{ADA, Drive, READ, ROOT_USER, WRITE, at, refused};
use crate::store::{Availability, Ino};
use crate::vfs::{
    AttributeChange, Caller, Error, ModeEffect, Privileges, SetXattr, Stat, Time, Written,
};
use miaofs::protocol::files::Kind;

fn set(drive: &Drive, caller: Caller, ino: Ino, wanted: AttributeChange) -> Stat {
    match drive.vfs.set_attributes(caller, ino, wanted).unwrap() {
        Availability::Ready(stat) => stat,
        Availability::Missing(range) => panic!("{range:?} is missing"),
    }
}

fn mode(mode: u32) -> AttributeChange {
    AttributeChange { mode: Some(mode), ..AttributeChange::default() }
}

fn size(size: u64) -> AttributeChange {
    AttributeChange { size: Some(size), ..AttributeChange::default() }
}

#[test]
fn each_attribute_is_set_alone_and_moves_ctime() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let before = drive.stat(ino).attributes;
    let after = set(&drive, ADA, ino, mode(0o100_600)).attributes;
    assert_eq!((after.mode, after.kind, after.uid), (0o600, Kind::File, before.uid));
    assert_eq!(after.mtime, before.mtime);
    assert!(after.ctime > before.ctime);
    let times = AttributeChange {
        atime: Some(Time::At(-5)),
        mtime: Some(Time::At(1_234_567_890_123_456_789)),
        ..AttributeChange::default()
    };
    let after = set(&drive, ADA, ino, times).attributes;
    assert_eq!((after.atime, after.mtime), (-5, 1_234_567_890_123_456_789));
    let atime = AttributeChange { atime: Some(Time::Now), ..AttributeChange::default() };
    let touched = set(&drive, ADA, ino, atime).attributes;
    assert!(touched.atime > 0 && touched.ctime > after.ctime);
    assert_eq!(touched.mtime, after.mtime);
}

#[test]
fn times_that_were_set_outlast_the_close_of_a_writer() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let handle = drive.open(ino, WRITE);
    drive.write(handle, 0, b"bytes");
    let mtime = Some(Time::At(1_000_000_007));
    set(&drive, ADA, ino, AttributeChange { mtime, ..AttributeChange::default() });
    drive.vfs.release(handle).unwrap();
    let stat = drive.stat(ino).attributes;
    assert_eq!((stat.mtime, stat.size), (1_000_000_007, 5));
}

#[test]
fn a_new_owner_does_not_inherit_privileges() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let chown = AttributeChange { uid: Some(7), gid: Some(8), ..AttributeChange::default() };
    set(&drive, ROOT_USER, ino, mode(0o6755));
    let after = set(&drive, ROOT_USER, ino, chown).attributes;
    assert_eq!((after.uid, after.gid, after.mode), (7, 8, 0o755));
    set(&drive, ROOT_USER, ino, mode(0o6745));
    assert_eq!(set(&drive, ROOT_USER, ino, chown).attributes.mode, 0o2745);
    let directory = drive.directory(Ino::ROOT, "d");
    set(&drive, ROOT_USER, directory, mode(0o6755));
    assert_eq!(set(&drive, ROOT_USER, directory, chown).attributes.mode, 0o6755);
}

#[test]
fn foreign_content_does_not_run_with_the_owners_privileges() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let handle = drive.open(ino, WRITE);
    let set_capability =
        || drive.vfs.set_xattr(ADA, ino, (b"security.capability", b"x"), SetXattr::Always).unwrap();
    set(&drive, ROOT_USER, ino, mode(0o6755));
    drive.write(handle, 0, b"root may");
    assert_eq!(drive.stat(ino).attributes.mode, 0o6755);
    set_capability();
    let written = drive
        .vfs
        .write(
            handle,
            Written { offset: 0, append: false, again: false, bytes: b"ada may not" },
            Privileges::Drop(ADA),
        )
        .unwrap();
    assert_eq!(written, Availability::Ready(ModeEffect::Changed));
    assert_eq!(drive.stat(ino).attributes.mode, 0o755);
    refused!(drive.vfs.xattr(ino, b"security.capability"), Error::NoXattr);
    set_capability();
    drive.write(handle, 0, b"nor may root leave new ones");
    refused!(drive.vfs.xattr(ino, b"security.capability"), Error::NoXattr);

    set(&drive, ROOT_USER, ino, mode(0o6755));
    set_capability();
    assert_eq!(set(&drive, ROOT_USER, ino, size(3)).attributes.mode, 0o6755);
    refused!(drive.vfs.xattr(ino, b"security.capability"), Error::NoXattr);
    assert_eq!(set(&drive, ADA, ino, size(2)).attributes.mode, 0o755);
}

#[test]
fn the_group_id_without_execution_is_for_members_to_keep() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"12345");
    let stranger = Caller { gid: 4, ..ADA };
    for (caller, after) in [(ROOT_USER, 0o6765), (ADA, 0o2765), (stranger, 0o765)] {
        set(&drive, ROOT_USER, ino, mode(0o6765));
        assert_eq!(set(&drive, caller, ino, size(3)).attributes.mode, after);
        set(&drive, ROOT_USER, ino, mode(0o6765));
        let before = drive.stat(ino).attributes.ctime;
        let nothing = set(&drive, caller, ino, AttributeChange::default()).attributes;
        assert_eq!(nothing.mode, after);
        assert!(nothing.ctime > before);
    }
}

#[test]
fn only_files_have_a_size_to_set() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    refused!(drive.vfs.set_attributes(ADA, directory, size(0)), Error::IsDirectory);
    let fifo = drive.make(ADA, Ino::ROOT, "f", (Kind::Fifo, 0o644)).ino;
    let error = drive.vfs.set_attributes(ADA, fifo, size(0)).unwrap_err();
    assert_eq!(error.errno(), rustix::io::Errno::INVAL);
    let file = drive.file_of(Ino::ROOT, "a", b"12345");
    assert_eq!(set(&drive, ADA, file, size(2)).attributes.size, 2);
    assert_eq!(set(&drive, ADA, file, size(4)).attributes.size, 4);
    assert_eq!(drive.content(file), b"12\0\0");
    let error = drive.vfs.set_attributes(ADA, file, size(u64::MAX)).unwrap_err();
    assert_eq!(error.errno(), rustix::io::Errno::FBIG);
}

#[test]
fn a_truncated_file_is_empty_for_those_who_have_it_open() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"12345");
    let reader = drive.open(ino, READ);
    let truncate = crate::vfs::OpenMode { truncate: crate::vfs::Truncate::Yes, ..WRITE };
    let writer = drive.open(ino, truncate);
    assert_eq!(drive.read(reader, 0, 10), b"");
    drive.write(writer, 2, b"x");
    assert_eq!(drive.read(reader, 0, 10), b"\0\0x");
    drive.vfs.unlink(at(Ino::ROOT, "a")).unwrap();
}
