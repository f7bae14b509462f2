//! Parts of a multipart upload: runs of chunks, few enough and large enough for the service.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use miaofs::content::CHUNK_SIZE;

use super::etag::{self, Md5Bytes};
use super::rules::Rules;
use crate::backend::{Error, run_blocking};

/// Bytes of a part, unless the service wants larger or fewer ones: two chunks.
const PART: u64 = 2 * CHUNK_SIZE;
/// Bytes of parts that are held at once.
const HELD: u64 = 4 * PART;

/// The parts of one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    size: u64,
    part: u64,
}

impl Parts {
    /// Cuts `size` bytes as the service wants it.
    pub(super) fn of(size: u64, rules: &Rules) -> Self {
        let least = size.div_ceil(rules.parts_max).max(rules.part_min).max(PART);
        Self { size, part: least.next_multiple_of(CHUNK_SIZE) }
    }

    /// True if a plain put does it, since there is one part at the most.
    pub(super) fn is_one(&self) -> bool {
        self.size <= self.part
    }

    /// The parts in order.
    pub(super) fn ranges(self) -> impl Iterator<Item = Range<u64>> + Send {
        let count = self.size.div_ceil(self.part);
        (0..count).map(move |index| {
            let start = index * self.part;
            start..(start + self.part).min(self.size)
        })
    }

    /// Number of parts sent at once: the memory used stays about the same for any size.
    pub(super) fn at_once(&self) -> usize {
        usize::try_from((HELD / self.part).max(1)).unwrap_or(1)
    }
}

/// Reads a part of a staged file, and hashes it on the way.
///
/// # Errors
/// [`Error::File`].
pub(super) async fn read_part(
    file: Arc<File>,
    range: Range<u64>,
) -> Result<(Bytes, Md5Bytes), Error> {
    run_blocking(move || {
        let length = usize::try_from(range.end - range.start).expect("a part fits into memory");
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, range.start)
            .map_err(|error| Error::file("staged blob", error))?;
        let md5 = etag::md5_of(&bytes);
        Ok((bytes.into(), md5))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::blobs::oss::OSS;
    use crate::backend::blobs::rules::CEPH;

    #[test]
    fn parts_cover_a_blob_and_are_as_many_and_as_large_as_allowed() {
        for rules in [CEPH, OSS] {
            for size in [1, PART, PART + 1, 3 * PART, 1 << 37, (1 << 40) + 7] {
                let parts = Parts::of(size, &rules);
                let ranges: Vec<_> = parts.ranges().collect();
                assert_eq!(parts.is_one(), ranges.len() == 1, "{size}");
                assert!(ranges.len() as u64 <= rules.parts_max, "{size}");
                assert!(ranges.windows(2).all(|two| two[0].end == two[1].start), "{size}");
                assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, size));
                let whole = &ranges[..ranges.len() - 1];
                assert!(whole.iter().all(|it| it.end - it.start >= rules.part_min), "{size}");
                assert!(whole.iter().all(|it| it.end % CHUNK_SIZE == 0), "{size}");
                assert!(parts.at_once() as u64 * parts.part <= HELD.max(parts.part), "{size}");
            }
        }
    }
}
