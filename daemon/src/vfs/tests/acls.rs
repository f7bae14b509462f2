//! POSIX ACLs and the mode, and what a directory hands down.

use super::{ADA, Drive, ROOT_USER, at, refused};
use crate::store::{Availability, Ino};
use crate::vfs::{AttributeChange, Caller, Error, NodeSpec, SetXattr};
use miaofs::protocol::files::Kind;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// Permissions of the owner, of user 7, of the group, the mask, and of others.
fn named([owner, user, group, mask, others]: [u8; 5]) -> Vec<u8> {
    let none = [0xff; 4];
    let entries = [(1, owner, none), (2, user, [7, 0, 0, 0]), (4, group, none), (16, mask, none)];
    let entries = entries.into_iter().chain([(32, others, none)]);
    let bytes = entries.flat_map(|(tag, bits, id)| [[tag, 0, bits, 0], id].concat());
    [2, 0, 0, 0].into_iter().chain(bytes).collect()
}

/// An ACL that says no more than a mode.
fn minimal([owner, group, others]: [u8; 3]) -> Vec<u8> {
    let entries = [(1, owner), (4, group), (32, others)];
    let bytes = entries.into_iter().flat_map(|(tag, bits)| [tag, 0, bits, 0, 255, 255, 255, 255]);
    [2, 0, 0, 0].into_iter().chain(bytes).collect()
}

impl Drive {
    fn set_acl(&self, caller: Caller, ino: Ino, name: &[u8], acl: &[u8]) -> Result<(), Error> {
        self.vfs.set_xattr(caller, ino, (name, acl), SetXattr::Always)
    }

    fn chmod(&self, ino: Ino, mode: u32) {
        let wanted = AttributeChange { mode: Some(mode), ..AttributeChange::default() };
        let changed = self.vfs.set_attributes(ROOT_USER, ino, wanted).unwrap();
        assert!(matches!(changed, Availability::Ready(_)));
    }

    fn mode(&self, ino: Ino) -> u32 {
        self.stat(ino).attributes.mode
    }
}

#[test]
fn an_acl_changes_the_mode_and_the_mode_changes_the_mask() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let before = drive.stat(ino).attributes;
    drive.set_acl(ADA, ino, ACCESS, &named([6, 7, 4, 5, 0])).unwrap();
    let after = drive.stat(ino).attributes;
    assert_eq!((after.mode, after.mtime), (0o650, before.mtime));
    assert!(after.ctime > before.ctime);
    assert_eq!(drive.vfs.xattr_names(ADA, ino).unwrap(), [ACCESS, b"\0"].concat());
    drive.chmod(ino, 0o4721);
    assert_eq!(drive.vfs.xattr(ino, ACCESS).unwrap(), named([7, 7, 4, 2, 1]));
    assert_eq!(drive.mode(ino), 0o4721);
}

#[test]
fn an_acl_that_is_a_mode_is_the_mode() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    drive.set_acl(ADA, ino, ACCESS, &named([6, 7, 4, 5, 0])).unwrap();
    drive.set_acl(ADA, ino, ACCESS, &minimal([7, 4, 1])).unwrap();
    assert_eq!(drive.mode(ino), 0o741);
    refused!(drive.vfs.xattr(ino, ACCESS), Error::NoXattr);
    refused!(drive.vfs.remove_xattr(ino, ACCESS), Error::NoXattr);
    assert_eq!(drive.vfs.xattr_names(ADA, ino).unwrap(), b"");
}

#[test]
fn only_members_of_the_group_give_its_set_group_id_bit_with_an_acl() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let stranger = Caller { uid: 1000, gid: 4, ..ADA };
    drive.chmod(ino, 0o2755);
    drive.set_acl(ADA, ino, ACCESS, &named([7; 5])).unwrap();
    assert_eq!(drive.mode(ino), 0o2777);
    drive.set_acl(stranger, ino, ACCESS, &named([6; 5])).unwrap();
    assert_eq!(drive.mode(ino), 0o666);
}

#[test]
fn what_is_no_acl_or_has_none_is_refused() {
    let drive = Drive::new();
    let ino = drive.file(Ino::ROOT, "a");
    let new = NodeSpec { kind: Kind::Symlink, mode: 0o777, rdev: 0, target: Some(b"a") };
    let symlink = drive.vfs.create(ADA, at(Ino::ROOT, "s"), new).unwrap().ino;
    let acl = named([7; 5]);
    refused!(drive.set_acl(ADA, ino, ACCESS, &acl[..acl.len() - 1]), Error::Acl);
    refused!(drive.set_acl(ADA, Ino::ROOT, DEFAULT, b"\x02\0\0\0"), Error::Acl);
    refused!(drive.set_acl(ADA, ino, DEFAULT, &acl), Error::Unsupported);
    refused!(drive.set_acl(ADA, symlink, ACCESS, &acl), Error::Unsupported);
    assert_eq!(drive.mode(ino), 0o644);
}

#[test]
fn a_default_acl_is_handed_down_in_place_of_the_umask() {
    let drive = Drive::new();
    let directory = drive.directory(Ino::ROOT, "d");
    let maker = Caller { umask: 0o077, ..ADA };
    let before = drive.make(maker, directory, "before", (Kind::File, 0o666)).ino;
    assert_eq!(drive.mode(before), 0o600);
    let default = named([7, 6, 4, 7, 4]);
    drive.set_acl(ADA, directory, DEFAULT, &default).unwrap();
    let file = drive.make(maker, directory, "file", (Kind::File, 0o666)).ino;
    assert_eq!(drive.mode(file), 0o664);
    assert_eq!(drive.vfs.xattr(file, ACCESS).unwrap(), named([6, 6, 4, 6, 4]));
    refused!(drive.vfs.xattr(file, DEFAULT), Error::NoXattr);
    let below = drive.make(maker, directory, "below", (Kind::Directory, 0o750)).ino;
    assert_eq!(drive.vfs.xattr(below, ACCESS).unwrap(), named([7, 6, 4, 5, 0]));
    assert_eq!(drive.vfs.xattr(below, DEFAULT).unwrap(), default);
    let new = NodeSpec { kind: Kind::Symlink, mode: 0o777, rdev: 0, target: Some(b"a") };
    let symlink = drive.vfs.create(maker, at(directory, "s"), new).unwrap();
    assert_eq!(symlink.attributes.mode, 0o777);
    assert_eq!(drive.vfs.xattr_names(ADA, symlink.ino).unwrap(), b"");

    drive.set_acl(ADA, directory, DEFAULT, &minimal([7, 5, 0])).unwrap();
    let plain = drive.make(maker, directory, "plain", (Kind::Fifo, 0o666)).ino;
    assert_eq!(drive.mode(plain), 0o640);
    refused!(drive.vfs.xattr(plain, ACCESS), Error::NoXattr);
}
