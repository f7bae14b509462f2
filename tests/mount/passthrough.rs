//! Kernel passthrough: the kernel reads and writes local files by itself, and nobody can tell but by the speed.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crate::fixture::{MIB, Pair, Single, passes};
use crate::harness::device::Device;
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};
use crate::programs::other::Other;

/// Threads that open a file at once.
const CROWD: usize = 50;
/// Times that a file is opened.
const OPENINGS: usize = 2_000;
/// Time between two lines of a log.
const LOG_PACE: Duration = Duration::from_millis(5);

/// Requests of a kind so far.
fn count(device: &Device, kind: &str) -> u64 {
    device.status()["kernel_requests"][kind].as_u64().unwrap_or(0)
}

fn bytes(name: &str, size: u64) -> Vec<u8> {
    Seed::of_this_run().bytes(name, size as usize)
}

#[track_caller]
fn wait_for(device: &Device, name: &str, content: &[u8]) {
    let path = device.path(name);
    wait_until(&format!("{name} is on the other device"), seconds(60), || {
        fs::read(&path).is_ok_and(|found| found == content)
    });
}

#[test]
fn what_is_written_and_read_past_the_daemon_reaches_the_other_device() {
    let fixture = Pair::new();
    let content = bytes("film", 9 * MIB + 77);
    let writes = count(&fixture.one, "write");
    let path = fixture.one.path("film");
    let mut file = File::create(&path).unwrap();
    for (part, written) in (1..).zip(content.chunks(MIB as usize)) {
        file.write_all(written).unwrap();
        let size = content.len().min(part * MIB as usize) as u64;
        assert_eq!(fs::metadata(&path).unwrap().size(), size, "stat knows each write");
    }
    drop(file);
    if passes(&fixture.one) {
        assert_eq!(count(&fixture.one, "write"), writes, "no write has come to the daemon");
    }
    wait_for(&fixture.two, "film", &content);
    fixture.one.sync();
    let reads = count(&fixture.one, "read");
    assert_eq!(fs::read(&path).unwrap(), content);
    if passes(&fixture.one) {
        assert_eq!(count(&fixture.one, "read"), reads, "no read has come to the daemon");
    }
}

#[test]
fn who_has_not_the_privilege_or_does_not_want_it_has_all_the_same() {
    let fixture = Single::new();
    fixture.one.umount();
    fixture.one.mount_with(&["-o", "passthrough=no"]).expect_success();
    assert!(!passes(&fixture.one));
    let content = bytes("film", 3 * MIB);
    fs::write(fixture.one.path("film"), &content).unwrap();
    assert_eq!(fs::read(fixture.one.path("film")).unwrap(), content);
    fixture.one.sync();
}

#[test]
fn a_mount_without_it_takes_nothing_over_from_one_that_had_it() {
    let fixture = Single::new();
    let content = bytes("film", 3 * MIB);
    let path = fixture.one.path("film");
    fs::write(&path, &content).unwrap();
    let held = File::open(&path).unwrap();
    fixture.one.kill();
    fixture.one.mount_with(&["-o", "passthrough=no"]).expect_success();
    let before = fixture.one.daemon();
    fixture.one.kill_daemon();
    wait_until("another daemon serves the mount", seconds(20), || {
        fixture.one.daemon() != before && fixture.one.try_status().is_some()
    });
    assert!(!passes(&fixture.one));
    assert_eq!(fs::read(&path).unwrap(), content);
    fs::write(fixture.one.path("new"), "new").unwrap();
    assert_eq!(fs::read(fixture.one.path("new")).unwrap(), b"new");
    drop(held);
}

