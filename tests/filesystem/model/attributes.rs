//! Modes, owners, times and extended attributes.

use rustix::io::Errno;

use super::super::answer::Kind;
use super::super::node::Stamp;
use super::super::operation::{NewTime, Path, SetXattr};
use super::{Done, Model};

impl Model {
    pub(super) fn chmod(&mut self, path: &Path, mode: u32) -> Done {
        let (id, step) = (self.follow(path)?, self.step);
        let node = self.node(id);
        node.mode = mode;
        node.ctime = Stamp::Step(step);
        Ok(())
    }

    pub(super) fn chown(&mut self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Done {
        let (id, step) = (self.find(path)?, self.step);
        let node = self.node(id);
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        node.drop_privileges();
        node.ctime = Stamp::Step(step);
        Ok(())
    }

    pub(super) fn set_times(&mut self, path: &Path, mtime: NewTime) -> Done {
        let (id, step) = (self.find(path)?, self.step);
        let node = self.node(id);
        node.mtime = match mtime {
            NewTime::Omit => node.mtime,
            NewTime::Now => Stamp::Step(step),
            NewTime::At(time) => Stamp::Set(time),
        };
        node.ctime = Stamp::Step(step);
        Ok(())
    }

    pub(super) fn set_xattr(
        &mut self,
        path: &Path,
        (name, value): (&'static str, Vec<u8>),
        when: SetXattr,
    ) -> Done {
        let (id, step) = (self.find(path)?, self.step);
        let node = self.node(id);
        match (when, node.xattrs.contains_key(name)) {
            _ if !matches!(node.kind, Kind::File | Kind::Directory) => return Err(Errno::PERM),
            (SetXattr::Create, true) => return Err(Errno::EXIST),
            (SetXattr::Replace, false) => return Err(Errno::NODATA),
            _ => {}
        }
        node.xattrs.insert(name, value);
        node.ctime = Stamp::Step(step);
        Ok(())
    }

    pub(super) fn remove_xattr(&mut self, path: &Path, name: &str) -> Done {
        let (id, step) = (self.find(path)?, self.step);
        let node = self.node(id);
        if !matches!(node.kind, Kind::File | Kind::Directory) {
            return Err(Errno::PERM);
        }
        node.xattrs.remove(name).ok_or(Errno::NODATA)?;
        node.ctime = Stamp::Step(step);
        Ok(())
    }
}
