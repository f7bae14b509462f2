//! A bad network between devices and their server, which is killed and paused, while programs work on both devices.
//!
//! Each device has a program in a directory of its own, and so knows what must be there; the other must have the same in the end.

use std::thread;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::Torture;
use super::team::{in_rounds, settle, work_through};
use crate::harness::device::Device;
use crate::harness::proxy::Proxy;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::seconds;

/// The longest that a round's trouble lasts, in milliseconds.
const TROUBLE_MAX: u64 = 1500;
/// Time in which the devices must be equal again: a request that was swallowed takes its limit of time.
const SETTLED: Duration = seconds(90);
/// Rounds after which the programs begin in other directories.
const ROUNDS: u64 = 10;
const NAMES: [&str; 2] = ["one", "two"];

/// Two devices, each behind a network of its own. Devices end before the server, and the directory goes last.
struct Scene {
    devices: Vec<Device>,
    proxies: Vec<Proxy>,
    server: Server,
    _directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = scratch();
        let server = Server::start_embedded(&directory.path().join("data"), &[]);
        let proxies: Vec<Proxy> = NAMES.iter().map(|_| Proxy::start(&server.url())).collect();
        let mut devices = Vec::new();
        for (name, (proxy, verb)) in NAMES.iter().zip(proxies.iter().zip(["signup", "login"])) {
            let device = Device::new(directory.path(), name);
            device.sign(verb, proxy.url(), "ada").expect_success();
            device.mount();
            devices.push(device);
        }
        Self { devices, proxies, server, _directory: directory }
    }

    /// Has the network and the server behave badly for a while.
    fn trouble(&mut self, torture: &mut Torture) {
        let random = &mut torture.random;
        for proxy in &self.proxies {
            proxy.trouble(random.below(u64::MAX));
        }
        let half = Duration::from_millis(random.below(TROUBLE_MAX / 2));
        thread::sleep(half);
        match random.below(6) {
            0 => {
                self.server.kill();
                torture.report.kills += 1;
                thread::sleep(half);
                self.server.restart();
            }
            1 => {
                kill_process(self.server.pid(), Signal::STOP).unwrap();
                thread::sleep(half);
                kill_process(self.server.pid(), Signal::CONT).unwrap();
            }
            2 => {
                let proxy = &self.proxies[random.below(2) as usize];
                proxy.hold();
                thread::sleep(half);
                proxy.release();
            }
            _ => thread::sleep(half),
        }
        self.proxies.iter().for_each(Proxy::heal);
    }
}

#[test]
fn behind_a_bad_network_nothing_is_lost_and_both_devices_end_equal() {
    let mut torture = Torture::begin("faults");
    let mut scene = Scene::new();
    let mounts: Vec<_> = scene.devices.iter().map(|device| device.path("")).collect();
    in_rounds(&mut torture, (&mounts, ROUNDS), |torture, writers| {
        work_through(torture, (&mounts, writers), |torture| scene.trouble(torture));
        let devices: Vec<&Device> = scene.devices.iter().collect();
        settle(torture, (&devices, writers), SETTLED);
    });
    torture.end();
}
