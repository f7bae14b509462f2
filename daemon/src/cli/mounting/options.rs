//! Mount options as `-o` takes them, one comma-separated list for people, fstab and mount(8).
//!
//! Options that concern mount(8) and init alone are ignored; one that nobody knows is an error unless the caller is
//! sloppy. A comma or backslash inside a value is written with a backslash before it. What is read can be written again
//! ([`fmt::Display`]): so the options travel to the background process.

use std::fmt;
use std::path::PathBuf;

use super::mountpoint::Contents;
use crate::cli::terminal::size;
use crate::fuse::{Audience, Passing, Writable, kernel_option};
use crate::vfs::{Presentation, SyncMode};

/// Reason to refuse an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    /// Nobody knows it.
    #[error("unknown mount option `{0}`")]
    Unknown(String),
    /// The value is missing or not one that the option takes.
    #[error("mount option `{name}`: {why}")]
    Value {
        /// The option.
        name: &'static str,
        /// Reason to refuse its value.
        why: String,
    },
}

/// Options for mount(8), init and the like, or that change nothing here.
const IGNORED_OPTIONS: [&str; 27] = [
    "_netdev",
    "auto",
    "default_permissions",
    "defaults",
    "diratime",
    "fail",
    "group",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noauto",
    "nodiratime",
    "nofail",
    "nogroup",
    "noiversion",
    "nolazytime",
    "nomand",
    "noowner",
    "norelatime",
    "nostrictatime",
    "nouser",
    "nousers",
    "owner",
    "relatime",
    "silent",
    "strictatime",
];

/// The options of one mount; none where nobody said anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// `ro`, `rw`
    pub writable: Option<Writable>,
    /// `allow_other`, `allow_root`
    pub audience: Option<Audience>,
    /// `sync=remote`, `sync=local`
    pub sync: Option<SyncMode>,
    /// `uid=N`, `gid=N`, `umask=M`
    pub presentation: Presentation,
    /// `nonempty`
    pub contents: Contents,
    /// `cache_size=SIZE` in bytes
    pub cache_size: Option<u64>,
    /// `bwlimit=RATE` in bytes per second; inside, none is no limit
    pub bwlimit: Option<Option<u64>>,
    /// `passthrough=yes`, `passthrough=no`
    pub passthrough: Option<Passing>,
    /// `state_dir=DIR`; not written again: whoever starts a daemon has resolved it
    pub state_dir: Option<PathBuf>,
    /// `fsname=NAME`: what stands as source in the list of mounts
    pub source: Option<String>,
    /// `remount`: change the options of what is mounted
    pub remount: bool,
    /// Options that the kernel applies itself ([`kernel_option`]).
    pub kernel: Vec<&'static str>,
}

/// Treatment of an option that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// Answers an error.
    Refuse,
    /// Ignores it: mount(8) was called with `-s`.
    Ignore,
}

impl MountOptions {
    /// Reads a list into these options; what comes later wins.
    pub(crate) fn read(&mut self, list: &str, unknown: Unknown) -> Result<(), OptionError> {
        for option in split(list) {
            match self.read_one(&option) {
                Err(OptionError::Unknown(_)) if unknown == Unknown::Ignore => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn read_one(&mut self, option: &str) -> Result<(), OptionError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        match (name, value) {
            ("ro", None) => self.writable = Some(Writable::No),
            ("rw", None) => self.writable = Some(Writable::Yes),
            ("allow_other", None) => self.audience = Some(Audience::Everybody),
            ("allow_root", None) => self.audience = Some(Audience::OwnerAndRoot),
            ("nonempty", None) => self.contents = Contents::MayBeHidden,
            ("remount", None) => self.remount = true,
            ("sync", Some(value)) => self.sync = Some(sync_mode(value)?),
            ("uid", Some(value)) => self.presentation.uid = Some(number("uid", value, 10)?),
            ("gid", Some(value)) => self.presentation.gid = Some(number("gid", value, 10)?),
            ("umask", Some(value)) => self.presentation.umask = Some(umask(value)?),
            ("cache_size", Some(value)) => self.cache_size = Some(bytes(value)?),
            ("bwlimit", Some(value)) => self.bwlimit = Some(rate(value)?),
            ("passthrough", Some(value)) => self.passthrough = Some(passing(value)?),
            ("state_dir", Some(value)) => self.state_dir = Some(value.into()),
            ("fsname", Some(value)) => self.source = Some(value.to_owned()),
            (name, None) if let Some(known) = kernel_option(name) => self.kernel_says(known),
            _ if is_ignored(name) => {}
            _ => return Err(OptionError::Unknown(option.to_owned())),
        }
        Ok(())
    }

    /// Takes a kernel option; it undoes its opposite.
    fn kernel_says(&mut self, option: &'static str) {
        let stem = |name: &'static str| match name {
            "async" => "sync",
            _ => name.strip_prefix("no").unwrap_or(name),
        };
        self.kernel.retain(|other| stem(other) != stem(option));
        self.kernel.push(option);
    }
}

fn is_ignored(name: &str) -> bool {
    let prefixed = name.starts_with("x-") || name.starts_with("X-");
    let of_mount = matches!(name, "user" | "users" | "comment" | "uhelper" | "helper" | "subtype");
    // What the kernel lists of a mount comes back at a remount.
    let of_kernel =
        matches!(name, "user_id" | "group_id" | "rootmode" | "fd" | "max_read" | "blksize");
    prefixed || of_mount || of_kernel || name.is_empty() || IGNORED_OPTIONS.contains(&name)
}

fn sync_mode(value: &str) -> Result<SyncMode, OptionError> {
    match value {
        "remote" => Ok(SyncMode::Remote),
        "local" => Ok(SyncMode::Local),
        _ => Err(OptionError::Value { name: "sync", why: "must be `local` or `remote`".into() }),
    }
}

fn passing(value: &str) -> Result<Passing, OptionError> {
    match value {
        "yes" => Ok(Passing::Yes),
        "no" => Ok(Passing::No),
        _ => Err(OptionError::Value { name: "passthrough", why: "must be `yes` or `no`".into() }),
    }
}

fn number(name: &'static str, value: &str, radix: u32) -> Result<u32, OptionError> {
    u32::from_str_radix(value, radix)
        .map_err(|error| OptionError::Value { name, why: error.to_string() })
}

fn umask(value: &str) -> Result<u32, OptionError> {
    match number("umask", value, 8)? {
        bits @ 0..=0o777 => Ok(bits),
        _ => Err(OptionError::Value { name: "umask", why: "must be from 0 to 777, octal".into() }),
    }
}

fn bytes(value: &str) -> Result<u64, OptionError> {
    size::parse(value)
        .map_err(|error| OptionError::Value { name: "cache_size", why: error.to_string() })
}

fn rate(value: &str) -> Result<Option<u64>, OptionError> {
    size::parse_rate(value)
        .map_err(|error| OptionError::Value { name: "bwlimit", why: error.to_string() })
}

/// The options of a list; `\,` is a comma and `\\` a backslash.
fn split(list: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        let last = options.last_mut().expect("there is always one");
        match character {
            ',' => options.push(String::new()),
            '\\' => last.extend(characters.next()),
            _ => last.push(character),
        }
    }
    options
}

