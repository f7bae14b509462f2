//! Programs that wait for the network can be ended: by Ctrl-C, by `kill`, by a signal that they handle.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{Pair, Single, names};
use crate::harness::device::Device;
use crate::harness::proxy::Proxy;
use crate::harness::wait::{seconds, wait_until};

/// Bytes of a file that is not here: more than one piece.
const SIZE: usize = 9_000_000;

/// A drive with a file on a device that has none of its bytes and whose network passes nothing on.
struct Scene {
    two: Device,
    proxy: Proxy,
    fixture: Single,
}

impl Scene {
    fn new(options: &[&str]) -> Self {
        let fixture = Single::new();
        fs::write(fixture.one.path("file"), vec![7; SIZE]).unwrap();
        fixture.one.sync();
        let proxy = Proxy::start(&fixture.server.url());
        let two = Device::new(fixture.directory.path(), "two");
        two.sign("login", proxy.url(), "ada").expect_success();
        two.mount_with(options).expect_success();
        wait_until("the name is there", seconds(20), || names(&two.path("")) == ["file"]);
        proxy.hold();
        Self { two, proxy, fixture }
    }

    fn started(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = interruptible(program);
        command.args(arguments).current_dir(self.two.path(""));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a program in the mount that will wait, and answers when it does.
    fn waiting(&self, program: &str, arguments: &[&str]) -> Child {
        let child = self.started(program, arguments);
        wait_until(&format!("{program} waits"), seconds(20), || {
            runs(&child, program) && waits_for_fuse(&child)
        });
        child
    }
}

/// A program that Ctrl-C ends: a shell has what it starts in the background, these tests maybe, ignore it.
fn interruptible(program: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", program]);
    command
}

/// True once a child has become a program: what it was before may ignore signals.
fn runs(child: &Child, program: &str) -> bool {
    let name = fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap_or_default();
    name.trim_end() == program
}

/// True while a program waits for an answer of the daemon.
fn waits_for_fuse(child: &Child) -> bool {
    let stack = fs::read_to_string(format!("/proc/{}/stack", child.id())).unwrap_or_default();
    let wchan = fs::read_to_string(format!("/proc/{}/wchan", child.id())).unwrap_or_default();
    [stack, wchan]
        .iter()
        .any(|text| text.contains("request_wait_answer") || text.contains("folio_wait"))
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// End of a program, which must come soon.
#[track_caller]
fn end(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait_until("the program has ended", seconds(3), || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

#[test]
fn a_program_that_waits_for_bytes_is_ended_by_a_signal() {
    let scene = Scene::new(&[]);
    let commands: [(&str, &[&str]); 4] = [
        ("cat", &["file"]),
        ("dd", &["if=file", "iflag=direct", "bs=1M", "of=/dev/null"]),
        ("dd", &["if=/dev/zero", "of=file", "conv=notrunc", "bs=1000", "count=1"]),
        ("truncate", &["-s", "100", "file"]),
    ];
    for (program, arguments) in commands {
        for sent in [Signal::INT, Signal::TERM, Signal::KILL] {
            let mut child = scene.waiting(program, arguments);
            signal(&child, sent);
            assert_eq!(end(&mut child).signal(), Some(sent.as_raw()), "{program} {arguments:?}");
        }
    }
    scene.proxy.release();
    assert!(fs::read(scene.two.path("file")).unwrap() == vec![7; SIZE], "nothing was written");
}

const HANDLES: &str = "
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: print('told', flush=True))
file = os.open('file', os.O_RDONLY)
try:
    print('reads', flush=True)
    print(len(os.pread(file, 1000, 5_000_000)))
except KeyboardInterrupt:
    print('interrupted')
";

/// A program that handles signals, waiting in its read and not in what came before, and what it prints from then on.
fn reading(scene: &Scene) -> (Child, BufReader<ChildStdout>) {
    let mut child = scene.started("python3", &["-I", "-c", HANDLES]);
    let (mut output, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "reads\n");
    wait_until("it waits", seconds(20), || waits_for_fuse(&child));
    (child, output)
}

fn printed(mut output: BufReader<ChildStdout>) -> String {
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_program_that_handles_the_request_to_end_gets_it_and_one_that_is_told_something_else_reads_on()
{
    let scene = Scene::new(&[]);
    let (mut child, output) = reading(&scene);
    signal(&child, Signal::INT);
    assert!(end(&mut child).success());
    assert_eq!(printed(output), "interrupted\n");

    let (mut child, output) = reading(&scene);
    signal(&child, Signal::USR1);
    let began = std::time::Instant::now();
    wait_until("it has had time to end", seconds(5), || began.elapsed() > seconds(1));
    assert!(waits_for_fuse(&child), "it waits on");
    scene.proxy.release();
    assert!(child.wait().unwrap().success());
    assert_eq!(printed(output), "told\n1000\n");
}

#[test]
fn who_waits_for_the_server_to_have_a_file_is_ended_by_a_signal() {
    let scene = Scene::new(&["-o", "sync=remote"]);
    let source = scene.fixture.directory.path().join("source");
    fs::write(&source, "text").unwrap();
    for sent in [Signal::INT, Signal::KILL] {
        let mut child = scene.waiting("cp", &[source.to_str().unwrap(), "new"]);
        signal(&child, sent);
        assert_eq!(end(&mut child).signal(), Some(sent.as_raw()));
    }
    assert_eq!(fs::read_to_string(scene.two.path("new")).unwrap(), "text");
    // Ended with the file still open: the kernel closes it, and nobody waits for that.
    let mut child = scene.waiting("sh", &["-c", "exec 5> other; echo text >&5; cat file"]);
    signal(&child, Signal::KILL);
    end(&mut child);
}

#[test]
fn who_waits_for_the_names_of_a_fresh_device_is_ended_by_a_signal() {
    let pair = Pair::new();
    fs::write(pair.one.path("file"), "text").unwrap();
    pair.one.sync();
    let proxy = Proxy::start(&pair.server.url());
    let fresh = Device::new(pair.directory.path(), "fresh");
    fresh.sign("login", proxy.url(), "ada").expect_success();
    proxy.hold();
    fresh.mount();
    let list = |path: &Path| {
        let mut command = interruptible("ls");
        command.arg(path).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    for sent in [Signal::INT, Signal::KILL] {
        let mut child = list(&fresh.path(""));
        wait_until("it waits for the mount", seconds(20), || {
            runs(&child, "ls") && waits_for_fuse(&child)
        });
        signal(&child, sent);
        assert_eq!(end(&mut child).signal(), Some(sent.as_raw()));
    }
    proxy.release();
    assert_eq!(names(&fresh.path("")), ["file"]);
}
