//! The helper of mount(8): what `mount -t miaofs`, `mount -t fuse.miaofs` and fstab call.
//!
//! The program is called so through a link of the name `mount.miaofs` or `mount.fuse.miaofs` in `/sbin`. It returns when
//! the mount is usable, with mount(8)'s exit codes. The source in fstab is the server's URL, the state directory, or any
//! word; it stands in the list of mounts as given, so that mount(8) recognises what is mounted already.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rustix::mount::MountFlags;

use super::mount;
use super::mounting::mountinfo::{self, Mounted};
use super::mounting::options::{MountOptions, Unknown};
use super::mounting::plan::MountPlan;
use super::state::state_dir::StateDir;
use super::terminal::error::{Error, Exit, report_error};
use super::terminal::logging::{self, Level};
use super::terminal::output;
use crate::fuse::Writable;

const NAMES: [&str; 2] = ["mount.miaofs", "mount.fuse.miaofs"];

/// mount(8): incorrect invocation or permissions.
const USAGE: u8 = 1;
/// mount(8): mount failure.
const FAILURE: u8 = 32;

/// Mount a miaofs drive for mount(8)
#[derive(Debug, Parser)]
#[command(name = "mount.miaofs", version)]
struct Call {
    /// URL of the server, a state directory, or any name
    source: OsString,
    /// The directory to mount on
    directory: PathBuf,
    /// Ignore unknown options
    #[arg(short)]
    sloppy: bool,
    /// Do all but mounting
    #[arg(short)]
    fake: bool,
    /// Do not write mtab (nobody does any more)
    #[arg(short)]
    no_mtab: bool,
    /// Say what is done
    #[arg(short)]
    verbose: bool,
    /// Mount options
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,
    /// The type that mount(8) was asked for
    #[arg(short = 't', value_name = "TYPE")]
    kind: Option<String>,
}

/// True if the program was called by a helper's name.
pub(super) fn is_called_as(name: &OsStr) -> bool {
    let name = Path::new(name).file_name().unwrap_or_default();
    NAMES.iter().any(|known| name == *known)
}

/// Does what mount(8) asked for.
pub(super) fn run(arguments: &[OsString]) -> ExitCode {
    let call = match Call::try_parse_from(arguments) {
        Ok(call) => call,
        Err(error) => {
            // Nobody is left to be told when stderr is gone.
            let _ = error.print();
            return if error.use_stderr() { USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    logging::start(std::env::var("MIAOFS_LOG").ok().as_deref(), Level::Command);
    match call.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report_error(&error);
            mount_exit(error.exit()).into()
        }
    }
}

fn mount_exit(exit: Exit) -> u8 {
    match exit {
        Exit::Usage => USAGE,
        Exit::Failed
        | Exit::NotRunning
        | Exit::NotSignedIn
        | Exit::ServerAway
        | Exit::MountPoint
        | Exit::Busy
        | Exit::TimedOut => FAILURE,
    }
}

impl Call {
    fn run(&self) -> Result<(), Error> {
        let options = self.mount_options()?;
        if options.remount {
            return remount(&self.directory, &options);
        }
        let state = match (options.state_dir.as_deref(), self.source()) {
            (Some(path), _) | (None, Source::StateDir(path)) => StateDir::at(path)?,
            (None, Source::Url(_) | Source::Word) => {
                let asked = std::env::var_os("MIAOFS_STATE_DIR").map(PathBuf::from);
                StateDir::choose(asked.as_deref())?
            }
        };
        let url = match self.source() {
            Source::Url(url) => Some(url),
            Source::StateDir(_) | Source::Word => None,
        };
        if self.fake {
            return Ok(());
        }
        let plan = MountPlan { state, mountpoint: self.directory.clone(), options, log: None };
        let message = mount::background(plan, url)?;
        if self.verbose {
            output::line(message);
        }
        Ok(())
    }

    fn mount_options(&self) -> Result<MountOptions, Error> {
        let mut options = MountOptions {
            source: Some(self.source.to_string_lossy().into_owned()),
            ..MountOptions::default()
        };
        let unknown = if self.sloppy { Unknown::Ignore } else { Unknown::Refuse };
        for list in &self.options {
            mount::read_options(&mut options, list, unknown)?;
        }
        options.audience = options.audience.or_else(mount::default_audience);
        Ok(options)
    }

    fn source(&self) -> Source<'_> {
        match self.source.to_str() {
            Some(text) if text.contains("://") => Source::Url(text),
            _ if Path::new(&self.source).is_absolute() => Source::StateDir(Path::new(&self.source)),
            _ => Source::Word,
        }
    }
}

