//! A device: a state directory, a mount point, and the daemon between them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::clock::Clock;
use super::server::{PASSWORD, Server, peak_memory};
use super::wait::{seconds, wait_until};
use super::{binary, secrets, tail};

/// The longest that any command but `sync` may take.
const LIMIT: Duration = seconds(60);
/// The longest that a sync of a test may take.
const SYNC_LIMIT: Duration = seconds(400);

/// A device of a test; dropping it kills its daemon and removes its mount.
pub(crate) struct Device {
    program: PathBuf,
    name: String,
    state: PathBuf,
    mount: PathBuf,
    /// The clock that it has instead of the machine's.
    clock: Option<Clock>,
}

/// Result of a command of `miaofs`.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Device {
    /// A device that knows no account yet; its mount point is an empty directory.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        let (state, mount) = (directory.join(format!("{name}.state")), directory.join(name));
        std::fs::create_dir_all(&mount).expect("a mount point");
        Self { program: binary("miaofs"), name: name.to_owned(), state, mount, clock: None }
    }

    /// Has all that is started from now on use another clock than the machine's.
    pub(crate) fn use_clock(&mut self, clock: &Clock) {
        self.clock = Some(clock.clone());
    }

    /// Has another copy of the program run from now on.
    pub(crate) fn use_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// A device that has made the account `user` on `server` and mounted its drive.
    pub(crate) fn signed_up(directory: &Path, name: &str, server: &Server, user: &str) -> Self {
        let device = Self::new(directory, name);
        device.sign("signup", &server.url(), user).expect_success();
        device.mount();
        device
    }

    /// A device that has signed in to the account `user` on `server` and mounted its drive.
    pub(crate) fn signed_in(directory: &Path, name: &str, server: &Server, user: &str) -> Self {
        let device = Self::new(directory, name);
        device.sign("login", &server.url(), user).expect_success();
        device.mount();
        device
    }

    /// Signs up or in with the password of all tests.
    pub(crate) fn sign(&self, verb: &str, url: &str, user: &str) -> Finished {
        self.sign_with(verb, url, user, PASSWORD)
    }

    /// Signs up or in with a password.
    pub(crate) fn sign_with(&self, verb: &str, url: &str, user: &str, password: &str) -> Finished {
        self.sign_by(&[verb, url, "--user", user], password)
    }

    /// Signs up or in with the password of all tests, as these arguments say.
    pub(crate) fn sign_as(&self, arguments: &[&str]) -> Finished {
        self.sign_by(arguments, PASSWORD)
    }

    fn sign_by(&self, arguments: &[&str], password: &str) -> Finished {
        let mut command = self.command(arguments);
        command.args(["--password-stdin", "--device", &self.name]);
        let input = self.state.with_extension("password");
        std::fs::write(&input, format!("{password}\n")).expect("room for a password");
        command.stdin(File::open(&input).expect("it was written"));
        self.finish(command, LIMIT)
    }

    /// A command of `miaofs` for this device.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("MIAOFS_STATE_DIR", &self.state).args(arguments).stdin(Stdio::null());
        if let Some(clock) = &self.clock {
            clock.give(&mut command);
        }
        command
    }

    /// Runs a command of `miaofs` for this device.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.finish(self.command(arguments), LIMIT)
    }

    fn finish(&self, command: Command, limit: Duration) -> Finished {
        finish(command, &self.state.with_extension("output"), limit)
    }

    /// Mounts the drive.
    pub(crate) fn mount(&self) {
        self.mount_with(&[]).expect_success();
        assert!(self.is_mounted(), "mount returned, but {} is no mount", self.mount.display());
    }

    /// Mounts the drive with options.
    pub(crate) fn mount_with(&self, options: &[&str]) -> Finished {
        let mut command = self.command(&["mount"]);
        command.args(options).arg(&self.mount);
        self.finish(command, LIMIT)
    }

    /// Unmounts the drive and waits until the daemon has ended.
    pub(crate) fn umount(&self) {
        self.run(&["umount", &self.mount.to_string_lossy()]).expect_success();
        self.wait_for_end();
        assert!(!self.is_mounted());
    }

    /// `kill -9` of the daemon, and of the supervisor before it; the mount point stays behind, dead.
    pub(crate) fn kill(&self) {
        let daemon = self.daemon().expect("the daemon runs");
        for process in self.supervisor().into_iter().chain([daemon]) {
            rustix::process::kill_process(process, Signal::KILL).expect("it runs");
        }
        self.wait_for_end();
    }

    /// `kill -9` of the daemon alone: the next one takes over. Waits for one to kill: the last may have died just now.
    pub(crate) fn kill_daemon(&self) {
        wait_until("a daemon is killed", LIMIT, || {
            self.daemon().is_some_and(|it| rustix::process::kill_process(it, Signal::KILL).is_ok())
        });
    }

    /// The process that keeps the mount while daemons come and go.
    pub(crate) fn supervisor(&self) -> Option<Pid> {
        self.processes().into_iter().find(|process| is_supervisor(*process))
    }

    /// Waits until nothing runs with this device's state directory any more.
    pub(crate) fn wait_for_end(&self) {
        wait_until("the daemon ends", LIMIT, || self.processes().is_empty());
    }

    /// Waits until everything is on the server.
    #[track_caller]
    pub(crate) fn sync(&self) {
        let limit = SYNC_LIMIT.as_secs().to_string();
        let command = self.command(&["sync", "--timeout", &limit]);
        let finished = self.finish(command, SYNC_LIMIT + seconds(10));
        let told = || self.try_status().map(|status| format!("{status:#}")).unwrap_or_default();
        assert!(finished.status.success(), "{}{}", finished.stderr, told());
    }

    /// Output of `status --json`.
    pub(crate) fn status(&self) -> Value {
        let finished = self.run(&["status", "--json"]).expect_success();
        serde_json::from_str(&finished.stdout).expect("JSON")
    }

    /// The same; none while no daemon answers.
    pub(crate) fn try_status(&self) -> Option<Value> {
        let finished = self.run(&["status", "--json"]);
        finished.status.success().then(|| serde_json::from_str(&finished.stdout).expect("JSON"))
    }

    /// A path in the mount.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.mount.clone() } else { self.mount.join(path) }
    }

    /// State directory of the device.
    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    /// True if the kernel has the mount.
    pub(crate) fn is_mounted(&self) -> bool {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("a list of mounts");
        let point = self.mount.to_string_lossy();
        mounts.lines().any(|line| line.split(' ').nth(4) == Some(&point))
    }

    /// The most memory that the daemon has had resident, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        peak_memory(self.daemon().expect("the daemon runs"))
    }

    /// The process that serves the mount: the one of ours that has the FUSE device open.
    pub(crate) fn daemon(&self) -> Option<Pid> {
        self.processes().into_iter().find(|process| {
            if is_supervisor(*process) || is_notifier(*process) {
                return false;
            }
            let folder = format!("/proc/{}/fd", process.as_raw_nonzero());
            let Ok(descriptors) = std::fs::read_dir(folder) else { return false };
            let mut targets = descriptors.flatten().flat_map(|it| std::fs::read_link(it.path()));
            targets.any(|target| target == Path::new("/dev/fuse"))
        })
    }

    /// All processes that run with this device's state directory.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let ours = format!("MIAOFS_STATE_DIR={}", self.state.display()).into_bytes();
        let has_it = |process: &Pid| {
            let path = format!("/proc/{}/environ", process.as_raw_nonzero());
            let environment = std::fs::read(path).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == ours)
        };
        let folders = std::fs::read_dir("/proc").expect("processes");
        let names = folders.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok());
        names.filter_map(Pid::from_raw).filter(has_it).collect()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["daemon.log", "miaofs.log", "log"] {
                let log = self.state.join(log);
                if log.exists() {
                    eprintln!("--- log of {}\n{}", self.name, tail(&log));
                }
            }
        }
        for process in self.processes() {
            let _it_may_have_ended = rustix::process::kill_process(process, Signal::KILL);
        }
        while self.is_mounted() {
            let unmounted = Command::new("umount").arg("-l").arg(&self.mount).status();
            if !unmounted.is_ok_and(|status| status.success()) {
                eprintln!("{} stays mounted", self.mount.display());
                break;
            }
        }
        secrets::expect_none(&self.state.join("daemon.log"));
    }
}

