//! The part of the kernel: finds nodes by their paths, knows what is open, and asks the file system.
//!
//! It checks what the kernel checks before it asks, and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use miaofs::protocol::files;
use rustix::io::Errno;

use super::convert::{errno, kind, time};
use super::filesystem::answer::{self, Answer, Kind, Value};
use super::filesystem::operation::{
    self, Access, Creation, HANDLES, NewTime, Open, Path, Rename, STREAMS, SetXattr, pattern,
};
use super::instance::Instance;
use crate::store::{self, Availability, Growth, Ino};
use crate::vfs::{
    self, Allocation, AttributeChange, ByteRange, Caller, EntryName, HandleId, IfExists, NodeSpec,
    OpenMode, Privileges, RenameMode, Stat, Truncate, Vfs, Written,
};

mod dispatch;

const ROOT_USER: Caller = Caller { uid: 0, gid: 0, umask: 0, thread: None };
/// Most times that an operation may say that bytes are missing; after that it cannot be done.
const FETCHES_MAX: u32 = 10;

type Done = Result<(), Errno>;

/// An open file.
struct File {
    id: HandleId,
    ino: Ino,
    access: Access,
}

/// A directory that is read in pieces.
struct Stream {
    id: HandleId,
    after: u64,
    seen: Vec<Vec<u8>>,
}

/// A directory of a instance, for one sequence.
pub(super) struct Kernel<'a> {
    instance: &'a mut Option<Instance>,
    top: Ino,
    handles: [Option<File>; HANDLES],
    streams: [Option<Stream>; STREAMS],
    /// Times of change of content and of anything, as told before.
    told: HashMap<Ino, (i64, i64)>,
}

impl Drop for Kernel<'_> {
    fn drop(&mut self) {
        let Some(instance) = self.instance else { return };
        for file in self.handles.iter_mut().filter_map(Option::take) {
            instance.vfs.release(file.id).unwrap();
        }
        for stream in self.streams.iter_mut().filter_map(Option::take) {
            instance.vfs.release_directory(stream.id).unwrap();
        }
    }
}

impl<'a> Kernel<'a> {
    /// Makes a directory for a sequence.
    pub(super) fn new(instance: &'a mut Option<Instance>) -> Self {
        let running = instance.get_or_insert_with(Instance::new);
        running.sequences += 1;
        let name = format!("sequence {}", running.sequences);
        let new = NodeSpec { kind: files::Kind::Directory, mode: 0o755, rdev: 0, target: None };
        let entry = EntryName { parent: Ino::ROOT, name: name.as_bytes() };
        let top = running.vfs.create(ROOT_USER, entry, new).unwrap().ino;
        let (handles, streams) = Default::default();
        Self { instance, top, handles, streams, told: HashMap::new() }
    }

    fn instance(&self) -> &Instance {
        self.instance.as_ref().expect("it is there between operations")
    }

    fn instance_mut(&mut self) -> &mut Instance {
        self.instance.as_mut().expect("it is there between operations")
    }

    fn vfs(&self) -> &Vfs {
        &self.instance().vfs
    }

    // --- paths ---

    fn look(&self, parent: Ino, name: &[u8]) -> Result<Option<Stat>, Errno> {
        self.vfs().lookup(EntryName { parent, name }).map_err(errno)
    }

