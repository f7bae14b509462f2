//! Watching: inotify(7) and `tail -F` see what programs of this machine do.

use std::fs::{self, File};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::fixture::Single;
use crate::harness::wait::{seconds, wait_until};
use crate::programs::program;

/// The events that are waiting: what happened, and to which name.
fn events(inotify: impl std::os::fd::AsFd) -> Vec<(ReadFlags, String)> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut reader = Reader::new(inotify, &mut buffer);
    let mut events = Vec::new();
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| name.to_str().unwrap().to_owned());
                events.push((event.events(), name.unwrap_or_default()));
            }
            Err(Errno::AGAIN) => return events,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn inotify_tells_of_every_local_change() {
    let fixture = Single::new();
    let path = |name: &str| fixture.one.path(name);
    fs::create_dir(path("elsewhere")).unwrap();
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&inotify, path(""), WatchFlags::ALL_EVENTS).unwrap();
    let happened = |change: &dyn Fn(), expected: &[(ReadFlags, &str)]| {
        events(&inotify);
        change();
        let seen = events(&inotify);
        for (what, name) in expected {
            let told = seen.iter().any(|(flags, other)| flags.contains(*what) && other == name);
            assert!(told, "no {what:?} of `{name}` among {seen:?}");
        }
    };
    let (created, modified, closed) =
        (ReadFlags::CREATE, ReadFlags::MODIFY, ReadFlags::CLOSE_WRITE);
    let (from, to) = (ReadFlags::MOVED_FROM, ReadFlags::MOVED_TO);
    let (attributes, deleted) = (ReadFlags::ATTRIB, ReadFlags::DELETE);
    happened(
        &|| fs::write(path("a"), "text").unwrap(),
        &[(created, "a"), (modified, "a"), (closed, "a")],
    );
    happened(&|| drop(fs::read(path("a"))), &[(ReadFlags::ACCESS, "a"), (ReadFlags::OPEN, "a")]);
    happened(&|| fs::rename(path("a"), path("b")).unwrap(), &[(from, "a"), (to, "b")]);
    happened(&|| fs::rename(path("b"), path("elsewhere/b")).unwrap(), &[(from, "b")]);
    happened(&|| fs::hard_link(path("elsewhere/b"), path("c")).unwrap(), &[(created, "c")]);
    let permissions = fs::Permissions::from_mode(0o600);
    happened(
        &|| fs::set_permissions(path("c"), permissions.clone()).unwrap(),
        &[(attributes, "c")],
    );
    happened(
        &|| File::options().write(true).open(path("c")).unwrap().set_len(2).unwrap(),
        &[(modified, "c")],
    );
    happened(&|| fs::remove_file(path("c")).unwrap(), &[(deleted, "c")]);
    let directory = ReadFlags::ISDIR;
    happened(&|| fs::create_dir(path("d")).unwrap(), &[(created | directory, "d")]);
    happened(&|| fs::remove_dir(path("d")).unwrap(), &[(deleted | directory, "d")]);
}

/// A program that follows a log, killed when dropped.
struct Follower(Child);

impl Follower {
    fn new(log: &Path, output: &Path) -> Self {
        let mut command = program("tail", "coreutils");
        command.args(["-n", "+1", "--sleep-interval=0.05", "-F"]).arg(log);
        command.stdout(File::create(output).unwrap()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _it_may_have_ended = self.0.kill();
        let _it_may_have_been_waited_for = self.0.wait();
    }
}

#[test]
fn tail_follows_a_log_through_its_rotations() {
    let fixture = Single::new();
    let (log, output) = (fixture.one.path("log"), fixture.directory.path().join("output"));
    fs::write(&log, "begun\n").unwrap();
    let _follower = Follower::new(&log, &output);
    let mut expected = String::new();
    let arrives = |line: &str, expected: &mut String| {
        expected.push_str(line);
        wait_until(&format!("`{}` comes through", line.trim()), seconds(20), || {
            fs::read_to_string(&output).unwrap() == *expected
        });
    };
    arrives("begun\n", &mut expected);
    for round in 0..3 {
        let mut writer = File::options().append(true).open(&log).unwrap();
        for number in 0..5 {
            let line = format!("line {number} of round {round}\n");
            writer.write_all(line.as_bytes()).unwrap();
            arrives(&line, &mut expected);
        }
        fs::rename(&log, fixture.one.path(&format!("log.{round}"))).unwrap();
        writer.write_all(b"after the rename\n").unwrap();
        arrives("after the rename\n", &mut expected);
        let fresh = format!("another log {round}\n");
        fs::write(&log, &fresh).unwrap();
        arrives(&fresh, &mut expected);
    }
    // As logrotate's `copytruncate` does it.
    fs::copy(&log, fixture.one.path("copy")).unwrap();
    File::options().write(true).open(&log).unwrap().set_len(0).unwrap();
    File::options().append(true).open(&log).unwrap().write_all(b"cut\n").unwrap();
    arrives("cut\n", &mut expected);
}
