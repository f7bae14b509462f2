//! A device that is signed out while it has work that is not on the server: it says so, keeps it, and goes on.

use std::fs::{self, File};
use std::process::Output;

use crate::harness::device::Device;
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::wait::{seconds, wait_until};

/// Runs a command of a device with these lines on stdin.
fn run_with(device: &Device, arguments: &[&str], lines: &[&str]) -> Output {
    let input = tempfile::NamedTempFile::new().unwrap();
    fs::write(input.path(), lines.join("\n") + "\n").unwrap();
    let mut command = device.command(arguments);
    command.stdin(File::open(input.path()).unwrap()).output().unwrap()
}

/// Waits until the status of a mounted device says this of the server.
#[track_caller]
fn wait_for_words(device: &Device, words: &str) {
    let mut last = String::new();
    wait_until(words, seconds(30), || {
        last = device.run(&["status"]).stdout;
        last.contains(words)
    });
}

#[test]
fn a_device_that_was_signed_out_keeps_what_is_not_on_the_server_and_goes_on_after_signing_in() {
    let (directory, server) = (scratch(), Server::new());
    let one = Device::signed_up(directory.path(), "one", &server, "ada");
    let two = Device::new(directory.path(), "two");
    two.sign("login", &server.url(), "ada").expect_success();
    fs::write(one.path("early"), "before").unwrap();
    one.sync();

    let listed = two.run(&["devices"]);
    assert!(listed.stdout.contains("one") && listed.stdout.contains("(this one)"), "{listed:?}");
    two.run(&["devices", "revoke", "one"]).expect_success();
    for at in 0..3 {
        fs::write(one.path(&format!("late {at}")), format!("work {at}")).unwrap();
    }
    wait_for_words(&one, "signed out by another device: ");
    wait_for_words(&one, " files are not on the server; sign in again: miaofs login");
    assert_eq!(fs::read_to_string(one.path("late 1")).unwrap(), "work 1");
    assert_eq!(fs::read_to_string(one.path("early")).unwrap(), "before");
    let sync = one.run(&["sync"]);
    assert_eq!(sync.status.code(), Some(4), "{sync:?}");
    assert!(sync.stderr.contains("signed out by another device"), "{sync:?}");

    one.sign("login", &server.url(), "ada").expect_success();
    one.sync();
    let ada = server.sign_in("ada");
    for at in 0..3 {
        let answer = ada.get(&format!("/file/download?path=/late%20{at}")).expect(200);
        assert_eq!(answer.body, format!("work {at}").into_bytes());
    }
    two.run(&["devices", "revoke", "two"]).expect_failure(&["miaofs logout"]);
}

#[test]
fn another_password_signs_the_other_devices_out_and_this_mount_goes_on() {
    let (directory, server) = (scratch(), Server::new());
    let one = Device::signed_up(directory.path(), "one", &server, "ada");
    let two = Device::signed_in(directory.path(), "two", &server, "ada");
    let changed = run_with(&one, &["passwd", "--password-stdin"], &[PASSWORD, "another password"]);
    assert!(changed.status.success(), "{changed:?}");
    wait_for_words(&two, "signed out by a change of the password");
    fs::write(one.path("note"), "goes on").unwrap();
    one.sync();
    fs::write(two.path("kept"), "kept").unwrap();
    two.sign_with("login", &server.url(), "ada", PASSWORD)
        .expect_failure(&["wrong name or password"]);
    two.sign_with("login", &server.url(), "ada", "another password").expect_success();
    two.sync();
    wait_until("both have all", seconds(20), || {
        fs::read_to_string(two.path("note")).is_ok_and(|text| text == "goes on")
            && fs::read_to_string(one.path("kept")).is_ok_and(|text| text == "kept")
    });
}
