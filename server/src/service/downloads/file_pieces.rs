//! Bytes of files, in pieces that a few buffers go round for: from the page cache at once, from the disk on a thread that may block.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use rustix::io::ReadWriteFlags;

use crate::backend::{BlobId, Error, run_blocking};

/// Bytes of a piece: 256 KiB, which stay in the processor's cache until they are sent.
pub(super) const PIECE: usize = 256 * 1024;
/// Pieces that are read ahead of whoever takes them.
const AHEAD: usize = 2;
/// Buffers that are kept for the next piece: 16 MiB of them.
const FREE_MAX: usize = 64;

/// Buffers that nobody uses. New ones would cost the kernel more than reading into them: it clears each page.
static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Cuts bytes in a row into ranges that a buffer holds.
pub(super) fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> + Send {
    let end = range.end;
    range.step_by(PIECE).map(move |start| start..(start + PIECE as u64).min(end))
}

/// The bytes of a range of a blob's file, in order.
pub(super) fn pieces_of(
    file: Arc<File>,
    blob: BlobId,
    range: Range<u64>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    stream::iter(cut(range)).map(move |range| read(file.clone(), blob, range)).buffered(AHEAD)
}

async fn read(file: Arc<File>, blob: BlobId, range: Range<u64>) -> Result<Bytes, Error> {
    let mut buffer = Buffer::new(usize::try_from(range.end - range.start).unwrap_or(PIECE));
    let here = read_cached(&file, buffer.bytes_mut(), range.start);
    if here < buffer.length {
        let rest = move || {
            file.read_exact_at(&mut buffer.bytes_mut()[here..], range.start + here as u64)
                .map_err(|error| Error::file(blob.to_string(), error))?;
            Ok(buffer)
        };
        buffer = run_blocking(rest).await?;
    }
    Ok(Bytes::from_owner(buffer))
}

/// Reads what the page cache has of a file, from `offset` on: the number of bytes (preadv2(2), `RWF_NOWAIT`).
fn read_cached(file: &File, bytes: &mut [u8], offset: u64) -> usize {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &mut [IoSliceMut::new(&mut bytes[done..])];
        match rustix::io::preadv2(file, rest, offset + done as u64, ReadWriteFlags::NOWAIT) {
            Ok(count) if count > 0 => done += count,
            // Not there, at the end, or not on this file system: the blocking read tells.
            Ok(_) | Err(_) => break,
        }
    }
    done
}

/// A buffer that goes back to [`FREE`] when nobody uses its bytes any more.
struct Buffer {
    whole: Vec<u8>,
    length: usize,
}

impl Buffer {
    /// One of `length` bytes, [`PIECE`] at the most, whatever stands in it.
    fn new(length: usize) -> Self {
        let whole = free().pop().unwrap_or_else(|| vec![0; PIECE]);
        Self { whole, length: length.min(PIECE) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.whole[..self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.whole[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = free();
        if free.len() < FREE_MAX {
            free.push(std::mem::take(&mut self.whole));
        }
    }
}

fn free() -> MutexGuard<'static, Vec<Vec<u8>>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::stream::TryStreamExt as _;
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_range_comes_whole_and_in_order_and_one_beyond_the_end_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..3 * PIECE as u32 + 77).map(|at| (at % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        let file = Arc::new(file);
        let read = |range: Range<u64>| pieces_of(file.clone(), BlobId::random(), range);
        for _again in 0..2 {
            let pieces: Vec<Bytes> = read(5..bytes.len() as u64).try_collect().await.unwrap();
            assert_eq!(pieces.concat(), bytes[5..]);
        }
        assert!(!free().is_empty(), "buffers come back");
        let beyond = read(0..bytes.len() as u64 + 1).try_collect::<Vec<Bytes>>().await;
        assert!(matches!(beyond, Err(Error::File { .. })), "{beyond:?}");
    }
}
