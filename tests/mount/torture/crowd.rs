//! A crowd: many processes that do everything in one mount at once, each in a directory of its own and in one that all share.
//!
//! Operations that wait for the disk by what they promise (`fsync` and its like) stand in the table of times, but do not count in
//! the report's.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::Torture;
use crate::fixture::Pair;
use crate::harness::device::Device;
use crate::harness::tree::difference;
use crate::harness::wait::{seconds, wait_until};

const PROGRAM: &str = include_str!("crowd.py");
const PROGRAMS: u64 = 20;
/// The longest that a round takes, in seconds.
const ROUND_MAX: u64 = 20;
/// Operations whose promise is that the disk has it.
const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];
/// Time in which the other device must be equal.
const SETTLED: Duration = seconds(120);
/// The most memory that a daemon may need, in KiB.
const MEMORY_MAX: u64 = 512 << 10;

/// End of a program's work.
#[derive(Deserialize)]
struct Worked {
    done: u64,
    /// Errors that no file system may answer, and how often.
    errors: BTreeMap<String, u64>,
    /// Microseconds by operation.
    waits: BTreeMap<String, Vec<u32>>,
}

#[test]
fn a_crowd_of_processes_gets_on_and_the_other_device_has_it_all() {
    let mut torture = Torture::begin("crowd");
    let length = std::env::var("MIAOFS_TORTURE_SECONDS").ok().and_then(|it| it.parse().ok());
    let length = length.unwrap_or(4).clamp(1, ROUND_MAX);
    let fixture = Pair::new();
    let mut waits: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut number = 0;
    while torture.goes_on() {
        number += 1;
        fs::create_dir_all(fixture.one.path(&format!("{number}/shared"))).unwrap();
        let programs: Vec<Child> = (0..PROGRAMS)
            .map(|program| {
                let seed = torture.random.below(u64::MAX);
                start(&fixture.one, number, program, seed, length)
            })
            .collect();
        for worked in programs.into_iter().map(end) {
            torture.report.acknowledged += worked.done;
            torture.report.corrupted += worked.errors.values().sum::<u64>();
            for (name, mut times) in worked.waits {
                if !SYNCS.contains(&name.as_str()) {
                    let of = |micros: &u32| Duration::from_micros(u64::from(*micros));
                    times.iter().map(of).for_each(|wait| torture.waited(wait));
                }
                waits.entry(name).or_default().append(&mut times);
            }
            assert!(worked.errors.is_empty(), "{:?}", worked.errors);
        }
        torture.report.rounds += 1;
        settle(&mut torture, &fixture, number);
    }
    tell(waits);
    tell_lock_waits(&fixture.one);
    for device in [&fixture.one, &fixture.two] {
        let peak = device.peak_memory();
        println!("peak of a daemon's memory: {} MiB", peak >> 10);
        assert!(peak < MEMORY_MAX, "a daemon took {peak} KiB");
    }
    torture.end();
}

fn start(device: &Device, round: u64, program: u64, seed: u64, length: u64) -> Child {
    let own = device.path(&format!("{round}/{program}"));
    fs::create_dir(&own).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", PROGRAM]).arg(own).arg(device.path(&format!("{round}/shared")));
    command.args([seed.to_string(), length.to_string()]).stdout(Stdio::piped());
    command.spawn().expect("python3 is installed: scripts/test does that")
}

fn end(program: Child) -> Worked {
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success(), "a program of the crowd ended with {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The other device has all of it, too.
fn settle(torture: &mut Torture, fixture: &Pair, number: u64) {
    fixture.one.sync();
    let name = number.to_string();
    let (source, target) = (fixture.one.path(&name), fixture.two.path(&name));
    let end = format!("{number}.end");
    fs::write(fixture.one.path(&end), "").unwrap();
    fixture.one.sync();
    wait_until("all has arrived", SETTLED, || fixture.two.path(&end).exists());
    let found = difference(&source, &target);
    if !found.is_empty() {
        torture.report.unequal += 1;
        panic!("seed {}: the other device is not equal\n{found}", torture.report.seed);
    }
    assert_eq!(fixture.one.status()["pending_nodes"], 0);
    fs::remove_dir_all(source).unwrap();
    fixture.one.run(&["sync", "--allow-deletions"]).expect_success();
}

/// Prints how long operations waited for each other, which is what a crowd is to find: with many programs for each processor,
/// waiting for one of these takes most of their time.
fn tell_lock_waits(device: &Device) {
    let waits = &device.status()["lock_waits"];
    println!("waits for the tree's lock: {waits}");
    let number = |name: &str| waits[name].as_u64().unwrap();
    let (locked, long) = (number("locked"), number("long"));
    assert!(long * 1000 <= locked, "{long} of {locked} took more than 50 ms");
}

/// Prints how long each operation took.
fn tell(waits: BTreeMap<String, Vec<u32>>) {
    println!(
        "{:18} {:>8} {:>10} {:>10} {:>10}",
        "operation", "count", "median µs", "p99.9 µs", "longest"
    );
    for (name, mut times) in waits {
        times.sort_unstable();
        let at = |of: usize| times.get(of).or(times.last()).copied().unwrap_or(0);
        let (median, late) =
            (at(times.len() / 2), at(times.len().saturating_sub(1 + times.len() / 1000)));
        println!("{name:18} {:>8} {median:>10} {late:>10} {:>10}", times.len(), at(times.len()));
    }
}
