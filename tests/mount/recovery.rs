//! Killed processes: nothing acknowledged is lost, and little is sent twice.

use std::fs::{self, File};
use std::io::Write;

use crate::fixture::{GIB, MIB, Single, names};
use crate::harness::command::b3sum;
use crate::harness::wait::{seconds, wait_until};

/// Bytes that may be sent twice: one chunk of 4 MiB for each of the parallel streams, of which there are at most 8.
const SENT_TWICE_MAX: u64 = 8 * 4 * MIB;

#[test]
fn a_killed_daemon_goes_on_with_its_upload() {
    let fixture = Single::new();
    fixture.copy_in(GIB);
    let expected = b3sum(&fixture.directory.path().join("film"));
    wait_until("the upload is under way", seconds(120), || {
        fixture.server.content_bytes_received() > 100 * MIB
    });
    fixture.one.kill();
    let before = fixture.server.content_bytes_received();
    assert!(before < GIB - SENT_TWICE_MAX, "the upload had ended: {before} bytes");
    fixture.one.mount();
    fixture.one.sync();
    let twice = fixture.server.content_bytes_received() - GIB;
    println!("killed after {} MiB, sent twice: {} KiB", before / MIB, twice / 1024);
    assert!(twice <= SENT_TWICE_MAX, "{twice} bytes were sent twice");
    let node = fixture.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], expected.as_str());
}

#[test]
fn a_killed_server_gets_only_what_it_lacks() {
    let mut fixture = Single::new();
    fixture.copy_in(GIB);
    let expected = b3sum(&fixture.directory.path().join("film"));
    wait_until("the upload is under way", seconds(120), || {
        fixture.server.content_bytes_received() > 100 * MIB
    });
    let before = fixture.server.content_bytes_received();
    fixture.server.kill();
    assert!(before < GIB - SENT_TWICE_MAX, "the upload had ended: {before} bytes");
    fixture.server.restart();
    fixture.one.sync();
    let after = fixture.server.content_bytes_received();
    println!("killed after {} MiB, then sent {} MiB", before / MIB, after / MIB);
    assert!(before + after <= GIB + SENT_TWICE_MAX, "{before} + {after} bytes were sent");
    let node = fixture.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], expected.as_str());
}

#[test]
fn a_killed_daemon_loses_nothing_it_acknowledged() {
    let mut fixture = Single::new();
    fixture.server.stop();
    let path = |name: &str| fixture.one.path(name);
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
    fixture.one.kill();
    drop(open);
    fixture.one.mount();
    assert_eq!(names(&path("")), ["directory", "link", "open", "twin"]);
    assert_eq!(fs::read(path("directory/new name")).unwrap(), b"renamed");
    assert_eq!(fs::read(path("twin")).unwrap(), b"renamed");
    assert_eq!(fs::read_link(path("link")).unwrap().to_str(), Some("target"));
    let bytes = fs::read(path("open")).unwrap();
    assert_eq!(bytes.len(), 300_014);
    assert!(bytes[..300_000].iter().all(|byte| *byte == 7) && bytes.ends_with(b"the last bytes"));
    fixture.server.restart();
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the other device has it", seconds(10), || two.path("open").exists());
    assert_eq!(fs::read(two.path("open")).unwrap(), bytes);
    assert_eq!(names(&two.path("")), ["directory", "link", "open", "twin"]);
}
