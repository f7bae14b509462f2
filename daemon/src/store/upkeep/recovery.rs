//! Recovery: repairs when a store is opened that was not closed: a killed daemon, a machine without power.
//!
//! After a kill, all commits are there and all bytes: only sizes and times that were in memory are
//! read back from the data files, and orphans, which nobody has open any more, are reaped.
//! After a reboot, commits that were not synced may be missing, and bytes of unsynced chunks; and there may be
//! changes of data files whose commits are missing.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use miaofs::content::{Chunk, chunk_count};
use miaofs::protocol::files::Kind;
use miaofs::protocol::ids::NodeId;

use super::lent::{self, Stamps};
use super::lost_and_found::{self, KeptAs};
use super::orphans::Orphans;
use super::unchanged::is_unchanged;
use crate::store::disk::chunk_rows::{self, ChunkState};
use crate::store::disk::data_files::{DataFiles, UNFINISHED, modified};
use crate::store::disk::database::Database;
use crate::store::disk::record::{NodeStatus, Record};
use crate::store::disk::seal::Seal;
use crate::store::disk::writers::has_writers;
use crate::store::disk::{base_rows, entry_rows, inode_queries, inode_rows, meta, pending_rows};
use crate::store::error::{Error, while_doing};
use crate::store::node::{DriveOwner, Ino, NewNode};

/// Key of the boot in which the store was last closed cleanly; empty while it is open.
pub(crate) const CLOSED: &str = "closed_in_boot";
/// Key of 1 since the store has been sealed whenever it was closed; earlier ones were closed without a seal.
const SEALS: &str = "seals";
/// Key of the boot in which it was last opened.
const OPENED: &str = "opened_in_boot";
/// Lag of a data file's mtime behind the clock at the most, in nanoseconds.
pub(crate) const CLOCK_LAG: i64 = 1_000_000_000;

/// End of the store's last process, as far as this boot can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastExit {
    New,
    Closed,
    Killed,
    /// The machine went down, or at least came up again since.
    Rebooted,
    /// The last commits are gone with the log, or the database is another one than was left.
    LogLost,
}

impl LastExit {
    /// True if commits may be missing.
    fn may_lack_commits(self) -> bool {
        matches!(self, Self::Rebooted | Self::LogLost)
    }
}

/// The kernel's id of this boot.
pub(crate) fn boot_id() -> Result<String, Error> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .map_err(while_doing("reading the boot id"))
}

/// The files of a database as they were found, before it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoundFiles {
    /// The seal of the state directory.
    pub(crate) seal: Seal,
    /// True if there was a log that may hold commits.
    pub(crate) has_log: bool,
    /// Treatment of nodes without a name.
    pub(crate) orphans: Orphans,
}

/// Makes a store that was opened just now consistent. Rows tell of files that programs still write to, past the daemon that is
/// gone (`Record::lent`).
pub(crate) fn recover(
    db: &Database,
    data: &DataFiles,
    dir: &Path,
    found: FoundFiles,
) -> Result<(), Error> {
    let boot = boot_id()?;
    let left = match (meta::text(db, CLOSED)?, meta::text(db, OPENED)?) {
        (_, None) => LastExit::New,
        (Some(closed), _) if !closed.is_empty() => match found.seal {
            Seal::Broken if meta::number(db, SEALS)?.is_some() => LastExit::LogLost,
            Seal::Intact | Seal::Broken => LastExit::Closed,
        },
        _ if !found.has_log || db.has_lost_redo_log() => LastExit::LogLost,
        (_, Some(opened)) if opened == boot && db.lacks_commits() => LastExit::LogLost,
        (_, Some(opened)) if opened == boot => LastExit::Killed,
        (_, Some(_)) => LastExit::Rebooted,
    };
    if left == LastExit::LogLost {
        tracing::error!(
            "the database's log is gone, and with it what was committed last: names are those of before until the \
             server tells the rest, and data files that were changed since are kept in lost+found"
        );
    }
    db.begin()?;
    let stamps = if left.may_lack_commits() { Stamps::TellNothing } else { Stamps::Tell };
    let lent = lent::take_in(db, data, (stamps, found.orphans))?;
    match left {
        LastExit::New => make_root(db)?,
        LastExit::Closed => {}
        LastExit::Killed | LastExit::Rebooted | LastExit::LogLost => {
            repair(db, data, dir, (left, found.orphans), &lent)?;
        }
    }
    // Those that the server deleted before their children, now that these are gone too.
    inode_queries::delete_empty_placeholders(db)?;
    meta::set_text(db, CLOSED, "")?;
    meta::set_text(db, OPENED, &boot)?;
    meta::set_number(db, SEALS, 1)?;
    note_time(db)?;
    db.commit()?;
    match left {
        LastExit::New | LastExit::Closed => {}
        LastExit::Killed | LastExit::Rebooted | LastExit::LogLost => {
            tracing::info!(?left, "the store was not closed, it has been mended");
            move_strays(db, data, dir)?;
        }
    }
    Ok(())
}

