//! What can go wrong in a command: the words for the person who typed it, what to do next, and the exit code.
//!
//! Causes are kept as sources and printed after the sentence. An error that a daemon had travels to the
//! command that asked as a [`Report`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use miaofs::client;
use miaofs::protocol::problem::Code;
use serde::{Deserialize, Serialize};

use super::output;
use crate::sync::with_causes;
use crate::{fuse, store};

/// Exit code of a command; documented in `miaofs --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Exit {
    /// General failure.
    Failed = 1,
    /// The command line, an option or a setting is wrong.
    Usage = 2,
    /// There is no daemon, or no mount.
    NotRunning = 3,
    /// No one is signed in here, or the sign-in was refused.
    NotSignedIn = 4,
    /// The server cannot be reached.
    ServerAway = 5,
    /// The mount point cannot be used.
    MountPoint = 6,
    /// The mount or the state directory is in use.
    Busy = 7,
    /// The time given was not enough; the code of timeout(1).
    TimedOut = 124,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error as it is told: by the daemon to a command, and by a command to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Exit code of the command.
    pub exit: Exit,
    /// The error with its causes, on one line.
    pub message: String,
    /// Advice on the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Errors of commands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file of the state directory, or one named by the user, could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the state directory is not what it should be.
    #[error("{} is damaged", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No one has signed in with this state directory, or has signed out.
    #[error("not signed in (state directory {})", .0.display())]
    NotSignedIn(PathBuf),
    /// The state directory belongs to another account.
    #[error("{} holds the files of {user} at {server}", state_dir.display())]
    OtherAccount {
        /// The state directory.
        state_dir: PathBuf,
        /// Whose it is.
        user: String,
        /// Where.
        server: String,
    },
    /// The server could not be asked, or refused.
    #[error(transparent)]
    Server(client::Error),
    /// The local store failed.
    #[error(transparent)]
    Store(store::Error),
    /// The kernel, or fusermount3, refused.
    #[error(transparent)]
    Mount(fuse::Error),
    /// There is nowhere to keep state.
    #[error("there is no home directory to keep the account in")]
    NoHome(#[source] etcetera::HomeDirError),
    /// The password could not be read.
    #[error("cannot read the password")]
    Password(#[source] io::Error),
    /// The two passwords typed differ.
    #[error("the passwords differ")]
    PasswordsDiffer,
    /// A value on the command line or in the settings is not one.
    #[error("{name}: {why}")]
    Value {
        /// The option or the setting.
        name: String,
        /// Cause.
        why: String,
    },
    /// The mount point cannot be used.
    #[error(transparent)]
    MountPoint(#[from] MountPointError),
    /// A path that should be in a miaofs mount is not.
    #[error("{} is not a miaofs mount, nor in one", .0.display())]
    NotMounted(PathBuf),
    /// Something uses the mount.
    #[error("{} is in use", .0.display())]
    Busy(PathBuf),
    /// Unmounting failed.
    #[error("cannot unmount {}", mountpoint.display())]
    Unmount {
        /// The mount point.
        mountpoint: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Changing a mount's options failed.
    #[error("cannot remount {}", mountpoint.display())]
    Remount {
        /// The mount point.
        mountpoint: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another daemon has the state directory.
    #[error("{} is in use by {holder}", state_dir.display())]
    Locked {
        /// The state directory.
        state_dir: PathBuf,
        /// Who has it, as far as it says.
        holder: String,
    },
    /// No daemon runs with the state directory.
    #[error("not mounted (state directory {})", .0.display())]
    NotRunning(PathBuf),
    /// The daemon's control socket failed.
    #[error("cannot talk to the daemon of {}", state_dir.display())]
    Control {
        /// The daemon's state directory.
        state_dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The daemon answered something else than what was asked.
    #[error("the daemon of {} answers another version's language", .0.display())]
    ControlAnswer(PathBuf),
    /// A limit of time was reached.
    #[error("{what} after {seconds} s")]
    TimedOut {
        /// Unfinished work.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// The background process ended without saying why.
    #[error("the daemon ended before it was ready")]
    DaemonDied {
        /// Where it logged.
        log: PathBuf,
    },
    /// The operating system refused something that has no name of its own here.
    #[error("cannot {action}")]
    System {
        /// A verb and its object.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// An error that the daemon reported.
    #[error("{0}")]
    Reported(Report),
}

/// Why a directory cannot be mounted on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountPointError {
    /// Nothing has this path.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// The path leads to something else than a directory.
    #[error("{} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// There are files in it, which the mount would hide.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// Something else is mounted there.
    #[error("{} has {what} mounted already", mountpoint.display())]
    Taken {
        /// The directory.
        mountpoint: PathBuf,
        /// Source and type of that mount.
        what: String,
    },
    /// The mount would hide the state directory.
    #[error("{} contains the state directory {}", mountpoint.display(), state_dir.display())]
    HidesState {
        /// The directory.
        mountpoint: PathBuf,
        /// The state directory.
        state_dir: PathBuf,
    },
    /// The directory cannot be read.
    #[error("cannot look into {}", mountpoint.display())]
    Inaccessible {
        /// The directory.
        mountpoint: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl MountPointError {
    /// Advises on the next step.
    pub(crate) fn next(&self) -> String {
        match self {
            Self::Missing(path) => format!("make it with: mkdir -p {}", path.display()),
            Self::NotDirectory(_) => "name a directory".into(),
            Self::NotEmpty(_) => {
                "use an empty directory, or -o nonempty to hide what is in it while mounted".into()
            }
            Self::Taken { mountpoint, .. } => {
                format!(
                    "unmount it first: umount {}, or use another directory",
                    mountpoint.display()
                )
            }
            Self::HidesState { .. } => "use another directory, or another --state-dir".into(),
            Self::Inaccessible { .. } => "use a directory of your own".into(),
        }
    }
}

impl Error {
    /// Makes a [`Error::File`] of an I/O error.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    /// Returns the exit code of the command.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::File { .. }
            | Self::Malformed { .. }
            | Self::NoHome(_)
            | Self::Store(_)
            | Self::Unmount { .. }
            | Self::Remount { .. }
            | Self::Control { .. }
            | Self::ControlAnswer(_)
            | Self::DaemonDied { .. }
            | Self::System { .. } => Exit::Failed,
            Self::Password(_) | Self::PasswordsDiffer | Self::Value { .. } => Exit::Usage,
            Self::OtherAccount { .. } | Self::NotSignedIn(_) => Exit::NotSignedIn,
            Self::Server(error) => server_exit(error),
            Self::MountPoint(_) | Self::Mount(_) => Exit::MountPoint,
            Self::NotMounted(_) | Self::NotRunning(_) => Exit::NotRunning,
            Self::Busy(_) | Self::Locked { .. } => Exit::Busy,
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::Reported(report) => report.exit,
        }
    }

    /// Advises on the next step, where there is one.
    pub(crate) fn next(&self) -> Option<String> {
        let next = match self {
            Self::NotSignedIn(_) => {
                "sign in with: miaofs login URL --user NAME (or make an account: miaofs signup)"
                    .into()
            }
            Self::OtherAccount { .. } => {
                "use another one: --state-dir DIR, or MIAOFS_STATE_DIR in the environment".into()
            }
            Self::Server(error) => return server_next(error).map(str::to_owned),
            Self::NoHome(_) => "say where: --state-dir DIR".into(),
            Self::Malformed { path, .. } => {
                format!("repair it or move it away: {}", path.display())
            }
            Self::Password(_) => {
                "type it on a terminal, or give it as the first line of stdin with --password-stdin"
                    .into()
            }
            Self::MountPoint(unusable) => unusable.next(),
            Self::Mount(_) => {
                "check that /dev/fuse is there and, unless you are root, fusermount3 (package fuse3)".into()
            }
            Self::Busy(mountpoint) => format!(
                "see who uses it with: fuser -vm {0} (or lsof {0}); or: miaofs umount --lazy {0}",
                mountpoint.display()
            ),
            Self::Locked { .. } => {
                "one state directory has one mount: use that one, or another --state-dir".into()
            }
            Self::NotRunning(_) => "mount with: miaofs mount DIR".into(),
            Self::ControlAnswer(_) => "unmount and mount again with this version".into(),
            Self::TimedOut { .. } => "see what is missing with: miaofs status".into(),
            Self::DaemonDied { log } => format!("see its log: {}", log.display()),
            Self::Reported(report) => return report.next.clone(),
            Self::File { .. }
            | Self::Store(_)
            | Self::PasswordsDiffer
            | Self::Value { .. }
            | Self::NotMounted(_)
            | Self::Unmount { .. }
            | Self::Remount { .. }
            | Self::Control { .. }
            | Self::System { .. } => return None,
        };
        Some(next)
    }

    /// The error in the form in which it travels and is printed.
    pub(crate) fn report(&self) -> Report {
        Report { exit: self.exit(), message: with_causes(self), next: self.next() }
    }
}

fn server_exit(error: &client::Error) -> Exit {
    match error {
        client::Error::Plain(_) | client::Error::Url(_) | client::Error::NoCertificate => {
            Exit::Usage
        }
        _ if error.is_offline() => Exit::ServerAway,
        client::Error::SignedOut { .. } => Exit::NotSignedIn,
        _ => match error.code() {
            Some(Code::WrongCredentials | Code::Unauthorized) => Exit::NotSignedIn,
            _ => Exit::Failed,
        },
    }
}

fn server_next(error: &client::Error) -> Option<&'static str> {
    match error {
        client::Error::Plain(_) => Some(
            "use an https:// URL; or, where nobody else is on the way, allow it with: miaofs login --insecure",
        ),
        client::Error::Tls { fault, .. } => Some(fault.advice()),
        client::Error::Redirected(_) => Some("if that is the server, give its URL"),
        client::Error::NoCertificate => Some("give a file with certificates in PEM: --ca FILE"),
        _ if error.is_offline() => Some("check the URL and that the server runs, then try again"),
        client::Error::SignedOut { .. } => Some("sign in with: miaofs login"),
        client::Error::Malformed(_) => Some("check the URL: something else answers there"),
        _ => match error.code()? {
            Code::WrongCredentials => {
                Some("check name and password; a new account is made by: miaofs signup")
            }
            Code::InvitationNeeded => {
                Some("ask its operator for one, then: miaofs signup --invite CODE")
            }
            Code::AccountExists => Some("choose another name, or sign in with: miaofs login"),
            Code::TooManyRequests => Some("wait a minute, then try again"),
            Code::SignUpClosed => Some("ask whoever runs the server for an account"),
            _ => None,
        },
    }
}

/// Prints an error and advice on stderr, and returns the exit code of the command.
pub(crate) fn report_error(error: &Error) -> ExitCode {
    let report = error.report();
    output::complain(format_args!("miaofs: {}", report.message));
    if let Some(next) = report.next {
        output::complain(format_args!("  {next}"));
    }
    report.exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_thing_its_cause_and_the_next_step() {
        let error = Error::file("read", Path::new("/x/account.json"))(io::Error::other("it burns"));
        assert_eq!(error.report().message, "cannot read /x/account.json: it burns");
        let report = Error::Busy("/mnt".into()).report();
        assert_eq!(report.exit, Exit::Busy);
        assert!(report.next.unwrap().contains("fuser -vm /mnt"));
    }
}
