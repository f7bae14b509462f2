//! What is mounted where: `/proc/self/mountinfo`, as proc_pid_mountinfo(5) describes it.
//!
//! Mount points and sources are byte strings in which space, tab, newline and backslash stand as octal
//! escapes. Later lines lie above earlier ones.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::cli::terminal::error::Error;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The type that the kernel shows for a mount of ours: FUSE's, with our subtype.
pub(crate) const OUR_TYPE: &str = "fuse.miaofs";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Minor number of its device, which numbers the kernel's connection to a FUSE daemon.
    pub minor: u32,
    /// User whose daemon mounted it, of a FUSE mount.
    pub owner: Option<u32>,
    /// Where.
    pub mountpoint: PathBuf,
    /// Options of this mount point: `rw`, `nosuid`, …
    pub options: Vec<String>,
    /// Type with subtype: `ext4`, `fuse.miaofs`.
    pub kind: String,
    /// Source: a device, or whatever the file system says.
    pub source: OsString,
}

impl Mounted {
    /// True for a mount of miaofs.
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == OUR_TYPE
    }
}

/// All mounts that this process sees.
pub(crate) fn mounts() -> Result<Vec<Mounted>, Error> {
    let text = fs::read(MOUNTINFO).map_err(Error::file("read", Path::new(MOUNTINFO)))?;
    Ok(parse(&text))
}

/// The uppermost mount at exactly this directory.
pub(crate) fn at<'a>(mounts: &'a [Mounted], directory: &Path) -> Option<&'a Mounted> {
    mounts.iter().rev().find(|mount| mount.mountpoint == directory)
}

/// The mount that an absolute path without links is in.
pub(crate) fn containing<'a>(mounts: &'a [Mounted], path: &Path) -> Option<&'a Mounted> {
    path.ancestors().find_map(|directory| at(mounts, directory))
}

pub(crate) fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, where any
/// number of optional fields stand before the hyphen.
fn parse_line(line: &[u8]) -> Option<Mounted> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let hyphen = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let device = String::from_utf8_lossy(fields.get(2)?);
    Some(Mounted {
        owner: fields.get(hyphen + 3).and_then(|options| owner(options)),
        minor: device.split(':').nth(1)?.parse().ok()?,
        mountpoint: PathBuf::from(unescape(fields.get(4)?)),
        options: String::from_utf8_lossy(fields.get(5)?).split(',').map(str::to_owned).collect(),
        kind: String::from_utf8_lossy(fields.get(hyphen + 1)?).into_owned(),
        source: unescape(fields.get(hyphen + 2)?),
    })
}

/// The user that the options of a FUSE mount name.
fn owner(options: &[u8]) -> Option<u32> {
    let options = String::from_utf8_lossy(options);
    options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok())
}

fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let escaped = if *first == b'\\' { tail.get(..3).and_then(octal) } else { None };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(bytes)
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

/// The directory as the kernel names it in its list of mounts. A directory whose daemon is dead cannot
/// be looked at; then its parent is.
pub(crate) fn real_path(directory: &Path) -> Result<PathBuf, Error> {
    let failed = |error| Error::file("find", directory)(error);
    let cause = match fs::canonicalize(directory) {
        Ok(path) => return Ok(path),
        Err(error) => error,
    };
    let absolute = std::path::absolute(directory).map_err(failed)?;
    match (cause.kind(), absolute.parent(), absolute.file_name()) {
        (std::io::ErrorKind::NotFound, _, _) | (_, None, _) | (_, _, None) => Err(failed(cause)),
        (_, Some(parent), Some(name)) => {
            fs::canonicalize(parent).map(|parent| parent.join(name)).map_err(failed)
        }
    }
}

/// An xattr of a file as text, if it has it.
pub(crate) fn xattr(path: &Path, name: &str) -> Option<OsString> {
    let mut value = vec![0_u8; 4096];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    Some(std::ffi::OsStr::from_bytes(value.get(..length)?).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / /mnt/my\\040drive\\134\\011 rw,nosuid,nodev - fuse.miaofs http://a/\\040b rw,user_id=0
41 22 0:36 / /mnt rw shared:7 master:2 propagate_from:3 - tmpfs tmpfs rw
42 41 0:37 / /mnt ro - fuse.miaofs miaofs ro
broken line
";

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let mounts = parse(TEXT.as_bytes());
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[1].mountpoint, Path::new("/mnt/my drive\\\t"));
        assert_eq!(mounts[1].source, "http://a/ b");
        assert!(mounts[1].is_ours());
        assert_eq!((mounts[1].minor, mounts[1].owner, mounts[0].owner), (35, Some(0), None));
        assert_eq!(mounts[1].options, ["rw", "nosuid", "nodev"]);
    }

    #[test]
    fn the_uppermost_and_the_nearest_mount_is_found() {
        let mounts = parse(TEXT.as_bytes());
        assert_eq!(at(&mounts, Path::new("/mnt")).unwrap().kind, "fuse.miaofs");
        assert_eq!(at(&mounts, Path::new("/mnt/x")), None);
        assert_eq!(containing(&mounts, Path::new("/mnt/x/y")).unwrap().source, "miaofs");
        assert_eq!(containing(&mounts, Path::new("/usr")).unwrap().kind, "ext4");
    }

    #[test]
    fn this_machines_own_mounts_are_read() {
        let mounts = mounts().unwrap();
        assert!(containing(&mounts, Path::new("/proc/self")).is_some_and(|m| m.kind == "proc"));
    }
}
