//! Extended attributes: those that programs keep, and two of our own that only tell.
//!
//! `user.miaofs.state` says of each node whether the server has it; `user.miaofs.control` of the
//! root directory names the daemon's control socket. Neither is listed, so that copying programs
//! leave them alone. `system.*` (POSIX ACLs) is not kept.

use std::os::unix::ffi::OsStrExt;

use miaofs::protocol::files::XATTRS_MAX;

use crate::store::{Change, Ino, View};

use super::link::set_ctime;
use super::{Error, Vfs, now};

const OUR_PREFIX: &[u8] = b"user.miaofs.";
const STATE: &[u8] = b"user.miaofs.state";
const CONTROL: &[u8] = b"user.miaofs.control";
const SYSTEM_PREFIX: &[u8] = b"system.";

/// When an attribute may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetXattr {
    /// Always.
    Always,
    /// When there is none yet: `XATTR_CREATE`.
    Create,
    /// When there is one: `XATTR_REPLACE`.
    Replace,
}

impl Vfs {
    /// The value of an attribute.
    ///
    /// # Errors
    /// [`Error::NoXattr`]; [`Error::Unsupported`] for `system.*`.
    pub fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            STATE => Ok(self.engine.node_state(ino).to_string().into_bytes()),
            CONTROL if ino == Ino::ROOT => {
                Ok(self.settings.control_socket.as_os_str().as_bytes().to_vec())
            }
            system if system.starts_with(SYSTEM_PREFIX) => Err(Error::Unsupported),
            name => self.view(|view| view.xattr(ino, name)?.ok_or(Error::NoXattr)),
        }
    }

    /// The names of all attributes, each ended by a NUL, as listxattr(2) has them.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub fn xattr_names(&self, ino: Ino) -> Result<Vec<u8>, Error> {
        let names = self.view(|view| Ok(view.xattr_names(ino)?))?;
        Ok(names.iter().flat_map(|name| name.iter().copied().chain([0])).collect())
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// [`Error::XattrReadOnly`], [`Error::Unsupported`], [`Error::XattrExists`],
    /// [`Error::NoXattr`], [`Error::XattrsFull`].
    pub fn set_xattr(
        &self,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        when: SetXattr,
    ) -> Result<(), Error> {
        check_settable(name)?;
        self.change(|change| {
            match (when, change.xattr(ino, name)?) {
                (SetXattr::Create, Some(_)) => return Err(Error::XattrExists),
                (SetXattr::Replace, None) => return Err(Error::NoXattr),
                _ => {}
            }
            if size_of_others(change, ino, name)? + name.len() + value.len() > XATTRS_MAX {
                return Err(Error::XattrsFull);
            }
            change.set_xattr(ino, name, value)?;
            set_ctime(change, ino, now())
        })?;
        self.engine.wake(ino);
        Ok(())
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// [`Error::NoXattr`], [`Error::XattrReadOnly`], [`Error::Unsupported`].
    pub fn remove_xattr(&self, ino: Ino, name: &[u8]) -> Result<(), Error> {
        check_settable(name)?;
        self.change(|change: &mut Change<'_>| {
            change.remove_xattr(ino, name)?;
            set_ctime(change, ino, now())
        })?;
        self.engine.wake(ino);
        Ok(())
    }
}

fn check_settable(name: &[u8]) -> Result<(), Error> {
    match name {
        ours if ours.starts_with(OUR_PREFIX) => Err(Error::XattrReadOnly),
        system if system.starts_with(SYSTEM_PREFIX) => Err(Error::Unsupported),
        _ => Ok(()),
    }
}

/// Bytes that the names and values of a node's other attributes have.
fn size_of_others(view: &mut View<'_>, ino: Ino, except: &[u8]) -> Result<usize, Error> {
    let mut size = 0;
    for name in view.xattr_names(ino)?.iter().filter(|name| name.as_slice() != except) {
        size += name.len() + view.xattr(ino, name)?.map_or(0, |value| value.len());
    }
    Ok(size)
}
