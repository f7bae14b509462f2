//! The model: what POSIX and Linux say that each operation does and answers, in memory and as plainly
//! as can be. The caller is root, or owns everything, so that nothing is denied for want of rights.
//!
//! Where several errnos would do, it is the one that Linux gives.

mod attributes;
mod handles;
mod names;

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::answer::{Answer, Expected, Kind, Value};
use super::node::{Handle, Id, Node, Stream};
use super::operation::{HANDLES, Operation, STREAMS, pattern, target};

/// The directory of the sequence.
pub(crate) const TOP: Id = 0;

/// A file system in memory.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(super) nodes: BTreeMap<Id, Node>,
    handles: [Option<Handle>; HANDLES],
    streams: [Option<Stream>; STREAMS],
    owner: (u32, u32),
    next: Id,
    step: u64,
}

type Done = Result<(), Errno>;

impl Model {
    /// An empty directory; what is made belongs to this user and group.
    pub(crate) fn new(uid: u32, gid: u32) -> Self {
        let owner = (uid, gid);
        let top = Node::new(Kind::Directory, 0o755, owner, 0);
        let nodes = BTreeMap::from([(TOP, top)]);
        let (handles, streams) = Default::default();
        Self { nodes, handles, streams, owner, next: TOP + 1, step: 0 }
    }

    /// Does an operation, and says what it must answer.
    pub(crate) fn apply(&mut self, operation: &Operation) -> Expected {
        self.step += 1;
        match operation {
            Operation::EndStream { stream } => self.end_stream(*stream),
            Operation::ReadStream { stream, .. } if self.is_removed(*stream) => Expected::Anything,
            other => Expected::Exactly(self.answer(other)),
        }
    }

    fn answer(&mut self, operation: &Operation) -> Answer {
        let done = match operation {
            Operation::Open { handle, path, how } => self.open(*handle, path, *how),
            Operation::Close { handle } => self.close(*handle),
            Operation::Write { handle, offset, length, fill } => {
                self.write(*handle, *offset, &|offset| pattern(*fill, offset, *length))
            }
            Operation::Resize { handle, size } => self.resize(*handle, *size),
            Operation::Allocate { handle, offset, length, what } => {
                self.allocate(*handle, *offset..*offset + *length, *what)
            }
            Operation::Sync { handle } => self.handle(*handle).map(drop),
            Operation::Truncate { path, size } => self.truncate(path, *size),
            Operation::MakeDirectory { path, mode } => {
                self.make(path, Kind::Directory, *mode).map(drop)
            }
            Operation::MakeFifo { path, mode } => self.make(path, Kind::Fifo, *mode).map(drop),
            Operation::Symlink { path, length } => self.symlink(path, *length),
            Operation::Link { from, to } => self.link(from, to),
            Operation::Unlink { path } => self.unlink(path),
            Operation::RemoveDirectory { path } => self.remove_directory(path),
            Operation::Rename { from, to, mode } => self.rename(from, to, *mode),
            Operation::OpenStream { stream, path } => self.open_stream(*stream, path),
            Operation::ReadStream { stream, .. } => self.stream(*stream).map(drop),
            Operation::Rewind { stream } => self.rewind(*stream),
            Operation::Chmod { path, mode } => self.chmod(path, *mode),
            Operation::Chown { path, uid, gid } => self.chown(path, *uid, *gid),
            Operation::SetTimes { path, mtime, .. } => self.set_times(path, *mtime),
            Operation::SetXattr { path, name, length, fill, when } => {
                self.set_xattr(path, (name, pattern(*fill, 0, *length)), *when)
            }
            Operation::RemoveXattr { path, name } => self.remove_xattr(path, name),
            Operation::Send | Operation::SendAway => Ok(()),
            Operation::Remount => self.restart(),
            Operation::Kill => {
                // What was being written has other times then.
                self.nodes.values_mut().for_each(|node| node.told = None);
                self.restart()
            }
            asking => return self.ask(asking),
        };
        done.map(|()| Value::Nothing)
    }

    /// Operations that change nothing.
    fn ask(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Read { handle, offset, length } => {
                let handle = self.handle(*handle)?;
                Ok(Value::Bytes(self.nodes[&handle.id].bytes.read(*offset, *length)))
            }
            Operation::StatHandle { handle } => {
                let id = self.handle(*handle)?.id;
                Ok(self.stat(id))
            }
            Operation::Stat { path } => {
                let id = self.find(path)?;
                Ok(self.stat(id))
            }
            Operation::ReadLink { path } => match &self.nodes[&self.find(path)?] {
                link if link.kind == Kind::Symlink => Ok(Value::Bytes(target(link.target))),
                _ => Err(Errno::INVAL),
            },
            Operation::List { path } => {
                let id = self.directory(path)?;
                let kind = |(name, id): (&&[u8], &Id)| (name.to_vec(), self.nodes[id].kind);
                Ok(Value::Entries(self.nodes[&id].children.iter().map(kind).collect()))
            }
            Operation::GetXattr { path, name } => {
                let node = &self.nodes[&self.find(path)?];
                node.xattrs.get(name).cloned().map(Value::Bytes).ok_or(Errno::NODATA)
            }
            Operation::ListXattrs { path } => {
                let node = &self.nodes[&self.find(path)?];
                let names = node.xattrs.keys().map(|name| name.as_bytes().to_vec());
                Ok(Value::Xattrs(names.collect()))
            }
            changing => panic!("{changing:?} is done elsewhere"),
        }
    }

    fn node(&mut self, id: Id) -> &mut Node {
        self.nodes.get_mut(&id).expect("nodes stay as long as something names them")
    }

    fn stat(&mut self, id: Id) -> Value {
        let children = self.nodes[&id].children.values();
        let directories = children.filter(|it| self.nodes[it].kind == Kind::Directory).count();
        Value::Stat(self.node(id).stat(directories as u32))
    }

    /// Whatever was open is closed; nothing else is lost.
    fn restart(&mut self) -> Done {
        self.handles = Default::default();
        self.streams = Default::default();
        self.nodes.retain(|_, node| node.names > 0);
        Ok(())
    }
}
