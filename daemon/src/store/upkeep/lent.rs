//! Data files that programs could write to unseen when the store was last open: what they wrote is taken in.
//!
//! Where the kernel's session goes on, they stay lent though nobody has one open for writing: the kernel opens it for a program a
//! moment after the daemon that is gone has told it that it may.

use super::orphans::Orphans;
use crate::store::disk::data_files::DataFiles;
use crate::store::disk::database::Database;
use crate::store::disk::record::Record;
use crate::store::disk::writers::has_writers;
use crate::store::disk::{chunk_rows, inode_queries, inode_rows};
use crate::store::error::Error;
use crate::store::inodes::loan::Stamp;
use crate::store::node::Ino;

/// Trust in a time of change that a row tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamps {
    /// A data file with that time and length has not changed.
    Tell,
    /// Bytes may have reached the disk without the time, or the row is not the last.
    TellNothing,
}

/// Has the rows tell of all that is in data files which were lent for writing: those files.
pub(super) fn take_in(
    db: &Database,
    data: &DataFiles,
    (stamps, orphans): (Stamps, Orphans),
) -> Result<Vec<Ino>, Error> {
    let lent = inode_queries::lent(db)?;
    for ino in &lent {
        let Some(mut record) = inode_rows::load(db, *ino)? else { continue };
        let is_as_told = is_as_told(data, &record)?;
        // To one that is written to now, more comes while this is read.
        let is_written = has_writers(&data.path(*ino)).unwrap_or(true);
        if is_as_told != Some(true) || is_written || stamps == Stamps::TellNothing {
            take_in_one(db, data, &mut record)?;
            record.lent = Some(record.written_at);
        }
        // The next daemon must know as well, whenever this one is killed.
        record.lent = record.lent.filter(|_| is_written || orphans == Orphans::Keep);
        inode_rows::update(db, &record)?;
    }
    Ok(lent)
}

/// True if a data file has the time and the length that its row tells; `None` if there is none.
fn is_as_told(data: &DataFiles, record: &Record) -> Result<Option<bool>, Error> {
    let Some(found) = data.metadata(record.ino)? else { return Ok(None) };
    let found = Stamp::of(&found);
    Ok(Some(record.lent == Some(found.modified) && record.attributes.size == found.size))
}

fn take_in_one(db: &Database, data: &DataFiles, record: &mut Record) -> Result<(), Error> {
    let Some(found) = data.metadata(record.ino)? else { return Ok(()) };
    let stamp = Stamp::of(&found);
    chunk_rows::delete_chunks_from(db, record.ino, 0)?;
    if record.lent != Some(stamp.modified) {
        record.attributes.mtime = stamp.modified;
        record.attributes.ctime = stamp.modified;
    }
    record.written_at = stamp.modified;
    record.attributes.size = stamp.size;
    record.blocks = std::os::unix::fs::MetadataExt::blocks(&found);
    record.base_chunks = 0;
    record.previous = None;
    record.cached = 0;
    record.content_dirty = true;
    record.attributes_dirty = false;
    record.bump_change();
    Ok(())
}
