//! The database with what is in memory of it, all under one lock: rows, entries, and inodes.
//!
//! A transaction begins with the first edit. Edited rows wait in `touched` and are written once, at
//! the commit; entries are written through. The caches change at the commit only (rows) or are
//! dropped by a rollback (entries), so they never tell what the database does not.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use miaofs::protocol::ids::NodeId;

use super::changed::ChangedNodes;
use super::numbers::Numbers;
use super::pinned::Pinned;
use super::requests::RequestRows;
use super::superseded::Superseded;
use super::taken_deletions::TakenDeletions;
use crate::store::disk::data_files::DataFiles;
use crate::store::disk::database::Database;
use crate::store::disk::history_rows::{self, Comparison, Cursor};
use crate::store::disk::meta::{self, Counter};
use crate::store::disk::record::{NodeStatus, Record};
use crate::store::disk::{base_rows, inode_queries, inode_rows, pending_rows, request_rows};
use crate::store::error::Error;
use crate::store::inodes::inode::Inode;
use crate::store::node::{DriveOwner, Ino};

/// Rows that are kept in memory.
const NODES_MAX: NonZeroUsize = NonZeroUsize::new(64 * 1024).expect("64 Ki is not zero");
/// Entries, and names known to be free, that are kept in memory.
const ENTRIES_MAX: NonZeroUsize = NonZeroUsize::new(128 * 1024).expect("128 Ki is not zero");
/// Rows, and entries, that a frozen tree keeps in memory.
const FROZEN_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("1 Ki is not zero");

/// The tree, its caches, and the transaction in progress.
pub(crate) struct Tree {
    pub(crate) db: Database,
    pub(crate) data: Arc<DataFiles>,
    nodes: LruCache<Ino, Record>,
    pub(crate) entries: LruCache<(Ino, Box<[u8]>), Option<Ino>>,
    pub(crate) inodes: LruCache<Ino, Arc<Inode>>,
    pub(super) inos: Numbers,
    pub(crate) cookies: Counter,
    pub(crate) cursor: Cursor,
    /// The comparison of all that is here with the drive, if one is in progress.
    pub(crate) comparison: Option<Comparison>,
    /// The drive's head when a listing of it began that is in progress.
    pub(crate) began_at: Option<u64>,
    /// The user whose drive it is.
    pub(crate) owner: DriveOwner,
    /// The whole drive has been here.
    pub(crate) has_all_names: bool,
    /// Where it notes requests that were done.
    request_rows: RequestRows,
    /// Closed inodes whose size and times are to be written with the next transaction.
    pub(crate) flush_queue: Vec<Ino>,
    /// Inodes that have left memory while some of their chunks were here in part.
    pub(crate) unloaded_partials: Vec<Ino>,
    /// Inodes that stay without a name.
    pub(crate) pinned: Pinned,
    /// Open files without a name that come back when they are written to.
    pub(crate) superseded: Superseded,
    /// Nodes that pages of the feed may show though the server has deleted them.
    pub(crate) taken_deletions: TakenDeletions,
    /// Data files to be unlinked once the journal is durable.
    pub(crate) pending_unlinks: Vec<Ino>,
    /// Bytes of clean content that are here.
    pub(crate) cached: u64,
    /// When nodes were opened, to be written with the next transaction.
    pub(crate) used: Vec<(Ino, i64)>,
    /// Nodes that the engine is to read again.
    pub(crate) changed: ChangedNodes,
    /// Names that no program gave: the kernel is to be told.
    pub(crate) revived: Vec<(Ino, Vec<u8>)>,
    /// True if anything was committed since the time was last written down.
    pub(crate) has_committed: bool,
    /// The state that it shows.
    pub(crate) moment: Moment,
    transaction: Option<Transaction>,
}

/// The state that a tree shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The newest: the tree itself.
    Now,
    /// The one that was committed when a long transaction began. Nothing edits it.
    Frozen,
}

/// Cookies of the names that a transaction took away.
pub(crate) type Freed = HashMap<(Ino, Box<[u8]>), u64>;

