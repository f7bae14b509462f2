//! POSIX ACLs as extended attributes: what they mean for the mode, and what is handed down (acl(5)).
//!
//! An access ACL and the mode say the same thing twice: owner, mask and others are the mode's three
//! triples. The mode is the truth here. A stored ACL's own three are whatever they were when it was
//! set; whoever reads it gets those of the mode now, so `chmod` changes the mask without touching the
//! attribute, and a mode and an ACL that two devices changed at once still agree. An ACL that says no
//! more than a mode is not stored.
//!
//! The value is that of setxattr(2), as the kernel writes it: a version, then entries of tag,
//! permissions and id, all little endian, in the order of the tags.

use miaofs::protocol::files::Kind;

use crate::store::{Change, Ino, View};

use super::{Caller, Error};

/// The attribute that holds who may use a node.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of a directory that holds what is made in it begins with.
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const ENTRY_SIZE: usize = 8;
/// The id of an entry whose tag needs none.
const NO_ID: u32 = u32::MAX;
const PERMISSIONS: u32 = 0o777;
const SET_GROUP_ID: u32 = 0o2000;

/// Whom an entry is about; the numbers are those of the value's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    Owner = 0x01,
    User = 0x02,
    Group = 0x04,
    NamedGroup = 0x08,
    Mask = 0x10,
    Others = 0x20,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    /// `rwx` as three bits.
    permissions: u16,
    id: u32,
}

/// A valid ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acl(Vec<Entry>);

impl Acl {
    /// Reads the value of an attribute.
    ///
    /// # Errors
    /// [`Error::Acl`] for one that acl_valid(3) would not take.
    pub(super) fn read(value: &[u8]) -> Result<Self, Error> {
        let entries = value.strip_prefix(&VERSION).ok_or(Error::Acl)?;
        let (entries, []) = entries.as_chunks::<ENTRY_SIZE>() else { return Err(Error::Acl) };
        let entries: Option<Vec<Entry>> = entries.iter().map(Entry::read).collect();
        let acl = Self(entries.ok_or(Error::Acl)?);
        if acl.is_valid() { Ok(acl) } else { Err(Error::Acl) }
    }

    /// The value that [`Self::read`] understands.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let entries = self.0.iter().flat_map(|entry| entry.to_bytes());
        VERSION.into_iter().chain(entries).collect()
    }

    /// The permission bits that say the same of owner, group class and others.
    pub(super) fn mode(&self) -> u32 {
        let class = |tag| self.0.iter().find(|entry| entry.tag == tag);
        let bits = |tag| class(tag).map_or(0, |entry| u32::from(entry.permissions));
        let group = if class(Tag::Mask).is_some() { Tag::Mask } else { Tag::Group };
        bits(Tag::Owner) << 6 | bits(group) << 3 | bits(Tag::Others)
    }

    /// True for an ACL that says no more than a mode does.
    pub(super) fn is_minimal(&self) -> bool {
        self.0.iter().all(|entry| matches!(entry.tag, Tag::Owner | Tag::Group | Tag::Others))
    }

    /// The same ACL with owner, group class and others as a mode has them.
    pub(super) fn with_mode(mut self, mode: u32) -> Self {
        let group = if self.is_minimal() { Tag::Group } else { Tag::Mask };
        for entry in &mut self.0 {
            let shift = match entry.tag {
                Tag::Owner => 6,
                Tag::Others => 0,
                tag if tag == group => 3,
                _ => continue,
            };
            entry.permissions = (mode >> shift & 0o7) as u16;
        }
        self
    }

    /// Owner, group and others once, users and groups in between once each, and a mask if there are any.
    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        let named = count(Tag::User) + count(Tag::NamedGroup);
        let masks = count(Tag::Mask);
        let single = [Tag::Owner, Tag::Group, Tag::Others].into_iter().all(|tag| count(tag) == 1);
        let ordered = self.0.is_sorted_by_key(|entry| entry.tag);
        single && ordered && masks <= 1 && (named == 0 || masks == 1)
    }
}

impl Entry {
    fn read(bytes: &[u8; ENTRY_SIZE]) -> Option<Self> {
        let [tag_low, tag_high, low, high, id @ ..] = *bytes;
        let tag = match u16::from_le_bytes([tag_low, tag_high]) {
            0x01 => Tag::Owner,
            0x02 => Tag::User,
            0x04 => Tag::Group,
            0x08 => Tag::NamedGroup,
            0x10 => Tag::Mask,
            0x20 => Tag::Others,
            _ => return None,
        };
        let permissions = u16::from_le_bytes([low, high]);
        let id = match (tag, u32::from_le_bytes(id)) {
            (Tag::User | Tag::NamedGroup, NO_ID) => return None,
            (Tag::User | Tag::NamedGroup, id) => id,
            _ => NO_ID,
        };
        (permissions <= 0o7).then_some(Self { tag, permissions, id })
    }

    fn to_bytes(self) -> [u8; ENTRY_SIZE] {
        let [tag_low, tag_high] = (self.tag as u16).to_le_bytes();
        let [low, high] = self.permissions.to_le_bytes();
        let [a, b, c, d] = self.id.to_le_bytes();
        [tag_low, tag_high, low, high, a, b, c, d]
    }
}

