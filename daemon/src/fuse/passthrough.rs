//! Kernel passthrough: the kernel reads and writes data files of open files by itself, where the daemon may let it
//! (`CAP_SYS_ADMIN`) and the store lends them.
//!
//! The kernel has an inode open in one way at a time: all who open one that it has open by passthrough get the same backing file,
//! and none gets one while anybody has the inode open with pages in the kernel's memory. It closes first and tells then, so what
//! stands here counts at least the openings that the kernel has. Of openings with a daemon before this one only those by
//! passthrough are known, from its record. So after a takeover only files that are made are passed through anew.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackingId, FopenFlags, OpenAccMode, OpenFlags, ReplyCreate, ReplyOpen};

use super::backing_ids::{BackingIds, Slot};
use super::threads::Threads;
use crate::store::{Content, Ino, Loan, Mapping, Others, Store};
use crate::vfs::{Error, FileOrigin, HandleId, Vfs};

/// Parts of the table, each with a lock of its own.
const PARTS: u64 = 64;
/// Name of the record in the state directory.
const RECORD: &str = "backing";

/// Permission of the kernel to read and write data files by itself, where the daemon has the privilege to let it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Passing {
    /// The kernel does so where it can.
    #[default]
    Yes,
    /// The kernel asks the daemon for each byte.
    No,
}

/// A reply that can tell the kernel of a backing file.
pub(super) trait Backing {
    /// Has the kernel take a file as backing file.
    fn open_backing(&self, file: &File) -> io::Result<BackingId>;

    /// Takes over a backing file that the kernel has by its number.
    ///
    /// # Safety
    /// The kernel has it in this session, and nobody else closes it.
    unsafe fn wrap_backing(&self, id: u32) -> BackingId;
}

macro_rules! backing {
    ($($reply:ty),*) => {$(
        impl Backing for $reply {
            fn open_backing(&self, file: &File) -> io::Result<BackingId> {
                <$reply>::open_backing(self, file)
            }

            unsafe fn wrap_backing(&self, id: u32) -> BackingId {
                // SAFETY: the caller sees to it.
                unsafe { <$reply>::wrap_backing(self, id) }
            }
        }
    )*};
}

backing!(ReplyOpen, ReplyCreate);

/// A file that was opened and is to be told to the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opened {
    pub(super) ino: Ino,
    pub(super) handle: HandleId,
    /// A file that was made for this nobody can have opened before.
    pub(super) origin: FileOrigin,
    /// Flags that the program opened it with.
    pub(super) asked: OpenFlags,
    /// The thread that opened it.
    pub(super) pid: u32,
    /// Flags of it when the kernel asks for each byte.
    pub(super) flags: FopenFlags,
}

impl Opened {
    /// True if the kernel treats a backing file as it would treat this one: what fcntl(2) changes of these flags later does not
    /// reach the backing file.
    fn is_plain(&self) -> bool {
        self.asked.0 & (libc::O_DIRECT | libc::O_APPEND) == 0
    }

    fn reads_only(&self) -> bool {
        self.asked.acc_mode() == OpenAccMode::O_RDONLY
    }

    /// Use that may outlive it.
    fn mapping(&self) -> Mapping {
        match self.asked.acc_mode() {
            OpenAccMode::O_RDWR => Mapping::Writable,
            OpenAccMode::O_RDONLY | OpenAccMode::O_WRONLY => Mapping::ReadOnly,
        }
    }
}

/// A file that the kernel is to use for one that was opened, and the flags for that.
pub(super) type Lending = (Arc<BackingId>, FopenFlags);

/// A backing file of a daemon before this one. The data file stays lent until the kernel forgets the inode: nobody knows who has
/// it open.
#[derive(Debug)]
struct Before {
    loan: Loan,
    /// Has it open.
    _content: Content,
}

/// Backing files of a daemon before this one, by inode.
#[derive(Debug)]
pub(crate) struct LentBefore {
    ids: BackingIds,
    files: Vec<(Ino, u32, Slot, Before)>,
}

impl LentBefore {
    /// Keeps whole what the kernel uses by itself. Nothing else may use the store before.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn keep(state_dir: &Path, store: &Arc<Store>) -> io::Result<Self> {
        let (ids, found) = BackingIds::go_on(&state_dir.join(RECORD))?;
        let keep = |(ino, id, slot)| {
            let (content, loan) = match store.lend_as_before(ino) {
                Ok(before) => before?,
                // Whoever opens it gets an error of the kernel's.
                Err(error) => {
                    tracing::warn!(%error, %ino, "a file that the kernel uses by itself is not kept whole");
                    return None;
                }
            };
            Some((ino, id, slot, Before { loan, _content: content }))
        };
        Ok(Self { files: found.into_iter().filter_map(keep).collect(), ids })
    }
}

