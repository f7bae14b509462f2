//! A daemon that dies while programs use the mount: the next one takes over, and they go on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{MIB, Single, names};
use crate::harness::binary;
use crate::harness::command::{as_root, output};
use crate::harness::device::Device;
use crate::harness::proxy::Proxy;
use crate::harness::wait::{seconds, wait_until};
use crate::programs::other::Other;

/// Daemons that die one after the other, fewer than the supervisor gives up after.
const DEATHS: u64 = 25;

#[test]
fn open_files_and_directories_outlive_the_daemon() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    fs::create_dir(path("directory")).unwrap();
    let mut file = File::create(path("directory/file")).unwrap();
    file.write_all(b"before").unwrap();
    let mut log = OpenOptions::new().append(true).create(true).open(path("log")).unwrap();
    log.write_all(b"one\n").unwrap();
    let unlinked = File::create_new(path("unlinked")).unwrap();
    unlinked.write_all_at(b"without a name", 0).unwrap();
    fs::remove_file(path("unlinked")).unwrap();
    let shell = Command::new("sh")
        .args(["-c", "read line; echo here > in-the-shell; cat"])
        .current_dir(path("directory"))
        .stdin(Stdio::piped())
        .spawn();
    let mut shell = shell.unwrap();

    let before = fixture.one.daemon().unwrap();
    fixture.one.kill_daemon();
    file.write_all(b" and after").unwrap();
    log.write_all(b"two\n").unwrap();
    let mut text = vec![0; 14];
    let unlinked_again = unlinked.try_clone().unwrap();
    unlinked_again.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(text, b"without a name");
    unlinked.write_all_at(b"still", 0).unwrap();
    assert_eq!(fs::read_to_string(path("directory/file")).unwrap(), "before and after");
    assert_eq!(fs::read_to_string(path("log")).unwrap(), "one\ntwo\n");
    fs::write(path("new"), "made afterwards").unwrap();
    writeln!(shell.stdin.take().unwrap(), "go").unwrap();
    assert!(shell.wait().unwrap().success());
    assert_eq!(fs::read_to_string(path("directory/in-the-shell")).unwrap(), "here\n");
    let after = fixture.one.daemon().unwrap();
    assert_ne!(before, after, "another daemon serves it");
    assert_eq!(fixture.one.status()["pid"], after.as_raw_nonzero().get());

    drop((file, log, unlinked, unlinked_again));
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("all of it is on the other device", seconds(20), || two.path("new").exists());
    assert_eq!(names(&two.path("")), ["directory", "log", "new"]);
    assert_eq!(fs::read_to_string(two.path("directory/file")).unwrap(), "before and after");
    fixture.one.umount();
    assert!(fixture.one.supervisor().is_none());
}

#[test]
fn a_mount_outlives_many_daemons_while_programs_work() {
    let fixture = Single::new();
    let top = fixture.one.path("");
    let mut written = Vec::new();
    let mut file = File::create(top.join("stream")).unwrap();
    for round in 0..6_u32 {
        for step in 0..50_u32 {
            let line = format!("{round} {step}\n");
            file.write_all(line.as_bytes()).unwrap();
            fs::write(top.join(format!("{round}-{step}")), &line).unwrap();
            written.push(line);
            if step == 25 {
                fixture.one.kill_daemon();
            }
        }
    }
    drop(file);
    let mut stream = String::new();
    File::open(top.join("stream")).unwrap().read_to_string(&mut stream).unwrap();
    assert_eq!(stream, written.concat());
    for line in &written {
        let name = line.trim_end().replace(' ', "-");
        assert_eq!(&fs::read_to_string(top.join(name)).unwrap(), line);
    }
    fixture.one.sync();
}