#[test]
fn all_ways_of_opening_a_file_agree_while_it_is_passed_through() {
    let fixture = Pair::new();
    let path = fixture.one.path("file");
    let mut content = bytes("file", 5 * MIB);
    fs::write(&path, &content).unwrap();
    fixture.one.sync();
    let reader = File::open(&path).unwrap();
    let writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut log = OpenOptions::new().append(true).open(&path).unwrap();
    writer.write_all_at(b"in the middle", 3 * MIB + 5).unwrap();
    content[3 * MIB as usize + 5..][..13].copy_from_slice(b"in the middle");
    log.write_all(b"at the end").unwrap();
    content.extend_from_slice(b"at the end");
    let read = |file: &File| {
        let mut found = vec![0; content.len() + 1];
        let length = file.read_at(&mut found, 0).unwrap();
        found.truncate(length);
        found
    };
    assert!(read(&reader) == content && read(&writer) == content);
    assert_eq!(fs::metadata(&path).unwrap().size(), content.len() as u64);
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
    assert!(direct.is_ok(), "{direct:?}");
    wait_for(&fixture.two, "file", &content);

    writer.set_len(MIB).unwrap();
    assert_eq!(read(&reader).len() as u64, MIB);
    let mut end = writer.try_clone().unwrap();
    assert_eq!(end.seek(SeekFrom::End(0)).unwrap(), MIB);
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap().write_all(b"new").unwrap();
    assert_eq!(read(&reader), b"new");
    drop((reader, writer, log, direct, end));
    wait_for(&fixture.two, "file", b"new");
}

/// Writes a little more to a file each time that it has opened it again.
fn reopen(path: &Path, seed: Seed) -> Vec<u8> {
    let name = path.display();
    let mut content = Vec::new();
    for round in 0..OPENINGS {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        if round % 16 == 0 {
            file.sync_all().unwrap();
        }
        let added = seed.bytes(&format!("{name} {round}"), 1 + round % 50);
        file.write_all_at(&added, content.len() as u64).unwrap();
        content.extend_from_slice(&added);
        let found = file.metadata().unwrap().size();
        assert_eq!(found, content.len() as u64, "{name}, opened {round} times");
    }
    content
}

/// The kernel opens a data file after the daemon has answered, and closes it after it has told.
#[test]
fn a_file_that_is_opened_again_and_again_tells_of_each_write() {
    let fixture = Pair::new();
    let seed = Seed::of_this_run();
    let programs = ["one", "two", "three", "four"].map(|name| {
        let path = fixture.one.path(name);
        (name, thread::spawn(move || reopen(&path, seed)))
    });
    for (name, program) in programs {
        wait_for(&fixture.two, name, &program.join().unwrap());
    }
}

#[test]
fn what_is_stored_through_a_mapping_is_not_lost_whenever_it_is_stored() {
    let fixture = Pair::new();
    let mut other = Other::new(&fixture.one.path(""));
    other.must("file = os.open('mapped', os.O_RDWR | os.O_CREAT)");
    other.must("os.ftruncate(file, 8192)");
    other.must("memory = mmap.mmap(file, 0, mmap.MAP_SHARED)");
    // The mapping has a descriptor of its own, which goes with what it is for.
    other.must("os.close(file)");
    let place = "[os.close(int(it)) for it in os.listdir('/proc/self/fd') \
                 if os.path.realpath('/proc/self/fd/' + it).endswith('/mapped')] and None";
    other.must(place);
    let mut content = vec![0; 8192];
    let mut last = SystemTime::UNIX_EPOCH;
    for round in 1..=3_u8 {
        other.must(&format!("memory[{round}] = {round}"));
        content[usize::from(round)] = round;
        wait_for(&fixture.two, "mapped", &content);
        let changed = fs::metadata(fixture.one.path("mapped")).unwrap().modified().unwrap();
        assert!(changed > last, "the store leaves the time of last change at {changed:?}");
        last = changed;
        fixture.one.sync();
    }
    other.must("memory[7] = 7");
    content[7] = 7;
    drop(other);
    wait_for(&fixture.two, "mapped", &content);
}

#[test]
fn a_file_that_is_open_keeps_its_bytes_when_it_is_replaced_and_when_room_is_needed() {
    let fixture = Pair::new();
    let (first, second) = (bytes("first", 6 * MIB), bytes("second", 6 * MIB));
    let other = bytes("other", 8 * MIB);
    fs::write(fixture.one.path("film"), &first).unwrap();
    fixture.one.sync();
    fixture.one.umount();
    fixture.one.mount_with(&["--cache-size", "8M"]).expect_success();
    let mut film = File::open(fixture.one.path("film")).unwrap();
    wait_for(&fixture.two, "film", &first);
    fs::write(fixture.two.path("film"), &second).unwrap();
    fs::write(fixture.two.path("other"), &other).unwrap();
    fixture.two.sync();
    wait_for(&fixture.one, "film", &second);
    // What is fetched for this pushes all else out that can be given up.
    wait_for(&fixture.one, "other", &other);
    let mut found = Vec::new();
    film.read_to_end(&mut found).unwrap();
    assert!(found == first, "an opening shows one version, and none of it is zeros");
}