/// Changes of a transaction in progress.
#[derive(Default)]
pub(crate) struct Transaction {
    touched: BTreeMap<Ino, Touched>,
    ids: HashMap<NodeId, Ino>,
    pub(crate) entries: Vec<(Ino, Box<[u8]>)>,
    pub(crate) freed: Freed,
    pub(crate) flushed: Vec<Arc<Inode>>,
    pub(super) pending_unlinks: Vec<Ino>,
    cached: i64,
    /// Number of the released inodes that it has looked at.
    pub(super) reaped: usize,
    made_dirty: bool,
    /// Files that got a name again, with that.
    revived: Vec<(Ino, Ino, Vec<u8>)>,
}

enum Touched {
    New(Record),
    Edited(Record),
    Erased,
}

/// Result of a commit: a cause to wake the engine, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// Nothing new is dirty.
    Quiet,
    /// Something became dirty.
    Dirty,
}

impl Tree {
    /// The tree in an open database.
    pub(crate) fn new(db: Database, data: Arc<DataFiles>, pinned: Pinned) -> Result<Self, Error> {
        let cursor = history_rows::cursor(&db)?;
        let inos = Numbers::load(&db)?;
        let cookies = Counter::load(&db, "next_cookie", 1)?;
        Ok(Self {
            cached: inode_queries::cached_bytes(&db)?,
            pending_unlinks: pending_rows::pending_unlinks(&db)?,
            comparison: history_rows::comparison(&db)?,
            began_at: meta::number(&db, meta::BEGAN_AT)?,
            has_all_names: meta::number(&db, meta::ALL_NAMES)? != Some(0),
            request_rows: RequestRows { first: request_rows::next(&db)? },
            db,
            data,
            nodes: LruCache::new(NODES_MAX),
            entries: LruCache::new(ENTRIES_MAX),
            inodes: LruCache::unbounded(),
            inos,
            cookies,
            cursor,
            owner: DriveOwner::of_this_process(),
            flush_queue: Vec::new(),
            unloaded_partials: Vec::new(),
            pinned,
            superseded: Superseded::new(),
            taken_deletions: TakenDeletions::default(),
            used: Vec::new(),
            changed: ChangedNodes::All,
            revived: Vec::new(),
            has_committed: false,
            moment: Moment::Now,
            transaction: None,
        })
    }

    /// The tree as it is committed now, for reading on a connection of its own while this one is changed.
    ///
    /// Of the inodes in memory it has those whose size and times are newer than their rows: nobody else's become so
    /// while this tree is locked.
    pub(crate) fn frozen(&self, db: Database) -> Result<Self, Error> {
        let mut inodes = LruCache::unbounded();
        for inode in self.inodes_with_dirty_attributes() {
            inodes.put(inode.ino, inode);
        }
        Ok(Self {
            inos: Numbers::load(&db)?,
            cookies: Counter::load(&db, "next_cookie", 1)?,
            db,
            data: Arc::clone(&self.data),
            nodes: LruCache::new(FROZEN_MAX),
            entries: LruCache::new(FROZEN_MAX),
            inodes,
            cursor: self.cursor,
            comparison: self.comparison,
            began_at: self.began_at,
            owner: self.owner,
            has_all_names: self.has_all_names,
            request_rows: self.request_rows,
            flush_queue: Vec::new(),
            unloaded_partials: Vec::new(),
            pinned: Pinned::default(),
            superseded: Superseded::new(),
            taken_deletions: TakenDeletions::default(),
            pending_unlinks: Vec::new(),
            cached: self.cached,
            used: Vec::new(),
            changed: ChangedNodes::All,
            revived: Vec::new(),
            has_committed: false,
            moment: Moment::Frozen,
            transaction: None,
        })
    }

    // --- transactions ---

    /// Begins a transaction unless one is in progress.
    pub(crate) fn begin(&mut self) -> Result<&mut Transaction, Error> {
        if self.transaction.is_none() {
            self.db.begin()?;
        }
        Ok(self.transaction.get_or_insert_default())
    }

