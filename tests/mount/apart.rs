//! Random work of several devices that do not see the server meanwhile, some of which are killed when they come back.
//!
//! All texts are written once, by one device. What a device still has of its own texts when its work is done, and what
//! nobody has given up, must be on all devices in the end. A text that conflicts have left in two files may be given up by two.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bases::wrong_bases;
use crate::conflicts::contents;
use crate::filesystem::random::{Random, seed_of_this_run, sequences};
use crate::forgotten::await_forgetting;
use crate::harness::api::Api;
use crate::harness::device::Device;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::tree::difference;
use crate::harness::wait::seconds;

/// Time in which all devices must be equal again.
const SETTLED: Duration = seconds(60);
const NAMES: [&str; 3] = ["one", "two", "three"];

/// Several devices of one account; they end before the server, and the directory goes last.
struct Devices {
    all: Vec<Device>,
    server: Server,
    directory: TempDir,
}

impl Devices {
    fn new(count: usize, fate: Fate) -> Self {
        let directory = scratch();
        let arguments: &[&str] =
            if fate == Fate::Forgetful { &["--tombstone-ttl", "1"] } else { &[] };
        let server = Server::start_embedded(&directory.path().join("data"), arguments);
        let first = Device::signed_up(directory.path(), NAMES[0], &server, "ada");
        let others = NAMES[1..count].iter();
        let others = others.map(|name| Device::signed_in(directory.path(), name, &server, "ada"));
        let all = std::iter::once(first).chain(others).collect();
        Self { all, server, directory }
    }

    /// Now and then makes a copy of what the stopped server has, or puts an older copy in its place.
    fn maybe_restore(&self, random: &mut Random) {
        let (data, copy) = (self.server.data(), self.directory.path().join("copy"));
        match random.below(3) {
            0 => copy_tree(data, &copy),
            1 if copy.exists() => copy_tree(&copy, data),
            _ => {}
        }
    }

    /// True once all devices are equal, have nothing left to send, and know what the server has; false when that takes too long.
    fn settle(&self) -> bool {
        let (start, server) = (Instant::now(), self.server.sign_in("ada"));
        while !self.is_settled(&server) {
            if start.elapsed() > SETTLED {
                return false;
            }
            thread::sleep(Duration::from_millis(100));
        }
        true
    }

    fn is_settled(&self, server: &Api) -> bool {
        let first = self.all[0].path("");
        self.all.iter().all(|device| device.status()["pending_nodes"] == 0)
            && self.all.iter().all(|device| difference(&first, &device.path("")).is_empty())
            && self.all.iter().all(|device| wrong_bases(device, server).is_empty())
    }

    /// Has the devices see the server again: one after the other in any order, or at once; one of them may be killed.
    /// Answers how many were.
    fn come_back(&mut self, random: &mut Random, fate: Fate) -> u64 {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        for at in 1..order.len() {
            order.swap(at, random.below(at as u64 + 1) as usize);
        }
        let in_turn = fate == Fate::Forgetful || random.one_in(2);
        let killed = random.one_in(2).then(|| random.pick(&order));
        if in_turn {
            self.all.iter().for_each(Device::umount);
        }
        self.server.restart();
        for at in order {
            let device = &self.all[at];
            if fate == Fate::Forgetful {
                await_forgetting(&self.server);
            }
            if in_turn {
                device.mount();
            }
            if killed == Some(at) {
                thread::sleep(Duration::from_millis(random.below(400)));
                device.kill();
                device.mount();
            }
            if in_turn {
                device.sync();
            }
        }
        u64::from(killed.is_some())
    }
}

/// Nodes that have these names.
fn nodes(files: &[String]) -> usize {
    files.iter().map(|file| fs::metadata(file).unwrap().ino()).collect::<BTreeSet<u64>>().len()
}

/// Puts a copy of a tree in the place of another.
fn copy_tree(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// All directories, and all other nodes, below one, itself among the directories.
fn walk(top: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut directories, mut others, mut left) = (Vec::new(), Vec::new(), vec![top.to_owned()]);
    while let Some(at) = left.pop() {
        let entries = fs::read_dir(&at).unwrap_or_else(|error| panic!("{}: {error}", at.display()));
        for entry in entries.flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => left.push(entry.path()),
                false => others.push(entry.path()),
            }
        }
        directories.push(at);
    }
    directories.sort();
    others.sort();
    (directories, others)
}

