//! Paths, and what changes the names of nodes.

use rustix::io::Errno;

use super::super::answer::Kind;
use super::super::node::{Id, Node, Stamp};
use super::super::operation::{NAME_MAX, Path, Rename};
use super::{Done, Model, TOP};

const SET_GROUP_ID: u32 = 0o2000;

impl Model {
    /// The directory that a path's last name is in, and that name.
    pub(super) fn place(&self, path: &Path) -> Result<(Id, &'static [u8]), Errno> {
        let (last, parents) = path.0.split_last().expect("the top has no name");
        let mut id = TOP;
        for name in parents {
            id = self.child(id, name)?.ok_or(Errno::NOENT)?;
            match self.nodes[&id].kind {
                Kind::Directory => {}
                Kind::Symlink => return Err(Errno::NOENT),
                Kind::File | Kind::Fifo => return Err(Errno::NOTDIR),
            }
        }
        Ok((id, last))
    }

    pub(super) fn child(&self, id: Id, name: &[u8]) -> Result<Option<Id>, Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        Ok(self.nodes[&id].children.get(name).copied())
    }

    pub(super) fn find(&self, path: &Path) -> Result<Id, Errno> {
        if path.0.is_empty() {
            return Ok(TOP);
        }
        let (parent, name) = self.place(path)?;
        self.child(parent, name)?.ok_or(Errno::NOENT)
    }

    /// As [`Self::find`], following a symlink, which always leads nowhere.
    pub(super) fn follow(&self, path: &Path) -> Result<Id, Errno> {
        let id = self.find(path)?;
        if self.nodes[&id].kind == Kind::Symlink { Err(Errno::NOENT) } else { Ok(id) }
    }

    pub(super) fn directory(&self, path: &Path) -> Result<Id, Errno> {
        let id = self.follow(path)?;
        if self.nodes[&id].kind == Kind::Directory { Ok(id) } else { Err(Errno::NOTDIR) }
    }

    /// Where a new name may be.
    pub(super) fn free_place(&self, path: &Path) -> Result<(Id, &'static [u8]), Errno> {
        let (parent, name) = self.place(path)?;
        match self.child(parent, name)? {
            Some(_) => Err(Errno::EXIST),
            None => Ok((parent, name)),
        }
    }

    pub(super) fn is_inside(&self, id: Id, directory: Id) -> bool {
        let mut children = self.nodes[&directory].children.values();
        id == directory || children.any(|child| self.is_inside(id, *child))
    }

    pub(super) fn add(&mut self, parent: Id, name: &'static [u8], id: Id) {
        let step = self.step;
        let directory = self.node(parent);
        directory.children.insert(name, id);
        directory.touch(step);
        for stream in self.streams.iter_mut().flatten().filter(|stream| stream.id == parent) {
            stream.ever.insert(name);
        }
    }

    pub(super) fn take(&mut self, parent: Id, name: &[u8]) -> Id {
        let step = self.step;
        let directory = self.node(parent);
        let id = directory.children.remove(name).expect("it was found");
        directory.touch(step);
        self.node(id).ctime = Stamp::Step(step);
        for stream in self.streams.iter_mut().flatten().filter(|stream| stream.id == parent) {
            stream.always.remove(name);
        }
        id
    }

    /// A name was taken away for good.
    pub(super) fn lose_name(&mut self, id: Id) {
        self.node(id).names -= 1;
        self.end_unless_held(id);
    }

    pub(super) fn end_unless_held(&mut self, id: Id) {
        let open = self.handles.iter().flatten().any(|handle| handle.id == id);
        let streamed = self.streams.iter().flatten().any(|stream| stream.id == id);
        if self.nodes[&id].names == 0 && !open && !streamed {
            self.nodes.remove(&id);
        }
    }

    pub(super) fn make(&mut self, path: &Path, kind: Kind, mode: u32) -> Result<Id, Errno> {
        let (parent, name) = self.free_place(path)?;
        let inherits = self.nodes[&parent].mode & SET_GROUP_ID != 0;
        let mode = if inherits && kind == Kind::Directory { mode | SET_GROUP_ID } else { mode };
        let group = if inherits { self.nodes[&parent].gid } else { self.owner.1 };
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, Node::new(kind, mode, (self.owner.0, group), self.step));
        self.add(parent, name, id);
        Ok(id)
    }

    pub(super) fn symlink(&mut self, path: &Path, length: usize) -> Done {
        let id = self.make(path, Kind::Symlink, 0o777)?;
        self.node(id).target = length;
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> Done {
        let id = self.find(from)?;
        let (parent, name) = self.free_place(to)?;
        if self.nodes[&id].kind == Kind::Directory {
            return Err(Errno::PERM);
        }
        let step = self.step;
        let node = self.node(id);
        node.names += 1;
        node.ctime = Stamp::Step(step);
        self.add(parent, name, id);
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &Path) -> Done {
        let (parent, name) = self.place(path)?;
        let id = self.child(parent, name)?.ok_or(Errno::NOENT)?;
        if self.nodes[&id].kind == Kind::Directory {
            return Err(Errno::ISDIR);
        }
        self.take(parent, name);
        self.lose_name(id);
        Ok(())
    }

    pub(super) fn remove_directory(&mut self, path: &Path) -> Done {
        let (parent, name) = self.place(path)?;
        let id = self.child(parent, name)?.ok_or(Errno::NOENT)?;
        match &self.nodes[&id] {
            node if node.kind != Kind::Directory => return Err(Errno::NOTDIR),
            node if !node.children.is_empty() => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        self.take(parent, name);
        self.lose_name(id);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, mode: Rename) -> Done {
        let (old_parent, old) = self.place(from)?;
        let (new_parent, new) = self.place(to)?;
        let source = self.child(old_parent, old)?.ok_or(Errno::NOENT)?;
        let target = self.child(new_parent, new)?;
        match (mode, target) {
            (Rename::NoReplace, Some(_)) => return Err(Errno::EXIST),
            (Rename::Exchange, None) => return Err(Errno::NOENT),
            _ if self.is_inside(new_parent, source) => return Err(Errno::INVAL),
            (_, Some(target)) if target == source => return Ok(()),
            (Rename::Exchange, Some(target)) if self.is_inside(old_parent, target) => {
                return Err(Errno::INVAL);
            }
            (Rename::Over, Some(target)) => self.check_replaceable(source, target, old_parent)?,
            _ => {}
        }
        self.take(old_parent, old);
        if target.is_some() {
            let target = self.take(new_parent, new);
            match mode {
                Rename::Exchange => self.add(old_parent, old, target),
                Rename::Over | Rename::NoReplace => self.lose_name(target),
            }
        }
        self.add(new_parent, new, source);
        Ok(())
    }

    pub(super) fn check_replaceable(&self, source: Id, target: Id, old_parent: Id) -> Done {
        let is_directory = |id| self.nodes[&id].kind == Kind::Directory;
        match (is_directory(source), is_directory(target)) {
            _ if self.is_inside(old_parent, target) => Err(Errno::NOTEMPTY),
            (true, true) if !self.nodes[&target].children.is_empty() => Err(Errno::NOTEMPTY),
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            _ => Ok(()),
        }
    }
}