    /// Runs `edit` in one transaction: what it did is committed, or undone when it fails.
    pub(crate) fn transact<T, E: From<Error>>(
        &mut self,
        edit: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<(T, Committed), E> {
        let answer = match edit(self) {
            Ok(answer) => answer,
            Err(error) => {
                self.rollback();
                return Err(error);
            }
        };
        match self.commit() {
            Ok(committed) => Ok((answer, committed)),
            Err(error) => {
                self.rollback();
                Err(error.into())
            }
        }
    }

    fn commit(&mut self) -> Result<Committed, Error> {
        if self.transaction.is_none() && !self.db.is_in_operation() {
            return Ok(Committed::Quiet);
        }
        self.reap_orphans()?;
        for ino in std::mem::take(&mut self.flush_queue) {
            self.flush_attributes(ino)?;
        }
        self.write_used()?;
        self.flush()?;
        if let Some(request) = self.request_rows.current() {
            request_rows::note(&self.db, request)?;
        }
        let touched = std::mem::take(&mut self.begin()?.touched);
        self.db.commit()?;
        let done = self.transaction.take().unwrap_or_default();
        self.has_committed = true;
        for (ino, record) in touched {
            self.changed.note(ino);
            match record {
                Touched::New(record) | Touched::Edited(record) => {
                    self.nodes.put(ino, record);
                }
                Touched::Erased => {
                    self.nodes.pop(&ino);
                }
            }
        }
        for (ino, ..) in &done.revived {
            self.superseded.remove(ino);
        }
        self.revived.extend(done.revived.into_iter().map(|(_, parent, name)| (parent, name)));
        self.pinned.forget_released(done.reaped);
        self.pending_unlinks.extend(done.pending_unlinks);
        self.cached = self.cached.saturating_add_signed(done.cached);
        Ok(if done.made_dirty { Committed::Dirty } else { Committed::Quiet })
    }

    /// Runs many queries as one transaction that changes nothing: each by itself would take and give back
    /// the database's locks.
    pub(crate) fn reading<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let begun = self.db.begin_reading()?;
        let answer = read(self);
        if begun {
            self.db.end_reading()?;
        }
        answer
    }