/// Writes blocks of a mebibyte, each of them in one request, until it is told to end.
fn write_blocks(path: &Path, goes_on: &AtomicBool) -> io::Result<()> {
    let file = File::create(path)?;
    let block = vec![7; MIB as usize];
    for at in (0..8).map(|place| place * MIB).cycle() {
        file.write_all_at(&block, at)?;
        if !goes_on.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

#[test]
fn a_request_that_a_daemon_reads_as_it_dies_is_answered_by_the_next_one() {
    let fixture = Single::new();
    fixture.one.umount();
    fixture.one.mount_with(&["-o", "passthrough=no"]).expect_success();
    let goes_on = Arc::new(AtomicBool::new(true));
    let programs = ["one", "two", "three"].map(|name| {
        let (path, goes_on) = (fixture.one.path(name), Arc::clone(&goes_on));
        thread::spawn(move || write_blocks(&path, &goes_on))
    });
    for life in 0..DEATHS {
        let before = fixture.one.daemon();
        fixture.one.kill_daemon();
        wait_until("another daemon is there", seconds(20), || {
            fixture.one.daemon().is_some_and(|after| Some(after) != before)
        });
        thread::sleep(Duration::from_millis(life % 10 * 5));
    }
    goes_on.store(false, Ordering::Relaxed);
    for program in programs {
        program.join().unwrap().unwrap();
    }
}

/// Programs that use a mount in all the ways that there are, from before the daemon's end to after it.
struct Programs {
    dd: Child,
    tail: Child,
    shell: Child,
    sqlite: Child,
    /// Has a file mapped, shared.
    mapping: Other,
    bound: tempfile::TempDir,
}

/// The file that `tail -f` writes to.
fn said_by_tail(outside: &Path) -> PathBuf {
    outside.with_extension("tail")
}

impl Programs {
    fn start(top: &Path, outside: &Path) -> Self {
        let pipes = |command: &mut Command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts")
        };
        fs::write(top.join("log"), "first\n").unwrap();
        let size = 4 * MIB;
        fs::write(outside, (0..size).map(|at| (at / 4096) as u8).collect::<Vec<_>>()).unwrap();
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", outside.display()));
        dd.arg(format!("of={}", top.join("copy").display()));
        dd.args(["bs=4k", "oflag=dsync", "status=none"]);
        let mut tail = Command::new("tail");
        tail.args(["-n", "+1", "-f"]).arg(top.join("log"));
        let tail = tail.stdout(File::create(said_by_tail(outside)).unwrap()).spawn().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "while read word; do echo $word >> words; done"]).current_dir(top);
        let mut sqlite = Command::new("sqlite3");
        sqlite.arg("-batch").arg(top.join("database"));
        let mut mapping = Other::new(top);
        mapping.must("file = os.open('mapped', os.O_RDWR | os.O_CREAT)");
        mapping.must("os.ftruncate(file, 16384)");
        mapping.must("memory = mmap.mmap(file, 0, mmap.MAP_SHARED)");
        mapping.must("memory[0] = 7");
        let bound = tempfile::tempdir().unwrap();
        output(as_root("mount").args(["--bind"]).args([top, bound.path()]));
        let [shell, sqlite, dd] = [shell, sqlite, dd].map(|mut it| pipes(&mut it));
        let programs = Self { dd, tail, shell, sqlite, mapping, bound };
        programs.say(&programs.sqlite, "PRAGMA journal_mode=wal; CREATE TABLE t (n);");
        programs.say(&programs.shell, "before");
        programs
    }

    fn say(&self, program: &Child, line: &str) {
        writeln!(program.stdin.as_ref().expect("a pipe"), "{line}").unwrap();
    }

    /// Uses all of it once more.
    fn go_on(&mut self, top: &Path, round: u8) {
        self.say(&self.shell, &format!("round {round}"));
        self.say(&self.sqlite, &format!("INSERT INTO t VALUES ({round});"));
        let mut log = OpenOptions::new().append(true).open(top.join("log")).unwrap();
        writeln!(log, "line {round}").unwrap();
        self.mapping.must(&format!("memory[4096] = {round}"));
        self.mapping.must("memory.flush()");
        fs::write(self.bound.path().join(format!("through-the-bind-mount-{round}")), "x").unwrap();
    }

    /// Ends all, and looks at what they did.
    fn check(mut self, top: &Path, outside: &Path, rounds: u8) {
        assert!(self.dd.wait().unwrap().success(), "dd");
        assert!(fs::read(top.join("copy")).unwrap() == fs::read(outside).unwrap());
        drop(self.shell.stdin.take());
        assert!(self.shell.wait().unwrap().success(), "the shell");
        let words: Vec<String> = (1..=rounds).map(|round| format!("round {round}\n")).collect();
        let words = format!("before\n{}", words.concat());
        assert_eq!(fs::read_to_string(top.join("words")).unwrap(), words);
        self.say(&self.sqlite, "SELECT count(*), sum(n) FROM t; PRAGMA integrity_check;");
        drop(self.sqlite.stdin.take());
        let said = self.sqlite.wait_with_output().unwrap();
        assert!(said.status.success(), "SQLite");
        let sum = (1..=u32::from(rounds)).sum::<u32>();
        let expected = format!("wal\n{rounds}|{sum}\nok\n");
        assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
        let log = fs::read_to_string(top.join("log")).unwrap();
        assert_eq!(log.lines().count(), usize::from(rounds) + 1);
        let said = || fs::read_to_string(said_by_tail(outside)).unwrap();
        wait_until("tail has said all lines", seconds(20), || said().len() >= log.len());
        self.tail.kill().unwrap();
        self.tail.wait().unwrap();
        assert_eq!(said(), log);
        let mapped = fs::read(top.join("mapped")).unwrap();
        assert_eq!((mapped[0], mapped[4096]), (7, rounds));
        drop(self.mapping);
        let through = |round| self.bound.path().join(format!("through-the-bind-mount-{round}"));
        assert!((1..=rounds).all(|round| through(round).exists()));
        output(as_root("umount").arg(self.bound.path()));
    }
}

