//! Bad input and faults: each gets a clear message with what to do next, and its exit code or errno.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rustix::io::Errno;

use crate::fixture::{MIB, Single};
use crate::harness::device::{Device, Finished};
use crate::harness::disk::SmallDisk;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Panics unless the command ended with this code, and a complaint with these words and a next step.
#[track_caller]
fn refused(finished: Finished, code: i32, words: &[&str]) {
    let finished = finished.expect_failure(words);
    assert_eq!(finished.status.code(), Some(code), "{}", finished.stderr);
    assert!(finished.stderr.trim().lines().count() >= 2, "no next step in: {}", finished.stderr);
}

#[test]
fn a_wrong_password_is_refused() {
    let fixture = Single::new();
    let two = Device::new(fixture.directory.path(), "two");
    let wrong = two.sign_with("login", &fixture.server.url(), "ada", "not her password");
    refused(wrong, 4, &["wrong name or password", "signup"]);
    let taken = two.sign("signup", &fixture.server.url(), "ada");
    assert!(taken.expect_failure(&["taken"]).status.code() == Some(1));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let directory = scratch();
    let one = Device::new(directory.path(), "one");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    refused(one.sign("signup", &url, "ada"), 5, &["check the url"]);
    let nonsense = one.sign("signup", "not a url", "ada").expect_failure(&["url"]);
    assert_eq!(nonsense.status.code(), Some(2), "{}", nonsense.stderr);
}

#[test]
fn mounting_without_an_account_says_how_to_get_one() {
    let directory = scratch();
    let one = Device::new(directory.path(), "one");
    refused(one.mount_with(&[]), 4, &["not signed in", "login"]);
    let status = one.run(&["status"]);
    assert!(!status.status.success(), "{}", status.stdout);
}

#[test]
fn a_mount_point_that_cannot_be_used_is_refused() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let one = Device::new(directory.path(), "one");
    one.sign("signup", &server.url(), "ada").expect_success();
    fs::write(one.path("something"), "x").unwrap();
    refused(one.mount_with(&[]), 6, &["empty"]);
    assert_eq!(fs::read_to_string(one.path("something")).unwrap(), "x");
    fs::remove_file(one.path("something")).unwrap();
    fs::remove_dir(one.path("")).unwrap();
    fs::write(one.path(""), "a file").unwrap();
    refused(one.mount_with(&[]), 6, &["directory"]);
    fs::remove_file(one.path("")).unwrap();
}

#[test]
fn a_mount_point_of_another_device_is_refused() {
    let fixture = Single::new();
    let two = Device::new(fixture.directory.path(), "two");
    two.sign("login", &fixture.server.url(), "ada").expect_success();
    let mount = fixture.one.path("");
    let finished = two.run(&["mount", mount.to_str().unwrap()]);
    refused(finished, 6, &["mounted"]);
    fs::write(fixture.one.path("file"), "x").unwrap();
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused() {
    let fixture = Single::new();
    let elsewhere = fixture.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let second = fixture.one.run(&["mount", elsewhere.to_str().unwrap()]);
    refused(second, 7, &["in use"]);
    fs::write(fixture.one.path("file"), "the first goes on").unwrap();
}

#[test]
fn a_dead_mount_is_cleaned_by_mounting_again() {
    let fixture = Single::new();
    fs::write(fixture.one.path("file"), "x").unwrap();
    fixture.one.kill();
    assert!(fixture.one.is_mounted());
    wait_until("the mount is dead", seconds(10), || {
        let error = fs::metadata(fixture.one.path("")).unwrap_err();
        Errno::from_io_error(&error) == Some(Errno::NOTCONN)
    });
    fixture.one.mount();
    assert_eq!(fs::read_to_string(fixture.one.path("file")).unwrap(), "x");
    fixture.one.kill();
    fixture.one.run(&["umount", fixture.one.path("").to_str().unwrap()]).expect_success();
    assert!(!fixture.one.is_mounted());
}

#[test]
fn a_name_that_is_too_long_is_an_errno() {
    let fixture = Single::new();
    File::create(fixture.one.path(&"x".repeat(255))).unwrap();
    let long = fixture.one.path(&"x".repeat(256));
    let error = File::create(&long).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NAMETOOLONG));
    assert_eq!(Errno::from_io_error(&fs::create_dir(&long).unwrap_err()), Some(Errno::NAMETOOLONG));
    let target = "x".repeat(4096);
    let error = std::os::unix::fs::symlink(target, fixture.one.path("link")).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NAMETOOLONG));
}

