//! The commands around the mount, as scripts use them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use serde_json::Value;

use crate::fixture::{MIB, Single};
use crate::harness::command::{b3sum, output};
use crate::harness::device::Device;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};
use crate::harness::{binary, scratch};

#[test]
fn status_in_json_tells_what_is_so() {
    let fixture = Single::new();
    let status = fixture.one.status();
    let daemon = fixture.one.daemon().unwrap().as_raw_nonzero().get();
    assert_eq!(status["pid"], daemon, "{status}");
    assert_eq!(status["mountpoint"].as_str(), fixture.one.path("").to_str(), "{status}");
    fs::write(fixture.one.path("file"), "x").unwrap();
    fixture.one.sync();
    let path = fixture.one.path("file");
    let of_file = fixture.one.run(&["status", "--json", path.to_str().unwrap()]).expect_success();
    serde_json::from_str::<Value>(&of_file.stdout).unwrap();
    let mut state = [0; 64];
    let length = rustix::fs::getxattr(&path, "user.miaofs.state", &mut state).unwrap();
    let synced = String::from_utf8_lossy(&state[..length]).into_owned();
    fs::write(&path, "changed").unwrap();
    let length = rustix::fs::getxattr(&path, "user.miaofs.state", &mut state).unwrap();
    let changed = String::from_utf8_lossy(&state[..length]).into_owned();
    assert_ne!(synced, changed, "the state of a file does not tell whether it is on the server");
}

#[test]
fn sync_of_a_path_waits_for_it() {
    let fixture = Single::new();
    fs::create_dir(fixture.one.path("d")).unwrap();
    fs::write(fixture.one.path("d/file"), vec![1; 5_000_000]).unwrap();
    let path = fixture.one.path("d");
    fixture.one.run(&["sync", path.to_str().unwrap()]).expect_success();
    let api = fixture.server.sign_in("ada");
    assert_eq!(api.get("/file/download?path=/d/file").expect(200).body, vec![1; 5_000_000]);
}

#[test]
fn sync_waits_for_what_was_written_while_a_file_was_on_its_way() {
    let fixture = Single::new();
    fixture.copy_in(256 * MIB);
    wait_until("the upload is under way", seconds(60), || {
        fixture.server.content_bytes_received() > 16 * MIB
    });
    let film = fixture.one.path("film");
    File::options().write(true).open(&film).unwrap().write_all_at(b"the last word", 0).unwrap();
    fixture.one.sync();
    let node = fixture.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], b3sum(&film).as_str());
}

#[test]
fn a_file_that_changes_whenever_it_is_sent_leaves_no_upload_begun() {
    let fixture = Single::with_server(&["--max-uploads", "2"]);
    fixture.copy_in(64 * MIB);
    let film = File::options().write(true).open(fixture.one.path("film")).unwrap();
    for round in 0..4 {
        let before = fixture.server.content_bytes_received();
        let is_sent = || fixture.server.content_bytes_received() > before + 8 * MIB;
        wait_until("the next upload is under way", seconds(60), is_sent);
        for place in (0..64 * MIB).step_by(MIB as usize) {
            film.write_all_at(&[round], place).unwrap();
        }
    }
    fixture.one.sync();
    assert_eq!(fixture.server.metric("miaofs_uploads_active"), 0);
}

#[test]
fn mounting_returns_to_a_shell_that_captures_its_output() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let one = Device::new(directory.path(), "one");
    one.sign("signup", &server.url(), "ada").expect_success();
    let mount = one.path("");
    let printed = output(&mut one.command(&["mount", mount.to_str().unwrap()]));
    assert!(printed.contains(mount.to_str().unwrap()), "{printed}");
    let again = output(&mut one.command(&["mount", mount.to_str().unwrap()]));
    assert!(again.contains("already"), "{again}");
}