#[test]
fn all_kinds_of_programs_go_on_when_the_daemon_dies_and_when_it_is_upgraded() {
    let mut fixture = Single::new();
    // A program of its own, which can be replaced as a package manager does it.
    let program = fixture.directory.path().join("miaofs");
    fs::copy(binary("miaofs"), &program).unwrap();
    fixture.one.umount();
    fixture.one.use_program(&program);
    fixture.one.mount();
    let (top, outside) = (fixture.one.path(""), fixture.directory.path().join("outside"));
    let mut programs = Programs::start(&top, &outside);
    for round in 1..=8 {
        if round % 2 == 0 {
            fixture.one.kill_daemon();
        } else {
            let new = program.with_extension("new");
            fs::copy(binary("miaofs"), &new).unwrap();
            fs::rename(&new, &program).unwrap();
            let said = fixture.one.run(&["upgrade"]).expect_success().stdout;
            assert!(said.contains("took over"), "{said}");
        }
        programs.go_on(&top, round);
    }
    programs.check(&top, &outside, 8);
    fixture.one.sync();
    let two = fixture.another_device("two");
    let arrived = || two.path("words").exists() && two.path("copy").exists();
    wait_until("all of it is on the other device", seconds(60), arrived);
    assert!(fs::read(two.path("copy")).unwrap() == fs::read(&outside).unwrap());
}

#[test]
fn a_daemon_whose_mount_nobody_keeps_says_that_it_cannot_be_upgraded() {
    let fixture = Single::new();
    assert_eq!(fixture.one.status()["supervised"], true);
    kill_process(fixture.one.supervisor().unwrap(), Signal::KILL).unwrap();
    wait_until("nobody keeps the mount", seconds(20), || {
        fixture.one.status()["supervised"] == false
    });
    fixture.one.run(&["upgrade"]).expect_failure(&["supervisor has been killed"]);
    fs::write(fixture.one.path("file"), "the mount works all the same").unwrap();
}

#[test]
fn who_asks_how_it_stands_is_answered_while_the_next_daemon_takes_over() {
    let fixture = Single::new();
    for _ in 0..10 {
        let before = fixture.one.status()["pid"].clone();
        fixture.one.kill_daemon();
        assert_ne!(fixture.one.status()["pid"], before);
    }
}

