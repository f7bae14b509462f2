//! Extended attributes: those that programs keep, and two of our own that only tell.
//!
//! `user.miaofs.state` says of each node whether the server has it; `user.miaofs.control` of the
//! root directory names the daemon's control socket. Neither is listed, so that copying programs
//! leave them alone. Of `system.*` there are POSIX ACLs ([`acl`]). Who may see or set which namespace
//! is the kernel's to check, but for the names of `trusted.*` in a list, which it passes on.

use std::os::unix::ffi::OsStrExt;

use miaofs::protocol::files::{XATTR_LIST_MAX, XATTRS_MAX};

use crate::store::{Change, Ino, View};

use super::link::set_ctime;
use super::{Caller, Error, Vfs, acl, now};

/// Capabilities of a program (capabilities(7)).
pub(super) const CAPABILITY_XATTR: &[u8] = b"security.capability";
/// Label of SELinux; a kernel that has it answers by itself.
const LABEL: &[u8] = b"security.selinux";
const OUR_PREFIX: &[u8] = b"user.miaofs.";
const STATE: &[u8] = b"user.miaofs.state";
const CONTROL: &[u8] = b"user.miaofs.control";
const SYSTEM_PREFIX: &[u8] = b"system.";
const TRUSTED_PREFIX: &[u8] = b"trusted.";

/// When an attribute may be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetXattr {
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
    /// [`Error::NoXattr`]; [`Error::Unsupported`] for `system.*`, and for a label that nobody has set: `ls -l` asks of each
    /// file for one until it is told so.
    pub(crate) fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>, Error> {
        match name {
            STATE => Ok(self.engine.node_state(ino).to_string().into_bytes()),
            CONTROL if ino == Ino::ROOT => {
                Ok(self.settings.control_socket.as_os_str().as_bytes().to_vec())
            }
            acl::ACCESS => self.view(|view| acl::access_now(view, ino)?.ok_or(Error::NoXattr)),
            name if is_foreign(name) => Err(Error::Unsupported),
            LABEL => self.view(|view| view.xattr(ino, name)?.ok_or(Error::Unsupported)),
            name => self.view(|view| view.xattr(ino, name)?.ok_or(Error::NoXattr)),
        }
    }

    /// The names of all attributes that the caller may see, each ended by a NUL, as listxattr(2) has them.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub(crate) fn xattr_names(&self, caller: Caller, ino: Ino) -> Result<Vec<u8>, Error> {
        let mut names = self.view(|view| Ok(view.xattr_names(ino)?))?;
        let is_trusted = |name: &Vec<u8>| name.starts_with(TRUSTED_PREFIX);
        if names.iter().any(is_trusted) && !caller.sees_trusted() {
            names.retain(|name| !is_trusted(name));
        }
        Ok(names.iter().flat_map(|name| name.iter().copied().chain([0])).collect())
    }

    /// Sets an attribute.
    ///
    /// # Errors
    /// [`Error::XattrReadOnly`], [`Error::Unsupported`], [`Error::XattrExists`],
    /// [`Error::NoXattr`], [`Error::XattrsFull`], [`Error::Acl`].
    pub(crate) fn set_xattr(
        &self,
        caller: Caller,
        ino: Ino,
        (name, value): (&[u8], &[u8]),
        when: SetXattr,
    ) -> Result<(), Error> {
        check_settable(name)?;
        self.change(|change| {
            match (when, change.xattr(ino, name)?) {
                (SetXattr::Create, Some(_)) => return Err(Error::XattrExists),
                (SetXattr::Replace, None) => return Err(Error::NoXattr),
                _ => {}
            }
            match name {
                acl::ACCESS | acl::DEFAULT => match acl::set(change, caller, ino, (name, value))? {
                    acl::StoredAs::Xattr(value) => store(change, ino, name, &value)?,
                    acl::StoredAs::Mode => remove_if_any(change, ino, name)?,
                },
                _ => store(change, ino, name, value)?,
            }
            set_ctime(change, ino, now())
        })?;
        if name == CAPABILITY_XATTR {
            self.handles.recheck_capabilities();
        }
        Ok(())
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// [`Error::NoXattr`], [`Error::XattrReadOnly`], [`Error::Unsupported`].
    pub(crate) fn remove_xattr(&self, ino: Ino, name: &[u8]) -> Result<(), Error> {
        check_settable(name)?;
        self.change(|change: &mut Change<'_>| {
            change.remove_xattr(ino, name)?;
            set_ctime(change, ino, now())
        })
    }
}

fn check_settable(name: &[u8]) -> Result<(), Error> {
    match name {
        ours if ours.starts_with(OUR_PREFIX) => Err(Error::XattrReadOnly),
        name if is_foreign(name) => Err(Error::Unsupported),
        _ => Ok(()),
    }
}

/// Attributes that other file systems make up: they cannot be kept, as they are not what somebody set.
fn is_foreign(name: &[u8]) -> bool {
    name.starts_with(SYSTEM_PREFIX) && name != acl::ACCESS && name != acl::DEFAULT
}

fn store(change: &mut Change<'_>, ino: Ino, name: &[u8], value: &[u8]) -> Result<(), Error> {
    let (list, size) = size_of_others(change, ino, name)?;
    if list + name.len() + 1 > XATTR_LIST_MAX || size + name.len() + value.len() > XATTRS_MAX {
        return Err(Error::XattrsFull);
    }
    Ok(change.set_xattr(ino, name, value)?)
}

/// Removes an attribute that may not be there.
pub(super) fn remove_if_any(change: &mut Change<'_>, ino: Ino, name: &[u8]) -> Result<(), Error> {
    if change.xattr(ino, name)?.is_some() {
        change.remove_xattr(ino, name)?;
    }
    Ok(())
}

/// Bytes of the list of a node's other attributes, and of their names and values.
fn size_of_others(view: &mut View<'_>, ino: Ino, except: &[u8]) -> Result<(usize, usize), Error> {
    let (mut list, mut size) = (0, 0);
    for name in view.xattr_names(ino)?.iter().filter(|name| name.as_slice() != except) {
        list += name.len() + 1;
        size += name.len() + view.xattr(ino, name)?.map_or(0, |value| value.len());
    }
    Ok((list, size))
}
