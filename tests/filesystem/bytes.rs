//! A content with holes: as large as one likes, but only what was written takes memory.

use std::collections::BTreeMap;
use std::ops::Range;

const PAGE: u64 = 4096;

/// The bytes of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    size: u64,
    /// Pages with data; all else is zeros, and so is what is behind the end.
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
}

impl Bytes {
    /// These bytes; pages of zeros take no room.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut all = Self { size: bytes.len() as u64, ..Self::default() };
        for (page, part) in (0..).zip(bytes.chunks(PAGE as usize)) {
            if part.iter().any(|byte| *byte != 0) {
                all.write(page * PAGE, part);
            }
        }
        all
    }

    /// Length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Result of a read.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.size.min(offset + length as u64).max(offset);
        let mut bytes = vec![0; (end - offset) as usize];
        for (page, inside, outside) in parts(offset..end) {
            if let Some(page) = self.pages.get(&page) {
                bytes[outside].copy_from_slice(&page[inside]);
            }
        }
        bytes
    }

    /// Writes, growing if need be.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        for (page, inside, outside) in parts(offset..end) {
            let page = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE as usize]));
            page[inside].copy_from_slice(&bytes[outside]);
        }
        self.size = self.size.max(end);
    }

    /// Makes a range zeros; the size stays.
    pub(crate) fn clear(&mut self, range: Range<u64>) {
        let (first, behind) = (range.start / PAGE, range.end.div_ceil(PAGE));
        for (page, bytes) in self.pages.range_mut(first..behind) {
            let start = range.start.max(page * PAGE) - page * PAGE;
            let end = range.end.min((page + 1) * PAGE) - page * PAGE;
            bytes[start as usize..end as usize].fill(0);
        }
    }

    /// Cuts, or extends with zeros.
    pub(crate) fn resize(&mut self, size: u64) {
        self.pages.retain(|page, _| page * PAGE < size);
        if let Some(last) = self.pages.get_mut(&(size / PAGE)) {
            last[(size % PAGE) as usize..].fill(0);
        }
        self.size = size;
    }

    /// Ranges worth reading to compare all: the written pages with a few bytes around them, and the end of
    /// the file.
    pub(crate) fn interesting(&self) -> Vec<Range<u64>> {
        let around = |page: &u64| (page * PAGE).saturating_sub(9)..page * PAGE + PAGE + 9;
        let end = self.size.saturating_sub(PAGE)..self.size + 1;
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for next in self.pages.keys().map(around).chain(std::iter::once(end)) {
            match ranges.last_mut() {
                Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
                _ => ranges.push(next),
            }
        }
        ranges
    }
}

/// The pages of a range: which it is, which part of the page, and which part of the range.
fn parts(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let pages = if range.is_empty() { 0..0 } else { range.start / PAGE..range.end.div_ceil(PAGE) };
    pages.map(move |page| {
        let (start, end) = (range.start.max(page * PAGE), range.end.min((page + 1) * PAGE));
        let inside = (start - page * PAGE) as usize..(end - page * PAGE) as usize;
        (page, inside, (start - range.start) as usize..(end - range.start) as usize)
    })
}