/// True once each thread of a process has stopped for a signal (proc_pid_stat(5)).
fn has_stopped(process: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap();
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

#[test]
fn a_daemon_that_hangs_is_ended_and_followed_by_another_one() {
    let fixture = Single::new();
    fixture.one.umount();
    let mut mount = fixture.one.command(&["mount"]);
    output(mount.env("MIAOFS_WATCHDOG", "2").arg(fixture.one.path("")));
    fs::write(fixture.one.path("file"), "text").unwrap();
    let hanging = fixture.one.daemon().unwrap();
    kill_process(hanging, Signal::STOP).unwrap();
    wait_until("all of its threads stand still", seconds(10), || has_stopped(hanging));
    // It waits until another daemon answers.
    assert_eq!(fs::read_dir(fixture.one.path("")).unwrap().count(), 1);
    fs::write(fixture.one.path("other"), "text").unwrap();
    assert_ne!(fixture.one.daemon(), Some(hanging));
}

/// True while the kernel has a thread of a daemon, or of a process that it has started, wait for a page that is being read.
fn waits_for_a_page(daemon: u32) -> bool {
    let status = |process: u32| fs::read_to_string(format!("/proc/{process}/status"));
    let parent = format!("PPid:\t{daemon}\n");
    let is_of_daemon =
        |process: u32| process == daemon || status(process).is_ok_and(|it| it.contains(&parent));
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|process| is_of_daemon(*process)).any(|process| {
        let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        threads
            .map(|thread| fs::read_to_string(thread.path().join("wchan")))
            .any(|found| found.is_ok_and(|function| function.contains("folio")))
    })
}

/// A device with a reader that waits for the network, and the kernel for the page that it reads.
struct WaitingReader {
    two: Device,
    proxy: Proxy,
    reading: JoinHandle<io::Result<Vec<u8>>>,
    content: Vec<u8>,
    _fixture: Single,
}

impl WaitingReader {
    fn new() -> Self {
        let fixture = Single::new();
        let content = vec![7; 9 * MIB as usize];
        fs::write(fixture.one.path("file"), &content).unwrap();
        fixture.one.sync();
        let proxy = Proxy::start(&fixture.server.url());
        let two = Device::new(fixture.directory.path(), "two");
        two.sign("login", proxy.url(), "ada").expect_success();
        two.mount();
        wait_until("the name is there", seconds(20), || names(&two.path("")) == ["file"]);
        proxy.hold();
        let mut file = File::open(two.path("file")).unwrap();
        let reading = thread::spawn(move || {
            let mut content = Vec::new();
            file.read_to_end(&mut content).map(|_| content)
        });
        Self { two, proxy, reading, content, _fixture: fixture }
    }

    /// Kills the daemon. The next one has the kernel drop pages, which waits for the one that is being read.
    fn kill_daemon(&self) {
        let before = self.two.daemon().expect("a daemon serves");
        self.two.kill_daemon();
        let other = || self.two.daemon().filter(|daemon| *daemon != before);
        wait_until("another daemon serves", seconds(20), || other().is_some());
        wait_until("it has the kernel drop pages of which one is being read", seconds(20), || {
            other().is_some_and(|it| waits_for_a_page(it.as_raw_nonzero().get().cast_unsigned()))
        });
    }
}

#[test]
fn daemons_die_and_others_follow_while_the_kernel_waits_for_a_page() {
    let scene = WaitingReader::new();
    (0..3).for_each(|_| scene.kill_daemon());
    assert!(!scene.reading.is_finished());
    scene.proxy.release();
    assert!(scene.reading.join().unwrap().unwrap() == scene.content);
}

#[test]
fn programs_get_an_error_when_nobody_is_left_though_the_kernel_waits_for_a_page() {
    let scene = WaitingReader::new();
    scene.kill_daemon();
    scene.two.kill();
    wait_until("the reader has an answer", seconds(20), || scene.reading.is_finished());
    assert!(scene.reading.join().unwrap().is_err());
    scene.proxy.release();
    scene.two.mount();
    assert!(fs::read(scene.two.path("file")).unwrap() == scene.content);
}
