//! Large directories, and reading them while they change: what is there all the time is met exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rustix::fs::{CWD, RawDir, RenameFlags, SeekFrom, renameat_with, seek};

use crate::fixture::{Pair, Single, names};
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};

/// Entries of the large directory, more than the engine looks at together; `MIAOFS_TEST_ENTRIES` sets another number.
const ENTRIES: usize = 12_000;
/// Buffer of one `getdents64` in bytes: small, so that many changes come between two calls.
const STEP: usize = 2048;

/// A directory that is read step by step, with neither a buffer of the library nor its memory of places.
struct Reader(File);

impl Reader {
    fn open(directory: &Path) -> Self {
        Self(File::open(directory).unwrap())
    }

    /// The next few names with the place after each; none at the end.
    fn step(&self) -> Vec<(String, u64)> {
        let mut buffer = [MaybeUninit::uninit(); STEP];
        let mut stream = RawDir::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        while let Some(entry) = stream.next() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_str().unwrap().to_owned();
            names.push((name, entry.next_entry_cookie()));
            if stream.is_buffer_empty() {
                break;
            }
        }
        names.retain(|(name, _)| name != "." && name != "..");
        names
    }

    /// All names from here to the end. A step may hold nothing but the dots, and only the first does.
    fn rest(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut steps = 0;
        loop {
            let step = self.step();
            steps += 1;
            if step.is_empty() && steps > 1 {
                return all;
            }
            all.extend(step.into_iter().map(|(name, _)| name));
        }
    }

    fn go_to(&self, place: u64) {
        seek(&self.0, SeekFrom::Start(place)).unwrap();
    }
}

fn fill(directory: &Path, prefix: &str, count: usize) -> BTreeSet<String> {
    fs::create_dir_all(directory).unwrap();
    let names: BTreeSet<String> =
        (0..count).map(|number| format!("{prefix}-{number:06}")).collect();
    for name in &names {
        File::create(directory.join(name)).unwrap();
    }
    names
}

/// Panics unless the names with this prefix are `expected`, each once.
#[track_caller]
fn each_once(found: &[String], expected: &BTreeSet<String>, prefix: &str) {
    let mut counts = BTreeMap::new();
    for name in found.iter().filter(|name| name.starts_with(prefix)) {
        *counts.entry(name.clone()).or_insert(0) += 1;
    }
    let again: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(5).collect();
    let lost: Vec<_> = expected.iter().filter(|name| !counts.contains_key(*name)).take(5).collect();
    let met = (counts.len(), expected.len());
    assert!(again.is_empty() && lost.is_empty(), "again {again:?}, lost {lost:?}, met {met:?}");
    assert_eq!(met.0, met.1, "names that are not there were met");
}

#[test]
fn what_lasts_is_met_once_while_all_around_it_is_made_renamed_replaced_and_removed() {
    let fixture = Single::new();
    let directory = fixture.one.path("busy");
    let lasting = fill(&directory, "lasting", 600);
    fill(&directory, "passing", 300);
    let done = AtomicBool::new(false);
    let seed = Seed::of_this_run();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut step = 0;
            while !done.load(Ordering::Relaxed) {
                change_something(&directory, seed, step);
                step += 1;
            }
        });
        // Whoever lists it as a whole has the kernel read it anew.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                each_once(&names(&directory), &lasting, "lasting");
            }
        });
        let _ends = Ends(&done);
        let reader = Reader::open(&directory);
        for _ in 0..15 {
            each_once(&reader.rest(), &lasting, "lasting");
            reader.go_to(0);
            each_once(&Reader::open(&directory).rest(), &lasting, "lasting");
        }
    });
}