#[test]
fn a_full_quota_is_told_to_the_writer_or_by_sync() {
    let quota = (20 * MIB).to_string();
    let fixture = Single::with_server(&["--quota", &quota]);
    let size =
        || rustix::fs::statvfs(fixture.one.path("")).map_or(0, |it| it.f_blocks * it.f_frsize);
    wait_until("df shows the quota", seconds(10), || size() == 20 * MIB);
    fs::write(fixture.one.path("fits"), vec![1; 10 << 20]).unwrap();
    fixture.one.sync();
    let mut file = File::create(fixture.one.path("too much")).unwrap();
    let written = file.write_all(&vec![2; 15 << 20]).and_then(|()| file.sync_all());
    drop(file);
    match written {
        Err(error) => {
            let errno = Errno::from_io_error(&error);
            assert!(matches!(errno, Some(Errno::NOSPC | Errno::DQUOT)), "{error}");
        }
        Ok(()) => {
            let finished = fixture.one.run(&["sync", "--timeout", "20"]);
            finished.expect_failure(&["quota"]);
            assert_eq!(fs::read(fixture.one.path("too much")).unwrap(), vec![2; 15 << 20]);
        }
    }
    fs::remove_file(fixture.one.path("too much")).unwrap();
    fs::write(fixture.one.path("small"), "fits again").unwrap();
    fixture.one.sync();
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let fixture = Single::new();
    fs::write(fixture.one.path("file"), "x").unwrap();
    fixture.one.umount();
    fixture.one.mount_with(&["--read-only"]).expect_success();
    assert_eq!(fs::read_to_string(fixture.one.path("file")).unwrap(), "x");
    let error = fs::write(fixture.one.path("file"), "y").unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::ROFS));
    let error = fs::create_dir(fixture.one.path("d")).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::ROFS));
}

#[test]
fn words_that_no_command_knows_are_refused() {
    let directory = scratch();
    let one = Device::new(directory.path(), "one");
    for arguments in
        [&["explode"][..], &["mount"], &["sync", "--timeout", "soon"], &["mount", "-o", "x=y", "."]]
    {
        let finished = one.run(arguments).expect_failure(&[]);
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}: {}", finished.stderr);
    }
}

/// A device on a disk of 160 MiB of which 20 are to stay free.
fn on_a_small_disk(disk: &SmallDisk, directory: &Path, server: &Server) -> Device {
    let state = disk.path().join("state");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::symlink(state, directory.join("one.state")).unwrap();
    let one = Device::new(directory, "one");
    one.sign("signup", &server.url(), "ada").expect_success();
    one.run(&["config", "set", "free_floor", "20M"]).expect_success();
    one.mount();
    one
}

#[test]
fn on_a_disk_that_is_nearly_full_there_is_room_at_once_for_as_much_as_was_removed() {
    let disk = SmallDisk::new(160);
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let one = on_a_small_disk(&disk, directory.path(), &server);
    let content = vec![1; 90 * MIB as usize];
    for _ in 0..3 {
        fs::write(one.path("large"), &content).unwrap();
        fs::remove_file(one.path("large")).unwrap();
    }
    fs::write(one.path("old"), &content).unwrap();
    fs::remove_file(one.path("old")).unwrap();
    one.kill();
    one.mount();
    fs::write(one.path("new"), &content).unwrap();
    assert_eq!(fs::read(one.path("new")).unwrap().len(), content.len());
}

#[test]
fn on_a_disk_that_others_filled_names_can_be_removed_and_the_drive_mounted() {
    let disk = SmallDisk::new(160);
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let one = on_a_small_disk(&disk, directory.path(), &server);
    fs::create_dir(one.path("directory")).unwrap();
    for number in 0..40 {
        fs::write(one.path(&format!("directory/{number}")), vec![1; MIB as usize]).unwrap();
    }
    one.sync();
    disk.fill();
    fs::remove_file(one.path("directory/0")).unwrap();
    fs::rename(one.path("directory/1"), one.path("directory/renamed")).unwrap();
    fs::create_dir(one.path("new")).unwrap();
    wait_until("cached bytes are given up, and room is in reserve", seconds(30), || {
        disk.path().join("state/reserve").exists() && disk.free_bytes() > 18 * MIB
    });
    assert_eq!(fs::read(one.path("directory/2")).unwrap(), vec![1; MIB as usize]);
    one.umount();
    disk.fill();
    one.mount();
    fs::remove_file(one.path("directory/3")).unwrap();
    fs::create_dir(one.path("newer")).unwrap();
    disk.free();
    one.sync();
}
