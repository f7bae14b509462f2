//! Common start of the tests on real dependencies: a server that stands on them, and a device with its drive mounted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::command::output;
use crate::harness::dependencies::Reads;
use crate::harness::device::Device;
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::tree::plant;
use crate::harness::wait::{seconds, wait_until};

/// 1 MiB.
pub(crate) const MIB: u64 = 1 << 20;
/// Downtime of what breaks: long enough for requests to fail, and for some to be tried again and fail.
pub(crate) const OUTAGE: Duration = seconds(4);
/// Small files that are copied beside the large one.
const FILES: usize = 500;
/// The size of the large file of a copy in MiB; `MIAOFS_TEST_FILM_MIB` sets another.
const FILM_MIB: u64 = 256;
/// Bytes of a copy that have arrived when something breaks.
const BEFORE_BYTES: u64 = 32 * MIB;

/// One account, mounted on one device. The device ends before the server, and the directory goes last.
pub(crate) struct Fixture {
    /// The device.
    pub one: Device,
    /// Server of the device.
    pub server: Server,
    /// Where everything of the test is.
    pub directory: TempDir,
}

impl Fixture {
    /// Starts everything; what is uploaded goes to these stores.
    pub(crate) fn new(stores: &'static [&'static str], reads: Reads) -> Self {
        let directory = scratch();
        let server = Server::start_on_real(&directory.path().join("data"), stores, reads);
        let one = Device::signed_up(directory.path(), "one", &server, "ada");
        Self { one, server, directory }
    }

    /// A path outside of the mount.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Mounts the drive of the same account on another device.
    pub(crate) fn another_device(&self, name: &str) -> Device {
        Device::signed_in(self.directory.path(), name, &self.server, "ada")
    }

    /// Waits until everything that was uploaded is in the stores and nowhere else.
    pub(crate) fn wait_for_transfers(&self) {
        let staged = || self.server.staged().iter().sum::<u64>();
        wait_until("nothing is staged any more", seconds(400), || staged() == 0);
    }

    /// Panics unless `fsck --deep` finds nothing wrong.
    #[track_caller]
    pub(crate) fn expect_sound(&self) {
        output(&mut Server::command(self.server.data(), &["fsck", "--deep"]));
    }
}

/// Makes 500 small files and a large one below `source`.
pub(crate) fn plant_with_film(source: &Path) {
    let seed = Seed::of_this_run();
    plant(source, seed, FILES);
    seed.write_file(&source.join("film"), "film", film_bytes());
}

/// The size of the large file of a copy.
fn film_bytes() -> u64 {
    let given = std::env::var("MIAOFS_TEST_FILM_MIB").ok();
    given.map_or(FILM_MIB, |mebibytes| mebibytes.parse().expect("a number of MiB")) * MIB
}

/// Copies what [`plant_with_film`] made into a mount, and does something to the server, a process or several,
/// once a part of it was `received`.
#[track_caller]
pub(crate) fn copy_amid<S>(
    source: &Path,
    target: &Path,
    server: &mut S,
    received: impl Fn(&S) -> u64,
    fault: impl FnOnce(&mut S),
) {
    thread::scope(|scope| {
        let copy = scope.spawn(|| output(Command::new("cp").arg("-a").args([source, target])));
        wait_until("the copy is under way", seconds(200), || received(server) > BEFORE_BYTES);
        fault(server);
        copy.join().expect("cp succeeds");
    });
}
