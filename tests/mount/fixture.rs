//! Common start of most tests of the mount: a server, an account, and devices that have it mounted.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::command::output;
use crate::harness::device::Device;
use crate::harness::server::Server;
use crate::harness::{random::Seed, scratch};

/// 1 MiB.
pub(crate) const MIB: u64 = 1 << 20;
/// 1 GiB.
pub(crate) const GIB: u64 = 1 << 30;

/// One account, mounted on two devices. Devices end before the server, and the directory goes last.
pub(crate) struct Pair {
    /// The device that made the account.
    pub one: Device,
    /// Another device of the same account.
    pub two: Device,
    /// The server of both.
    pub server: Server,
    /// Where everything of the test is.
    pub directory: TempDir,
}

impl Pair {
    /// Starts everything.
    pub(crate) fn new() -> Self {
        let directory = scratch();
        let server = Server::start(&directory.path().join("data"));
        let one = Device::signed_up(directory.path(), "one", &server, "ada");
        let two = Device::signed_in(directory.path(), "two", &server, "ada");
        Self { one, two, server, directory }
    }
}

/// One account, mounted on one device.
pub(crate) struct Single {
    /// The device.
    pub one: Device,
    /// Server of the device.
    pub server: Server,
    /// Where everything of the test is.
    pub directory: TempDir,
}

impl Single {
    /// Starts everything.
    pub(crate) fn new() -> Self {
        Self::with_server(&[])
    }

    /// Starts everything, the server with these arguments.
    pub(crate) fn with_server(arguments: &[&str]) -> Self {
        let directory = scratch();
        let server = Server::start_with(&directory.path().join("data"), arguments);
        let one = Device::signed_up(directory.path(), "one", &server, "ada");
        Self { one, server, directory }
    }

    /// Mounts the drive of the same account on another device.
    pub(crate) fn another_device(&self, name: &str) -> Device {
        Device::signed_in(self.directory.path(), name, &self.server, "ada")
    }

    /// Makes a file of random bytes outside of the mount and copies it to `film` in it.
    pub(crate) fn copy_in(&self, size: u64) {
        let source = self.directory.path().join("film");
        Seed::of_this_run().write_file(&source, "film", size);
        run("cp", &[&source, &self.one.path("film")]);
    }
}

/// Runs a program that must succeed; answers what it printed.
#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&Path]) -> String {
    output(Command::new(program).args(arguments))
}

/// True where the kernel lets this user pass files through; elsewhere the tests show that all works without.
pub(crate) fn passes(device: &Device) -> bool {
    device.status()["passthrough"] == true
}

/// The names in a directory, in order.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
