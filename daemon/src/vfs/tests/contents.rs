//! Reading and writing, here and where the bytes would have to be fetched.

use super::{ADA, Drive, READ, WRITE, refused};
use crate::store::Ino;
use crate::vfs::{Error, HandleId};

const MIB: u64 = 1 << 20;

#[test]
fn what_was_written_is_read_by_everybody_at_once() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let (writer, reader) = (drive.open(ino, WRITE), drive.open(ino, READ));
    drive.write(writer, 0, b"hello");
    assert_eq!(drive.read(reader, 0, 100), b"hello");
    assert_eq!(drive.stat(ino).attributes.size, 5);
    drive.write(writer, 5, b" there");
    assert_eq!(drive.read(reader, 3, 4), b"lo t");
    assert_eq!(drive.read(reader, 11, 4), b"");
    assert_eq!(drive.read(reader, 1 << 40, 4), b"");
}

#[test]
fn what_was_never_written_reads_as_zeros() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let handle = drive.open(ino, WRITE);
    drive.write(handle, 9 * MIB, b"end");
    assert_eq!(drive.stat(ino).attributes.size, 9 * MIB + 3);
    assert_eq!(drive.read(handle, 4 * MIB - 10, 20), vec![0; 20]);
    assert_eq!(drive.read(handle, 9 * MIB - 1, 100), b"\0end");
    assert!(drive.stat(ino).blocks < 9 * MIB / 512);
}

#[test]
fn a_write_moves_the_times() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let before = drive.stat(ino).attributes;
    let handle = drive.open(ino, WRITE);
    drive.write(handle, 0, b"x");
    let after = drive.stat(ino).attributes;
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    assert_eq!(after.btime, before.btime);
    drive.vfs.release(handle).unwrap();
    assert_eq!(drive.stat(ino).attributes, after);
}

#[test]
fn a_closed_handle_is_no_handle() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let handle = drive.open(ino, WRITE);
    drive.vfs.sync(handle).unwrap();
    drive.vfs.release(handle).unwrap();
    refused!(drive.vfs.release(handle), Error::BadHandle);
    refused!(drive.vfs.read(handle, 0, &mut [0]), Error::BadHandle);
    refused!(drive.vfs.sync(HandleId(4711)), Error::BadHandle);
}

#[test]
fn only_regular_files_are_opened() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    assert!(drive.vfs.open(ADA, directory, READ).is_err());
    refused!(drive.vfs.open(ADA, Ino(4711), READ), Error::Stale);
}

#[test]
fn reading_what_is_here_needs_no_server() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"local");
    let handle = drive.open(ino, READ);
    let mut bytes = [0; 100];
    let read = drive.vfs.read_fetching(handle, || drive.vfs.read(handle, 1, &mut bytes));
    let length = drive.runtime.block_on(read).unwrap();
    assert_eq!(&bytes[..length], b"ocal");
}