    /// The last name of a path, and its directory. No symlink of these tests leads anywhere.
    fn entry_name<'p>(&self, path: &'p Path) -> Result<EntryName<'p>, Errno> {
        let (name, parents) = path.0.split_last().expect("the top has no name");
        let mut parent = self.top;
        for name in parents {
            let found = self.look(parent, name)?.ok_or(Errno::NOENT)?;
            parent = match found.attributes.kind {
                files::Kind::Directory => found.ino,
                files::Kind::Symlink => return Err(Errno::NOENT),
                _ => return Err(Errno::NOTDIR),
            };
        }
        Ok(EntryName { parent, name })
    }

    fn find(&self, path: &Path) -> Result<Stat, Errno> {
        if path.0.is_empty() {
            return self.vfs().stat(self.top).map_err(errno);
        }
        let entry = self.entry_name(path)?;
        self.look(entry.parent, entry.name)?.ok_or(Errno::NOENT)
    }

    /// As [`Self::find`], following a symlink.
    fn follow(&self, path: &Path) -> Result<Stat, Errno> {
        let found = self.find(path)?;
        match found.attributes.kind {
            files::Kind::Symlink => Err(Errno::NOENT),
            _ => Ok(found),
        }
    }

    // --- names ---

    fn make(&self, path: &Path, kind: files::Kind, mode: u32, target: Option<&[u8]>) -> Done {
        let entry = self.entry_name(path)?;
        self.look(entry.parent, entry.name)?;
        let new = NodeSpec { kind, mode, rdev: 0, target };
        self.vfs().create(ROOT_USER, entry, new).map(drop).map_err(errno)
    }

    fn link(&self, from: &Path, to: &Path) -> Done {
        let found = self.find(from)?;
        let entry = self.entry_name(to)?;
        self.look(entry.parent, entry.name)?;
        self.vfs().link(found.ino, entry).map(drop).map_err(errno)
    }

    fn rename(&self, from: &Path, to: &Path, mode: Rename) -> Done {
        let (from, to) = (self.entry_name(from)?, self.entry_name(to)?);
        self.look(from.parent, from.name)?.ok_or(Errno::NOENT)?;
        self.look(to.parent, to.name)?;
        let mode = match mode {
            Rename::Over => RenameMode::Replace,
            Rename::NoReplace => RenameMode::KeepTarget,
            Rename::Exchange => RenameMode::Exchange,
        };
        self.vfs().rename(from, to, mode).map_err(errno)
    }

    // --- contents ---

    fn file(&self, number: usize) -> Result<&File, Errno> {
        self.handles[number].as_ref().ok_or(Errno::BADF)
    }

    fn open(&mut self, number: usize, path: &Path, how: Open) -> Done {
        let _was_not_open = self.close(number);
        let found = match (self.find(path), how.creation) {
            (Err(Errno::NOENT), Creation::IfMissing(_) | Creation::Must(_)) => None,
            (found, _) => Some(found?),
        };
        let access = match how.access {
            Access::Read => store::Access::Read,
            Access::Write | Access::Append => store::Access::Write,
        };
        let truncate = if how.truncate { Truncate::Yes } else { Truncate::No };
        let mode = OpenMode { access, truncate };
        let (permissions, if_exists) = match how.creation {
            Creation::Must(permissions) => (permissions, IfExists::Fail),
            Creation::IfMissing(permissions) => (permissions, IfExists::Open),
            Creation::No => (0, IfExists::Open),
        };
        let kind = found.as_ref().map(|found| found.attributes.kind);
        let (ino, id) = match (kind, &found) {
            (Some(files::Kind::File), Some(found)) if how.creation == Creation::No => {
                (found.ino, self.vfs().open(ROOT_USER, found.ino, mode).map_err(errno)?)
            }
            (Some(files::Kind::Directory), _) if if_exists == IfExists::Open => {
                return Err(Errno::ISDIR);
            }
            (Some(files::Kind::Symlink), _) if if_exists == IfExists::Open => {
                return Err(Errno::LOOP);
            }
            (Some(files::Kind::Fifo), _) if if_exists == IfExists::Open => {
                return Err(Errno::NXIO);
            }
            _ => {
                let (entry, how) = (self.entry_name(path)?, (mode, if_exists));
                let made = self.vfs().create_and_open(ROOT_USER, entry, permissions, how);
                made.map(|(stat, id, _)| (stat.ino, id)).map_err(errno)?
            }
        };
        self.handles[number] = Some(File { id, ino, access: how.access });
        Ok(())
    }

    fn close(&mut self, number: usize) -> Done {
        let file = self.handles[number].take().ok_or(Errno::BADF)?;
        self.vfs().release(file.id).map(drop).map_err(errno)
    }

    /// Does what may need bytes that are not here, which are fetched then.
    fn complete<T>(
        &mut self,
        ino: Ino,
        mut operation: impl FnMut(&Vfs) -> Result<Availability<T>, vfs::Error>,
    ) -> Result<T, Errno> {
        for _try in 0..FETCHES_MAX {
            match operation(self.vfs()).map_err(errno)? {
                Availability::Ready(done) => return Ok(done),
                Availability::Missing(range) => {
                    self.instance_mut().fetch(ino, range);
                }
            }
        }
        Err(Errno::IO)
    }

    fn read(&mut self, number: usize, offset: u64, length: usize) -> Answer {
        let File { id, ino, .. } = *self.file(number)?;
        let mut bytes = vec![0xee; length];
        let read = self.complete(ino, |vfs| vfs.read(id, offset, &mut bytes))?;
        bytes.truncate(read);
        Ok(Value::Bytes(bytes))
    }

    fn write(&mut self, number: usize, offset: u64, (fill, length): (u8, usize)) -> Done {
        let File { id, ino, access } = *self.file(number)?;
        let offset = match access {
            Access::Read => return Err(Errno::BADF),
            Access::Write => offset,
            Access::Append => self.vfs().stat(ino).map_err(errno)?.attributes.size,
        };
        let (append, bytes) = (access == Access::Append, pattern(fill, offset, length));
        let written = Written { offset, append, again: false, bytes: &bytes };
        self.complete(ino, |vfs| vfs.write(id, written, Privileges::Keep)).map(drop)
    }

    fn resize(&mut self, number: usize, size: u64) -> Done {
        let file = self.file(number)?;
        if file.access == Access::Read {
            return Err(Errno::INVAL);
        }
        self.set(file.ino, AttributeChange { size: Some(size), ..AttributeChange::default() })
    }

    fn allocate(&mut self, number: usize, span: ByteRange, what: operation::Allocation) -> Done {
        let File { id, ino, access } = *self.file(number)?;
        if access == Access::Read {
            return Err(Errno::BADF);
        }
        let what = match what {
            operation::Allocation::Reserve => Allocation::Reserve(Growth::Extend),
            operation::Allocation::ReserveKeepingSize => Allocation::Reserve(Growth::KeepSize),
            operation::Allocation::Punch => Allocation::Punch,
            operation::Allocation::Zero => Allocation::Zero(Growth::Extend),
        };
        self.complete(ino, |vfs| vfs.allocate(ROOT_USER, id, span, what)).map(drop)
    }

    fn truncate(&mut self, path: &Path, size: u64) -> Done {
        let ino = self.follow(path)?.ino;
        self.set(ino, AttributeChange { size: Some(size), ..AttributeChange::default() })
    }

    // --- streams of directories ---

    fn open_stream(&mut self, number: usize, path: &Path) -> Done {
        if let Some(former) = self.streams[number].take() {
            self.vfs().release_directory(former.id).map_err(errno)?;
        }
        let found = self.follow(path)?;
        let (id, _) = self.vfs().open_directory(found.ino).map_err(errno)?;
        self.streams[number] = Some(Stream { id, after: 0, seen: Vec::new() });
        Ok(())
    }

    fn read_stream(&mut self, number: usize, entries: usize) -> Done {
        let vfs = Arc::clone(&self.instance().vfs);
        let Stream { id, after, seen } = self.streams[number].as_mut().ok_or(Errno::BADF)?;
        let (from, mut count) = (*after, 0);
        let read = vfs.read_directory(*id, from, |entry| {
            if count == entries {
                return ControlFlow::Break(());
            }
            count += 1;
            *after = entry.next;
            if entry.name != b"." && entry.name != b".." {
                seen.push(entry.name.to_vec());
            }
            ControlFlow::Continue(())
        });
        read.map_err(errno)
    }

    fn rewind(&mut self, number: usize) -> Done {
        let stream = self.streams[number].as_mut().ok_or(Errno::BADF)?;
        stream.after = 0;
        stream.seen.clear();
        Ok(())
    }

    fn end_stream(&mut self, number: usize) -> Answer {
        let read = self.read_stream(number, usize::MAX);
        let stream = self.streams[number].take().ok_or(Errno::BADF)?;
        self.vfs().release_directory(stream.id).map_err(errno)?;
        read.map(|()| Value::Seen(stream.seen))
    }

    fn list(&self, path: &Path) -> Answer {
        let (mut entries, mut dots) = (BTreeMap::new(), 0);
        let (id, _) = self.vfs().open_directory(self.follow(path)?.ino).map_err(errno)?;
        let read = self.vfs().read_directory_stats(id, 0, |entry, stat| {
            match entry.name {
                b"." | b".." => dots += 1,
                name => {
                    assert_eq!((entry.ino, entry.kind), (stat.ino, stat.attributes.kind));
                    let twice = entries.insert(name.to_vec(), kind(entry.kind));
                    assert_eq!(twice, None, "one name, two entries");
                }
            }
            ControlFlow::Continue(())
        });
        self.vfs().release_directory(id).map_err(errno)?;
        read.map_err(errno)?;
        assert_eq!(dots, 2);
        Ok(Value::Entries(entries))
    }

    // --- attributes ---

    fn set(&mut self, ino: Ino, wanted: AttributeChange) -> Done {
        self.complete(ino, |vfs| vfs.set_attributes(ROOT_USER, ino, wanted)).map(drop)
    }

    fn chown(&mut self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Done {
        let ino = self.find(path)?.ino;
        self.set(ino, AttributeChange { uid, gid, ..AttributeChange::default() })
    }

    fn set_times(&mut self, path: &Path, atime: NewTime, mtime: NewTime) -> Done {
        let ino = self.find(path)?.ino;
        let (atime, mtime) = (time(atime), time(mtime));
        self.set(ino, AttributeChange { atime, mtime, ..AttributeChange::default() })
    }

    fn stat(&mut self, stat: &Stat) -> Value {
        let attributes = &stat.attributes;
        let times = (attributes.mtime, attributes.ctime);
        let told = self.told.insert(stat.ino, times);
        let kind = kind(attributes.kind);
        Value::Stat(answer::Stat {
            kind,
            mode: attributes.mode,
            uid: attributes.uid,
            gid: attributes.gid,
            links: stat.links,
            size: if kind == Kind::Directory { 0 } else { attributes.size },
            mtime: answer::Time::told(times.0, told.map(|(mtime, _)| mtime)),
            ctime: answer::Time::told(times.1, told.map(|(_, ctime)| ctime)),
        })
    }

    /// The node of a path that may have extended attributes of programs (xattr(7)).
    fn with_xattrs(&self, path: &Path, otherwise: Errno) -> Result<Ino, Errno> {
        let found = self.find(path)?;
        match found.attributes.kind {
            files::Kind::File | files::Kind::Directory => Ok(found.ino),
            _ => Err(otherwise),
        }
    }

    fn set_xattr(&self, path: &Path, (name, value): (&str, &[u8]), when: SetXattr) -> Done {
        let ino = self.with_xattrs(path, Errno::PERM)?;
        let when = match when {
            SetXattr::Always => vfs::SetXattr::Always,
            SetXattr::Create => vfs::SetXattr::Create,
            SetXattr::Replace => vfs::SetXattr::Replace,
        };
        self.vfs().set_xattr(ROOT_USER, ino, (name.as_bytes(), value), when).map_err(errno)
    }

    fn xattr_names(&self, path: &Path) -> Answer {
        let list = self.vfs().xattr_names(ROOT_USER, self.find(path)?.ino).map_err(errno)?;
        let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(Value::Xattrs(names.map(<[u8]>::to_vec).collect()))
    }

    fn restart(&mut self, again: impl FnOnce(Instance) -> Instance) {
        self.handles = Default::default();
        self.streams = Default::default();
        let instance = self.instance.take().expect("it is there between operations");
        *self.instance = Some(again(instance));
    }
}
