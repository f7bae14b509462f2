//! Window that is fetched when a read misses: what is asked for at first, larger with every time that reads go on from there.
//!
//! A sequential reader does not come to the end of a window to find nothing beyond: once past the middle of one, the next is
//! due ([`ReadAhead::beyond`]).
//!
//! Pure. A reader is known by where its next miss would be if it went on from here; so several
//! readers of one file, each sequential, each have a window of their own.

use std::ops::Range;

use crate::store::BLOCK_SIZE;

/// A window is so many times as large as the one before it.
const GROWTH: u64 = 4;
/// The largest window: 16 MiB.
const LARGEST: u64 = 16 * 1024 * 1024;
/// Contents up to this size come whole: 512 KiB.
const WHOLE: u64 = 512 * 1024;
/// Distance from the end of a window at which a miss still goes on from it: 256 KiB. The kernel reads ahead, too.
const NEAR: u64 = 256 * 1024;
/// Readers of one file that are told apart.
const READERS: usize = 8;
/// Bytes that one request fetches at the least, if there are as many: 256 KiB.
const PIECE_MIN: u64 = 256 * 1024;
/// Bytes that one request fetches at the most: 4 MiB.
const PIECE_MAX: u64 = 4 * 1024 * 1024;

/// A reader: the offset of its next miss, and the size of its last window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader {
    next: u64,
    window: u64,
    /// Set once it has gone on from a window of its own.
    sequential: bool,
}

/// The readers of one content.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    readers: Vec<Reader>,
}

impl ReadAhead {
    /// Returns the range to fetch for a read of `wanted` that missed, in a content of `size` bytes.
    ///
    /// The answer holds `wanted`, as far as it is in the content, starts on a block and ends on one or at the end of the content.
    pub(super) fn window(&mut self, wanted: &Range<u64>, size: u64) -> Range<u64> {
        if size <= WHOLE {
            return 0..size;
        }
        let start = wanted.start - wanted.start % BLOCK_SIZE;
        let before = self.readers.iter().position(|reader| reader.goes_on_at(start));
        let before = before.map(|index| self.readers.remove(index));
        let window = before.map_or(BLOCK_SIZE, |reader| (reader.window * GROWTH).min(LARGEST));
        let end = wanted.end.max(start + window).next_multiple_of(BLOCK_SIZE).min(size).max(start);
        self.remember(Reader { next: end, window: end - start, sequential: before.is_some() });
        start..end
    }

    /// Returns the range to fetch next for a sequential reader that has come to `offset`, if it is past the middle of its window.
    pub(super) fn beyond(&mut self, offset: u64, size: u64) -> Option<Range<u64>> {
        let due = |reader: &Reader| {
            reader.next < size && reader.due().is_some_and(|due| due.contains(&offset))
        };
        let reader = self.readers.remove(self.readers.iter().position(due)?);
        let window = (reader.window * GROWTH).min(LARGEST);
        let end = (reader.next + window).min(size);
        self.remember(Reader { next: end, window, sequential: true });
        Some(reader.next..end)
    }

    /// Where reads make [`Self::beyond`] answer something, in a content of `size` bytes.
    pub(super) fn due(&self, size: u64) -> Vec<Range<u64>> {
        let going_on = self.readers.iter().filter(|reader| reader.next < size);
        going_on.filter_map(Reader::due).collect()
    }

    fn remember(&mut self, reader: Reader) {
        self.readers.insert(0, reader);
        self.readers.truncate(READERS);
    }
}

impl Reader {
    /// The kernel reads ahead too, so a sequential reader may miss a little beyond.
    const fn goes_on_at(&self, start: u64) -> bool {
        start >= self.next.saturating_sub(BLOCK_SIZE) && start <= self.next + NEAR
    }

    /// The second half of its window.
    fn due(&self) -> Option<Range<u64>> {
        self.sequential.then(|| self.next.saturating_sub(self.window / 2)..self.next)
    }
}

/// Cuts a run into pieces for requests of their own, at least four if the run is large.
pub(super) fn pieces(run: Range<u64>) -> Vec<Range<u64>> {
    let quarter = ((run.end - run.start) / 4).next_multiple_of(BLOCK_SIZE);
    let piece = quarter.clamp(PIECE_MIN, PIECE_MAX);
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
        assert_eq!(window.end - window.start, 2 * BLOCK_SIZE);
    }

    #[test]
    fn reads_here_and_there_fetch_a_block_each_until_one_goes_on() {
        let mut ahead = ReadAhead::default();
        let mut read = |at: u64| {
            let window = ahead.window(&(at..at + 4096), GIB);
            window.end - window.start
        };
        let scattered: Vec<_> = (1..=5).map(|place| read(place * GIB / 8)).collect();
        assert_eq!(scattered, [BLOCK_SIZE; 5]);
        assert_eq!(read(5 * GIB / 8 + BLOCK_SIZE), GROWTH * BLOCK_SIZE);
        assert_eq!(read(7 * GIB / 8), BLOCK_SIZE);
    }

    #[test]
    fn the_next_window_is_due_in_the_second_half_of_one_and_only_once() {
        let mut ahead = ReadAhead::default();
        let first = ahead.window(&(0..131_072), GIB);
        assert_eq!(ahead.beyond(first.end - 1, GIB), None, "nobody has gone on yet");
        let second = ahead.window(&(first.end..first.end + 131_072), GIB);
        assert_eq!(ahead.beyond(second.start, GIB), None);
        let middle = (second.start + second.end) / 2;
        assert_eq!(ahead.due(GIB), vec![middle..second.end]);
        let third = ahead.beyond(middle, GIB).unwrap();
        assert_eq!(third.start, second.end);
        assert!(third.end - third.start > second.end - second.start);
        assert_eq!(ahead.beyond(middle, GIB), None);
        assert_eq!(ahead.due(third.end), Vec::new(), "nothing is beyond the end");
    }

    #[test]
    fn a_sequential_reader_soon_has_many_pieces_in_flight() {
        let mut ahead = ReadAhead::default();
        let mut at = 0;
        for _ in 0..4 {
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
        fn a_reader_of_a_content_that_grows_and_shrinks_asks_for_what_is_in_it(
            reads in proptest::collection::vec((1..8 * WHOLE, 0..8 * WHOLE, any::<bool>()), 1..40),
        ) {
            let mut ahead = ReadAhead::default();
            let mut at = 0;
            for (size, place, goes_on) in reads {
                let start = if goes_on { at } else { place };
                let missed = ahead.window(&(start..start + 131_072), size);
                let beyond = ahead.beyond(missed.end.saturating_sub(1), size);
                for window in [missed].into_iter().chain(beyond) {
                    prop_assert!(window.end <= size || window.is_empty());
                    at = window.end;
                }
                prop_assert!(ahead.due(size).iter().all(|due| due.start <= due.end));
            }
        }

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
                prop_assert!(pieces.iter().all(|piece| piece.end - piece.start <= PIECE_MAX));
            }
        }
    }
}
