//! Damage of the local store while no daemon runs: the drive is mounted all the same, what the server has is there, and the rest
//! is kept.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::Torture;
use crate::filesystem::random::Random;
use crate::fixture::Single;
use crate::harness::device::Device;
use crate::harness::wait::{seconds, wait_until};

/// Texts that are made in a round on either side of the last sync.
const TEXTS: u64 = 20;
/// The longest text.
const TEXT_MAX: u64 = 20_000;
const PAGE: u64 = 4096;

#[test]
fn whatever_becomes_of_the_local_store_nothing_is_lost() {
    let mut torture = Torture::begin("damage");
    let mut fixture = Single::new();
    let mut synced = BTreeSet::new();
    while torture.goes_on() {
        let round = torture.report.rounds;
        let random = &mut torture.random;
        fs::create_dir(fixture.one.path(&format!("{round}"))).unwrap();
        synced.extend(write_some(random, &fixture.one, &format!("{round}/synced")));
        fixture.one.sync();
        fixture.server.stop();
        let unsynced = write_some(random, &fixture.one, &format!("{round}/unsynced"));
        fixture.one.kill();
        let what = damage(random, fixture.one.state());
        fixture.server.restart();
        fixture.one.mount();
        torture.report.kills += 1;
        torture.report.rounds += 1;
        torture.report.acknowledged += 2 * TEXTS;
        let mut found = BTreeSet::new();
        // Not all names are here at once.
        wait_until("the drive can be read", seconds(60), || {
            found = texts(&fixture.one.path(""));
            synced.is_subset(&found)
        });
        found.extend(texts(&fixture.one.state().join("lost+found")));
        let lost = unsynced.iter().filter(|text| !found.contains(*text)).count();
        torture.report.lost += lost as u64;
        assert_eq!(lost, 0, "seed {}, round {round}: {what}", torture.report.seed);
        fixture.one.sync();
        synced = texts(&fixture.one.path(""));
    }
    torture.end();
}

/// Writes some files; answers their texts.
fn write_some(random: &mut Random, device: &Device, prefix: &str) -> Vec<Vec<u8>> {
    let write = |number| {
        let path = device.path(&format!("{prefix} {number}"));
        let mut text = path.display().to_string().into_bytes();
        text.resize(text.len() + random.below(TEXT_MAX) as usize, b'.');
        fs::write(path, &text).unwrap();
        text
    };
    (0..TEXTS).map(write).collect()
}

/// Contents of all files below a directory.
fn texts(top: &Path) -> BTreeSet<Vec<u8>> {
    let (mut found, mut left) = (BTreeSet::new(), vec![top.to_owned()]);
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => left.push(entry.path()),
                false => found.extend(fs::read(entry.path())),
            }
        }
    }
    found
}

/// Damages a state directory that nobody has open; answers what was done.
fn damage(random: &mut Random, state: &Path) -> String {
    let database = state.join("state.db");
    let length = fs::metadata(&database).unwrap().len();
    let open = || OpenOptions::new().write(true).open(&database).unwrap();
    let remove = |name: &str| drop::<Result<(), _>>(fs::remove_file(state.join(name)));
    match random.below(6) {
        0 => {
            remove("state.db-wal");
            "the log is gone".to_owned()
        }
        1 => {
            let left = random.below(length);
            open().set_len(left).unwrap();
            remove("state.db-wal");
            format!("cut to {left} of {length} bytes")
        }
        2 => {
            let pages: Vec<u64> = (0..3).map(|_| random.below(length / PAGE)).collect();
            for page in &pages {
                open().write_all_at(&[0xa5; PAGE as usize], page * PAGE).unwrap();
            }
            remove("state.db-wal");
            format!("pages {pages:?} of {} are torn", length / PAGE)
        }
        3 => {
            fs::write(&database, vec![0x5a; random.below(100_000) as usize]).unwrap();
            "garbage".to_owned()
        }
        4 => {
            for name in ["state.db", "state.db-wal", "state.db-shm"] {
                remove(name);
            }
            "the database is gone".to_owned()
        }
        _ => {
            let log: PathBuf = state.join("state.db-wal");
            let length = fs::metadata(&log).map_or(0, |log| log.len());
            let left = random.below(length + 1);
            if let Ok(log) = OpenOptions::new().write(true).open(log) {
                log.set_len(left).unwrap();
            }
            format!("the log is cut to {left} of {length} bytes")
        }
    }
}
