//! What two devices do to the same directory while both are offline: nothing that either made is lost, both end equal.
//!
//! Every pair of the operations below is tried in a directory of its own, in both orders, since each operation is tried on
//! either device. The device `one` comes back first. What each made is a text that nobody else writes, so it can be looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::fixture::Pair;
use crate::harness::device::Device;
use crate::harness::tree::difference;
use crate::harness::wait::seconds;
use crate::outcomes::{self, Outcome};

/// Time in which both devices must be equal again.
const SETTLED: Duration = seconds(60);

/// Something that a person does to a directory; answers the texts that are nowhere else.
struct Operation {
    name: &'static str,
    run: fn(&Path, &str) -> Vec<String>,
}

/// The directory that each pair begins with: `d` with two files and a directory, and a place to move things to.
fn plant(at: &Path, case: &str) {
    fs::create_dir_all(at.join("d/inner")).unwrap();
    fs::create_dir_all(at.join("place")).unwrap();
    for file in ["d/f", "d/g", "d/inner/h", "moved"] {
        fs::write(at.join(file), format!("{case}: {file} as it was")).unwrap();
    }
}

/// Writes a text of one's own and answers it.
fn make(path: &Path, who: &str) -> Vec<String> {
    let text = format!("{who}: {}", path.display());
    fs::write(path, &text).unwrap();
    vec![text]
}

/// The text of a file, which goes with it wherever it is moved.
fn text_of(path: &Path) -> Vec<String> {
    vec![fs::read_to_string(path).unwrap()]
}

fn remove(at: &Path) {
    fs::remove_dir_all(at.join("d")).unwrap();
}

const OPERATIONS: &[Operation] = &[
    Operation { name: "nothing", run: |_, _| vec![] },
    Operation {
        name: "remove the directory",
        run: |at, _| {
            remove(at);
            vec![]
        },
    },
    Operation {
        name: "make a file in its place",
        run: |at, who| {
            remove(at);
            make(&at.join("d"), who)
        },
    },
    Operation {
        name: "make it anew",
        run: |at, who| {
            remove(at);
            fs::create_dir(at.join("d")).unwrap();
            make(&at.join("d/f"), who)
        },
    },
    Operation {
        name: "move another over it",
        run: |at, who| {
            remove(at);
            fs::create_dir(at.join("d")).unwrap();
            let made = make(&at.join("place/p"), who);
            fs::rename(at.join("place"), at.join("d")).unwrap();
            made
        },
    },
    Operation {
        name: "make a symlink in its place",
        run: |at, _| {
            remove(at);
            symlink("place", at.join("d")).unwrap();
            vec![]
        },
    },
    Operation {
        name: "rename the directory",
        run: |at, who| {
            fs::rename(at.join("d"), at.join(format!("d of {who}"))).unwrap();
            vec![]
        },
    },
    Operation {
        name: "move the directory into another",
        run: |at, _| {
            fs::rename(at.join("d"), at.join("place/d")).unwrap();
            vec![]
        },
    },
    Operation {
        name: "move another into it",
        run: |at, _| {
            fs::rename(at.join("place"), at.join("d/place")).unwrap();
            vec![]
        },
    },
    Operation { name: "edit a file", run: |at, who| make(&at.join("d/f"), who) },
    Operation { name: "edit a file below", run: |at, who| make(&at.join("d/inner/h"), who) },
    Operation { name: "make a file", run: |at, who| make(&at.join("d/new"), who) },
    Operation {
        name: "make a directory with a file below",
        run: |at, who| {
            fs::create_dir(at.join("d/inner/deep")).unwrap();
            make(&at.join("d/inner/deep/new"), who)
        },
    },
    Operation {
        name: "remove a file",
        run: |at, _| {
            fs::remove_file(at.join("d/f")).unwrap();
            vec![]
        },
    },
    Operation {
        name: "rename a file",
        run: |at, who| {
            fs::rename(at.join("d/f"), at.join(format!("d/f of {who}"))).unwrap();
            vec![]
        },
    },
    Operation {
        name: "save a file as editors do",
        run: |at, who| {
            let made = make(&at.join("d/f.tmp"), who);
            fs::rename(at.join("d/f.tmp"), at.join("d/f")).unwrap();
            made
        },
    },
    Operation {
        name: "move a file in",
        run: |at, _| {
            let text = text_of(&at.join("moved"));
            fs::rename(at.join("moved"), at.join("d/inner/moved")).unwrap();
            text
        },
    },
    Operation {
        name: "move a file out",
        run: |at, who| {
            let text = text_of(&at.join("d/g"));
            fs::rename(at.join("d/g"), at.join(format!("out of {who}"))).unwrap();
            text
        },
    },
    Operation {
        name: "give a file a second name",
        run: |at, _| {
            fs::hard_link(at.join("d/g"), at.join("second")).unwrap();
            text_of(&at.join("d/g"))
        },
    },
    Operation {
        name: "make a directory of a file",
        run: |at, who| {
            fs::remove_file(at.join("d/f")).unwrap();
            fs::create_dir(at.join("d/f")).unwrap();
            make(&at.join("d/f/new"), who)
        },
    },
    Operation {
        name: "make a symlink of a file",
        run: |at, who| {
            fs::remove_file(at.join("d/f")).unwrap();
            symlink(format!("target of {who}"), at.join("d/f")).unwrap();
            vec![]
        },
    },
    Operation {
        name: "remove the directory below",
        run: |at, _| {
            fs::remove_dir_all(at.join("d/inner")).unwrap();
            vec![]
        },
    },
    Operation {
        name: "make a file of the directory below",
        run: |at, who| {
            fs::remove_dir_all(at.join("d/inner")).unwrap();
            make(&at.join("d/inner"), who)
        },
    },
    Operation {
        name: "move the directory below out",
        run: |at, who| {
            fs::rename(at.join("d/inner"), at.join(format!("inner of {who}"))).unwrap();
            vec![]
        },
    },
    Operation {
        name: "exchange two files",
        run: |at, _| {
            fs::rename(at.join("d/f"), at.join("d/tmp")).unwrap();
            fs::rename(at.join("d/g"), at.join("d/f")).unwrap();
            fs::rename(at.join("d/tmp"), at.join("d/g")).unwrap();
            vec![]
        },
    },
];

