//! Large writes to files that nobody reads for a while: past the page cache, straight to the disk.
//!
//! A write through the page cache takes a new page of memory for every page of the file, which is dear where a hypervisor gives memory
//! late, and leaves all of the disk's work to the sync at the end. Without it the disk works as the bytes come; what that takes is
//! aligned memory, of which there are a few pieces for the whole process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

/// Alignment of memory and places in files, more than which no disk of today asks for.
const ALIGNMENT: usize = 4096;
/// Bytes of one piece of aligned memory, and the least that is worth all this.
const PIECE: usize = 1024 * 1024;
/// Pieces: writes that a disk has to do at once.
const PIECES: usize = 4;

/// Aligned memory that nobody uses.
static FREE: LazyLock<Pieces> = LazyLock::new(|| {
    let pieces = Mutex::new((0..PIECES).map(|_| Piece::new()).collect());
    Pieces { pieces, given_back: Condvar::new() }
});

struct Pieces {
    pieces: Mutex<Vec<Piece>>,
    given_back: Condvar,
}

/// A piece of memory, aligned from `start` on.
struct Piece {
    memory: Vec<u8>,
    start: usize,
}

impl Piece {
    fn new() -> Self {
        let memory = vec![0; PIECE + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, start }
    }

    /// The bytes, in aligned memory; a piece has room for them.
    fn filled_with(&mut self, bytes: &[u8]) -> &[u8] {
        let aligned = &mut self.memory[self.start..][..bytes.len()];
        aligned.copy_from_slice(bytes);
        aligned
    }
}

impl Pieces {
    /// Lends a piece, when there is one.
    fn lend<T>(&self, work: impl FnOnce(&mut Piece) -> T) -> T {
        let mut free = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut piece = loop {
            match free.pop() {
                Some(piece) => break piece,
                None => free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(free);
        let done = work(&mut piece);
        let mut free = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(piece);
        self.given_back.notify_one();
        done
    }
}

/// Writes bytes at a place of a file that exists. Blocks.
///
/// # Errors
/// Those of the system.
pub(super) fn write_all_at(path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    let direct = bytes.len() - bytes.len() % ALIGNMENT;
    let is_worth_it = direct >= PIECE && offset.is_multiple_of(ALIGNMENT as u64);
    let written = match is_worth_it.then(|| open_direct(path)).transpose()?.flatten() {
        Some(file) => write_direct(&file, &bytes[..direct], offset)?,
        None => 0,
    };
    if written == bytes.len() {
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&bytes[written..], offset + written as u64)
}

/// Opens a file to write past the page cache; `None` where the file system has no such thing.
fn open_direct(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

/// Answers how many bytes were written: less than all when the disk wants another alignment.
fn write_direct(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    // Into blocks that the file has already, several can write at once. Where this is not supported, or there is no room, the write says so.
    let _merely_quicker = fallocate(file, FallocateFlags::KEEP_SIZE, offset, bytes.len() as u64);
    let mut written = 0;
    for piece in bytes.chunks(PIECE) {
        let at = offset + written as u64;
        match FREE.lend(|memory| file.write_all_at(memory.filled_with(piece), at)) {
            Ok(()) => written += piece.len(),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_stand_where_they_were_written_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it");
        let lengths = [0, 1, ALIGNMENT, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 777, 4 * PIECE];
        for (length, offset) in
            lengths.into_iter().flat_map(|length| [(length, 4096), (length, 4097)])
        {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8 + 1).collect();
            File::create(&path).unwrap().set_len(8 << 20).unwrap();
            write_all_at(&path, &bytes, offset).unwrap();
            let found = std::fs::read(&path).unwrap();
            let (before, rest) = found.split_at(offset as usize);
            assert!(before.iter().all(|byte| *byte == 0), "before {length} at {offset}");
            assert!(rest[..length] == bytes, "{length} at {offset}");
            assert!(rest[length..].iter().all(|byte| *byte == 0), "behind {length} at {offset}");
            assert_eq!(found.len(), 8 << 20);
        }
    }

    #[test]
    fn many_write_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it");
        File::create(&path).unwrap().set_len(16 * PIECE as u64).unwrap();
        std::thread::scope(|scope| {
            for number in 0..16_u8 {
                let path = &path;
                let offset = u64::from(number) * PIECE as u64;
                scope.spawn(move || write_all_at(path, &vec![number; PIECE], offset).unwrap());
            }
        });
        let found = std::fs::read(&path).unwrap();
        assert!(
            found
                .chunks(PIECE)
                .zip(0..)
                .all(|(piece, number)| piece.iter().all(|byte| *byte == number))
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it");
        let error = write_all_at(&path, &[1; 2 * PIECE], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!path.exists());
    }
}
