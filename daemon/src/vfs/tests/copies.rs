//! Copying between open files.

use super::{ADA, Drive, READ, ROOT_USER, WRITE, refused};
use crate::store::{CopyRange, Ino};
use crate::vfs::{AttributeChange, Caller, Error, HandleId, ModeEffect};

impl Drive {
    fn copy(
        &self,
        caller: Caller,
        handles: (HandleId, HandleId),
        (from, to, length): (u64, u64, u64),
    ) -> Result<(u64, ModeEffect), Error> {
        let stretch = CopyRange { from, to, length };
        self.runtime.block_on(self.vfs.copy(caller, handles, stretch))
    }
}

#[test]
fn a_copy_ends_with_its_source_and_moves_the_times() {
    let drive = Drive::new();
    let (a, b) = (drive.file_of(Ino::ROOT, "a", b"0123456789"), drive.file(Ino::ROOT, "b"));
    let (source, target) = (drive.open(a, READ), drive.open(b, WRITE));
    let before = drive.stat(b).attributes;
    assert_eq!(drive.copy(ADA, (source, target), (10, 0, 5)).unwrap().0, 0);
    assert_eq!(drive.copy(ADA, (source, target), (0, 0, 0)).unwrap().0, 0);
    assert_eq!(drive.stat(b).attributes, before);
    assert_eq!(drive.copy(ADA, (source, target), (4, 1, u64::MAX)).unwrap().0, 6);
    assert_eq!(drive.content(b), b"\x00456789");
    let after = drive.stat(b).attributes;
    assert!(after.mtime > before.mtime && after.ctime > before.ctime);
    drive.vfs.release(target).unwrap();
    assert_eq!(drive.stat(b).attributes, after);
}

#[test]
fn what_cannot_be_copied_is_refused() {
    let drive = Drive::new();
    let ino = drive.file_of(Ino::ROOT, "a", b"0123456789");
    let (read, write) = (drive.open(ino, READ), drive.open(ino, WRITE));
    refused!(drive.copy(ADA, (write, read), (0, 20, 5)), Error::BadHandle);
    refused!(drive.copy(ADA, (HandleId(4711), write), (0, 20, 5)), Error::BadHandle);
    refused!(drive.copy(ADA, (read, write), (0, 4, 5)), Error::Overlap);
    refused!(drive.copy(ADA, (read, write), (5, 1, 100)), Error::Overlap);
    let too_large = drive.copy(ADA, (read, write), (0, 1 << 44, 5)).unwrap_err();
    assert_eq!(too_large.errno(), rustix::io::Errno::FBIG);
    assert_eq!(drive.content(ino), b"0123456789");
    assert_eq!(drive.copy(ADA, (read, write), (5, 0, 100)).unwrap().0, 5);
    assert_eq!(drive.content(ino), b"5678956789");
}

#[test]
fn a_copy_takes_set_id_bits_away_as_a_write_does() {
    let drive = Drive::new();
    let (a, b) = (drive.file_of(Ino::ROOT, "a", b"bytes"), drive.file(Ino::ROOT, "b"));
    let mode = AttributeChange { mode: Some(0o6755), ..AttributeChange::default() };
    drive.vfs.set_attributes(ROOT_USER, b, mode).unwrap();
    let handles = (drive.open(a, READ), drive.open(b, WRITE));
    assert_eq!(drive.copy(ROOT_USER, handles, (0, 0, 5)).unwrap().1, ModeEffect::Unchanged);
    assert_eq!(drive.copy(ADA, handles, (5, 0, 5)).unwrap(), (0, ModeEffect::Unchanged));
    assert_eq!(drive.stat(b).attributes.mode, 0o6755, "nothing was copied");
    assert_eq!(drive.copy(ADA, handles, (0, 0, 5)).unwrap(), (5, ModeEffect::Changed));
    assert_eq!(drive.stat(b).attributes.mode, 0o755);
}
