//! zeros and holes: sizes, times, set-id bits and errors, as on a local disk.

use super::{ADA, Drive, ROOT_USER, WRITE, refused};
use crate::store::{self, Availability, Growth, Ino, SeekWhence};
use crate::vfs::{Allocation, AttributeChange, ByteRange, Caller, Error, HandleId, ModeEffect};

const MIB: u64 = 1 << 20;
const RESERVE: Allocation = Allocation::Reserve(Growth::Extend);
const KEEP: Allocation = Allocation::Reserve(Growth::KeepSize);

fn span(offset: u64, length: u64) -> ByteRange {
    ByteRange { offset, length }
}

impl Drive {
    fn allocate(
        &self,
        caller: Caller,
        id: HandleId,
        range: (u64, u64),
        what: Allocation,
    ) -> ModeEffect {
        match self.vfs.allocate(caller, id, span(range.0, range.1), what).unwrap() {
            Availability::Ready(written) => written,
            Availability::Missing(range) => panic!("{range:?} is missing"),
        }
    }
}

#[test]
fn the_size_grows_or_is_kept_as_asked() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"hello");
    let handle = drive.open(ino, WRITE);
    let size = || drive.stat(ino).attributes.size;
    drive.allocate(ADA, handle, (0, MIB), KEEP);
    drive.allocate(ADA, handle, (3, MIB), Allocation::Zero(Growth::KeepSize));
    assert_eq!((size(), drive.content(ino)), (5, b"hel\0\0".to_vec()));
    assert!(drive.stat(ino).blocks * 512 >= MIB);
    drive.allocate(ADA, handle, (0, 7), RESERVE);
    assert_eq!(drive.content(ino), b"hel\0\0\0\0");
    drive.allocate(ADA, handle, (1, 9), Allocation::Zero(Growth::Extend));
    assert_eq!(drive.content(ino), b"h\0\0\0\0\0\0\0\0\0");
    drive.allocate(ADA, handle, (0, MIB), Allocation::Punch);
    assert_eq!((size(), drive.content(ino)), (10, vec![0; 10]));
}

#[test]
fn each_of_them_moves_mtime_and_ctime() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"hello");
    let handle = drive.open(ino, WRITE);
    let zero = Allocation::Zero(Growth::KeepSize);
    for (offset, what) in [(0, RESERVE), (0, KEEP), (1, Allocation::Punch), (2, zero), (9, zero)] {
        let before = drive.stat(ino).attributes;
        drive.allocate(ADA, handle, (offset, 1), what);
        let after = drive.stat(ino).attributes;
        assert!(after.mtime > before.mtime && after.ctime > before.ctime, "{what:?} at {offset}");
    }
}

#[test]
fn a_stranger_takes_the_set_id_bits_away_and_root_does_not() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"hello");
    let handle = drive.open(ino, WRITE);
    let mode = |mode| {
        let change = AttributeChange { mode: Some(mode), ..AttributeChange::default() };
        drive.vfs.set_attributes(ROOT_USER, ino, change).unwrap();
    };
    for what in [RESERVE, KEEP, Allocation::Punch, Allocation::Zero(Growth::KeepSize)] {
        mode(0o6755);
        assert_eq!(drive.allocate(ROOT_USER, handle, (0, 2), what), ModeEffect::Unchanged);
        assert_eq!(drive.stat(ino).attributes.mode, 0o6755);
        assert_eq!(drive.allocate(ADA, handle, (0, 2), what), ModeEffect::Changed);
        assert_eq!(drive.stat(ino).attributes.mode, 0o755, "{what:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"hello");
    let handle = drive.open(ino, WRITE);
    let allocate =
        |offset, length, what| drive.vfs.allocate(ADA, handle, span(offset, length), what);
    for what in [RESERVE, KEEP, Allocation::Punch, Allocation::Zero(Growth::Extend)] {
        refused!(allocate(0, 0, what), Error::EmptyRange);
        refused!(allocate(1 << 44, 1, what), Error::Store(store::Error::TooLarge(_)));
        refused!(allocate(u64::MAX, 2, what), Error::Store(store::Error::TooLarge(_)));
    }
    refused!(allocate(0, 1 << 44, RESERVE), Error::Store(store::Error::NoSpace));
    assert_eq!(drive.content(ino), b"hello");
    let unknown = HandleId(4711);
    refused!(drive.vfs.allocate(ADA, unknown, span(0, 1), RESERVE), Error::BadHandle);
    let errnos = [Error::EmptyRange.errno(), Error::from(store::Error::TooLarge(1)).errno()];
    assert_eq!(errnos, [rustix::io::Errno::INVAL, rustix::io::Errno::FBIG]);
}

#[test]
fn data_and_holes_are_sought_inside_of_the_file_only() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let handle = drive.open(ino, WRITE);
    drive.write(handle, 9 * MIB, b"end");
    let seek = |offset, sought| drive.vfs.seek(handle, offset, sought);
    let found = |offset, sought| match seek(offset, sought).unwrap() {
        Availability::Ready(found) => found,
        Availability::Missing(_) => panic!("it is all here"),
    };
    let mib = MIB as i64;
    assert_eq!(found(5, SeekWhence::Hole), 5);
    assert_eq!(found(5, SeekWhence::Data), 9 * MIB);
    assert_eq!(found(9 * mib + 1, SeekWhence::Data), 9 * MIB + 1);
    assert_eq!(found(9 * mib + 1, SeekWhence::Hole), 9 * MIB + 3);
    for offset in [9 * mib + 3, i64::MAX, -1] {
        refused!(seek(offset, SeekWhence::Data), Error::NothingBehind);
        refused!(seek(offset, SeekWhence::Hole), Error::NothingBehind);
    }
    assert_eq!(Error::NothingBehind.errno(), rustix::io::Errno::NXIO);
}