    /// Writes the edited rows, so that queries see them: first those that exist, as a new one may have an id that one of them had.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        for adds in [false, true] {
            for touched in transaction.touched.values_mut() {
                match touched {
                    Touched::New(record) if adds => {
                        inode_rows::insert(&self.db, record)?;
                        *touched = Touched::Edited(record.clone());
                    }
                    Touched::Edited(record) if !adds => inode_rows::update(&self.db, record)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// True while a transaction is in progress.
    pub(crate) fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    fn rollback(&mut self) {
        let undone = self.transaction.take().unwrap_or_default();
        if let Err(error) = self.db.rollback() {
            tracing::debug!(%error, "a transaction could not be rolled back");
        }
        for key in undone.entries {
            self.entries.pop(&key);
        }
        self.inos.undo_reservation();
        self.cookies.undo_reservation();
        for inode in undone.flushed {
            inode.attributes().dirty = true;
            self.flush_queue.push(inode.ino);
        }
    }

    // --- rows ---

    /// The row of a node, whatever its status.
    pub(crate) fn record(&mut self, ino: Ino) -> Result<&Record, Error> {
        if let Some(touched) = self.transaction.as_ref().and_then(|it| it.touched.get(&ino)) {
            return match touched {
                Touched::New(record) | Touched::Edited(record) => Ok(record),
                Touched::Erased => Err(Error::NoNode(ino)),
            };
        }
        if !self.nodes.contains(&ino) {
            let record = inode_rows::load(&self.db, ino)?.ok_or(Error::NoNode(ino))?;
            self.nodes.put(ino, record);
        }
        self.nodes.get(&ino).ok_or(Error::NoNode(ino))
    }

    /// The row of a node that is in the tree.
    pub(crate) fn present(&mut self, ino: Ino) -> Result<&Record, Error> {
        let record = self.record(ino)?;
        match record.status {
            NodeStatus::Present | NodeStatus::Detached => Ok(record),
            NodeStatus::Deleted | NodeStatus::Awaited => Err(Error::NoNode(ino)),
        }
    }

    /// The row of a node, to change; written at the commit.
    pub(crate) fn edit(&mut self, ino: Ino) -> Result<&mut Record, Error> {
        self.begin()?;
        let touched = self.transaction.as_ref().is_some_and(|it| it.touched.contains_key(&ino));
        if !touched {
            let record = self.record(ino)?.clone();
            self.begin()?.touched.insert(ino, Touched::Edited(record));
        }
        match self.begin()?.touched.get_mut(&ino) {
            Some(Touched::New(record) | Touched::Edited(record)) => Ok(record),
            Some(Touched::Erased) | None => Err(Error::NoNode(ino)),
        }
    }

    /// The row of a node, to change in a way that must be pushed.
    pub(crate) fn edit_and_bump(&mut self, ino: Ino) -> Result<&mut Record, Error> {
        self.begin()?.made_dirty = true;
        let record = self.edit(ino)?;
        record.bump_change();
        Ok(record)
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, record: Record) -> Result<(), Error> {
        let transaction = self.begin()?;
        transaction.ids.insert(record.id, record.ino);
        transaction.touched.insert(record.ino, Touched::New(record));
        Ok(())
    }

    /// Gives a node another id.
    pub(crate) fn set_id(&mut self, ino: Ino, id: NodeId) -> Result<(), Error> {
        self.edit(ino)?.id = id;
        // It stands in the names of others.
        self.changed = ChangedNodes::All;
        self.begin()?.ids.insert(id, ino);
        Ok(())
    }

    /// Removes a row and all that belongs to it but its names.
    pub(crate) fn delete_node(&mut self, ino: Ino) -> Result<(), Error> {
        let id = self.record(ino).map(|record| record.id).ok();
        self.inos.ended(ino);
        let transaction = self.begin()?;
        transaction.touched.insert(ino, Touched::Erased);
        if let Some(id) = id {
            transaction.ids.remove(&id);
        }
        inode_rows::delete(&self.db, ino)?;
        base_rows::set_base(&self.db, ino, None)
    }

    /// The node of an id, whatever its status.
    pub(crate) fn by_id(&mut self, id: NodeId) -> Result<Option<Ino>, Error> {
        if let Some(ino) = self.transaction.as_ref().and_then(|it| it.ids.get(&id)) {
            return Ok(Some(*ino));
        }
        let Some(ino) = inode_rows::by_id(&self.db, id)? else { return Ok(None) };
        match self.record(ino) {
            Ok(record) => Ok((record.id == id).then_some(ino)),
            Err(Error::NoNode(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Counts bytes of clean content that came or went.
    pub(crate) fn add_cached(&mut self, ino: Ino, difference: i64) -> Result<(), Error> {
        if difference != 0 {
            let record = self.edit(ino)?;
            record.cached = record.cached.saturating_add_signed(difference);
            self.begin()?.cached += difference;
        }
        Ok(())
    }

    /// Remembers a name that no program gave, until the transaction is committed.
    pub(crate) fn note_revived(
        &mut self,
        ino: Ino,
        parent: Ino,
        name: Vec<u8>,
    ) -> Result<(), Error> {
        self.begin()?.revived.push((ino, parent, name));
        Ok(())
    }

    /// Nodes of the transaction in progress that have no name.
    pub(super) fn touched_orphans(&self) -> Vec<Ino> {
        let touched = self.transaction.iter().flat_map(|it| it.touched.values());
        let orphan = |touched: &Touched| match touched {
            Touched::New(record) | Touched::Edited(record) => {
                record.is_orphan().then_some(record.ino)
            }
            Touched::Erased => None,
        };
        touched.filter_map(orphan).collect()
    }
}
