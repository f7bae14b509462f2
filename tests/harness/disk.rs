//! Files on the disk below a directory, while others may be changing it, and a disk that can be filled.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::command::{as_root, output};

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

/// A small disk of its own, in memory, mounted. To mount it takes root, or sudo.
pub(crate) struct SmallDisk {
    directory: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one of so many MiB.
    pub(crate) fn new(mebibytes: u32) -> Self {
        let directory = super::scratch();
        let options = format!("size={mebibytes}m,mode=755");
        output(
            as_root("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(directory.path()),
        );
        output(as_root("chmod").arg("777").arg(directory.path()));
        Self { directory }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes so much that so many bytes are free.
    pub(crate) fn fill_but(&self, left: u64) {
        let bytes = self.free_bytes().saturating_sub(left);
        self.open_filler().write_all(&vec![1; bytes as usize]).expect("so much is free");
    }

    /// Takes all that is free, as another program may.
    pub(crate) fn fill(&self) {
        let mut file = self.open_filler();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    /// Gives it back.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    /// Bytes that are free.
    pub(crate) fn free_bytes(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.path()).expect("it is mounted");
        disk.f_bavail * disk.f_frsize
    }

    fn open_filler(&self) -> File {
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(self.filler()).expect("a name on the disk")
    }

    fn filler(&self) -> std::path::PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _it_may_be_gone = as_root("umount").arg("--lazy").arg(self.path()).status();
    }
}
