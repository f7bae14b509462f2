//! Open files, and directories that are read in pieces.

use std::ops::Range;

use rustix::io::Errno;

use super::super::answer::{Expected, Kind};
use super::super::node::{Handle, Id, Stream};
use super::super::operation::{Access, Allocation, Creation, Open, Path};
use super::{Done, Model};

impl Model {
    pub(super) fn handle(&self, number: usize) -> Result<Handle, Errno> {
        self.handles[number].ok_or(Errno::BADF)
    }

    pub(super) fn open(&mut self, number: usize, path: &Path, how: Open) -> Done {
        let _was_not_open = self.close(number);
        let found = match self.find(path) {
            Ok(_) if matches!(how.creation, Creation::Must(_)) => return Err(Errno::EXIST),
            Err(Errno::NOENT) => None,
            found => Some(found?),
        };
        let id = match (found, how.creation) {
            (Some(id), _) => id,
            (None, Creation::No) => return Err(Errno::NOENT),
            (None, Creation::IfMissing(mode) | Creation::Must(mode)) => {
                self.make(path, Kind::File, mode)?
            }
        };
        match self.nodes[&id].kind {
            Kind::File => {}
            Kind::Directory => return Err(Errno::ISDIR),
            Kind::Symlink => return Err(Errno::LOOP),
            Kind::Fifo => return Err(Errno::NXIO),
        }
        if how.truncate && found.is_some() {
            self.set_size(id, 0);
        }
        let (writes, appends) = (how.access != Access::Read, how.access == Access::Append);
        self.handles[number] = Some(Handle { id, writes, appends });
        Ok(())
    }

    pub(super) fn close(&mut self, number: usize) -> Done {
        let handle = self.handles[number].take().ok_or(Errno::BADF)?;
        self.end_unless_held(handle.id);
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        number: usize,
        offset: u64,
        bytes: &dyn Fn(u64) -> Vec<u8>,
    ) -> Done {
        let handle = self.handle(number)?;
        if !handle.writes {
            return Err(Errno::BADF);
        }
        let step = self.step;
        let node = self.node(handle.id);
        let offset = if handle.appends { node.bytes.size() } else { offset };
        node.bytes.write(offset, &bytes(offset));
        node.touch(step);
        Ok(())
    }

    pub(super) fn resize(&mut self, number: usize, size: u64) -> Done {
        let handle = self.handle(number)?;
        if !handle.writes {
            return Err(Errno::INVAL);
        }
        self.set_size(handle.id, size);
        Ok(())
    }

    pub(super) fn allocate(&mut self, number: usize, range: Range<u64>, what: Allocation) -> Done {
        let handle = self.handle(number)?;
        if !handle.writes {
            return Err(Errno::BADF);
        }
        let step = self.step;
        let node = self.node(handle.id);
        if matches!(what, Allocation::Punch | Allocation::Zero) {
            node.bytes.clear(range.clone());
        }
        if matches!(what, Allocation::Reserve | Allocation::Zero) {
            node.bytes.resize(node.bytes.size().max(range.end));
        }
        node.touch(step);
        Ok(())
    }

    pub(super) fn truncate(&mut self, path: &Path, size: u64) -> Done {
        let id = self.follow(path)?;
        match self.nodes[&id].kind {
            Kind::Directory => Err(Errno::ISDIR),
            Kind::Fifo | Kind::Symlink => Err(Errno::INVAL),
            Kind::File => {
                self.set_size(id, size);
                Ok(())
            }
        }
    }

    pub(super) fn set_size(&mut self, id: Id, size: u64) {
        let step = self.step;
        let node = self.node(id);
        node.bytes.resize(size);
        node.touch(step);
    }

    pub(super) fn stream(&mut self, number: usize) -> Result<&mut Stream, Errno> {
        self.streams[number].as_mut().ok_or(Errno::BADF)
    }

    pub(super) fn open_stream(&mut self, number: usize, path: &Path) -> Done {
        if let Some(stream) = self.streams[number].take() {
            self.end_unless_held(stream.id);
        }
        let id = self.directory(path)?;
        let names = self.nodes[&id].children.keys().copied();
        self.streams[number] = Some(Stream::new(id, names));
        Ok(())
    }

    pub(super) fn rewind(&mut self, number: usize) -> Done {
        let id = self.stream(number)?.id;
        let names = self.nodes[&id].children.keys().copied();
        self.streams[number] = Some(Stream::new(id, names));
        Ok(())
    }

    /// True if a stream's directory is gone: some file systems refuse to read it then.
    pub(super) fn is_removed(&self, number: usize) -> bool {
        let stream = self.streams[number].as_ref();
        stream.is_some_and(|stream| self.nodes[&stream.id].names == 0)
    }

    pub(super) fn end_stream(&mut self, number: usize) -> Expected {
        let Some(Stream { id, always, ever }) = self.streams[number].take() else {
            return Expected::Exactly(Err(Errno::BADF));
        };
        let removed = self.nodes[&id].names == 0;
        self.end_unless_held(id);
        if removed { Expected::Anything } else { Expected::Stream { always, ever } }
    }
}
