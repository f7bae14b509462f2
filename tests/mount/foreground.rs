//! A mount in the foreground, as service managers and containers have it: supervised like one in the background.

use std::fs::{self, File};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::fixture::Single;
use crate::harness::command::as_root;
use crate::harness::device::Device;
use crate::harness::wait::{seconds, wait_until};
use crate::harness::{binary, scratch};

/// A process that has a mount in the foreground, with what it says in files.
struct Foreground {
    process: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Foreground {
    /// Starts it with a command, and does not wait.
    fn start(mut command: Command, directory: &Path) -> Self {
        let (stdout, stderr) = (directory.join("said"), directory.join("logged"));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Self { process: command.spawn().unwrap(), stdout, stderr }
    }

    /// Starts it in place of the mount of a scene, and waits until it says that it is usable.
    fn of(scene: &Single) -> Self {
        scene.one.umount();
        let foreground = Self::start(command(&scene.one), scene.directory.path());
        foreground.wait_until_mounted();
        foreground
    }

    fn wait_until_mounted(&self) {
        wait_until("it says that it is mounted", seconds(30), || self.said().contains('\n'));
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    fn logged(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits for its end.
    #[track_caller]
    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("it ends", seconds(30), || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

fn command(device: &Device) -> Command {
    let mut command = device.command(&["mount", "--foreground"]);
    command.arg(device.path(""));
    command
}

/// Puts a shell script in the place of a program, as a package manager does.
fn replace(program: &Path, script: &str) {
    let new = program.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, program).unwrap();
}

/// Has a scene's device run a copy of the program that can be replaced; its mount ends.
fn own_program(scene: &mut Single) -> PathBuf {
    let program = scene.directory.path().join("miaofs");
    fs::copy(binary("miaofs"), &program).unwrap();
    scene.one.umount();
    scene.one.use_program(&program);
    program
}

#[test]
fn programs_go_on_when_its_daemon_dies_and_when_it_is_upgraded() {
    let scene = Single::new();
    let mut foreground = Foreground::of(&scene);
    let path = |name: &str| scene.one.path(name);
    fs::create_dir(path("directory")).unwrap();
    let mut file = File::create(path("directory/file")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "while read word; do echo $word >> words; done"]);
    let shell = shell.current_dir(path("directory")).stdin(Stdio::piped()).spawn();
    let mut shell = shell.unwrap();
    for round in 0..4 {
        let before = scene.one.daemon().unwrap();
        file.write_all(b"before ").unwrap();
        if round % 2 == 0 {
            scene.one.kill_daemon();
        } else {
            scene.one.run(&["upgrade"]).expect_success();
        }
        file.write_all(b"after ").unwrap();
        writeln!(shell.stdin.as_ref().unwrap(), "{round}").unwrap();
        let status = scene.one.status();
        assert_eq!(status["supervised"], true);
        assert_ne!(status["pid"], before.as_raw_nonzero().get(), "another daemon serves it");
    }
    drop(shell.stdin.take());
    assert!(shell.wait().unwrap().success());
    assert_eq!(fs::read_to_string(path("directory/words")).unwrap(), "0\n1\n2\n3\n");
    assert_eq!(fs::read_to_string(path("directory/file")).unwrap(), "before after ".repeat(4));
    assert_eq!(scene.one.supervisor(), Some(foreground.pid()));
    let report = scene.one.run(&["doctor", "--json"]).expect_success().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["daemon"]["pid"], scene.one.daemon().unwrap().as_raw_nonzero().get());
    drop(file);
    scene.one.umount();
    assert_eq!(foreground.end().code(), Some(0));
    assert_eq!(foreground.said().matches("mounted ").count(), 1, "{}", foreground.said());
    assert_eq!(foreground.logged().matches("the daemon died").count(), 2);
}

#[test]
fn a_program_that_is_away_while_it_is_replaced_is_tried_again() {
    let mut scene = Single::new();
    let program = own_program(&mut scene);
    let foreground = Foreground::start(command(&scene.one), scene.directory.path());
    foreground.wait_until_mounted();
    let away = program.with_extension("away");
    fs::rename(&program, &away).unwrap();
    scene.one.kill_daemon();
    wait_until("it is missed", seconds(20), || foreground.logged().contains("cannot be started"));
    fs::rename(&away, &program).unwrap();
    fs::write(scene.one.path("file"), "x").unwrap();
    scene.one.umount();
}

#[test]
fn its_daemon_goes_on_alone_when_the_supervisor_is_killed() {
    let scene = Single::new();
    let mut foreground = Foreground::of(&scene);
    kill_process(foreground.pid(), Signal::KILL).unwrap();
    foreground.end();
    fs::write(scene.one.path("file"), "x").unwrap();
    assert_eq!(scene.one.status()["supervised"], false);
    scene.one.run(&["upgrade"]).expect_failure(&["supervisor has been killed"]);
    kill_process(scene.one.daemon().unwrap(), Signal::TERM).unwrap();
    scene.one.wait_for_end();
    assert!(!scene.one.is_mounted());
}

#[test]
fn a_signal_to_the_supervisor_ends_the_mount_in_order() {
    let scene = Single::new();
    for (signal, name) in
        [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::HUP, "SIGHUP")]
    {
        let mut foreground = Foreground::of(&scene);
        fs::write(scene.one.path("file"), name).unwrap();
        kill_process(foreground.pid(), signal).unwrap();
        assert_eq!(foreground.end().code(), Some(0), "{}", foreground.logged());
        assert!(!scene.one.is_mounted());
        scene.one.wait_for_end();
        let log = foreground.logged();
        assert!(log.contains(&format!("{name}: unmounting")) && log.contains("ended"), "{log}");

        scene.one.mount();
        assert_eq!(fs::read_to_string(scene.one.path("file")).unwrap(), name);
        kill_process(scene.one.supervisor().unwrap(), signal).unwrap();
        scene.one.wait_for_end();
        assert!(!scene.one.is_mounted());
        scene.one.mount();
    }
}

#[test]
fn a_signal_to_the_supervisor_and_the_daemon_at_once_ends_the_mount_in_order() {
    let scene = Single::new();
    scene.one.umount();
    let mut command = command(&scene.one);
    command.process_group(0);
    let mut foreground = Foreground::start(command, scene.directory.path());
    foreground.wait_until_mounted();
    let file = File::create(scene.one.path("file")).unwrap();
    for _ in 0..3 {
        kill_process_group(foreground.pid(), Signal::INT).unwrap();
    }
    drop(file);
    assert_eq!(foreground.end().code(), Some(0), "{}", foreground.logged());
    assert!(!scene.one.is_mounted());
    assert_eq!(foreground.logged().matches("SIGINT: unmounting").count(), 1);
}

#[test]
fn a_signal_while_no_daemon_lives_ends_the_mount_and_who_waits_for_it() {
    let mut scene = Single::new();
    let program = own_program(&mut scene);
    let lives = scene.directory.path().join("lives");
    let count = || fs::read_to_string(&lives).unwrap_or_default().len();
    // They die at once, so that the supervisor mostly waits; or do not listen to anything yet.
    for (end, wanted) in [("kill -9 $$", 8), ("exec sleep 1000", 1)] {
        for in_the_foreground in [true, false] {
            fs::copy(binary("miaofs"), program.with_extension("new")).unwrap();
            fs::rename(program.with_extension("new"), &program).unwrap();
            let started = in_the_foreground
                .then(|| Foreground::start(command(&scene.one), scene.directory.path()));
            match &started {
                Some(foreground) => foreground.wait_until_mounted(),
                None => scene.one.mount(),
            }
            let supervisor = scene.one.supervisor().unwrap();
            let root = File::open(scene.one.path("")).unwrap();
            let _ = fs::remove_file(&lives);
            replace(&program, &format!("echo >> {}\n{end}", lives.display()));
            scene.one.kill_daemon();
            let waiting = std::thread::spawn(move || {
                fs::metadata(format!("/proc/self/fd/{}/none", root.as_raw_fd())).unwrap_err()
            });
            wait_until("daemons try", seconds(20), || count() >= wanted);
            kill_process(supervisor, Signal::TERM).unwrap();
            if let Some(mut foreground) = started {
                assert_eq!(foreground.end().code(), Some(0), "{}", foreground.logged());
            }
            scene.one.wait_for_end();
            assert!(!scene.one.is_mounted());
            assert_ne!(waiting.join().unwrap().kind(), std::io::ErrorKind::NotFound);
        }
    }
}

#[test]
fn a_signal_while_the_first_daemon_starts_ends_both_by_it() {
    let scene = Single::new();
    scene.one.umount();
    // The daemon waits for the state directory, and does not listen yet.
    let lock = File::options().write(true).open(scene.one.state().join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut foreground = Foreground::start(command(&scene.one), scene.directory.path());
    wait_until("the daemon has begun", seconds(20), || scene.one.processes().len() == 2);
    kill_process(foreground.pid(), Signal::TERM).unwrap();
    assert_eq!(foreground.end().signal(), Some(15), "{}", foreground.logged());
    assert!(!scene.one.is_mounted());
    scene.one.wait_for_end();
}

#[test]
fn an_error_before_the_mount_is_usable_is_said_once() {
    let scene = Single::new();
    scene.one.umount();
    let stranger = Device::new(scene.directory.path(), "stranger");
    let refused = |device: &Device, code: i32, words: &str| {
        let mut foreground = Foreground::start(command(device), scene.directory.path());
        assert_eq!(foreground.end().code(), Some(code), "{}", foreground.logged());
        let (said, log) = (foreground.said(), foreground.logged());
        assert_eq!((log.matches(words).count(), said.as_str()), (1, ""), "{log}");
        assert!(!log.contains('{'), "{log}");
        assert!(device.processes().is_empty() && !device.is_mounted());
    };
    refused(&stranger, 4, "miaofs: not signed in");
    // The supervisor does not look at these; its daemon does.
    fs::write(scene.one.state().join("config.toml"), "bwlimit = [").unwrap();
    refused(&scene.one, 1, "miaofs: ");
    let in_the_background = scene.one.mount_with(&[]);
    assert_eq!(in_the_background.status.code(), Some(1));
    assert_eq!(in_the_background.stderr.matches("miaofs: ").count(), 1);
}

/// Receives what a service manager is told, and by which process.
fn told(socket: &impl AsFd) -> (String, Pid) {
    let mut text = [0; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(&mut text)];
    let received = recvmsg(socket, &mut buffers, &mut ancillary, RecvFlags::empty()).unwrap();
    let mut pids = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
        _ => None,
    });
    let pid = pids.next().expect("credentials");
    (String::from_utf8_lossy(&text[..received.bytes]).into_owned(), pid)
}

