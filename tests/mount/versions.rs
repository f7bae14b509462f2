//! A file that is written on one device while it is open on another: an opening shows one version until it is closed, and what
//! is written through it is never lost.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::fixture::{Pair, names};
use crate::harness::tree::difference;
use crate::harness::wait::{seconds, wait_until};

/// For how long the devices work beside each other.
const SPELL: Duration = seconds(6);
/// Length of a line of those tests that append.
const LINE: usize = 64;
/// Lines of one write: the kernel may pass a write on in two where it crosses a page, so these fill pages.
const LINES: u32 = 64;

/// The whole content of a version: the number again and again, in a length of its own.
fn version(number: u32) -> Vec<u8> {
    let length = 100_000 + (number as usize * 37_123) % 150_000;
    format!("{number:08} ").into_bytes().into_iter().cycle().take(length).collect()
}

/// A line that is nobody else's, with its end.
fn line(who: &str, number: u32) -> String {
    format!("{who} {number:0width$}\n", width = LINE - who.len() - 2)
}

/// Ends the work of another thread when the test that looks at it ends, also by a panic.
struct Spell<'a>(&'a AtomicBool);

impl Drop for Spell<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads a file as a slow program does: a piece, and the rest when news has had time to come.
fn read_slowly(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    let mut bytes = vec![0; 64 * 1024];
    let length = file.read(&mut bytes).unwrap();
    bytes.truncate(length);
    thread::sleep(Duration::from_millis(150));
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Waits until both devices have nothing left to send and are equal.
fn settle(fixture: &Pair) {
    let (one, two) = (&fixture.one, &fixture.two);
    wait_until("both devices are equal", seconds(60), || {
        [one, two].into_iter().all(|device| device.status()["pending_nodes"] == 0)
            && difference(&one.path(""), &two.path("")).is_empty()
    });
}

#[test]
fn an_opening_shows_one_version_while_the_file_is_rewritten_in_place_elsewhere() {
    let fixture = Pair::new();
    let (there, here) = (fixture.one.path("file"), fixture.two.path("file"));
    fs::write(&there, version(0)).unwrap();
    wait_until("the file is seen", seconds(10), || {
        fs::read(&here).is_ok_and(|bytes| bytes == version(0))
    });
    let (last, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let number = last.fetch_add(1, Ordering::Relaxed) + 1;
                fs::write(&there, version(number)).unwrap();
                thread::sleep(Duration::from_millis(450));
            }
        });
        let spell = Spell(&is_over);
        let (began, mut seen) = (Instant::now(), Vec::new());
        while began.elapsed() < SPELL {
            let bytes = read_slowly(&here);
            if bytes.is_empty() {
                continue; // It was cut before it was written.
            }
            let text = String::from_utf8_lossy(&bytes[..8]).into_owned();
            let number: u32 = text.parse().unwrap_or_else(|_| panic!("no version: {text:?}"));
            let expected = version(number);
            let same = bytes.iter().zip(&expected).take_while(|(one, other)| one == other).count();
            let lengths = (bytes.len(), expected.len());
            assert!(bytes == expected, "version {number}: {lengths:?}, equal up to {same}");
            seen.push(number);
        }
        drop(spell);
        assert!(seen.is_sorted(), "an older version came back: {seen:?}");
        seen.dedup();
        assert!(seen.len() > 2, "only {seen:?} were seen");
    });
    settle(&fixture);
    assert!(fs::read(&here).unwrap() == version(last.into_inner()));
}