/// A supervisor stays like the daemon, and does not report to another one.
fn is_supervisor(process: Pid) -> bool {
    let path = format!("/proc/{}/cmdline", process.as_raw_nonzero());
    let words = std::fs::read(path).unwrap_or_default();
    let has = |it: &[u8]| words.split(|byte| *byte == 0).any(|word| word == it);
    has(b"--foreground") && !has(b"--report-readiness")
}

/// True for the process that tells the kernel for a daemon, and may outlive it.
fn is_notifier(process: Pid) -> bool {
    let path = format!("/proc/{}/cmdline", process.as_raw_nonzero());
    std::fs::read(path).is_ok_and(|words| words.starts_with(b"miaofs-notifier\0"))
}

/// Runs a command with its output in files beside `output`; panics when it takes too long.
pub(crate) fn finish(mut command: Command, output: &Path, limit: Duration) -> Finished {
    let (stdout, stderr) = (output.with_extension("stdout"), output.with_extension("stderr"));
    command.stdout(File::create(&stdout).expect("room for output"));
    command.stderr(File::create(&stderr).expect("room for output"));
    let mut child = Running(command.spawn().expect("the command starts"));
    let mut status = None;
    wait_until(&format!("{command:?} ends"), limit, || {
        status = child.0.try_wait().expect("a child can be waited for");
        status.is_some()
    });
    let read =
        |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into();
    let status = status.expect("it was waited for");
    Finished { status, stdout: read(&stdout), stderr: read(&stderr) }
}

/// A command that is killed when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _it_may_have_been_waited_for = self.0.wait();
    }
}

impl Finished {
    /// Panics unless the command succeeded.
    #[track_caller]
    pub(crate) fn expect_success(self) -> Self {
        assert!(self.status.success(), "{}\n{}{}", self.status, self.stdout, self.stderr);
        self
    }

    /// Panics unless the command failed, and complained with all of these words.
    #[track_caller]
    pub(crate) fn expect_failure(self, words: &[&str]) -> Self {
        assert!(!self.status.success(), "it succeeded\n{}{}", self.stdout, self.stderr);
        assert!(self.status.code().is_some(), "it was killed: {}", self.status);
        let complaint = self.stderr.to_lowercase();
        for word in words {
            assert!(complaint.contains(word), "not a word of `{word}`:\n{}", self.stderr);
        }
        assert!(!complaint.contains("panicked"), "{}", self.stderr);
        self
    }
}