/// A backing file that the kernel has.
#[derive(Debug)]
enum BackingFile {
    Open(Arc<BackingId>),
    /// Opened by a daemon before this one.
    Numbered(u32),
}

/// The way in which the kernel has an inode open.
#[derive(Debug)]
enum Mode {
    /// With pages in its memory.
    Cached(HashSet<HandleId>),
    /// By passthrough, all with one backing file.
    Lent(Lent),
}

#[derive(Debug)]
struct Lent {
    backing: BackingFile,
    slot: Slot,
    handles: HashSet<HandleId>,
    before: Option<Before>,
}

impl Mode {
    fn handles(&mut self) -> &mut HashSet<HandleId> {
        match self {
            Self::Cached(handles) | Self::Lent(Lent { handles, .. }) => handles,
        }
    }

    /// True if the kernel may have openings of it.
    fn is_used(&self) -> bool {
        match self {
            Self::Cached(handles) => !handles.is_empty(),
            Self::Lent(lent) => !lent.handles.is_empty() || lent.before.is_some(),
        }
    }
}

/// The ways in which the kernel has inodes open.
#[derive(Debug)]
pub(crate) struct Passthrough {
    parts: Vec<Mutex<HashMap<Ino, Mode>>>,
    ids: BackingIds,
    threads: Mutex<Threads>,
    /// True if openings of a daemon before this one are not known here.
    is_successor: bool,
    passing: Passing,
    is_on: AtomicBool,
}

