//! Killed processes: nothing acknowledged is lost, and little is sent twice.

use std::fs::{self, File};
use std::io::Write;

use crate::harness::wait::{seconds, wait_until};
use crate::scene::{GIB, MIB, Single, b3sum, names, received};

/// What may be sent twice: one chunk of 4 MiB for each of the parallel streams, of which there are at most 8.
const SENT_TWICE_MAX: u64 = 8 * 4 * MIB;

#[test]
fn a_killed_daemon_goes_on_with_its_upload() {
    let scene = Single::new();
    scene.copy_in(GIB);
    let expected = b3sum(&scene.directory.path().join("film"));
    wait_until("the upload is under way", seconds(120), || received(&scene.server) > 100 * MIB);
    scene.one.kill();
    let before = received(&scene.server);
    assert!(before < GIB - SENT_TWICE_MAX, "the upload had ended: {before} bytes");
    scene.one.mount();
    scene.one.sync();
    let twice = received(&scene.server) - GIB;
    println!("killed after {} MiB, sent twice: {} KiB", before / MIB, twice / 1024);
    assert!(twice <= SENT_TWICE_MAX, "{twice} bytes were sent twice");
    let node = scene.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], expected.as_str());
}

#[test]
fn a_killed_server_gets_only_what_it_lacks() {
    let mut scene = Single::new();
    scene.copy_in(GIB);
    let expected = b3sum(&scene.directory.path().join("film"));
    wait_until("the upload is under way", seconds(120), || received(&scene.server) > 100 * MIB);
    let before = received(&scene.server);
    scene.server.kill();
    assert!(before < GIB - SENT_TWICE_MAX, "the upload had ended: {before} bytes");
    scene.server.restart();
    scene.one.sync();
    let after = received(&scene.server);
    println!("killed after {} MiB, then sent {} MiB", before / MIB, after / MIB);
    assert!(before + after <= GIB + SENT_TWICE_MAX, "{before} + {after} bytes were sent");
    let node = scene.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], expected.as_str());
}

#[test]
fn a_killed_daemon_loses_nothing_it_acknowledged() {
    let mut scene = Single::new();
    scene.server.stop();
    let path = |name: &str| scene.one.path(name);
    fs::create_dir(path("directory")).unwrap();
    fs::write(path("old name"), "renamed").unwrap();
    fs::rename(path("old name"), path("directory/new name")).unwrap();
    fs::write(path("doomed"), "x").unwrap();
    fs::remove_file(path("doomed")).unwrap();
    std::os::unix::fs::symlink("target", path("link")).unwrap();
    fs::hard_link(path("directory/new name"), path("twin")).unwrap();
    let mut open = File::create(path("open")).unwrap();
    open.write_all(&[7; 300_000]).unwrap();
    open.write_all(b"the last bytes").unwrap();
    scene.one.kill();
    drop(open);
    scene.one.mount();
    assert_eq!(names(&path("")), ["directory", "link", "open", "twin"]);
    assert_eq!(fs::read(path("directory/new name")).unwrap(), b"renamed");
    assert_eq!(fs::read(path("twin")).unwrap(), b"renamed");
    assert_eq!(fs::read_link(path("link")).unwrap().to_str(), Some("target"));
    let bytes = fs::read(path("open")).unwrap();
    assert_eq!(bytes.len(), 300_014);
    assert!(bytes[..300_000].iter().all(|byte| *byte == 7) && bytes.ends_with(b"the last bytes"));
    scene.server.restart();
    scene.one.sync();
    let two = scene.another_device("two");
    wait_until("the other device has it", seconds(10), || two.path("open").exists());
    assert_eq!(fs::read(two.path("open")).unwrap(), bytes);
    assert_eq!(names(&two.path("")), ["directory", "link", "open", "twin"]);
}