/// The access ACL as it is with the mode that the node has now. One from elsewhere that is none stays as it came.
pub(super) fn access_now(view: &mut View<'_>, ino: Ino) -> Result<Option<Vec<u8>>, Error> {
    let Some(stored) = view.xattr(ino, ACCESS)? else { return Ok(None) };
    let mode = view.node(ino)?.attributes.mode;
    Ok(Some(Acl::read(&stored).map_or(stored, |acl| acl.with_mode(mode).to_bytes())))
}

/// Form in which an ACL is kept; the mode has changed with an access ACL already.
pub(super) enum StoredAs {
    /// The attribute holds it.
    Xattr(Vec<u8>),
    /// The mode says it all, so there is no attribute.
    Mode,
}

/// Takes a new ACL: its mode becomes the node's. Who is not of the node's group cannot give its set-group-id bit.
///
/// # Errors
/// [`Error::Acl`], and [`Error::Unsupported`] for what has none.
pub(super) fn set(
    change: &mut Change<'_>,
    caller: Caller,
    ino: Ino,
    (name, value): (&[u8], &[u8]),
) -> Result<StoredAs, Error> {
    let mut attributes = change.node(ino)?.attributes;
    match (name, attributes.kind) {
        (_, Kind::Symlink) => return Err(Error::Unsupported),
        (DEFAULT, Kind::Directory) => return Ok(StoredAs::Xattr(Acl::read(value)?.to_bytes())),
        (DEFAULT, _) => return Err(Error::Unsupported),
        _ => {}
    }
    let acl = Acl::read(value)?;
    attributes.mode = attributes.mode & !PERMISSIONS | acl.mode();
    if attributes.mode & SET_GROUP_ID != 0 && !caller.may_set_group_id_of(attributes.gid) {
        attributes.mode &= !SET_GROUP_ID;
    }
    change.set_attributes(ino, &attributes)?;
    Ok(if acl.is_minimal() { StoredAs::Mode } else { StoredAs::Xattr(acl.to_bytes()) })
}

/// Mode and ACLs that a new node begins with.
pub(super) struct InheritedAcl {
    /// Mode, without what the umask or the ACL takes away.
    pub(super) mode: u32,
    /// ACLs, each as attribute and value.
    pub(super) acls: Vec<(&'static [u8], Vec<u8>)>,
}

/// Computes what a new node of this mode inherits from its directory: a default ACL takes the place of the umask.
pub(super) fn inherit(
    view: &mut View<'_>,
    caller: Caller,
    parent: Ino,
    (kind, mode): (Kind, u32),
) -> Result<InheritedAcl, Error> {
    if kind == Kind::Symlink {
        return Ok(InheritedAcl { mode, acls: Vec::new() });
    }
    let stored = view.xattr(parent, DEFAULT)?;
    let Some((acl, value)) = stored.and_then(|it| Acl::read(&it).ok().zip(Some(it))) else {
        return Ok(InheritedAcl { mode: mode & !(caller.umask & PERMISSIONS), acls: Vec::new() });
    };
    let passed_on = (kind == Kind::Directory).then(|| (DEFAULT, value.clone()));
    let own = (!acl.is_minimal()).then_some((ACCESS, value));
    let acls = own.into_iter().chain(passed_on).collect();
    Ok(InheritedAcl { mode: mode & (acl.mode() | !PERMISSIONS), acls })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: [(u16, u16, u32); 3] = [(0x01, 7, NO_ID), (0x04, 5, NO_ID), (0x20, 4, NO_ID)];
    const NAMED: [(u16, u16, u32); 5] =
        [(0x01, 6, NO_ID), (0x02, 7, 1000), (0x04, 4, NO_ID), (0x10, 5, NO_ID), (0x20, 0, NO_ID)];

    fn value(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = VERSION.to_vec();
        for (tag, permissions, id) in entries {
            value.extend(tag.to_le_bytes());
            value.extend(permissions.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        value
    }

    #[test]
    fn an_acl_and_a_mode_say_the_same() {
        let minimal = Acl::read(&value(&MINIMAL)).unwrap();
        assert_eq!((minimal.mode(), minimal.is_minimal()), (0o754, true));
        let named = Acl::read(&value(&NAMED)).unwrap();
        assert_eq!((named.mode(), named.is_minimal()), (0o650, false));
        assert_eq!(named.to_bytes(), value(&NAMED));
        let changed = named.with_mode(0o4731);
        assert_eq!(changed.mode(), 0o731);
        assert_eq!(changed.0[2].permissions, 4, "the owning group's entry is not the mask");
    }

    #[test]
    fn what_is_no_acl_is_refused() {
        let refused = |what: &str, value: &[u8]| {
            assert!(matches!(Acl::read(value), Err(Error::Acl)), "{what}");
        };
        let with = |at: usize, entry| {
            let mut entries = NAMED.to_vec();
            entries[at] = entry;
            value(&entries)
        };
        refused("nothing", b"");
        refused("no entries", &VERSION);
        refused("another version", &[&[1, 0, 0, 0], &value(&MINIMAL)[4..]].concat());
        refused("half an entry", &value(&MINIMAL)[..24]);
        refused("an unknown tag", &with(1, (0x03, 7, 1000)));
        refused("a fourth permission", &with(1, (0x02, 8, 1000)));
        refused("a user that is none", &with(1, (0x02, 7, NO_ID)));
        refused("two owners", &with(1, (0x01, 7, NO_ID)));
        refused("no mask", &with(3, (0x08, 5, 7)));
        refused("another order", &value(&[MINIMAL[1], MINIMAL[0], MINIMAL[2]]));
        refused("no others", &value(&MINIMAL[..2]));
    }
}
