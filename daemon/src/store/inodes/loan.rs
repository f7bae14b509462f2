//! Data files that the kernel reads and writes for programs by itself, so that nobody here sees it.
//!
//! What is lent for writing is known by its stamp: as long as a data file's time of change and length are the same, nobody has
//! written to it. A program that writes through a mapping changes the time with the first store to a page that the disk has.

use std::fs::{File, Metadata};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::store::disk::data_files::modified;

/// Time of the last change of a data file, in nanoseconds since 1970, and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) modified: i64,
    pub(crate) size: u64,
}

impl Stamp {
    /// The stamp of a data file of which this is known.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { modified: modified(metadata), size: metadata.len() }
    }
}

/// Mapping of a file that may outlive its opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mapping {
    /// A program may have mapped it and write to it by that.
    Writable,
    /// No program can write to it by a mapping: it is open for reading only, or for writing only.
    #[default]
    ReadOnly,
}

/// Somebody who may write to a data file unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// An opening that is known here, which says when it ends.
    Opening(Mapping),
    /// Others: a mapping outlived its opening, or the opening the daemon that knew it.
    Unknown,
}

/// Openings that an inode's data file is lent to.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    /// Openings that only read.
    readers: AtomicU32,
    /// Set while the file below is.
    is_written: AtomicBool,
    writing: Mutex<Writing>,
    /// Number of the times that the stamp was found to be another one.
    unseen: AtomicU64,
}

/// The data file while programs may write to it unseen.
#[derive(Debug, Default)]
struct Writing {
    /// Openings that are known here.
    openings: u32,
    /// True if others may write as well.
    has_others: bool,
    /// Of any opening.
    mapping: Mapping,
    file: Option<Arc<File>>,
    stamp: Stamp,
}

impl Writing {
    fn add(&mut self, writer: Writer) {
        match writer {
            Writer::Opening(Mapping::ReadOnly) => self.openings += 1,
            Writer::Opening(Mapping::Writable) => {
                self.openings += 1;
                self.mapping = Mapping::Writable;
            }
            Writer::Unknown => {
                self.has_others = true;
                self.mapping = Mapping::Writable;
            }
        }
    }
}

impl Lent {
    /// True while the kernel reads or writes the data file by itself.
    pub(crate) fn is_lent(&self) -> bool {
        self.is_lent_for_writing() || self.readers.load(Ordering::Acquire) > 0
    }

    /// True while it may write.
    pub(crate) fn is_lent_for_writing(&self) -> bool {
        self.is_written.load(Ordering::Acquire)
    }

    /// Counts one opening more that only reads.
    pub(crate) fn add_reader(&self) {
        self.readers.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts one more who may write.
    pub(crate) fn add_writer(&self, writer: Writer) {
        self.lock().add(writer);
    }

    /// Begins to lend a data file for writing, of which all up to a stamp is known here.
    pub(crate) fn begin_writing(&self, file: Arc<File>, stamp: Stamp, writer: Writer) {
        let mut begun = Writing { file: Some(file), stamp, ..Writing::default() };
        begun.add(writer);
        *self.lock() = begun;
        self.is_written.store(true, Ordering::Release);
    }

    /// Looks at another descriptor of the same data file from now on.
    pub(crate) fn look_at(&self, file: File) {
        self.lock().file = Some(Arc::new(file));
    }

    /// True while programs may write to it by a mapping.
    pub(crate) fn may_be_mapped(&self) -> bool {
        self.is_lent_for_writing() && self.lock().mapping == Mapping::Writable
    }

    /// The data file, while it is lent for writing.
    pub(crate) fn file(&self) -> Option<Arc<File>> {
        self.lock().file.clone()
    }

    /// Counts one opening less that only reads.
    pub(crate) fn remove_reader(&self) {
        self.readers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Counts one opening less that may write; true if somebody else may.
    pub(crate) fn remove_opening(&self) -> bool {
        let mut writing = self.lock();
        writing.openings = writing.openings.saturating_sub(1);
        writing.openings > 0 || writing.has_others
    }

    /// True if only such may write as do not say when they end. An opening that is known here may be about to write though the
    /// kernel does not count it as a writer: it opens the data file for one after it was told that it may.
    pub(crate) fn is_left_to_others(&self) -> bool {
        let writing = self.lock();
        writing.openings == 0 && writing.has_others
    }

    /// Ends lending for writing.
    pub(crate) fn end_writing(&self) {
        self.is_written.store(false, Ordering::Release);
        *self.lock() = Writing::default();
    }

    /// Looks at the data file: its stamp, if that is another one than before.
    pub(crate) fn look(&self) -> Option<Stamp> {
        let mut writing = self.lock();
        // A file that cannot be looked at does not tell of a change.
        let found = writing.file.as_deref()?.metadata().ok()?;
        let stamp = Stamp::of(&found);
        if stamp == writing.stamp {
            return None;
        }
        writing.stamp = stamp;
        self.unseen.fetch_add(1, Ordering::AcqRel);
        Some(stamp)
    }

    /// Number of the changes that were found so far, and the stamp of the last while the file is lent for writing.
    pub(crate) fn found(&self) -> (u64, Option<Stamp>) {
        let writing = self.lock();
        let stamp = writing.file.as_ref().map(|_| writing.stamp);
        (self.unseen.load(Ordering::Acquire), stamp)
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().expect("nothing panics while a data file that is lent is looked at")
    }
}
