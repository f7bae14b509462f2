//! Answers of operations, and the parts of them that must be equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rustix::io::Errno;

/// An operation's result.
pub(crate) type Answer = Result<Value, Errno>;

/// Result of an operation that succeeded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Nothing,
    Bytes(Vec<u8>),
    Stat(Stat),
    Entries(BTreeMap<Vec<u8>, Kind>),
    Xattrs(BTreeSet<Vec<u8>>),
    /// All names of a stream in the order in which they came.
    Seen(Vec<Vec<u8>>),
}

/// Type of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
}

/// The fields of `stat` that are the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    /// Of a directory: 0, as each file system has its own idea.
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
}

/// A time that `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// Somebody set it to this.
    Set(i64),
    /// A time of the clock.
    Clock(Moved),
}

/// Relation of a time of the clock to the one seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Another time than the one seen before, or the first one.
    Yes,
    /// The same time.
    No,
    /// The clock is too coarse to tell.
    Unknown,
}

/// Times before this were set, others are of the clock: 1.5 · 10^18 nanoseconds after 1970, in 2017.
const FIRST_OF_CLOCK: i64 = 1_500_000_000_000_000_000;

impl Time {
    /// A time that is told as nanoseconds since 1970; `before` is what was told before.
    pub(crate) fn told(nanoseconds: i64, before: Option<i64>) -> Self {
        match before {
            _ if nanoseconds < FIRST_OF_CLOCK => Self::Set(nanoseconds),
            Some(before) if before == nanoseconds => Self::Clock(Moved::No),
            _ => Self::Clock(Moved::Yes),
        }
    }

    /// The same, where the clock is too coarse to tell one moment from the next.
    pub(crate) fn told_coarsely(nanoseconds: i64) -> Self {
        match nanoseconds < FIRST_OF_CLOCK {
            true => Self::Set(nanoseconds),
            false => Self::Clock(Moved::Unknown),
        }
    }

    fn agrees(self, found: Self) -> bool {
        match (self, found) {
            (Self::Clock(_), Self::Clock(Moved::Unknown)) => true,
            (expected, found) => expected == found,
        }
    }
}

/// Answer that the model expects of an operation.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// This.
    Exactly(Answer),
    /// Each name of `always` once, and none that is not in `ever`.
    Stream {
        /// Names that were in the directory all the time.
        always: BTreeSet<&'static [u8]>,
        /// Names that were in it at some time.
        ever: BTreeSet<&'static [u8]>,
    },
    /// Whatever it likes.
    Anything,
}

impl Expected {
    /// True if an answer is as expected.
    pub(crate) fn agrees(&self, found: &Answer) -> bool {
        match (self, found) {
            (Self::Anything, _) => true,
            (Self::Exactly(Ok(Value::Stat(expected))), Ok(Value::Stat(found))) => {
                let times = Stat { mtime: found.mtime, ctime: found.ctime, ..expected.clone() };
                times == *found
                    && expected.mtime.agrees(found.mtime)
                    && expected.ctime.agrees(found.ctime)
            }
            (Self::Exactly(expected), found) => expected == found,
            (Self::Stream { always, ever }, Ok(Value::Seen(seen))) => {
                let times = |name: &[u8]| seen.iter().filter(|it| *it == name).count();
                always.iter().all(|name| times(name) == 1)
                    && seen.iter().all(|name| ever.contains(name.as_slice()))
            }
            (Self::Stream { .. }, _) => false,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: &mut dyn Iterator<Item = &Vec<u8>>| -> Vec<String> {
            names.map(|name| name[..name.len().min(20)].escape_ascii().to_string()).collect()
        };
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Bytes(bytes) => write!(f, "{} bytes: {}", bytes.len(), runs(bytes)),
            Self::Stat(stat) => stat.fmt(f),
            Self::Entries(entries) => {
                write!(f, "{:?} {:?}", names(&mut entries.keys()), entries.values())
            }
            Self::Xattrs(list) => write!(f, "{:?}", names(&mut list.iter())),
            Self::Seen(seen) => write!(f, "{:?}", names(&mut seen.iter())),
        }
    }
}

/// Where bytes are zeros and where not, with the first of each run that is not.
fn runs(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|one, two| (*one == 0) == (*two == 0)).take(8);
    let words = runs.map(|run| match run[0] {
        0 => format!("{} zeros", run.len()),
        _ => format!("{} others ({:02x?}…)", run.len(), &run[..run.len().min(4)]),
    });
    words.collect::<Vec<_>>().join(", ")
}