/// First column of fstab.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    Url(&'a str),
    StateDir(&'a Path),
    Word,
}

/// Changes the options of what is mounted, as far as the kernel alone has them.
fn remount(directory: &Path, options: &MountOptions) -> Result<(), Error> {
    let mountpoint = mountinfo::real_path(directory)?;
    let mounts = mountinfo::mounts()?;
    let mount = mountinfo::at(&mounts, &mountpoint)
        .filter(|mount| mount.is_ours())
        .ok_or_else(|| Error::NotMounted(mountpoint.clone()))?;
    let flags = remounted(mount, options);
    rustix::mount::mount_remount(&mountpoint, flags, "")
        .map_err(|error| Error::Remount { mountpoint, source: error.into() })
}

/// The flags that the mount has, with the changes asked for.
fn remounted(mount: &Mounted, options: &MountOptions) -> MountFlags {
    let mut flags = MountFlags::empty();
    let now = mount.options.iter().map(String::as_str);
    let writable = options.writable.map(|writable| match writable {
        Writable::No => "ro",
        Writable::Yes => "rw",
    });
    for name in now.chain(options.kernel.iter().copied()).chain(writable) {
        let (positive, flag) = match name {
            "ro" => (true, MountFlags::RDONLY),
            "rw" => (false, MountFlags::RDONLY),
            "nosuid" => (true, MountFlags::NOSUID),
            "suid" => (false, MountFlags::NOSUID),
            "nodev" => (true, MountFlags::NODEV),
            "dev" => (false, MountFlags::NODEV),
            "noexec" => (true, MountFlags::NOEXEC),
            "exec" => (false, MountFlags::NOEXEC),
            "noatime" => (true, MountFlags::NOATIME),
            "atime" => (false, MountFlags::NOATIME),
            "relatime" => (true, MountFlags::RELATIME),
            "sync" => (true, MountFlags::SYNCHRONOUS),
            "async" => (false, MountFlags::SYNCHRONOUS),
            "dirsync" => (true, MountFlags::DIRSYNC),
            _ => continue,
        };
        flags.set(flag, positive);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &[&str]) -> Call {
        let name = ["/sbin/mount.miaofs"];
        Call::try_parse_from(name.iter().chain(arguments)).unwrap()
    }

    #[test]
    fn it_is_the_helper_only_by_its_names() {
        assert!(is_called_as("/sbin/mount.miaofs".as_ref()));
        assert!(is_called_as("mount.fuse.miaofs".as_ref()));
        assert!(!is_called_as("/usr/bin/miaofs".as_ref()));
    }

    #[test]
    fn calls_of_mount_are_understood() {
        let call = call(&["http://a:1", "/mnt/a", "-sv", "-o", "rw,_netdev,colour=red,nosuid"]);
        let options = call.mount_options().unwrap();
        assert_eq!(options.source.as_deref(), Some("http://a:1"));
        assert_eq!(options.writable, Some(Writable::Yes));
        assert_eq!(options.kernel, ["nosuid"]);
        assert_eq!(call.source(), Source::Url("http://a:1"));
        assert!(call.verbose);
    }

    #[test]
    fn the_source_says_which_state_directory() {
        assert_eq!(call(&["/s", "/m"]).source(), Source::StateDir(Path::new("/s")));
        assert_eq!(call(&["drive", "/m"]).source(), Source::Word);
        assert!(call(&["drive", "/m", "-o", "colour=red"]).mount_options().is_err());
    }

    #[test]
    fn a_remount_changes_what_it_names_and_keeps_the_rest() {
        let mount = Mounted {
            minor: 30,
            owner: Some(0),
            mountpoint: "/m".into(),
            options: ["rw", "nosuid", "nodev", "relatime"].map(str::to_owned).to_vec(),
            kind: mountinfo::OUR_TYPE.into(),
            source: "x".into(),
        };
        let options = call(&["x", "/m", "-o", "remount,ro,dev"]).mount_options().unwrap();
        assert!(options.remount);
        let expected = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::RELATIME;
        assert_eq!(remounted(&mount, &options), expected);
    }
}
