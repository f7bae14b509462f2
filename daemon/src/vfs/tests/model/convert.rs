//! Between the words of the model and those of the file system.

use miaofs::protocol::files;
use rustix::io::Errno;

use super::filesystem::answer::Kind;
use super::filesystem::operation::NewTime;
use crate::vfs::{self, Time};

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
pub(super) fn errno(error: vfs::Error) -> Errno {
    error.errno()
}

pub(super) fn kind(kind: files::Kind) -> Kind {
    match kind {
        files::Kind::File => Kind::File,
        files::Kind::Directory => Kind::Directory,
        files::Kind::Symlink => Kind::Symlink,
        files::Kind::Fifo => Kind::Fifo,
        other => panic!("nobody made a {other:?}"),
    }
}

pub(super) fn time(time: NewTime) -> Option<Time> {
    match time {
        NewTime::Omit => None,
        NewTime::Now => Some(Time::Now),
        NewTime::At(nanoseconds) => Some(Time::At(nanoseconds)),
    }
}
