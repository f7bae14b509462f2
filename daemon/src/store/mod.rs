//! The local store: what survives a crash of the daemon or of the machine.
//!
//! It knows the tree, what of it is dirty, and bytes; neither POSIX nor the network nor any policy.
//! Each of its parts uses only those below it:
//!
//! ```text
//!   open        a state directory is opened, recovered, closed
//!   exchange/   with the server: dirty nodes and acknowledgements, changes and fetched bytes
//!   bytes/      contents for programs: read, write, allocate, seek, copy, sync, snapshots, compare with digests
//!   upkeep/     eviction, the timer of the journal, recovery, damaged databases put aside
//!   core        the store: the tree, the data files and the journal, each with its lock
//!   tree/       names and attributes: transactions, views, caches
//!   inodes/     in memory of open files: attributes newer than rows, states of chunks
//!   disk/       on the disk: all SQL, one kind of row a file, and the data files
//!   node, error
//! ```
//!
//! One state directory holds, region by region:
//!
//! | region | what | why it can be trusted after a crash |
//! |---|---|---|
//! | `lock` | locked while a daemon has the directory open | the kernel gives the lock back |
//! | `state.db` (`disk/schema.rs`) | names, attributes, which chunks are here, what is dirty, the cursor | SQLite: a transaction is there wholly or not at all |
//! | `state.redo` (`disk/redo.rs`) | operations since the last commit of the database | each is one write before it is acknowledged; they are done again |
//! | `state.db-wal` (`disk/journal.rs`) | commits not yet worked into it | a killed process loses none; `sync` makes them durable |
//! | `data/XX/INO` (`disk/data_files.rs`) | bytes of one file, holes where they are not here | the order below |
//! | `reserve` | room that is given up when the disk is full (`disk/reserve.rs`) | it holds nothing |
//! | `lost+found/` | data files that no row tells of, or of a damaged database | recovery moves them, nothing deletes them |
//! | `closed` (`disk/seal.rs`) | how the database was when it was closed in order | it is gone while the store is open |
//! | `damaged` (`upkeep/rebuild.rs`) | why the database is to be made anew | written before that begins, removed after it |
//! | `damaged-DATE/` | a damaged database that was put aside | nothing reads it, nothing deletes it |
//!
//! The order between rows and bytes, and what a crash in between leaves:
//!
//! - A chunk is committed as dirty **before** its first byte changes: it is pushed though it is equal.
//! - Fetched bytes are written **before** their chunk is committed as here: they are fetched again.
//! - Chunks that a copy takes over by reference are committed as not here **before** the bytes in their place go,
//!   and these go only after that is durable; bytes copied beside them are written **before** they are committed as here.
//! - A data file is lent to the kernel for writing **after** its row says that it may change unseen: recovery looks at the file itself.
//! - A file is cut **after** its new size is committed, and grows **before**: recovery makes it as long as the row says.
//! - Size and times of a file being written are in memory; its row says so (`attributes_dirty`), and they are read from the data file.
//! - A hole is punched **after** its chunks are committed as dirty; where one was clean, after that is durable.
//! - Blocks of zeros are given back whenever nobody can write there: it changes no byte.
//! - Bytes are destroyed (unlink, eviction) only **after** the commit that gives them up is durable: power loss never brings back a row whose bytes are gone.
//! - A chunk committed as here counts as `Unsynced` until its bytes are known to be on the disk: after power loss it is fetched again.
//! - What a chunk held is on the disk **before** it is committed as dirty: power loss takes only what was written since.
//! - A data file that changed **after** the last commit that power loss left is not believed: its clean chunks are fetched again.
//!
//! Locks, in order: the content of one inode (`inodes/inode.rs`), the place of the frozen tree (`tree/frozen.rs`), the tree
//! (`tree/transaction.rs`), size and times of one inode.
//! Nothing waits for bytes to be read or written while the tree is locked.

mod blocking;
mod bytes;
mod core;
mod disk;
mod error;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod inodes;
mod invalidation;
mod lock_waits;
mod node;
mod open;
mod tree;
mod untold;
mod upkeep;

pub(crate) use blocking::run_blocking;
pub(crate) use bytes::allocate::Growth;
pub(crate) use bytes::content::{Availability, Content};
pub(crate) use bytes::copy::Copied;
pub(crate) use bytes::lend::{Loan, Others};
pub(crate) use bytes::reference::CopyRange;
pub(crate) use bytes::seek::SeekWhence;
pub(crate) use bytes::snapshot::{ChunkRead, Snapshot};
pub(crate) use bytes::verify::{ChunkPosition, ChunkVerdict};
pub(crate) use core::{Durable, Store, StoreOptions};
pub(crate) use disk::history_rows::{Comparison, Cursor};
pub(crate) use disk::overview::{Overview, overview};
pub(crate) use disk::space::free_bytes;
pub(crate) use error::Error;
pub(crate) use exchange::fill::Filled;
pub(crate) use exchange::prefetch::PrefetchLimits;
pub(crate) use exchange::push::{DirtyNode, Pushed};
pub(crate) use exchange::rules::{NameResolution, Resolution, Rules};
pub(crate) use inodes::chunks::BLOCK_SIZE;
pub(crate) use inodes::loan::Mapping;
pub(crate) use invalidation::Invalidation;
pub(crate) use lock_waits::LockWaitCounts;
pub(crate) use node::{Access, Attributes, Child, Ino, NewNode, Node};
pub(crate) use tree::change::Change;
pub(crate) use tree::changed::ChangedNodes;
pub(crate) use tree::requests::working_for;
pub(crate) use tree::view::View;
pub(crate) use upkeep::rebuild::DamageFound;

#[cfg(test)]
pub(crate) mod tests;
