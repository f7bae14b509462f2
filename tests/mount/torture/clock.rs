//! Clocks that jump back and forth, each process's by itself, while programs work on two devices.
//!
//! A program knows times before 2017 as those that it has set, so no device's clock goes back further; the server's does.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::Torture;
use super::team::{in_rounds, settle, work_through};
use crate::filesystem::random::Random;
use crate::harness::clock::Clock;
use crate::harness::device::Device;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// Seconds after 1970 at which the clock of a device begins: in 2018.
const DEVICES_BEGIN: i64 = 1_520_000_000;
/// Jumps of a round, and the longest pause between two, in milliseconds.
const JUMPS: u64 = 6;
const PAUSE_MAX: u64 = 300;
/// Time in which the devices must be equal again.
const SETTLED: Duration = seconds(60);
/// Rounds after which the programs begin in other directories.
const ROUNDS: u64 = 6;
const NAMES: [&str; 2] = ["one", "two"];
/// The server looks often for what nobody needs; a token ends in the middle of a round.
const SERVER: [&str; 4] = ["--grace-period", "60", "--access-ttl", "4"];

/// Two devices and their server, each with a clock of its own. Devices end before the server, and the directory goes last.
struct Scene {
    devices: Vec<Device>,
    server: Server,
    /// Those of the devices, and the server's.
    clocks: Vec<Clock>,
    _directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = scratch();
        let clock = |name: &&str| Clock::new(directory.path(), name);
        let clocks: Vec<Clock> = NAMES.iter().chain(&["server"]).map(clock).collect();
        let data = directory.path().join("data");
        let server = Server::start_with_clock(&data, &SERVER, &clocks[NAMES.len()]);
        let mut devices = Vec::new();
        for (name, (clock, verb)) in NAMES.iter().zip(clocks.iter().zip(["signup", "login"])) {
            let mut device = Device::new(directory.path(), name);
            device.use_clock(clock);
            device.sign(verb, &server.url(), "ada").expect_success();
            device.mount();
            devices.push(device);
        }
        Self { devices, server, clocks, _directory: directory }
    }

    /// Has one clock or all of them jump, and now and then kills a process meanwhile.
    fn jump(&mut self, torture: &mut Torture) {
        let random = &mut torture.random;
        let only = random.one_in(2).then(|| random.below(self.clocks.len() as u64) as usize);
        for (number, clock) in self.clocks.iter().enumerate() {
            if only.is_none_or(|only| only == number) {
                let is_server = number == NAMES.len();
                clock.set(offset(random, if is_server { 0 } else { DEVICES_BEGIN }));
            }
        }
        thread::sleep(Duration::from_millis(random.below(PAUSE_MAX)));
        match random.below(8) {
            0 => {
                self.server.kill();
                self.server.restart();
            }
            1 => {
                let device = &self.devices[random.below(NAMES.len() as u64) as usize];
                wait_until("a daemon serves", seconds(20), || device.daemon().is_some());
                device.kill_daemon();
            }
            _ => return,
        }
        torture.report.kills += 1;
    }

    /// All clocks are right again, but for one at the most.
    fn set_right(&self, random: &mut Random) {
        self.clocks.iter().for_each(|clock| clock.set(0));
        if random.one_in(2) {
            let wrong = random.below(self.clocks.len() as u64) as usize;
            self.clocks[wrong].set(random.pick(&[-2 * DAY, -HOUR, HOUR, 40 * DAY, YEAR]));
        }
    }
}

/// Seconds by which a clock is ahead or behind, which is never before `begin`.
fn offset(random: &mut Random, begin: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let oldest = begin + 10 - now.cast_signed();
    let unit = random.pick(&[0, 1, HOUR, DAY, YEAR, oldest]);
    let count = 1 + random.below(30).cast_signed();
    match unit {
        0 => 0,
        unit if unit == oldest => oldest,
        unit if random.one_in(2) => unit * count,
        unit => (-unit * count).max(oldest),
    }
}

#[test]
fn clocks_that_jump_lose_nothing_and_both_devices_end_equal() {
    let mut torture = Torture::begin("clock");
    let mut scene = Scene::new();
    let mounts: Vec<_> = scene.devices.iter().map(|device| device.path("")).collect();
    in_rounds(&mut torture, (&mounts, ROUNDS), |torture, writers| {
        work_through(torture, (&mounts, writers), |torture| {
            (0..JUMPS).for_each(|_| scene.jump(torture));
        });
        scene.set_right(&mut torture.random);
        let devices: Vec<&Device> = scene.devices.iter().collect();
        settle(torture, (&devices, writers), SETTLED);
    });
    torture.end();
}
