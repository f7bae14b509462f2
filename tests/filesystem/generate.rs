//! Sequences of operations: random, but so that most of them find something to do.
//!
//! A model goes along, so that paths can be chosen that are there.

use super::answer::Kind;
use super::model::{Model, TOP};
use super::node::Id;
use super::operation::{
    Access, Allocation, Creation, GOOD_NAMES, HANDLES, NAMES, NewTime, Open, Operation, Path,
    Rename, STREAMS, SetXattr,
};
use super::random::Random;

const CHUNK: u64 = 4 << 20;
const BLOCK: u64 = 64 << 10;
/// The deepest that a path goes.
const DEPTH_MAX: usize = 4;
/// Nodes from which on more names are removed than made.
const NODES_MAX: usize = 24;
const XATTRS: [&str; 3] = ["user.a", "user.b", "user.a longer name"];
const OWNERS: [Option<u32>; 4] = [None, Some(0), Some(7), Some(1_000_000)];

/// Whose sequences: only root may give files away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Root's.
    Root,
    /// Anybody's.
    User,
}

/// Parameters of the random sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Habits {
    /// Operations of each sequence.
    pub length: usize,
    /// Privileges of the caller.
    pub rights: Rights,
    /// Once in so many operations the daemon is killed.
    pub kill: u64,
    /// Once in so many operations it ends in order.
    pub remount: u64,
    /// Once in so many operations everything is sent to where it is fetched from again, or begins to be.
    pub send: u64,
    /// An offset that is far away, in bytes; what is before it is a hole mostly.
    pub far: u64,
}

/// Generator of sequences.
pub(crate) struct Generator<'a> {
    random: &'a mut Random,
    model: Model,
    habits: Habits,
    /// True if an upload is on its way.
    sending: bool,
}

/// A sequence of operations on an empty directory.
pub(crate) fn sequence(random: &mut Random, habits: Habits) -> Vec<Operation> {
    continued(random, Model::new(0, 0), habits)
}

/// A sequence of operations on what a model says.
pub(crate) fn continued(random: &mut Random, model: Model, habits: Habits) -> Vec<Operation> {
    let mut generator = Generator { random, model, habits, sending: false };
    (0..habits.length).map(|_| generator.next()).collect()
}