#[test]
fn the_service_manager_hears_from_the_process_that_it_started() {
    let scene = Single::new();
    scene.one.umount();
    let directory = scratch();
    let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(seconds(30))).unwrap();
    rustix::net::sockopt::set_socket_passcred(&socket, true).unwrap();
    let mut command = command(&scene.one);
    command.env("NOTIFY_SOCKET", directory.path().join("notify"));
    let mut foreground = Foreground::start(command, scene.directory.path());
    let pid = foreground.pid();
    assert_eq!(told(&socket), ("READY=1\n".to_owned(), pid));
    assert!(scene.one.is_mounted());
    let daemon = scene.one.daemon().unwrap();
    let environment = fs::read(format!("/proc/{}/environ", daemon.as_raw_nonzero())).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"));
    // Of a successor it need not know.
    scene.one.run(&["upgrade"]).expect_success();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(told(&socket), ("STOPPING=1\n".to_owned(), pid));
    assert_eq!(foreground.end().code(), Some(0));
    socket.set_nonblocking(true).unwrap();
    socket.recv(&mut [0; 16]).unwrap_err();
}

#[test]
fn as_the_first_process_of_a_container_it_outlives_daemons_and_ends_when_told() {
    let scene = Single::new();
    scene.one.umount();
    let inner = command(&scene.one);
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let mut command = as_root("env");
    command.arg(format!("MIAOFS_STATE_DIR={}", scene.one.state().display()));
    command.args(["unshare", "--pid", "--fork"]);
    command.args([format!("--setuid={uid}"), format!("--setgid={gid}")]);
    command.arg(inner.get_program()).args(inner.get_args());
    let mut container = Foreground::start(command, scene.directory.path());
    container.wait_until_mounted();
    let daemon = scene.one.daemon().unwrap().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    let first = Pid::from_raw(parent.trim().parse().unwrap()).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", first.as_raw_nonzero())).unwrap();
    let pids = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    assert!(pids.ends_with("\t1"), "{pids}");
    let file = File::create(scene.one.path("file")).unwrap();
    scene.one.kill_daemon();
    (&file).write_all(b"after").unwrap();
    drop(file);
    assert_eq!(scene.one.status()["supervised"], true);
    kill_process(first, Signal::TERM).unwrap();
    assert_eq!(container.end().code(), Some(0), "{}", container.logged());
    assert!(!scene.one.is_mounted());
}
