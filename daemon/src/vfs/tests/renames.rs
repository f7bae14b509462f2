//! Renaming, in all its modes.

use super::{ADA, Drive, READ, at, refused};
use crate::store::Ino;
use crate::vfs::{Error, RenameMode};

const ROOT: Ino = Ino::ROOT;

#[test]
fn a_rename_moves_the_name_and_the_times() {
    let drive = Drive::new();
    let directory = drive.directory(ROOT, "d");
    let ino = drive.file(ROOT, "a");
    let before = drive.stat(ino).attributes;
    drive.vfs.rename(at(ROOT, "a"), at(directory, "b"), RenameMode::Replace).unwrap();
    assert_eq!(drive.find(ROOT, "a"), None);
    assert_eq!(drive.find(directory, "b"), Some(ino));
    let after = drive.stat(ino).attributes;
    assert_eq!(after.mtime, before.mtime);
    assert!(after.ctime > before.ctime);
    assert!(drive.stat(directory).attributes.mtime >= after.ctime);
}

#[test]
fn a_rename_over_a_file_replaces_it_and_readers_keep_the_old_one() {
    let drive = Drive::new();
    let old = drive.file_of(ROOT, "file", b"old");
    let new = drive.file_of(ROOT, "file.tmp", b"new");
    let reader = drive.open(old, READ);
    drive.vfs.rename(at(ROOT, "file.tmp"), at(ROOT, "file"), RenameMode::Replace).unwrap();
    assert_eq!(drive.find(ROOT, "file"), Some(new));
    assert_eq!(drive.content(new), b"new");
    assert_eq!(drive.read(reader, 0, 10), b"old");
    drive.vfs.release(reader).unwrap();
    drive.vfs.forget(old);
    refused!(drive.vfs.stat(old), Error::Stale);
}

#[test]
fn a_replaced_file_opens_until_the_kernel_has_forgotten_it() {
    let drive = Drive::new();
    let old = drive.file_of(ROOT, "file", b"old");
    drive.file_of(ROOT, "file.tmp", b"new");
    drive.vfs.rename(at(ROOT, "file.tmp"), at(ROOT, "file"), RenameMode::Replace).unwrap();
    assert_eq!(drive.stat(old).links, 0);
    let late = drive.open(old, READ);
    drive.vfs.forget(old);
    assert_eq!(drive.read(late, 0, 10), b"old");
    drive.vfs.release(late).unwrap();
    refused!(drive.vfs.open(ADA, old, READ), Error::Stale);
}

#[test]
fn a_file_that_keeps_another_name_is_not_held_when_it_is_replaced() {
    let drive = Drive::new();
    let old = drive.file(ROOT, "file");
    drive.vfs.link(old, at(ROOT, "twin")).unwrap();
    drive.file(ROOT, "file.tmp");
    drive.vfs.rename(at(ROOT, "file.tmp"), at(ROOT, "file"), RenameMode::Replace).unwrap();
    drive.vfs.unlink(at(ROOT, "twin")).unwrap();
    refused!(drive.vfs.stat(old), Error::Stale);
}

#[test]
fn kinds_must_agree_and_a_replaced_directory_must_be_empty() {
    let drive = Drive::new();
    let full = drive.directory(ROOT, "full");
    drive.file(full, "x");
    let empty = drive.directory(ROOT, "empty");
    let moved = drive.directory(ROOT, "moved");
    drive.file(ROOT, "file");
    let rename = |from, to| drive.vfs.rename(at(ROOT, from), at(ROOT, to), RenameMode::Replace);
    refused!(rename("file", "empty"), Error::IsDirectory);
    refused!(rename("empty", "file"), Error::NotDirectory);
    refused!(rename("moved", "full"), Error::NotEmpty);
    refused!(rename("nothing", "file"), Error::NoName);
    rename("moved", "empty").unwrap();
    assert_eq!(drive.find(ROOT, "empty"), Some(moved));
    assert_eq!(drive.stat(empty).links, 0);
}

#[test]
fn a_directory_never_gets_into_itself() {
    let drive = Drive::new();
    let outer = drive.directory(ROOT, "outer");
    let inner = drive.directory(outer, "inner");
    let rename = |to, mode| drive.vfs.rename(at(ROOT, "outer"), to, mode);
    refused!(rename(at(inner, "x"), RenameMode::Replace), Error::IntoItself);
    refused!(rename(at(outer, "x"), RenameMode::Replace), Error::IntoItself);
    refused!(rename(at(outer, "inner"), RenameMode::Exchange), Error::IntoItself);
    assert_eq!(drive.find(ROOT, "outer"), Some(outer));
    assert_eq!(drive.stat(ROOT).links, 3);
}

#[test]
fn of_several_errors_it_is_the_one_of_a_local_disk() {
    let drive = Drive::new();
    let outer = drive.directory(ROOT, "outer");
    let inner = drive.directory(outer, "inner");
    drive.file(outer, "file");
    let rename = |from, to, mode| drive.vfs.rename(from, to, mode);
    let (outer_name, inner_name) = (at(ROOT, "outer"), at(outer, "inner"));
    refused!(rename(outer_name, inner_name, RenameMode::KeepTarget), Error::Exists);
    refused!(rename(outer_name, at(inner, "x"), RenameMode::Exchange), Error::NoName);
    refused!(rename(at(outer, "file"), outer_name, RenameMode::Replace), Error::NotEmpty);
    refused!(drive.vfs.link(outer, inner_name), Error::Exists);
}

#[test]
fn a_rename_may_refuse_to_replace() {
    let drive = Drive::new();
    drive.file(ROOT, "a");
    drive.file(ROOT, "b");
    let rename = |to| drive.vfs.rename(at(ROOT, "a"), at(ROOT, to), RenameMode::KeepTarget);
    refused!(rename("b"), Error::Exists);
    rename("c").unwrap();
    assert_eq!(drive.find(ROOT, "a"), None);
}

#[test]
fn two_names_are_swapped_in_one_step() {
    let drive = Drive::new();
    let directory = drive.directory(ROOT, "d");
    let inner = drive.directory(directory, "inner");
    let file = drive.file(ROOT, "file");
    drive.vfs.rename(at(ROOT, "file"), at(directory, "inner"), RenameMode::Exchange).unwrap();
    assert_eq!(drive.find(ROOT, "file"), Some(inner));
    assert_eq!(drive.find(directory, "inner"), Some(file));
    assert_eq!(drive.stat(directory).links, 2);
    let missing = drive.vfs.rename(at(ROOT, "file"), at(ROOT, "none"), RenameMode::Exchange);
    refused!(missing, Error::NoName);
}

#[test]
fn renaming_a_file_onto_itself_does_nothing() {
    let drive = Drive::new();
    let ino = drive.file(ROOT, "a");
    drive.vfs.link(ino, at(ROOT, "b")).unwrap();
    drive.vfs.rename(at(ROOT, "a"), at(ROOT, "b"), RenameMode::Replace).unwrap();
    assert_eq!((drive.find(ROOT, "a"), drive.find(ROOT, "b")), (Some(ino), Some(ino)));
}