/// One random change of a tree; each text that is written is nobody else's.
fn change(top: &Path, random: &mut Random, text: &str) {
    let (directories, others) = walk(top);
    let directory = random.pick(&directories);
    let place = directory.join(format!("{}", random.below(12)));
    let other = if others.is_empty() { place.clone() } else { random.pick(&others) };
    // What cannot be done, as moving a directory into itself, is not done.
    let _maybe = match random.below(12) {
        0 | 1 => fs::write(place, text),
        2 => fs::write(other, text),
        3 => OpenOptions::new()
            .append(true)
            .open(other)
            .and_then(|mut it| it.write_all(text.as_bytes())),
        4 => fs::create_dir(place),
        5 => fs::rename(other, place),
        6 => {
            fs::rename(&directory, random.pick(&directories).join(format!("{}", random.below(12))))
        }
        7 => fs::remove_file(other),
        8 if directory != top => fs::remove_dir_all(directory),
        9 => fs::hard_link(other, place),
        10 => symlink(text, place),
        _ => fs::write(place.with_extension("new"), text)
            .and_then(|()| fs::rename(place.with_extension("new"), place)),
    };
}

/// Whatever befalls the server while the devices are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Stopped, and started as it was.
    Stopped,
    /// Now and then replaced by an older copy.
    Restored,
    /// Forgetful: the deletions of some are forgotten before the others come.
    Forgetful,
}

/// Devices that work apart, round by round.
pub(crate) struct Apart {
    devices: Devices,
    fate: Fate,
    random: Random,
    rounds: u64,
}

/// Result of a round.
pub(crate) struct Worked {
    /// Changes that were tried.
    pub operations: u64,
    /// Daemons that were killed.
    pub kills: u64,
    /// True if the devices are equal, have nothing left to send, and know what the server has.
    pub is_settled: bool,
    /// Texts that were written, that nobody gave up, and that are nowhere.
    pub lost: Vec<String>,
}

impl Apart {
    /// So many devices of one account.
    pub(crate) fn new(count: usize, fate: Fate, random: Random) -> Self {
        Self { devices: Devices::new(count, fate), fate, random, rounds: 0 }
    }

    /// Has all devices work while the server is stopped, and looks for what each made when they have come back.
    pub(crate) fn round(&mut self) -> Worked {
        let Self { devices, random, .. } = self;
        let before = contents(&devices.all[0].path(""));
        // Of two files with the same text each may be removed, on another device each.
        let twice: BTreeSet<String> = before
            .iter()
            .filter(|(_, files)| nodes(files) > 1)
            .map(|(text, _)| text.clone())
            .collect();
        devices.server.stop();
        if self.fate == Fate::Restored {
            devices.maybe_restore(random);
        }
        let (mut after, mut operations) = (Vec::new(), 0);
        for (device, who) in devices.all.iter().zip(NAMES) {
            for number in 0..random.below(40) {
                let text = format!("{who} {} {number}\n", self.rounds);
                change(&device.path(""), random, &text);
                operations += 1;
            }
            after.push(contents(&device.path("")).into_keys().collect::<BTreeSet<String>>());
        }
        self.rounds += 1;
        let kills = devices.come_back(random, self.fate);
        let is_settled = devices.settle();
        let found = contents(&devices.all[devices.all.len() - 1].path(""));
        let is_given_up = |text: &String| {
            let is_everywhere = after.iter().all(|has| has.contains(text));
            before.contains_key(text) && (!is_everywhere || twice.contains(text))
        };
        let expected: BTreeSet<&String> =
            after.iter().flatten().filter(|text| !is_given_up(text)).collect();
        let lost = expected.into_iter().filter(|text| !found.contains_key(*text)).cloned();
        Worked { operations, kills, is_settled, lost: lost.collect() }
    }

    /// State of all devices, and how they differ.
    pub(crate) fn told(&self) -> String {
        let server = self.devices.server.sign_in("ada");
        let of = |device: &Device| {
            let apart = difference(&self.devices.all[0].path(""), &device.path(""));
            format!("{:#}\n{apart}\n{}\n", device.status(), wrong_bases(device, &server))
        };
        self.devices.all.iter().map(of).collect()
    }
}

/// Works apart for some rounds.
fn work_apart(count: usize, rounds: u64, fate: Fate) {
    let seed = seed_of_this_run();
    println!("MIAOFS_TEST_SEED={seed}");
    let mut apart = Apart::new(count, fate, Random::new(seed));
    for round in 0..rounds {
        let worked = apart.round();
        assert!(worked.is_settled, "the devices do not settle:\n{}", apart.told());
        assert!(worked.lost.is_empty(), "round {round} of seed {seed} lost {:?}", worked.lost);
    }
}

#[test]
fn random_work_of_two_devices_apart_loses_nothing() {
    work_apart(2, sequences(6), Fate::Stopped);
}

#[test]
fn random_work_of_three_devices_apart_loses_nothing() {
    work_apart(3, sequences(4), Fate::Stopped);
}

#[test]
fn random_work_beside_a_server_that_is_restored_from_older_copies_loses_nothing() {
    work_apart(2, sequences(8), Fate::Restored);
}

#[test]
fn random_work_beside_a_server_that_forgets_deletions_loses_nothing() {
    work_apart(2, sequences(6), Fate::Forgetful);
}
