//! Extended attributes, and the two that only tell.

use super::{ADA, Drive, ROOT_USER, refused};
use crate::store::Ino;
use crate::vfs::{Error, SetXattr};

#[test]
fn attributes_are_set_listed_and_removed() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let vfs = &drive.vfs;
    refused!(vfs.xattr(ino, b"user.a"), Error::NoXattr);
    refused!(vfs.set_xattr(ADA, ino, (b"user.a", b"1"), SetXattr::Replace), Error::NoXattr);
    vfs.set_xattr(ADA, ino, (b"user.a", b"1"), SetXattr::Create).unwrap();
    refused!(vfs.set_xattr(ADA, ino, (b"user.a", b"2"), SetXattr::Create), Error::XattrExists);
    vfs.set_xattr(ADA, ino, (b"user.a", b"\xff\0"), SetXattr::Replace).unwrap();
    vfs.set_xattr(ADA, ino, (b"user.b", b""), SetXattr::Always).unwrap();
    assert_eq!(vfs.xattr(ino, b"user.a").unwrap(), b"\xff\0");
    assert_eq!(vfs.xattr_names(ADA, ino).unwrap(), b"user.a\0user.b\0");
    vfs.remove_xattr(ino, b"user.a").unwrap();
    refused!(vfs.remove_xattr(ino, b"user.a"), Error::NoXattr);
    assert_eq!(vfs.xattr_names(ADA, ino).unwrap(), b"user.b\0");
}

#[test]
fn setting_one_moves_ctime_only() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let before = drive.stat(ino).attributes;
    drive.vfs.set_xattr(ADA, ino, (b"user.a", b"1"), SetXattr::Always).unwrap();
    let after = drive.stat(ino).attributes;
    assert_eq!(after.mtime, before.mtime);
    assert!(after.ctime > before.ctime);
}

#[test]
fn no_more_is_taken_than_the_server_takes() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let value = vec![1; 60 * 1024];
    let set = |name: &[u8]| drive.vfs.set_xattr(ADA, ino, (name, &value), SetXattr::Always);
    set(b"user.a").unwrap();
    set(b"user.b").unwrap();
    refused!(set(b"user.c"), Error::XattrsFull);
    set(b"user.a").unwrap();
}

#[test]
fn ours_are_told_but_neither_set_nor_listed() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let vfs = &drive.vfs;
    assert!(!vfs.xattr(ino, b"user.miaofs.state").unwrap().is_empty());
    assert!(vfs.xattr(Ino::ROOT, b"user.miaofs.control").unwrap().ends_with(b"/control.sock"));
    refused!(vfs.xattr(ino, b"user.miaofs.control"), Error::NoXattr);
    let set = vfs.set_xattr(ADA, ino, (b"user.miaofs.state", b"x"), SetXattr::Always);
    refused!(set, Error::XattrReadOnly);
    refused!(vfs.remove_xattr(ino, b"user.miaofs.state"), Error::XattrReadOnly);
    assert_eq!(vfs.xattr_names(ADA, ino).unwrap(), b"");
    refused!(vfs.xattr(ino, b"system.nfs4_acl"), Error::Unsupported);
}

#[test]
fn a_list_of_names_stays_readable() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let set = |number: usize| {
        let name = format!("user.{number:0>250}");
        drive.vfs.set_xattr(ADA, ino, (name.as_bytes(), b""), SetXattr::Always)
    };
    (0..256).try_for_each(set).unwrap();
    refused!(set(256), Error::XattrsFull);
    assert_eq!(drive.vfs.xattr_names(ADA, ino).unwrap().len(), 64 * 1024);
}

#[test]
fn trusted_attributes_are_listed_for_the_privileged_only() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    drive.vfs.set_xattr(ROOT_USER, ino, (b"trusted.a", b"1"), SetXattr::Always).unwrap();
    drive.vfs.set_xattr(ADA, ino, (b"user.a", b"1"), SetXattr::Always).unwrap();
    assert_eq!(drive.vfs.xattr_names(ROOT_USER, ino).unwrap(), b"trusted.a\0user.a\0");
    assert_eq!(drive.vfs.xattr_names(ADA, ino).unwrap(), b"user.a\0");
}