#[test]
fn many_who_open_a_file_at_once_all_read_it() {
    let fixture = Single::new();
    let content = bytes("film", 2 * MIB);
    let path = Arc::new(fixture.one.path("film"));
    fs::write(&*path, &content).unwrap();
    fixture.one.sync();
    for round in 0..20 {
        let barrier = Arc::new(Barrier::new(CROWD));
        let open = |number: usize| {
            let (path, barrier) = (Arc::clone(&path), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                let mut file = OpenOptions::new();
                let file = file.read(true).write(number.is_multiple_of(7)).open(&*path);
                let file = file.unwrap_or_else(|error| panic!("round {round}: {error}"));
                let mut byte = [0; 1];
                file.read_exact_at(&mut byte, number as u64).unwrap();
                byte[0]
            })
        };
        let threads: Vec<_> = (0..CROWD).map(open).collect();
        for (number, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), content[number]);
        }
    }
}

#[test]
fn a_stranger_who_writes_takes_the_set_user_bit_away() {
    let fixture = Single::new();
    let path = fixture.one.path("program");
    let file = File::create(&path).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o4777)).unwrap();
    drop(file);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    fixture.one.umount();
    fixture.one.mount_with(&["-o", "allow_other"]).expect_success();
    let script = format!("echo changed > {}", path.display());
    let user = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", &script])
        .status()
        .unwrap();
    assert!(user.success());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
}

/// A program that writes numbered lines to a file, as a log is written.
struct Log {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<(File, u64)>,
}

impl Log {
    /// Begins to write behind so many lines.
    fn begin(mut file: File, mut lines: u64) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                file.write_all(format!("{lines:08}\n").as_bytes()).unwrap();
                lines += 1;
                thread::sleep(LOG_PACE);
            }
            (file, lines)
        });
        Self { ends, thread }
    }

    /// Ends; the file is still open. Answers how many lines it has.
    fn end(self) -> (File, u64) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn lines(count: u64) -> Vec<u8> {
    (0..count).flat_map(|line| format!("{line:08}\n").into_bytes()).collect()
}

#[test]
fn who_writes_on_while_the_daemon_is_dead_loses_nothing() {
    let fixture = Pair::new();
    let log = Log::begin(File::create(fixture.one.path("log")).unwrap(), 0);
    for _ in 0..5 {
        let before = fixture.one.daemon();
        fixture.one.kill_daemon();
        wait_until("another daemon serves the mount", seconds(20), || {
            let daemon = fixture.one.daemon();
            daemon.is_some() && daemon != before && fixture.one.try_status().is_some()
        });
    }
    let (file, count) = log.end();
    assert!(fs::read(fixture.one.path("log")).unwrap() == lines(count));
    // While it is open, and afterwards.
    wait_for(&fixture.two, "log", &lines(count));
    let log = Log::begin(file, count);
    fixture.one.kill_daemon();
    let (file, count) = log.end();
    drop(file);
    wait_for(&fixture.two, "log", &lines(count));
    fixture.one.sync();
}

#[test]
fn what_is_written_after_the_mount_is_gone_is_taken_in_by_the_next_one() {
    let fixture = Pair::new();
    if !passes(&fixture.one) {
        return;
    }
    let mut file = File::create(fixture.one.path("log")).unwrap();
    file.write_all(b"before").unwrap();
    fixture.one.kill();
    file.write_all(b" and after").unwrap();
    fixture.one.mount();
    file.write_all(b" and later").unwrap();
    wait_for(&fixture.two, "log", b"before and after and later");
    file.write_all(b" still").unwrap();
    drop(file);
    wait_for(&fixture.two, "log", b"before and after and later still");
    fixture.one.sync();
}
