//! A server process of the test's own.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal};
use serde_json::json;
use tempfile::TempDir;

use super::api::Api;
use super::clock::Clock;
use super::dependencies::{Dependencies, Reads};
use super::disk::lengths_below;
use super::services::real_backends;
use super::wait::{seconds, wait_until};
use super::{binary, scratch, secrets, tail};

/// The password of every account that a test makes.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A running `miaofs-server serve`, ended when dropped.
pub(crate) struct Server {
    data: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
    log: PathBuf,
    child: Child,
    /// The clock that it has instead of the machine's.
    clock: Option<Clock>,
    /// The share of the real dependencies, when it stands on those. Goes after the process.
    dependencies: Option<Dependencies>,
    /// The directory of its data, when that is its own. Goes last.
    directory: Option<TempDir>,
}

impl Server {
    /// Starts a server with its data in a directory of its own, on a port of its choice.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same with more arguments to `serve`.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let directory = scratch();
        let mut server = Self::start_with(&directory.path().join("data"), arguments);
        server.directory = Some(directory);
        server
    }

    /// The same that logs as much as `filter` says.
    pub(crate) fn with_log(filter: &str) -> Self {
        let directory = scratch();
        let data = directory.path().join("data");
        let log = data.with_extension("log");
        let mut command = command(&data, &log, &[], "127.0.0.1:0");
        command.env("MIAOFS_LOG", filter);
        let (child, address) = await_address(command, &log);
        let (arguments, clock, dependencies) = (Vec::new(), None, None);
        let directory = Some(directory);
        Self { data, arguments, address, log, child, clock, dependencies, directory }
    }

    /// Starts a server with its data in `data`, on a port of its choice.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// Starts a server with more arguments to `serve`.
    pub(crate) fn start_with(data: &Path, arguments: &[&str]) -> Self {
        let configuration = configuration_of(data);
        let make = || Dependencies::new(&configuration, &["ceph"], Reads::ThroughTheServer);
        let dependencies = real_backends().then(make);
        Self::spawn(data, arguments, dependencies)
    }

    /// Starts a server whose files the test looks into, whatever the others of this run stand on.
    pub(crate) fn start_embedded(data: &Path, arguments: &[&str]) -> Self {
        Self::spawn(data, arguments, None)
    }

    /// The same with a clock of its own.
    pub(crate) fn start_with_clock(data: &Path, arguments: &[&str], clock: &Clock) -> Self {
        let (log, listen) = (data.with_extension("log"), "127.0.0.1:0");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let (child, address) = spawn(data, &log, &arguments, listen, Some(clock));
        let (data, clock) = (data.to_owned(), Some(clock.clone()));
        let (dependencies, directory) = (None, None);
        Self { data, arguments, address, log, child, clock, dependencies, directory }
    }

    /// Starts a server on real dependencies, whatever the others of this run stand on. What is uploaded goes
    /// to these `stores`.
    pub(crate) fn start_on_real(
        data: &Path,
        stores: &'static [&'static str],
        reads: Reads,
    ) -> Self {
        Self::spawn(data, &[], Some(Dependencies::new(&configuration_of(data), stores, reads)))
    }

    /// Starts a server as a configuration file says, whatever the others of this run stand on.
    pub(crate) fn start_configured(data: &Path, configuration: &Path) -> Self {
        let configuration = configuration.to_str().expect("paths of tests are UTF-8");
        Self::spawn(data, &["--config", configuration], None)
    }

    fn spawn(data: &Path, more: &[&str], dependencies: Option<Dependencies>) -> Self {
        let mut arguments: Vec<String> = more.iter().map(ToString::to_string).collect();
        if let Some(dependencies) = &dependencies {
            let configuration =
                dependencies.configuration().to_str().expect("paths of tests are UTF-8");
            arguments.extend(["--config".to_owned(), configuration.to_owned()]);
        }
        let mut server =
            Self::start_at(data, &data.with_extension("log"), arguments, "127.0.0.1:0");
        server.dependencies = dependencies;
        server
    }

    /// Starts a process of a server on dependencies that are somebody else's.
    pub(crate) fn start_at(data: &Path, log: &Path, arguments: Vec<String>, listen: &str) -> Self {
        let (child, address) = spawn(data, log, &arguments, listen, None);
        let (data, log) = (data.to_owned(), log.to_owned());
        let (clock, dependencies, directory) = (None, None, None);
        Self { data, arguments, address, log, child, clock, dependencies, directory }
    }

    /// Starts it again where it was, after [`Self::kill`] or [`Self::stop`].
    pub(crate) fn restart(&mut self) {
        let listen = self.address.to_string();
        let clock = self.clock.as_ref();
        let (child, address) = spawn(&self.data, &self.log, &self.arguments, &listen, clock);
        assert_eq!(address, self.address);
        self.child = child;
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to read its certificate again.
    pub(crate) fn hang_up(&self) {
        rustix::process::kill_process(self.pid(), Signal::HUP).expect("the server runs");
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Asks it to end, without waiting.
    pub(crate) fn terminate(&self) {
        rustix::process::kill_process(self.pid(), Signal::TERM).expect("the server runs");
    }

    /// Asks it to end and waits until it has; answers how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the server ends", seconds(40), || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        status.expect("it was waited for")
    }

    /// The program, for runs of it that are expected to fail.
    pub(crate) fn binary() -> PathBuf {
        binary("miaofs-server")
    }

    /// A command of the program on the same data and dependencies as the server that has its data in `data`.
    pub(crate) fn command(data: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(Self::binary());
        command.args(arguments).arg("--data").arg(data);
        let configuration = configuration_of(data);
        if configuration.exists() {
            command.arg("--config").arg(configuration);
        }
        command
    }

    /// Process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Address as a URL.
    pub(crate) fn url(&self) -> String {
        let has_tls = self.arguments.iter().any(|argument| argument == "--tls-cert");
        format!("{}://{}", if has_tls { "https" } else { "http" }, self.address)
    }

    /// Data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// File of its log.
    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    /// Share of the server in the real dependencies; panics when it stands on embedded ones.
    pub(crate) fn dependencies(&self) -> &Dependencies {
        self.dependencies.as_ref().expect("the server stands on real dependencies")
    }

    /// The sizes of the blobs that it has moved to its store.
    pub(crate) fn stored(&self) -> Vec<u64> {
        match &self.dependencies {
            Some(dependencies) => dependencies.stored(),
            None => lengths_below(&self.data.join("store")),
        }
    }

    /// The sizes of the files on its staging disk, without its locks, which are empty.
    pub(crate) fn staged(&self) -> Vec<u64> {
        let lengths = lengths_below(&self.data.join("staging")).into_iter();
        lengths.filter(|length| *length > 0).collect()
    }

    /// API with nobody signed in.
    pub(crate) fn api(&self) -> Api {
        Api::new(&self.url())
    }

    /// API with a new account signed in.
    pub(crate) fn sign_up(&self, name: &str) -> Api {
        let device = json!({ "name": "test" });
        let body = json!({ "name": name, "password": PASSWORD, "device": device });
        let session = self.api().post("/user/signup", &body).expect(200).json();
        self.api().with_token(session["access_token"].as_str().expect("a token"))
    }

    /// API with an account signed in that is there already.
    pub(crate) fn sign_in(&self, name: &str) -> Api {
        let device = json!({ "name": "test" });
        let body = json!({ "name": name, "password": PASSWORD, "device": device });
        let session = self.api().post("/user/signin", &body).expect(200).json();
        self.api().with_token(session["access_token"].as_str().expect("a token"))
    }

    /// The value of a counter or gauge, summed over its labels; panics when it is not there.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.metric_where(name, "").unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// Content bytes that the process has received by any route.
    #[track_caller]
    pub(crate) fn content_bytes_received(&self) -> u64 {
        self.metric("miaofs_chunk_bytes_received_total")
            + self.metric("miaofs_batch_bytes_received_total")
            + self.metric("miaofs_upload_bytes_received_total")
    }

    /// The value of a counter or gauge, summed over the label sets that hold `label`.
    pub(crate) fn metric_where(&self, name: &str, label: &str) -> Option<u64> {
        let text = String::from_utf8(self.api().get("/metrics").expect(200).body).expect("text");
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            let matches = labels.is_empty() || labels.starts_with('{');
            (matches && labels.contains(label)).then(|| value.parse::<f64>().expect("a number"))
        });
        values.map(|value| value as u64).reduce(|sum, value| sum + value)
    }

    /// The most memory that it has had resident, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        peak_memory(self.pid())
    }

    /// The memory that it has resident, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        kibibytes(self.pid(), "VmRSS:")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _it_may_have_been_waited_for = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{}", tail(&self.log));
        }
        secrets::expect_none(&self.log);
    }
}

