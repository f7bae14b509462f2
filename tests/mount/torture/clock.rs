//! Clocks that jump back and forth, each process's by itself, while programs work on two devices.
//!
//! A program knows times before 2017 as those that it has set, so no device's clock goes back further; the server's does.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::Torture;
use super::writer::{Writer, writers};
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

    /// True once each device has what the programs of both made, and nothing left to send.
    fn is_settled(&self, writers: &[Writer]) -> bool {
        self.devices.iter().all(|device| {
            device.status()["pending_nodes"] == 0
                && writers.iter().all(|writer| writer.check(&device.path("")).is_ok())
        })
    }

    fn told(&self, writers: &[Writer]) -> String {
        let of = |device: &Device| {
            let found = writers.iter().filter_map(|writer| writer.check(&device.path("")).err());
            let found: String = found.map(|difference| format!("{difference}\n")).collect();
            format!("{:#}\n{found}", device.status())
        };
        self.devices.iter().map(of).collect()
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
    let mut number = 0;
    while torture.goes_on() {
        number += 1;
        let mut programs = Vec::new();
        for (name, device) in NAMES.iter().zip(&scene.devices) {
            programs.extend(writers(&mut torture, &device.path(""), [format!("{name} {number}")]));
        }
        for _ in 0..ROUNDS {
            round(&mut torture, &mut scene, &mut programs);
            if !torture.goes_on() {
                break;
            }
        }
        for (writer, device) in programs.iter().zip(&scene.devices) {
            fs::remove_dir_all(device.path(writer.name())).unwrap();
        }
    }
    torture.end();
}

fn round(torture: &mut Torture, scene: &mut Scene, writers: &mut [Writer]) {
    let ended = AtomicBool::new(false);
    let mounts: Vec<_> = scene.devices.iter().map(|device| device.path("")).collect();
    let worked: Vec<_> = thread::scope(|scope| {
        let works: Vec<_> = writers
            .iter_mut()
            .zip(&mounts)
            .map(|(writer, mount)| {
                let ended = &ended;
                scope.spawn(move || writer.work(mount, || ended.load(Ordering::Relaxed)))
            })
            .collect();
        for _ in 0..JUMPS {
            scene.jump(torture);
        }
        ended.store(true, Ordering::Relaxed);
        works.into_iter().map(|work| work.join().unwrap()).collect()
    });
    scene.set_right(&mut torture.random);
    torture.report.rounds += 1;
    let seed = torture.report.seed;
    for (worked, writer) in worked.into_iter().zip(writers.iter()) {
        let worked = worked.unwrap_or_else(|difference| {
            torture.report.corrupted += 1;
            panic!("seed {seed}: in {}:\n{difference}", writer.name())
        });
        torture.report.lost += u64::from(worked.unanswered.is_some());
        torture.report.acknowledged += worked.acknowledged;
        worked.waits.iter().for_each(|wait| torture.waited(*wait));
    }
    let began = Instant::now();
    while !scene.is_settled(writers) {
        if began.elapsed() > SETTLED {
            torture.report.unequal += 1;
            panic!("seed {seed}: the devices do not settle\n{}", scene.told(writers));
        }
        thread::sleep(Duration::from_millis(50));
    }
}