/// Writes down when this was committed, and with it all that was committed before.
pub(crate) fn note_time(db: &Database) -> Result<(), Error> {
    meta::set_number(db, meta::COMMITTED, meta::now() as u64)
}

fn make_root(db: &Database) -> Result<(), Error> {
    let owner = DriveOwner::of_this_process();
    let new = NewNode {
        kind: Kind::Directory,
        mode: 0o755,
        uid: owner.uid,
        gid: owner.gid,
        rdev: 0,
        target: None,
        now: meta::now(),
    };
    let mut root = Record::new(Ino::ROOT, NodeId::ROOT, new);
    root.acknowledged = root.change;
    inode_rows::insert(db, &root)?;
    meta::set_number(db, meta::ALL_NAMES, 0)
}

fn repair(
    db: &Database,
    data: &DataFiles,
    dir: &Path,
    (left, orphans): (LastExit, Orphans),
    lent: &[Ino],
) -> Result<(), Error> {
    for (from, to) in pending_rows::pending_renames(db)? {
        data.rename(from, to)?;
        pending_rows::remove_pending_rename(db, from)?;
    }
    if orphans == Orphans::Reap {
        for ino in inode_queries::orphans(db)? {
            reap_orphan(db, data, ino)?;
        }
    }
    if left == LastExit::LogLost {
        put_changed_aside(db, data, dir)?;
    }
    if left.may_lack_commits() {
        delete_doubtful(db, data)?;
    }
    // What was lent has been taken in, and may be growing now.
    for ino in inode_queries::with_dirty_content(db)?
        .into_iter()
        .filter(|it| lent.binary_search(it).is_err())
    {
        if let Some(mut record) = inode_rows::load(db, ino)? {
            reconcile_size(db, data, &mut record, (left, orphans))?;
        }
    }
    Ok(())
}

/// Ends a node that had no name and that nobody has open any more.
fn reap_orphan(db: &Database, data: &DataFiles, ino: Ino) -> Result<(), Error> {
    let Some(mut record) = inode_rows::load(db, ino)? else { return Ok(()) };
    chunk_rows::delete_chunks_from(db, ino, 0)?;
    if data.exists(ino) {
        pending_rows::add_pending_unlink(db, ino)?;
    }
    if record.may_be_known() {
        record.status = NodeStatus::Deleted;
        record.content_dirty = false;
        record.cached = 0;
        record.bump_change();
        inode_rows::update(db, &record)
    } else {
        inode_rows::delete(db, ino)?;
        base_rows::set_base(db, ino, None)
    }
}

/// Clean chunks that may not be what their rows say are fetched again.
///
/// The bytes of unsynced ones may not have reached the disk. Those of others may have been changed or cut off by a
/// write whose commit is lost: then their data file was changed after the last commit that is not.
fn delete_doubtful(db: &Database, data: &DataFiles) -> Result<(), Error> {
    let mut nodes: BTreeSet<Ino> = chunk_rows::nodes_with_unsynced(db)?.into_iter().collect();
    let certain = certain(db)?;
    for ino in chunk_rows::nodes_with_clean(db)? {
        if data.modified(ino)?.is_none_or(|modified| modified > certain) {
            chunk_rows::delete_clean(db, ino)?;
            nodes.insert(ino);
        }
    }
    chunk_rows::delete_unsynced(db)?;
    nodes.into_iter().try_for_each(|ino| add_cached(db, ino))
}

/// Counts again how many bytes of clean content a node has here.
fn add_cached(db: &Database, ino: Ino) -> Result<(), Error> {
    let Some(record) = inode_rows::load(db, ino)? else { return Ok(()) };
    let size = record.content.map_or(0, |content| content.size);
    let cached: u64 = chunk_rows::chunk_rows(db, ino)?
        .into_iter()
        .filter(|(_, state)| *state == ChunkState::Clean)
        .filter_map(|(index, _)| Chunk::new(index, size))
        .map(Chunk::length)
        .sum();
    inode_rows::set_cached(db, ino, cached)
}

