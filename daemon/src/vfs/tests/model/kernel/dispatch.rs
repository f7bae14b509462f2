//! The operations of a sequence, each done by its call.

use miaofs::protocol::files;
use rustix::io::Errno;

use super::super::convert::errno;
use super::super::filesystem::FileSystem;
use super::super::filesystem::answer::{Answer, Value};
use super::super::filesystem::operation::{Operation, pattern, target};
use super::super::instance::Instance;
use super::{Done, Kernel};
use crate::vfs::{AttributeChange, ByteRange};

impl Kernel<'_> {
    fn change(&mut self, operation: &Operation) -> Done {
        match operation {
            Operation::Open { handle, path, how } => self.open(*handle, path, *how),
            Operation::Close { handle } => self.close(*handle),
            Operation::Write { handle, offset, length, fill } => {
                self.write(*handle, *offset, (*fill, *length))
            }
            Operation::Resize { handle, size } => self.resize(*handle, *size),
            Operation::Allocate { handle, offset, length, what } => {
                self.allocate(*handle, ByteRange { offset: *offset, length: *length }, *what)
            }
            Operation::Sync { handle } => {
                self.vfs().sync(self.file(*handle)?.id).map(drop).map_err(errno)
            }
            Operation::Truncate { path, size } => self.truncate(path, *size),
            Operation::MakeDirectory { path, mode } => {
                self.make(path, files::Kind::Directory, *mode, None)
            }
            Operation::MakeFifo { path, mode } => self.make(path, files::Kind::Fifo, *mode, None),
            Operation::Symlink { path, length } => {
                self.make(path, files::Kind::Symlink, 0o777, Some(&target(*length)))
            }
            Operation::Link { from, to } => self.link(from, to),
            Operation::Unlink { path } => self.vfs().unlink(self.entry_name(path)?).map_err(errno),
            Operation::RemoveDirectory { path } => {
                self.vfs().remove_directory(self.entry_name(path)?).map_err(errno)
            }
            Operation::Rename { from, to, mode } => self.rename(from, to, *mode),
            Operation::OpenStream { stream, path } => self.open_stream(*stream, path),
            Operation::ReadStream { stream, entries } => self.read_stream(*stream, *entries),
            Operation::Rewind { stream } => self.rewind(*stream),
            Operation::Chmod { path, mode } => {
                let (ino, mode) = (self.follow(path)?.ino, Some(*mode));
                self.set(ino, AttributeChange { mode, ..AttributeChange::default() })
            }
            Operation::Chown { path, uid, gid } => self.chown(path, *uid, *gid),
            Operation::SetTimes { path, atime, mtime } => self.set_times(path, *atime, *mtime),
            Operation::SetXattr { path, name, length, fill, when } => {
                self.set_xattr(path, (name, &pattern(*fill, 0, *length)), *when)
            }
            Operation::RemoveXattr { path, name } => {
                let ino = self.with_xattrs(path, Errno::PERM)?;
                self.vfs().remove_xattr(ino, name.as_bytes()).map_err(errno)
            }
            asking => panic!("{asking:?} is done elsewhere"),
        }
    }
}

impl FileSystem for Kernel<'_> {
    fn apply(&mut self, operation: &Operation) -> Answer {
        match operation {
            Operation::Read { handle, offset, length } => self.read(*handle, *offset, *length),
            Operation::StatHandle { handle } => {
                let stat = self.vfs().stat(self.file(*handle)?.ino).map_err(errno)?;
                Ok(self.stat(&stat))
            }
            Operation::Stat { path } => {
                let found = self.find(path)?;
                Ok(self.stat(&found))
            }
            Operation::ReadLink { path } => {
                let target = self.vfs().read_link(self.find(path)?.ino).map_err(errno)?;
                Ok(Value::Bytes(target.to_vec()))
            }
            Operation::List { path } => self.list(path),
            Operation::EndStream { stream } => self.end_stream(*stream),
            Operation::GetXattr { path, name } => {
                let ino = self.with_xattrs(path, Errno::NODATA)?;
                self.vfs().xattr(ino, name.as_bytes()).map(Value::Bytes).map_err(errno)
            }
            Operation::ListXattrs { path } => self.xattr_names(path),
            Operation::Send => {
                self.instance_mut().send();
                Ok(Value::Nothing)
            }
            Operation::SendAway => {
                self.instance_mut().send_away();
                Ok(Value::Nothing)
            }
            Operation::Remount => {
                self.restart(Instance::remount);
                Ok(Value::Nothing)
            }
            Operation::Kill => {
                // What was being written has the times of its data file then.
                self.told.clear();
                self.restart(Instance::kill);
                Ok(Value::Nothing)
            }
            changing => self.change(changing).map(|()| Value::Nothing),
        }
    }
}