impl fmt::Display for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options: Vec<String> = self.kernel.iter().map(|name| (*name).to_owned()).collect();
        options.extend(self.writable.map(|writable| match writable {
            Writable::No => "ro".into(),
            Writable::Yes => "rw".into(),
        }));
        options.extend(match self.audience {
            Some(Audience::Everybody) => Some("allow_other".to_owned()),
            Some(Audience::OwnerAndRoot) => Some("allow_root".into()),
            Some(Audience::Owner) | None => None,
        });
        options.extend(self.sync.map(|sync| match sync {
            SyncMode::Local => "sync=local".into(),
            SyncMode::Remote => "sync=remote".into(),
        }));
        options.extend((self.contents == Contents::MayBeHidden).then(|| "nonempty".into()));
        let shown = self.presentation;
        options.extend(shown.uid.map(|uid| format!("uid={uid}")));
        options.extend(shown.gid.map(|gid| format!("gid={gid}")));
        options.extend(shown.umask.map(|umask| format!("umask={umask:03o}")));
        options.extend(self.cache_size.map(|bytes| format!("cache_size={bytes}")));
        options.extend(self.bwlimit.map(|rate| format!("bwlimit={}", rate.unwrap_or(0))));
        options.extend(self.passthrough.map(|passing| match passing {
            Passing::Yes => "passthrough=yes".into(),
            Passing::No => "passthrough=no".into(),
        }));
        let escape = |text: &str| text.replace('\\', "\\\\").replace(',', "\\,");
        options.extend(self.source.as_ref().map(|name| format!("fsname={}", escape(name))));
        f.write_str(&options.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<MountOptions, OptionError> {
        let mut options = MountOptions::default();
        options.read(list, Unknown::Refuse)?;
        Ok(options)
    }

    #[test]
    fn options_of_fstab_are_taken_or_ignored() {
        let options = read(
            "defaults,_netdev,nofail,user=ada,noauto,x-systemd.automount,rw,noatime,allow_other,user_id=0,\
             nosuid,cache_size=2G,bwlimit=off,sync=remote,fsname=a\\,b\\\\c,state_dir=/s,ro",
        )
        .unwrap();
        assert_eq!(options.writable, Some(Writable::No));
        assert_eq!(options.audience, Some(Audience::Everybody));
        assert_eq!(options.cache_size, Some(2 << 30));
        assert_eq!(options.bwlimit, Some(None));
        assert_eq!(options.sync, Some(SyncMode::Remote));
        assert_eq!(options.kernel, ["noatime", "nosuid"]);
        assert_eq!(options.source.as_deref(), Some("a,b\\c"));
        assert_eq!(options.state_dir, Some("/s".into()));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for list in [
            "",
            "uid=1000,gid=100,umask=027",
            "ro,nosuid,nodev,allow_other,cache_size=5,fsname=x\\,y",
            "sync=local,rw,nonempty,passthrough=no",
        ] {
            let options = read(list).unwrap();
            assert_eq!(read(&options.to_string()).unwrap(), options, "{list}");
        }
    }

    #[test]
    fn the_later_of_two_opposites_wins() {
        assert_eq!(read("nosuid,suid,sync,async").unwrap().kernel, ["suid", "async"]);
        assert_eq!(read("ro,rw").unwrap().writable, Some(Writable::Yes));
    }

    #[test]
    fn an_unknown_option_is_refused_unless_sloppy() {
        assert_eq!(read("rw,chache_size=1"), Err(OptionError::Unknown("chache_size=1".into())));
        assert!(read("cache_size=big").is_err());
        assert!(read("sync=maybe").is_err());
        assert!(["uid=ada", "umask=888", "umask=1000"].iter().all(|list| read(list).is_err()));
        let mut options = MountOptions::default();
        options.read("colour=red,ro", Unknown::Ignore).unwrap();
        assert_eq!(options.writable, Some(Writable::No));
        assert!(options.read("cache_size=big", Unknown::Ignore).is_err());
    }
}
