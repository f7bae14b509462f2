//! The commands around the mount, as scripts use them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use serde_json::Value;

use crate::harness::device::Device;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};
use crate::harness::{binary, scratch};
use crate::scene::{MIB, Single, b3sum, output, received};

#[test]
fn status_in_json_tells_what_is_so() {
    let scene = Single::new();
    let status = scene.one.status();
    let daemon = scene.one.daemon().unwrap().as_raw_nonzero().get();
    assert_eq!(status["pid"], daemon, "{status}");
    assert_eq!(status["mountpoint"].as_str(), scene.one.path("").to_str(), "{status}");
    fs::write(scene.one.path("file"), "x").unwrap();
    scene.one.sync();
    let path = scene.one.path("file");
    let of_file = scene.one.run(&["status", "--json", path.to_str().unwrap()]).expect_success();
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
    let scene = Single::new();
    fs::create_dir(scene.one.path("d")).unwrap();
    fs::write(scene.one.path("d/file"), vec![1; 5_000_000]).unwrap();
    let path = scene.one.path("d");
    scene.one.run(&["sync", path.to_str().unwrap()]).expect_success();
    let api = scene.server.sign_in("ada");
    assert_eq!(api.get("/file/download?path=/d/file").expect(200).body, vec![1; 5_000_000]);
}

#[test]
fn sync_waits_for_what_was_written_while_a_file_was_on_its_way() {
    let scene = Single::new();
    scene.copy_in(256 * MIB);
    wait_until("the upload is under way", seconds(60), || received(&scene.server) > 16 * MIB);
    let film = scene.one.path("film");
    File::options().write(true).open(&film).unwrap().write_all_at(b"the last word", 0).unwrap();
    scene.one.sync();
    let node = scene.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], b3sum(&film).as_str());
}

#[test]
fn a_file_that_changes_whenever_it_is_sent_leaves_no_upload_begun() {
    let scene = Single::with_server(&["--max-uploads", "2"]);
    scene.copy_in(64 * MIB);
    let film = File::options().write(true).open(scene.one.path("film")).unwrap();
    for round in 0..4 {
        let before = received(&scene.server);
        let is_sent = || received(&scene.server) > before + 8 * MIB;
        wait_until("the next upload is under way", seconds(60), is_sent);
        for place in (0..64 * MIB).step_by(MIB as usize) {
            film.write_all_at(&[round], place).unwrap();
        }
    }
    scene.one.sync();
    assert_eq!(scene.server.metric("miaofs_uploads_active"), 0);
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
    let scene = Single::new();
    scene.copy_in(50 * MIB);
    let mount = scene.one.path("");
    scene.one.run(&["umount", "--flush", mount.to_str().unwrap()]).expect_success();
    assert!(!scene.one.is_mounted());
    let node = scene.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
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
    let scene = Single::new();
    fs::write(scene.one.path("file"), "x").unwrap();
    let daemon = scene.one.daemon().unwrap();
    rustix::process::kill_process(daemon, rustix::process::Signal::TERM).unwrap();
    scene.one.wait_for_end();
    assert!(!scene.one.is_mounted(), "SIGTERM left the mount behind");
    scene.one.mount();
    assert_eq!(fs::read_to_string(scene.one.path("file")).unwrap(), "x");
}

#[test]
fn signing_out_ends_the_session_and_keeps_the_files() {
    let scene = Single::new();
    fs::write(scene.one.path("file"), "x").unwrap();
    scene.one.sync();
    scene.one.umount();
    scene.one.run(&["logout"]).expect_success();
    let refused = scene.one.mount_with(&[]);
    assert_eq!(refused.status.code(), Some(4), "{}", refused.stderr);
    scene.one.sign("login", &scene.server.url(), "ada").expect_success();
    scene.one.mount();
    assert_eq!(fs::read_to_string(scene.one.path("file")).unwrap(), "x");
}
