//! Window that is fetched when a read misses: small at first, larger with every miss that follows on, the smallest where reads go
//! here and there.
//!
//! Pure. A reader is known by where its next miss would be if it went on from here; so several
//! readers of one file, each sequential, each have a window of their own.

use std::ops::Range;

use crate::store::BLOCK_SIZE;

/// The first window of a reader: 256 KiB.
const FIRST: u64 = 256 * 1024;
/// The largest: 16 MiB.
const LARGEST: u64 = 16 * 1024 * 1024;
/// Contents up to this size come whole: 512 KiB.
const WHOLE: u64 = 512 * 1024;
/// Misses in a row none of which goes on from another, after which the next such one fetches a block only.
const SCATTERED: u32 = 3;
/// Readers of one file that are told apart.
const READERS: usize = 8;
/// Bytes that one request fetches at the most: 2 MiB.
const PIECE: u64 = 2 * 1024 * 1024;

/// A sequential reader: the offset of its next miss, and the size of its last window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader {
    next: u64,
    window: u64,
}

/// The readers of one content.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    readers: Vec<Reader>,
    /// Misses in a row that went on from none.
    scattered: u32,
}

impl ReadAhead {
    /// Returns the range to fetch for a read of `wanted` that missed, in a content of `size` bytes.
    ///
    /// The answer holds `wanted`, starts on a block and ends on one or at the end of the content.
    pub(super) fn window(&mut self, wanted: &Range<u64>, size: u64) -> Range<u64> {
        if size <= WHOLE {
            return 0..size;
        }
        let start = wanted.start - wanted.start % BLOCK_SIZE;
        let window = match self.readers.iter().position(|reader| reader.goes_on_at(start)) {
            Some(index) => {
                self.scattered = 0;
                (self.readers.remove(index).window * 2).min(LARGEST)
            }
            None => {
                self.scattered = self.scattered.saturating_add(1);
                if self.scattered > SCATTERED { BLOCK_SIZE } else { FIRST }
            }
        };
        let end = wanted.end.max(start + window).next_multiple_of(BLOCK_SIZE).min(size);
        self.readers.insert(0, Reader { next: end, window });
        self.readers.truncate(READERS);
        start..end
    }
}

impl Reader {
    /// The kernel reads ahead too, so a sequential reader may miss a little beyond.
    const fn goes_on_at(self, start: u64) -> bool {
        start >= self.next.saturating_sub(BLOCK_SIZE) && start <= self.next + FIRST
    }
}

/// Cuts a run into pieces for requests of their own, at least four if the run is large.
pub(super) fn pieces(run: Range<u64>) -> Vec<Range<u64>> {
    let quarter = ((run.end - run.start) / 4).next_multiple_of(BLOCK_SIZE);
    let piece = quarter.clamp(FIRST, PIECE);
    let mut pieces = Vec::new();
    let mut start = run.start;
    while start < run.end {
        let end = (start + piece).min(run.end);
        pieces.push(start..end);
        start = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    #[test]
    fn a_look_into_the_middle_fetches_little() {
        let middle = GIB / 2 + 12_345;
        let window = ReadAhead::default().window(&(middle..middle + 65_536), GIB);
        assert!(window.end - window.start <= 512 * 1024);
    }

    #[test]
    fn reads_here_and_there_fetch_a_block_each_until_one_goes_on() {
        let mut ahead = ReadAhead::default();
        let mut read = |at: u64| {
            let window = ahead.window(&(at..at + 4096), GIB);
            window.end - window.start
        };
        let scattered: Vec<_> = (1..=5).map(|place| read(place * GIB / 8)).collect();
        assert_eq!(scattered, [FIRST, FIRST, FIRST, BLOCK_SIZE, BLOCK_SIZE]);
        assert_eq!(read(5 * GIB / 8 + BLOCK_SIZE), 2 * BLOCK_SIZE);
        assert_eq!(read(7 * GIB / 8), FIRST);
    }

    #[test]
    fn a_sequential_reader_soon_has_many_pieces_in_flight() {
        let mut ahead = ReadAhead::default();
        let mut at = 0;
        for _ in 0..6 {
            at = ahead.window(&(at..at + 131_072), GIB).end;
        }
        let window = ahead.window(&(at..at + 131_072), GIB);
        assert!(window.end - window.start <= LARGEST);
        assert!(pieces(window).len() >= 4);
    }

    #[test]
    fn two_sequential_readers_do_not_disturb_each_other() {
        let mut ahead = ReadAhead::default();
        let (mut here, mut there) = (0, GIB / 2);
        for _ in 0..8 {
            here = ahead.window(&(here..here + 4096), GIB).end;
            there = ahead.window(&(there..there + 4096), GIB).end;
        }
        let window = ahead.window(&(here..here + 4096), GIB);
        assert_eq!(window.end - window.start, LARGEST);
    }

    proptest! {
        #[test]
        fn a_window_holds_what_is_wanted_on_whole_blocks(
            size in 1..GIB, reads in proptest::collection::vec((any::<u64>(), 1..2_000_000u64), 1..30),
        ) {
            let mut ahead = ReadAhead::default();
            for (start, length) in reads {
                let start = start % size;
                let wanted = start..(start + length).min(size);
                let window = ahead.window(&wanted, size);
                prop_assert!(window.start <= wanted.start && window.end >= wanted.end);
                prop_assert!(window.start % BLOCK_SIZE == 0);
                prop_assert!(window.end % BLOCK_SIZE == 0 || window.end == size);
                let pieces = pieces(window.clone());
                prop_assert_eq!(pieces[0].start, window.start);
                prop_assert_eq!(pieces[pieces.len() - 1].end, window.end);
                prop_assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
                prop_assert!(pieces.iter().all(|piece| piece.end - piece.start <= PIECE));
            }
        }
    }
}