/// The configuration file of a server, when it has one.
fn configuration_of(data: &Path) -> PathBuf {
    data.with_extension("toml")
}

fn spawn(
    data: &Path,
    log: &Path,
    arguments: &[String],
    listen: &str,
    clock: Option<&Clock>,
) -> (Child, SocketAddr) {
    let mut command = command(data, log, arguments, listen);
    if let Some(clock) = clock {
        clock.give(&mut command);
    }
    await_address(command, log)
}

fn command(data: &Path, log: &Path, arguments: &[String], listen: &str) -> Command {
    let append = OpenOptions::new().create(true).append(true).open(log);
    let mut command = Command::new(binary("miaofs-server"));
    command.arg("serve").arg("--data").arg(data).args(["--listen", listen]).args(arguments);
    // Tests are refused more often than anybody else, and need not wait for it.
    command.env("MIAOFS_SERVER_REFUSALS_PER_SECOND", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(append.expect("a log can be written"));
    command
}

/// Starts a server; answers where it listens.
fn await_address(mut command: Command, log: &Path) -> (Child, SocketAddr) {
    let mut child = command.spawn().expect("the server starts");
    let stdout = child.stdout.take().expect("stdout is a pipe");
    match listening(stdout) {
        Some(address) => (child, address),
        None => {
            let _it_may_have_ended = child.kill();
            panic!("the server does not listen:\n{}", tail(log));
        }
    }
}

/// The address that the server says it listens on; `None` when it ends or says nothing for long.
fn listening(stdout: ChildStdout) -> Option<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let url = line.strip_prefix("listening on ").and_then(|url| url.split_once("://"));
            if let Some((_scheme, address)) = url {
                let _nobody_waits_any_more = sender.send(address.parse().ok());
            }
        }
    });
    receiver.recv_timeout(seconds(30)).ok().flatten()
}

/// The most memory that a process has had resident, in KiB.
pub(crate) fn peak_memory(process: Pid) -> u64 {
    kibibytes(process, "VmHWM:")
}

/// A figure of a process's memory.
fn kibibytes(process: Pid, figure: &str) -> u64 {
    let path = format!("/proc/{}/status", process.as_raw_nonzero());
    let status =
        std::io::read_to_string(File::open(path).expect("the process runs")).expect("text");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("a figure");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