impl Generator<'_> {
    fn next(&mut self) -> Operation {
        let operation = if self.random.one_in(self.habits.kill) {
            Operation::Kill
        } else if self.random.one_in(self.habits.remount) {
            Operation::Remount
        } else if self.sending {
            // What is on its way is often written to, and gone soon.
            if self.random.one_in(4) { Operation::SendAway } else { self.on_contents() }
        } else if self.random.one_in(self.habits.send) {
            self.random.pick(&[Operation::Send, Operation::Send, Operation::SendAway])
        } else {
            match self.random.below(100) {
                0..32 => self.on_names(),
                32..72 => self.on_contents(),
                72..80 => self.on_streams(),
                80..92 => self.on_attributes(),
                _ => self.on_nothing(),
            }
        };
        self.sending = match operation {
            Operation::Send => true,
            Operation::SendAway | Operation::Kill | Operation::Remount => false,
            _ => self.sending,
        };
        self.model.apply(&operation);
        operation
    }

    fn on_names(&mut self) -> Operation {
        let full = self.model.nodes.len() > NODES_MAX;
        match self.random.below(if full { 14 } else { 22 }) {
            0..2 => Operation::Unlink { path: self.path(&[Kind::File, Kind::Symlink]) },
            2 => Operation::RemoveDirectory { path: self.path(&[Kind::Directory]) },
            3..10 => {
                let everything = [Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo];
                let (from, to) = (self.path(&everything), self.target_path());
                let modes = [Rename::Over, Rename::Over, Rename::NoReplace, Rename::Exchange];
                Operation::Rename { from, to, mode: self.random.pick(&modes) }
            }
            10..13 => {
                let from = self.path(&[Kind::File, Kind::File, Kind::Symlink, Kind::Fifo]);
                Operation::Link { from, to: self.target_path() }
            }
            13 => Operation::MakeFifo { path: self.new_path(), mode: 0o644 },
            14..16 => {
                let length = self.random.pick(&[10, 20, 60, 1000]);
                Operation::Symlink { path: self.new_path(), length }
            }
            16..20 => {
                let mode = self.random.pick(&[0o755, 0o755, 0o700]);
                Operation::MakeDirectory { path: self.new_path(), mode }
            }
            _ => self.open(true),
        }
    }

    fn on_contents(&mut self) -> Operation {
        let handle = self.random.below(HANDLES as u64) as usize;
        match self.random.below(26) {
            0..4 => self.open(false),
            4..6 => Operation::Close { handle },
            6..11 => {
                let (offset, length) = (self.offset(), self.length());
                Operation::Read { handle, offset, length }
            }
            11..17 => {
                let (offset, length) = (self.offset(), self.length());
                let fill = self.random.below(256) as u8;
                Operation::Write { handle, offset, length, fill }
            }
            17..19 => Operation::Resize { handle, size: self.offset() },
            19..21 => Operation::StatHandle { handle },
            21 => Operation::Sync { handle },
            22..24 => self.allocate(handle),
            _ => {
                let kinds = [Kind::File, Kind::File, Kind::File, Kind::Fifo, Kind::Directory];
                Operation::Truncate { path: self.path(&kinds), size: self.offset() }
            }
        }
    }

    fn allocate(&mut self, handle: usize) -> Operation {
        use Allocation::{Punch, Reserve, ReserveKeepingSize, Zero};
        let what = self.random.pick(&[Reserve, ReserveKeepingSize, Punch, Punch, Zero]);
        let (offset, mut length) = (self.offset(), self.length() as u64);
        // A large hole takes no room.
        if what == Punch && self.random.one_in(3) {
            length += self.random.below(3) * CHUNK;
        }
        Operation::Allocate { handle, offset, length, what }
    }

    fn open(&mut self, anew: bool) -> Operation {
        let handle = self.random.below(HANDLES as u64) as usize;
        let path = if anew { self.new_path() } else { self.path(&[Kind::File]) };
        let mode = self.random.pick(&[0o644, 0o600, 0o755]);
        let creation = match self.random.below(8) {
            0..3 => Creation::No,
            3 => Creation::Must(mode),
            _ => Creation::IfMissing(mode),
        };
        let access =
            self.random.pick(&[Access::Read, Access::Write, Access::Write, Access::Append]);
        let truncate = access != Access::Read && self.random.one_in(6);
        Operation::Open { handle, path, how: Open { access, creation, truncate } }
    }

    fn on_streams(&mut self) -> Operation {
        let stream = self.random.below(STREAMS as u64) as usize;
        match self.random.below(9) {
            0..2 => Operation::OpenStream { stream, path: self.path(&[Kind::Directory]) },
            2 => Operation::Rewind { stream },
            3 => Operation::EndStream { stream },
            _ => Operation::ReadStream { stream, entries: 1 + self.random.below(3) as usize },
        }
    }

    fn on_attributes(&mut self) -> Operation {
        let path = self.path(&[Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo]);
        let name = self.random.pick(&XATTRS);
        match self.random.below(12) {
            0..2 => {
                let modes = [0o700, 0o755, 0o777, 0o1755, 0o2755, 0o4755, 0o6744];
                Operation::Chmod { path, mode: self.random.pick(&modes) }
            }
            2..4 if self.habits.rights == Rights::Root => {
                let (uid, gid) = (self.random.pick(&OWNERS), self.random.pick(&OWNERS));
                Operation::Chown { path, uid, gid: gid.or(uid.is_none().then_some(0)) }
            }
            2..6 => {
                let atime =
                    self.random.pick(&[NewTime::Now, NewTime::At(1_234_567_890_123_456_789)]);
                let set =
                    NewTime::At(1_000_000_000_000_000_000 + self.random.below(1 << 58) as i64);
                let mtime = self.random.pick(&[NewTime::Omit, NewTime::Now, set, set]);
                Operation::SetTimes { path, atime, mtime }
            }
            6..9 => {
                let modes =
                    [SetXattr::Always, SetXattr::Always, SetXattr::Create, SetXattr::Replace];
                let length = self.random.pick(&[0, 1, 30, 600]);
                let (fill, when) = (self.random.below(256) as u8, self.random.pick(&modes));
                Operation::SetXattr { path, name, length, fill, when }
            }
            9 => Operation::RemoveXattr { path, name },
            10 => Operation::ListXattrs { path },
            _ => Operation::GetXattr { path, name },
        }
    }

    fn on_nothing(&mut self) -> Operation {
        let everything = [Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo];
        match self.random.below(8) {
            0..5 => Operation::Stat { path: self.path(&everything) },
            5 => {
                Operation::ReadLink { path: self.path(&[Kind::Symlink, Kind::Symlink, Kind::File]) }
            }
            _ => {
                Operation::List { path: self.path(&[Kind::Directory, Kind::Directory, Kind::File]) }
            }
        }
    }

    // --- choices ---

    /// The path of a node of one of these kinds mostly, else any path at all.
    fn path(&mut self, kinds: &[Kind]) -> Path {
        if self.random.one_in(12) {
            return self.any_path();
        }
        let kind = self.random.pick(kinds);
        let mut paths = Vec::new();
        collect(&self.model, TOP, &Path(Vec::new()), kind, &mut paths);
        if paths.is_empty() { self.any_path() } else { self.random.pick(&paths) }
    }

    /// A path for something new: mostly in a directory that is there.
    fn new_path(&mut self) -> Path {
        if self.random.one_in(15) {
            return self.any_path();
        }
        let mut directories = vec![Path(Vec::new())];
        collect(&self.model, TOP, &Path(Vec::new()), Kind::Directory, &mut directories);
        let directory = self.random.pick(&directories);
        if directory.0.len() >= DEPTH_MAX {
            return self.any_path();
        }
        directory.join(self.name())
    }

    /// Where a rename or a link leads: to something new or to what is there.
    fn target_path(&mut self) -> Path {
        match self.random.one_in(2) {
            true => self.new_path(),
            false => self.path(&[Kind::File, Kind::File, Kind::Directory, Kind::Symlink]),
        }
    }

    fn any_path(&mut self) -> Path {
        let depth = 1 + self.random.below(3).min(self.random.below(3));
        Path((0..depth).map(|_| self.name()).collect())
    }

    fn name(&mut self) -> &'static [u8] {
        match self.random.below(60) {
            0 => self.random.pick(&NAMES),
            1..5 => self.random.pick(&NAMES[..GOOD_NAMES]),
            _ => self.random.pick(&NAMES[..4]),
        }
    }

    /// An offset or a size: small, or near a place where something begins, or far away.
    fn offset(&mut self) -> u64 {
        match self.random.below(20) {
            0..9 => self.random.below(10_000),
            9..12 => (self.random.below(4) * BLOCK + self.random.below(3)).saturating_sub(1),
            12..17 => (self.random.below(4) * CHUNK + self.random.below(3)).saturating_sub(1),
            17 => self.random.below(3) * CHUNK + self.random.below(CHUNK),
            18 => 0,
            _ => self.habits.far + self.random.below(self.habits.far),
        }
    }

    fn length(&mut self) -> usize {
        (1 + match self.random.below(12) {
            0..4 => self.random.below(3),
            4..11 => self.random.below(6000),
            _ => self.random.below(2 * BLOCK),
        }) as usize
    }
}

/// The paths of all nodes of a kind below a directory; the top itself is left out, since it cannot
/// be removed.
fn collect(model: &Model, directory: Id, path: &Path, kind: Kind, paths: &mut Vec<Path>) {
    for (name, id) in &model.nodes[&directory].children {
        let path = path.join(name);
        if model.nodes[id].kind == Kind::Directory {
            collect(model, *id, &path, kind, paths);
        }
        if model.nodes[id].kind == kind {
            paths.push(path);
        }
    }
}