#[test]
fn the_program_is_the_helper_of_mount() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let one = Device::new(directory.path(), "one");
    one.sign("signup", &server.url(), "ada").expect_success();
    for name in ["mount.miaofs", "mount.fuse.miaofs"] {
        let helper = directory.path().join(name);
        std::os::unix::fs::symlink(binary("miaofs"), &helper).unwrap();
        let options = format!("rw,nofail,_netdev,state_dir={}", one.state().display());
        let mut command = Command::new(&helper);
        command.env("MIAOFS_STATE_DIR", one.state());
        command.arg(server.url()).arg(one.path("")).args(["-o", &options]);
        output(&mut command);
        assert!(one.is_mounted(), "{name} returned, but there is no mount");
        fs::write(one.path(name), "x").unwrap();
        one.umount();
    }
}

#[test]
fn unmounting_with_flush_waits_for_the_server() {
    let fixture = Single::new();
    fixture.copy_in(50 * MIB);
    let mount = fixture.one.path("");
    fixture.one.run(&["umount", "--flush", mount.to_str().unwrap()]).expect_success();
    assert!(!fixture.one.is_mounted());
    let node = fixture.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["size"], 50 * MIB);
}

#[test]
fn with_remote_sync_closing_waits_for_the_server() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let one = Device::new(directory.path(), "one");
    one.sign("signup", &server.url(), "ada").expect_success();
    one.mount_with(&["-o", "sync=remote"]).expect_success();
    let api = server.sign_in("ada");
    for round in 0..3 {
        let text = format!("round {round}");
        fs::write(one.path("file"), &text).unwrap();
        let stored = api.get("/file/download?path=/file").expect(200).body;
        assert_eq!(String::from_utf8_lossy(&stored), text, "close did not wait");
    }
}

#[test]
fn a_terminated_daemon_unmounts_and_continues_later() {
    let fixture = Single::new();
    fs::write(fixture.one.path("file"), "x").unwrap();
    let daemon = fixture.one.daemon().unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::TERM).unwrap();
    fixture.one.wait_for_end();
    assert!(!fixture.one.is_mounted(), "SIGTERM left the mount behind");
    fixture.one.mount();
    assert_eq!(fs::read_to_string(fixture.one.path("file")).unwrap(), "x");
}

#[test]
fn signing_out_ends_the_session_and_keeps_the_files() {
    let fixture = Single::new();
    fs::write(fixture.one.path("file"), "x").unwrap();
    fixture.one.sync();
    fixture.one.umount();
    fixture.one.run(&["logout"]).expect_success();
    let refused = fixture.one.mount_with(&[]);
    assert_eq!(refused.status.code(), Some(4), "{}", refused.stderr);
    fixture.one.sign("login", &fixture.server.url(), "ada").expect_success();
    fixture.one.mount();
    assert_eq!(fs::read_to_string(fixture.one.path("file")).unwrap(), "x");
}

#[test]
fn each_request_of_the_kernel_can_be_followed_to_its_answer_in_the_log() {
    let scene = Single::new();
    scene.one.umount();
    scene.one.mount_with(&["--log", "info,miaofs::fuse=debug"]).expect_success();
    fs::write(scene.one.path("file"), "x").unwrap();
    fs::metadata(scene.one.path("none")).unwrap_err();
    File::open(scene.one.path("file")).unwrap().sync_all().unwrap();
    scene.one.umount();
    let log = fs::read_to_string(scene.one.state().join("daemon.log")).unwrap();
    for (operation, name) in [("create", "\"file\""), ("lookup", "\"none\""), ("fsync", "")] {
        let is_it =
            |line: &&str| line.contains(&format!("operation={operation} ")) && line.contains(name);
        let told: Vec<&str> = log.lines().filter(is_it).collect();
        let received = told.iter().find(|line| line.ends_with("received")).expect(operation);
        assert!(received.contains("uid=") && received.contains("pid="), "{received}");
        let id = received.split_once("id=").unwrap().1.split(' ').next().unwrap();
        let answered = told
            .iter()
            .any(|line| line.contains(&format!("id={id} ")) && line.contains("answered elapsed="));
        assert!(answered, "{received}");
    }
}