/// One pair of operations.
struct Case {
    name: String,
    ones: &'static Operation,
    twos: &'static Operation,
    /// Texts that must be somewhere in the end.
    made: Vec<String>,
}

fn cases() -> Vec<Case> {
    let pairs = OPERATIONS.iter().flat_map(|ones| OPERATIONS.iter().map(move |twos| (ones, twos)));
    let case = |(number, (ones, twos)): (usize, (&'static Operation, &'static Operation))| Case {
        name: format!("{number:03} {} - {}", ones.name, twos.name),
        ones,
        twos,
        made: Vec::new(),
    };
    pairs.enumerate().map(case).collect()
}

/// The contents of all files below a directory, each with where it is.
pub(crate) fn contents(directory: &Path) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(&at).unwrap_or_else(|error| panic!("{}: {error}", at.display())) {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                let text = fs::read_to_string(entry.path()).unwrap();
                found.entry(text).or_default().push(entry.path().display().to_string());
            }
        }
    }
    found
}

/// Waits until both devices are equal and have nothing left to send.
fn settle(fixture: &Pair) {
    let start = Instant::now();
    while !is_settled(fixture) {
        let told = || {
            let of = |device: &Device| format!("{:#}", device.status());
            let (one, two) = (fixture.one.path(""), fixture.two.path(""));
            format!("{}\n{}\n{}", difference(&one, &two), of(&fixture.one), of(&fixture.two))
        };
        assert!(start.elapsed() < SETTLED, "the devices do not settle:\n{}", told());
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_settled(fixture: &Pair) -> bool {
    let is_clean = |device: &Device| device.status()["pending_nodes"] == 0;
    let (one, two) = (&fixture.one, &fixture.two);
    is_clean(one) && is_clean(two) && difference(&one.path(""), &two.path("")).is_empty()
}

/// Order in which the devices see the server again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Return {
    /// `one` has sent all that is its own before `two` comes.
    InTurn,
    AtOnce,
}

/// Does what both do while neither sees the server, and has them see it again.
fn apart(fixture: &mut Pair, order: Return, ones: impl FnOnce(&Path), twos: impl FnOnce(&Path)) {
    settle(fixture);
    fixture.server.stop();
    ones(&fixture.one.path(""));
    twos(&fixture.two.path(""));
    if order == Return::InTurn {
        fixture.two.umount();
    }
    fixture.server.restart();
    if order == Return::InTurn {
        fixture.one.sync();
        fixture.two.mount();
    }
    settle(fixture);
}

/// Has two devices do all pairs of operations while they are offline; looks for what they made.
fn do_all_pairs(order: Return) {
    let mut fixture = Pair::new();
    let mut cases = cases();
    for case in &cases {
        plant(&fixture.one.path(&case.name), &case.name);
    }
    let mut made: Vec<Vec<String>> = vec![Vec::new(); cases.len()];
    let mut made_by_two = made.clone();
    apart(
        &mut fixture,
        order,
        |one| {
            for (case, made) in cases.iter().zip(&mut made) {
                *made = (case.ones.run)(&one.join(&case.name), "one");
            }
        },
        |two| {
            for (case, made) in cases.iter().zip(&mut made_by_two) {
                *made = (case.twos.run)(&two.join(&case.name), "two");
            }
        },
    );
    for ((case, ones), twos) in cases.iter_mut().zip(made).zip(made_by_two) {
        case.made = ones.into_iter().chain(twos).collect();
    }
    let found: BTreeSet<String> = contents(&fixture.one.path("")).into_keys().collect();
    let lost: Vec<String> = cases
        .iter()
        .flat_map(|case| case.made.iter().map(move |text| (case, text)))
        .filter(|(_, text)| !found.contains(*text))
        .map(|(case, text)| format!("{}: {text:?}", case.name))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} pairs lost something:\n{}",
        lost.len(),
        cases.len(),
        lost.join("\n")
    );
    if order == Return::InTurn {
        outcomes::compare(&outcomes_of(&cases, &fixture.one));
    }
}