/// Ends the threads of a test also when it fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One random change that leaves every lasting name in its place.
fn change_something(directory: &Path, seed: Seed, step: u64) {
    let below = |what: &str, end| seed.below(&format!("{what} {step}"), end);
    let passing = |what: &str| directory.join(format!("passing-{:06}", below(what, 600)));
    let lasting = |what: &str| directory.join(format!("lasting-{:06}", below(what, 600)));
    let (from, to) = (passing("from"), passing("to"));
    let exchange = |one: PathBuf, other: PathBuf| {
        Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
    };
    let changed: io::Result<()> = match below("which", 6) {
        0 => File::create(&from).map(drop),
        1 => fs::remove_file(&from),
        2 => fs::rename(&from, &to),
        3 => fs::rename(&from, lasting("over")),
        4 => exchange(lasting("one"), lasting("other")),
        _ => exchange(lasting("one"), from),
    };
    if let Err(error) = changed {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn a_reader_whose_place_is_gone_goes_on_though_others_read_the_directory_anew() {
    let fixture = Single::new();
    let directory = fixture.one.path("emptied");
    let all = fill(&directory, "file", 500);
    let reader = Reader::open(&directory);
    let mut met: Vec<String> = Vec::new();
    while met.len() < 200 {
        let step = reader.step();
        for (name, _) in &step {
            fs::remove_file(directory.join(name)).unwrap();
        }
        met.extend(step.into_iter().map(|(name, _)| name));
        // This one reads to the end, which is when the kernel begins to answer from what it has kept.
        let listed = names(&directory);
        assert_eq!(listed.len(), all.len() - met.len());
    }
    met.extend(reader.rest());
    each_once(&met, &all, "file");
}

#[test]
fn a_place_in_a_directory_stays_valid_and_rewinding_shows_news() {
    let fixture = Single::new();
    let directory = fixture.one.path("places");
    fill(&directory, "file", 300);
    let reader = Reader::open(&directory);
    let mut entries = Vec::new();
    while entries.len() < 300 {
        entries.extend(reader.step());
    }
    for (index, (name, _)) in entries.iter().enumerate() {
        match index % 3 {
            0 => fs::remove_file(directory.join(name)).unwrap(),
            1 => {
                fs::rename(directory.join(name), directory.join(format!("{name}-renamed"))).unwrap()
            }
            _ => {}
        }
    }
    File::create(directory.join("new")).unwrap();
    let now = |(index, (name, _)): (usize, &(String, u64))| match index % 3 {
        0 => None,
        1 => Some(format!("{name}-renamed")),
        _ => Some(name.clone()),
    };
    let expected: Vec<Option<String>> = entries.iter().enumerate().map(now).collect();
    reader.go_to(0);
    let anew: Vec<String> = reader.rest();
    let mut all: Vec<String> = expected.iter().flatten().cloned().collect();
    all.push("new".to_owned());
    assert_eq!(anew, all);
    // Places are good in another stream too, also those after entries that are gone.
    let other = Reader::open(&directory);
    for at in [0, 1, 99, 150, 298] {
        other.go_to(entries[at].1);
        let mut rest: Vec<String> = expected[at + 1..].iter().flatten().cloned().collect();
        rest.push("new".to_owned());
        assert_eq!(other.rest(), rest, "after entry {at}");
    }
}

#[test]
fn a_list_that_the_kernel_has_kept_is_never_older_than_the_directory() {
    let fixture = Pair::new();
    let (here, there) = (fixture.one.path("shared"), fixture.two.path("shared"));
    fill(&here, "file", 20);
    wait_until("the other device has all", seconds(20), || {
        there.exists() && names(&there).len() == 20
    });
    for round in 0..5 {
        // Read twice: the second time the kernel has kept it.
        assert_eq!(names(&here), names(&here));
        assert_eq!(names(&there), names(&there));
        File::create(here.join(format!("new-{round}"))).unwrap();
        fs::rename(here.join(format!("file-{round:06}")), here.join(format!("renamed-{round}")))
            .unwrap();
        fs::remove_file(here.join(format!("file-{:06}", 10 + round))).unwrap();
        let expected: BTreeSet<String> = (0..20)
            .filter(|number| *number > round && !(10..=10 + round).contains(number))
            .map(|number| format!("file-{number:06}"))
            .chain((0..=round).flat_map(|it| [format!("new-{it}"), format!("renamed-{it}")]))
            .collect();
        let equal =
            |directory: &Path| names(directory).into_iter().collect::<BTreeSet<_>>() == expected;
        assert!(equal(&here), "round {round}: {:?}", names(&here));
        wait_until("the other device lists the same", seconds(20), || equal(&there));
    }
}

/// Creates, lists, renames and removes a directory of very many files on one device, and sees each of it on
/// another. Prints how long all took and what memory it took at the most.
#[test]
fn a_very_large_directory_is_listed_renamed_and_removed_here_and_seen_there() {
    let count = std::env::var("MIAOFS_TEST_ENTRIES")
        .map_or(ENTRIES, |count| count.parse().expect("a number of entries"));
    let fixture = Pair::new();
    let (here, there) = (fixture.one.path("large"), fixture.two.path("large"));
    let started = Instant::now();
    let tell = |what: &str| println!("{:>8.2} s: {what}", started.elapsed().as_secs_f64());
    let all = fill(&here, "file", count);
    tell("created");
    each_once(&Reader::open(&here).rest(), &all, "file");
    tell("listed");
    fixture.one.sync();
    tell("on the server");
    let limit = seconds(120);
    wait_until("all are seen", limit, || {
        there.exists() && Reader::open(&there).rest().len() == count
    });
    each_once(&Reader::open(&there).rest(), &all, "file");
    tell("seen by the other device");
    // The reader meets each name once, so it does not meet what it has renamed.
    for name in Reader::open(&here).rest() {
        fs::rename(here.join(&name), here.join(format!("renamed-{name}"))).unwrap();
    }
    tell("renamed");
    let renamed: BTreeSet<String> = all.iter().map(|name| format!("renamed-{name}")).collect();
    each_once(&Reader::open(&here).rest(), &renamed, "");
    fixture.one.sync();
    wait_until("all new names are seen", limit, || {
        Reader::open(&there).rest().iter().filter(|name| name.starts_with("renamed")).count()
            == count
    });
    each_once(&Reader::open(&there).rest(), &renamed, "");
    tell("renamed for the other device");
    fs::remove_dir_all(&here).unwrap();
    tell("removed");
    fixture.one.run(&["sync"]).expect_failure(&["very many deletions wait for your word"]);
    tell("held back");
    fixture.one.run(&["sync", "--allow-deletions"]).expect_success();
    wait_until("the directory is gone", limit, || !there.exists());
    tell("removed for the other device");
    for (device, name) in [(&fixture.one, "one"), (&fixture.two, "two")] {
        let peak = device.peak_memory();
        println!("memory of device {name}: {peak} KiB at the most");
        assert!(peak < 400 * 1024, "{peak} KiB for {count} entries");
    }
}
