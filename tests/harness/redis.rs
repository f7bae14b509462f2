//! A Redis of the test's own, to be killed, and to come back with its data or without.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest start of Redis.
const START: Duration = Duration::from_secs(20);

/// Persistence of a Redis over its restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Everything that it had answered for.
    Kept,
    /// Nothing.
    Lost,
}

/// A running `redis-server`, ended when dropped.
pub(crate) struct Redis {
    directory: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Redis {
    /// Starts one on a free port of the loopback address.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let child = spawn(&directory, port);
        Self { directory, port, child }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Starts it again where it was, after [`Self::kill`].
    pub(crate) fn start_again(&mut self, memory: Memory) {
        if memory == Memory::Lost {
            let log = self.directory.path().join("appendonlydir");
            std::fs::remove_dir_all(log).expect("its log can be removed");
        }
        self.child = spawn(&self.directory, self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _it_may_have_been_waited_for = self.child.wait();
    }
}

fn spawn(directory: &tempfile::TempDir, port: u16) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"]);
    command.arg(directory.path()).args(["--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", "always"]).stdout(Stdio::null()).stdin(Stdio::null());
    let child = command.spawn().unwrap_or_else(|error| {
        panic!("redis-server cannot be started: {error}; the Debian package redis-server has it")
    });
    let began = Instant::now();
    while !answers(port) {
        assert!(began.elapsed() < START, "Redis does not answer on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG")
    };
    ping().unwrap_or(false)
}