impl Passthrough {
    /// Passthrough of a session: of a new one, whose record is begun anew, or of one that a daemon before this one had.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn new(
        state_dir: &Path,
        passing: Passing,
        before: Option<LentBefore>,
    ) -> io::Result<Self> {
        let is_successor = before.is_some();
        let (ids, files) = match before {
            Some(before) => (before.ids, before.files),
            None => (BackingIds::new(&state_dir.join(RECORD))?, Vec::new()),
        };
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        let (threads, is_on) = (Mutex::default(), AtomicBool::new(false));
        let table = Self { parts, ids, threads, is_successor, passing, is_on };
        for (ino, id, slot, before) in files {
            let (backing, handles) = (BackingFile::Numbered(id), HashSet::new());
            let lent = Lent { backing, slot, handles, before: Some(before) };
            table.part(ino).insert(ino, Mode::Lent(lent));
        }
        Ok(table)
    }

    /// Begins to use it, if it is wanted and the kernel agrees.
    pub(super) fn allow(&self, agree: impl FnOnce() -> bool) {
        if self.passing == Passing::Yes && agree() {
            self.is_on.store(true, Ordering::Relaxed);
        }
    }

    /// True while the kernel can do it and lets this process.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Takes in that a file is open; the backing file, if the kernel is to use one.
    ///
    /// # Errors
    /// The store's, where the kernel has the inode open by passthrough.
    pub(super) fn enter(
        &self,
        vfs: &Vfs,
        opened: &Opened,
        reply: &impl Backing,
    ) -> Result<Option<Lending>, Error> {
        self.note(opened);
        // Pages in the kernel's memory are those of before.
        let flags = opened.flags & FopenFlags::FOPEN_NOFLUSH;
        let mut part = self.part(opened.ino);
        let begun = match part.get_mut(&opened.ino) {
            Some(Mode::Lent(lent)) => {
                let lending = vfs.lend(opened.handle, (Others::Lent, opened.mapping()))?;
                lending.ok_or(Error::Stale)?;
                lent.handles.insert(opened.handle);
                let asks = if opened.is_plain() {
                    FopenFlags::empty()
                } else {
                    FopenFlags::FOPEN_DIRECT_IO
                };
                return Ok(Some((lent.backing.id(reply), flags | asks)));
            }
            Some(Mode::Cached(_)) => None,
            None => self.begin(vfs, opened, reply)?,
        };
        if let Some((id, slot)) = begun {
            let backing = BackingFile::Open(Arc::clone(&id));
            let handles = HashSet::from([opened.handle]);
            part.insert(opened.ino, Mode::Lent(Lent { backing, slot, handles, before: None }));
            return Ok(Some((id, flags)));
        }
        // Who writes past the kernel's pages is in nobody's way.
        if self.is_on() && !opened.flags.contains(FopenFlags::FOPEN_DIRECT_IO) {
            let mode = part.entry(opened.ino).or_insert_with(|| Mode::Cached(HashSet::new()));
            mode.handles().insert(opened.handle);
        }
        Ok(None)
    }

    /// Has the kernel use the data file of the first who opens an inode, if the store lends it.
    fn begin(
        &self,
        vfs: &Vfs,
        opened: &Opened,
        reply: &impl Backing,
    ) -> Result<Option<(Arc<BackingId>, Slot)>, Error> {
        let is_unknown = self.is_successor && opened.origin == FileOrigin::Existing;
        if !self.is_on() || is_unknown || !opened.is_plain() || self.had_better_ask(opened) {
            return Ok(None);
        }
        let Some(file) = vfs.lend(opened.handle, (Others::None, opened.mapping()))? else {
            return Ok(None);
        };
        let begun = reply.open_backing(&file).and_then(|id| {
            let number = id.into_raw();
            // SAFETY: the kernel has just given the number, and nobody else has it.
            let id = unsafe { reply.wrap_backing(number) };
            Ok((Arc::new(id), self.ids.add(opened.ino, number)?))
        });
        match begun {
            Ok(begun) => Ok(Some(begun)),
            Err(error) => {
                self.is_on.store(false, Ordering::Relaxed);
                tracing::info!(%error, "the kernel asks for each byte: files cannot be passed through");
                vfs.end_loan(opened.handle)?;
                Ok(None)
            }
        }
    }

    fn note(&self, opened: &Opened) {
        if !self.is_on() {
            return;
        }
        match opened.origin {
            _ if opened.reads_only() => self.threads().reads(opened.pid, opened.handle),
            FileOrigin::Made => self.threads().makes(opened.pid, opened.handle),
            FileOrigin::Existing => {}
        }
    }

    /// True if the kernel had better ask for each byte of a file: a thread that opens it to write may copy another one of the mount
    /// to it, or write little past the kernel's pages, which costs fewer requests then.
    fn had_better_ask(&self, opened: &Opened) -> bool {
        if opened.reads_only() {
            return false;
        }
        let is_made_past_pages =
            opened.origin == FileOrigin::Made && opened.flags.contains(FopenFlags::FOPEN_DIRECT_IO);
        let threads = self.threads();
        threads.may_copy(opened.pid) || is_made_past_pages && threads.makes_small(opened.pid)
    }

    /// A file was closed that has so many bytes; `None` if that is not known.
    pub(super) fn closed(&self, handle: HandleId, size: Option<u64>) {
        self.threads().closed(handle, size);
    }

    /// The kernel has closed a file.
    pub(super) fn leave(&self, ino: Ino, handle: HandleId) {
        let mut part = self.part(ino);
        let Some(mode) = part.get_mut(&ino) else { return };
        mode.handles().remove(&handle);
        if !mode.is_used() {
            let ended = part.remove(&ino);
            drop(part);
            self.end(ended);
        }
    }

    /// The kernel has forgotten an inode, so nobody has it open from before.
    pub(super) fn forget(&self, ino: Ino) {
        if !self.is_successor {
            return;
        }
        let mut part = self.part(ino);
        let Some(Mode::Lent(lent)) = part.get_mut(&ino) else { return };
        let before = lent.before.take();
        let ended = if lent.handles.is_empty() { part.remove(&ino) } else { None };
        drop(part);
        self.end(ended);
        if let Some(Before { loan, .. }) = before
            && let Err(error) = loan.end()
        {
            tracing::warn!(%error, %ino, "a data file stays lent");
        }
    }

    fn end(&self, mode: Option<Mode>) {
        if let Some(Mode::Lent(Lent { backing, slot, .. })) = mode {
            // Once it is closed the kernel may give its number to another one.
            self.ids.remove(slot);
            drop(backing);
        }
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, ino: Ino) -> MutexGuard<'_, HashMap<Ino, Mode>> {
        let part = &self.parts[(ino.0 % PARTS) as usize];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackingFile {
    /// The backing file, for an answer.
    fn id(&mut self, reply: &impl Backing) -> Arc<BackingId> {
        let id = match self {
            Self::Open(id) => return Arc::clone(id),
            // SAFETY: the daemon that had it opened has written it down for this one, and has ended.
            Self::Numbered(number) => Arc::new(unsafe { reply.wrap_backing(*number) }),
        };
        *self = Self::Open(Arc::clone(&id));
        id
    }
}