#[test]
fn a_reader_of_a_file_that_grows_elsewhere_sees_whole_lines_and_no_zeros() {
    let fixture = Pair::new();
    let (there, here) = (fixture.one.path("log"), fixture.two.path("log"));
    let mut log = OpenOptions::new().create(true).append(true).open(&there).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let lines: String = (0..LINES).map(|at| line("one", number * LINES + at)).collect();
                log.write_all(lines.as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(5));
                if number % 100 == 99 {
                    log.sync_all().unwrap();
                }
            }
        });
        let _spell = Spell(&is_over);
        wait_until("the file is seen", seconds(20), || {
            fs::metadata(&here).is_ok_and(|it| it.len() > 0)
        });
        let began = Instant::now();
        while began.elapsed() < SPELL {
            let bytes = read_slowly(&here);
            assert_eq!(bytes.len() % (LINE * LINES as usize), 0, "a write is cut");
            for (number, found) in (0..).zip(bytes.chunks(LINE)) {
                let found = String::from_utf8_lossy(found);
                assert_eq!(found, line("one", number), "line {number} of {}", bytes.len() / LINE);
            }
        }
    });
}

#[test]
fn lines_that_two_devices_append_to_the_same_files_are_all_kept() {
    let fixture = Pair::new();
    for number in 0..3 {
        fs::write(fixture.one.path(&format!("log {number}")), "").unwrap();
    }
    settle(&fixture);
    let append = |directory: &Path, who: &str| {
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < SPELL {
            let path = directory.join(format!("log {}", count % 3));
            let mut log = OpenOptions::new().append(true).open(path).unwrap();
            log.write_all(line(who, count).as_bytes()).unwrap();
            count += 1;
            thread::sleep(Duration::from_millis(4));
        }
        count
    };
    let (one, two) = (fixture.one.path(""), fixture.two.path(""));
    let counts = thread::scope(|scope| {
        let ones = scope.spawn(|| append(&one, "one"));
        [("two", append(&two, "two")), ("one", ones.join().unwrap())]
    });
    settle(&fixture);
    let all: Vec<String> =
        names(&two).iter().map(|name| fs::read_to_string(two.join(name)).unwrap()).collect();
    let zeros = all.iter().flat_map(|text| text.bytes()).filter(|byte| *byte == 0).count();
    let found: std::collections::HashSet<&str> = all.iter().flat_map(|text| text.lines()).collect();
    let is_lost = |line: &String| !found.contains(line.trim_end());
    let lost: Vec<String> = counts
        .iter()
        .flat_map(|(who, count)| (0..*count).map(|number| line(who, number)))
        .filter(is_lost)
        .collect();
    let made: u32 = counts.iter().map(|(_, count)| count).sum();
    assert!(
        lost.is_empty() && zeros == 0,
        "{} of {made} lost, {zeros} zeros:\n{lost:?}",
        lost.len()
    );
}

#[test]
fn what_is_written_through_an_old_opening_is_kept_beside_the_new_version() {
    let fixture = Pair::new();
    let (there, here) = (fixture.one.path("file"), fixture.two.path("file"));
    fs::write(&there, "the old text").unwrap();
    fs::write(fixture.one.path("removed"), "a text").unwrap();
    settle(&fixture);
    let open = |name: &str| {
        let path = fixture.two.path(name);
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    };
    let (mut file, mut removed) = (open("file"), open("removed"));
    fs::write(&there, "another text, and a longer one").unwrap();
    fs::remove_file(fixture.one.path("removed")).unwrap();
    wait_until("the change is seen", seconds(10), || {
        fs::read_to_string(&here).unwrap() == "another text, and a longer one"
            && !fixture.two.path("removed").exists()
    });
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the old text");
    file.seek(SeekFrom::Start(4)).unwrap();
    file.write_all(b"new").unwrap();
    removed.write_all(b"A").unwrap();
    drop((file, removed));
    settle(&fixture);
    let one = fixture.one.path("");
    let contents = names(&one).into_iter().map(|name| {
        let text = fs::read_to_string(one.join(&name)).unwrap();
        (name.split(" (conflict two").next().unwrap().to_owned(), text)
    });
    let expected = [
        ("file", "another text, and a longer one"),
        ("file", "the new text"),
        ("removed", "A text"),
    ];
    assert_eq!(
        contents.collect::<Vec<_>>(),
        expected.map(|(name, text)| (name.into(), text.into()))
    );
}