/// Makes the row and the data file of a content that is dirty agree on its size.
fn reconcile_size(
    db: &Database,
    data: &DataFiles,
    record: &mut Record,
    (left, orphans): (LastExit, Orphans),
) -> Result<(), Error> {
    let Some(file) = data.existing(record.ino)? else { return Ok(()) };
    let found = file.metadata().map_err(while_doing("looking at a data file"))?;
    let row_rules = !record.attributes_dirty
        && (left == LastExit::Killed || found.len() > record.attributes.size);
    let size = match left {
        _ if row_rules => record.attributes.size,
        LastExit::Rebooted | LastExit::LogLost => {
            size_with_what_can_be_fetched(db, record, found.len())?
        }
        _ => found.len(),
    };
    // A write grows the file before its row tells: what a kill leaves too short has lost bytes, and the row says which.
    let has_lost = left == LastExit::Killed && row_rules && size > found.len();
    if size != found.len() && !has_lost {
        file.set_len(size).map_err(while_doing("mending a data file"))?;
    }
    // Who else can write to it shows only without our own descriptor.
    drop(file);
    data.close(record.ino);
    if row_rules {
        return Ok(());
    }
    if record.attributes_dirty {
        // The row has the time of the first write since it was flushed, the data file that of the last, unless the
        // kill came in between: then its time is older than what was set meanwhile.
        let written_at = modified(&found);
        let modified = written_at.max(record.attributes.mtime);
        record.attributes.mtime = modified;
        record.attributes.ctime = record.attributes.ctime.max(modified);
        record.written_at = written_at;
        // One that is lent goes on being so, and the next daemon must know as well, whenever this one is killed.
        let may_be_written =
            || orphans == Orphans::Keep || has_writers(&data.path(record.ino)).unwrap_or(false);
        record.lent = (record.base_chunks == 0 && may_be_written()).then_some(written_at);
    }
    record.attributes.size = size;
    record.blocks = found.blocks();
    record.base_chunks = record.base_chunks.min(chunk_count(size));
    chunk_rows::delete_chunks_from(db, record.ino, record.base_chunks)?;
    record.attributes_dirty = false;
    record.bump_change();
    inode_rows::update(db, record)
}

/// The size of a content whose data file had `found` bytes after a reboot: chunks that can be fetched are not cut
/// off with bytes behind them that never reached the disk; nor is the last of them, in a size that it was not
/// committed for, followed by bytes that did.
fn size_with_what_can_be_fetched(db: &Database, record: &Record, found: u64) -> Result<u64, Error> {
    let Some(content) = record.content else { return Ok(found) };
    let rows = chunk_rows::chunk_rows(db, record.ino)?;
    let dirty: HashSet<u64> = rows
        .into_iter()
        .filter(|(_, state)| *state == ChunkState::Dirty)
        .map(|(index, _)| index)
        .collect();
    let last = (0..record.base_chunks).rev().find(|index| !dirty.contains(index));
    let Some(chunk) = last.and_then(|index| Chunk::new(index, content.size)) else {
        return Ok(found);
    };
    let size = found.max(chunk.range().end);
    let is_alike = Chunk::new(chunk.index(), size).is_some_and(|it| it.is_alike_in(content.size));
    Ok(if is_alike { size } else { chunk.range().end })
}

/// Moves data files that no row tells of to `lost+found/`.
fn move_strays(db: &Database, data: &DataFiles, dir: &Path) -> Result<(), Error> {
    data.each_file(|path, name| {
        if name.ends_with(UNFINISHED) {
            return fs::remove_file(path).map_err(while_doing("removing an unfinished data file"));
        }
        let attributed = match name.parse::<u64>() {
            Ok(ino) => is_known(db, Ino(ino))?,
            Err(_not_a_number) => false,
        };
        if attributed {
            return Ok(());
        }
        lost_and_found::keep(dir, path, &KeptAs::numbered(name)).map(drop)
    })
}

/// True if a data file belongs to a node, or is to be unlinked.
fn is_known(db: &Database, ino: Ino) -> Result<bool, Error> {
    Ok(inode_queries::is_file(db, ino)? || pending_rows::is_pending_unlink(db, ino)?)
}

/// Moves data files of clean contents to `lost+found/` that were changed after the last commit that is here: what they
/// hold may be a change that the server does not have, and which no row tells of any more.
fn put_changed_aside(db: &Database, data: &DataFiles, dir: &Path) -> Result<(), Error> {
    let certain = certain(db)?;
    data.each_file(|path, name| {
        let Ok(ino) = name.parse().map(Ino) else { return Ok(()) };
        let Some(record) = inode_rows::load(db, ino)? else { return Ok(()) };
        let changed = data.modified(ino)?.is_some_and(|modified| modified > certain);
        if record.content_dirty || record.is_gone() || !changed {
            return Ok(());
        }
        // What cannot be read is no proof.
        if is_unchanged(db, data, &record).unwrap_or_default() {
            return Ok(());
        }
        lost_and_found::keep(dir, path, &place_of(db, ino)?).map(drop)
    })
}

/// Place of a node in `lost+found/`, by its names.
fn place_of(db: &Database, ino: Ino) -> Result<KeptAs, Error> {
    let (mut names, mut at, mut seen) = (Vec::new(), ino, HashSet::new());
    while at != Ino::ROOT && seen.insert(at) {
        match entry_rows::entries_of(db, at)?.into_iter().next() {
            Some((parent, name)) => {
                names.push(name);
                at = parent;
            }
            None => break,
        }
    }
    names.reverse();
    let directory = (at != Ino::ROOT && !names.is_empty()).then_some(at);
    Ok(KeptAs::named(&ino.to_string(), directory, names))
}

/// The time up to which all that was committed is in the database.
fn certain(db: &Database) -> Result<i64, Error> {
    Ok(meta::number(db, meta::COMMITTED)?.unwrap_or(0) as i64 - CLOCK_LAG)
}
