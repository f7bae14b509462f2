//! Random data that can be made again: a seed is printed, and `MIAOFS_TEST_SEED` sets it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes that are made and written at once.
const BLOCK: usize = 1024 * 1024;

/// Where the random data of one test comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The seed of the environment, else a new one; printed, so that a failure can be repeated.
    pub(crate) fn of_this_run() -> Self {
        let given = std::env::var("MIAOFS_TEST_SEED").ok();
        let seed = given.map_or_else(rand::random, |seed| seed.parse().expect("a number"));
        println!("to repeat with the same data: MIAOFS_TEST_SEED={seed}");
        Self(seed)
    }

    /// An endless stream of bytes; another one for each `label`.
    pub(crate) fn stream(self, label: &str) -> Stream {
        let mut hasher = blake3::Hasher::new_derive_key("miaofs 2026-11-23 test data");
        hasher.update(&self.0.to_le_bytes()).update(label.as_bytes());
        Stream(hasher.finalize_xof())
    }

    /// `size` bytes of the stream `label`.
    pub(crate) fn bytes(self, label: &str, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.stream(label).0.fill(&mut bytes);
        bytes
    }

    /// A number below `end`, the same for the same `label`.
    pub(crate) fn below(self, label: &str, end: u64) -> u64 {
        let bytes = self.bytes(label, 8);
        u64::from_le_bytes(bytes.try_into().expect("8 bytes were made")) % end
    }

    /// Writes a new file with `size` bytes of the stream `label`.
    pub(crate) fn write_file(self, path: &Path, label: &str, size: u64) {
        let mut file = File::create_new(path).expect("a new file");
        let mut stream = self.stream(label).take(size);
        let mut block = vec![0; BLOCK];
        loop {
            let count = stream.read(&mut block).expect("a stream of bytes never fails");
            if count == 0 {
                break;
            }
            file.write_all(&block[..count]).expect("room on the disk");
        }
    }
}

/// Bytes without end.
pub(crate) struct Stream(blake3::OutputReader);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.fill(buffer);
        Ok(buffer.len())
    }
}
