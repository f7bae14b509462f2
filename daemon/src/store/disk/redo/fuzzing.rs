//! Logs for a fuzzer: any bytes read as one, and any bytes made into one whose checksums are right.

use std::path::Path;

use super::{CAPACITY, NAME, RedoLog, statements_after, take};

/// Reads a log of these bytes, once for every record that may be committed before it.
pub(in crate::store) fn try_log(dir: &Path, bytes: &[u8]) {
    std::fs::write(dir.join(NAME), bytes).expect("room for a log");
    let _statements = statements_after(dir, None);
    for committed in [None, Some(0), Some(u64::MAX - 1), Some(u64::MAX)] {
        let mut log = RedoLog::open(dir, committed).expect("a log can be opened");
        let mut count = 0;
        let done = log.replay(|_statement| {
            count += 1;
            Ok(())
        });
        assert!(done.is_err() || log.end() <= bytes.len().max(CAPACITY as usize) as u64);
    }
}

/// The same bytes as records: of each, a byte says the length, and its checksum is made right.
pub(in crate::store) fn sealed(mut bytes: &[u8]) -> Vec<u8> {
    let mut log = Vec::new();
    let mut number = u64::from_le_bytes(take(&mut bytes).unwrap_or_default());
    while let Some([length]) = take::<1>(&mut bytes) {
        let record = bytes.split_off(..usize::from(length).min(bytes.len())).unwrap_or_default();
        let checked = [&number.to_le_bytes(), record].concat();
        log.extend_from_slice(&(record.len() as u32).to_le_bytes());
        log.extend_from_slice(&crc32fast::hash(&checked).to_le_bytes());
        log.extend_from_slice(&checked);
        number = number.wrapping_add(1);
    }
    log
}