fn outcomes_of(cases: &[Case], device: &Device) -> Vec<Outcome> {
    let outcome = |case: &Case| {
        let directory = device.path(&case.name);
        Outcome { ones: case.ones.name, twos: case.twos.name, directory }
    };
    cases.iter().map(outcome).collect()
}

#[test]
fn whatever_two_devices_do_to_a_directory_nothing_that_they_made_is_lost() {
    do_all_pairs(Return::InTurn);
}

#[test]
fn nothing_is_lost_when_both_devices_come_back_at_once() {
    do_all_pairs(Return::AtOnce);
}

#[test]
fn directories_moved_into_each_other_end_one_in_the_other_on_both_devices() {
    let mut fixture = Pair::new();
    for name in ["x", "y"] {
        fs::create_dir(fixture.one.path(name)).unwrap();
        fs::write(fixture.one.path(name).join("file"), name).unwrap();
    }
    apart(
        &mut fixture,
        Return::InTurn,
        |one| fs::rename(one.join("x"), one.join("y/x")).unwrap(),
        |two| fs::rename(two.join("y"), two.join("x/y")).unwrap(),
    );
    for device in [&fixture.one, &fixture.two] {
        assert_eq!(fs::read_to_string(device.path("y/file")).unwrap(), "y");
        assert_eq!(fs::read_to_string(device.path("y/x/file")).unwrap(), "x");
        assert!(!device.path("x").exists());
    }
}

#[test]
fn what_is_equal_on_both_devices_is_no_conflict() {
    let mut fixture = Pair::new();
    let copy_in = |device: &Path| {
        for number in 0..30 {
            let directory = device.join(format!("tree/{}", number % 4));
            fs::create_dir_all(&directory).unwrap();
            let text = format!("file {number}").repeat(number * 1000);
            fs::write(directory.join(format!("{number}")), text).unwrap();
        }
        symlink("target", device.join("tree/link")).unwrap();
        fs::hard_link(device.join("tree/0/4"), device.join("tree/twin")).unwrap();
    };
    apart(&mut fixture, Return::InTurn, copy_in, copy_in);
    let paths: Vec<String> = contents(&fixture.two.path("tree")).into_values().flatten().collect();
    assert_eq!(paths.len(), 31, "{paths:#?}");
}
