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
    openings: u32,
    /// Of any opening.
    mapping: Mapping,
    file: Option<Arc<File>>,
    stamp: Stamp,
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

    /// Counts one opening more that may write.
    pub(crate) fn add_writer(&self, mapping: Mapping) {
        let mut writing = self.lock();
        writing.openings += 1;
        if mapping == Mapping::Writable {
            writing.mapping = mapping;
        }
    }

    /// Begins to lend a data file for writing, of which all up to a stamp is known here.
    pub(crate) fn begin_writing(&self, file: Arc<File>, stamp: Stamp, mapping: Mapping) {
        *self.lock() = Writing { openings: 1, mapping, file: Some(file), stamp };
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

    /// Counts one opening less that may write, and answers true, unless it is the last.
    pub(crate) fn remove_writer_unless_last(&self) -> bool {
        let mut writing = self.lock();
        let has_others = writing.openings > 1;
        writing.openings -= u32::from(has_others);
        has_others
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
