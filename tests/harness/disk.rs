//! Files on the disk below a directory, while others may be changing it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The lengths of all files below a directory; none when there is no such directory.
pub(crate) fn lengths_below(directory: &Path) -> Vec<u64> {
    files_below(directory).iter().map(Metadata::len).collect()
}

/// The bytes of disk that all files below a directory take, holes not counted.
pub(crate) fn room_taken(directory: &Path) -> u64 {
    files_below(directory).iter().map(|file| file.blocks() * 512).sum()
}

fn files_below(directory: &Path) -> Vec<Metadata> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let files = entries.flatten().flat_map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => files_below(&entry.path()),
        Ok(metadata) => vec![metadata],
        Err(_it_was_removed_meanwhile) => Vec::new(),
    });
    files.collect()
}
