//! What need not travel does not: known contents, unchanged chunks, unread bytes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use crate::harness::device::Device;
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};
use crate::scene::{GIB, MIB, Single, b3sum, received, run};

#[test]
fn a_copy_of_a_known_file_sends_no_content() {
    let scene = Single::new();
    scene.copy_in(64 * MIB);
    scene.one.sync();
    let before = received(&scene.server);
    assert_eq!(before, 64 * MIB);
    run("cp", &[&scene.one.path("film"), &scene.one.path("copy in the mount")]);
    run("cp", &[&scene.directory.path().join("film"), &scene.one.path("copied in again")]);
    scene.one.sync();
    assert_eq!(received(&scene.server), before);
    let api = scene.server.sign_in("ada");
    let digest = |name| {
        let node = api.get(&format!("/file/meta?path=/{name}")).expect(200).json();
        node["state"]["content"]["digest"].clone()
    };
    assert_eq!(digest("film"), digest("copy%20in%20the%20mount"));
    assert_eq!(digest("film"), digest("copied%20in%20again"));
}

#[test]
fn a_changed_mebibyte_of_a_gibibyte_sends_at_most_eight() {
    let scene = Single::new();
    scene.copy_in(GIB);
    scene.one.sync();
    let before = received(&scene.server);
    let bytes = Seed::of_this_run().bytes("change", MIB as usize);
    for path in [scene.one.path("film"), scene.directory.path().join("film")] {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&bytes, 512 * MIB + 12_345).unwrap();
    }
    scene.one.sync();
    let sent = received(&scene.server) - before;
    println!("sent for 1 MiB changed in 1 GiB: {} KiB", sent / 1024);
    assert!((MIB..=8 * MIB).contains(&sent), "{sent} bytes were sent");
    let expected = b3sum(&scene.directory.path().join("film"));
    let node = scene.server.sign_in("ada").get("/file/meta?path=/film").expect(200).json();
    assert_eq!(node["state"]["content"]["digest"], expected.as_str());
}

#[test]
fn a_file_that_another_account_has_is_there_at_once() {
    let scene = Single::new();
    scene.copy_in(64 * MIB);
    scene.one.sync();
    let before = received(&scene.server);
    let bob = Device::signed_up(scene.directory.path(), "bob", &scene.server, "bob");
    run("cp", &[&scene.directory.path().join("film"), &bob.path("mine")]);
    bob.sync();
    assert_eq!(received(&scene.server), before);
    let digest = b3sum(&scene.directory.path().join("film"));
    let path = format!("/file/download?digest={digest}");
    assert_eq!(scene.server.sign_in("bob").get(&path).expect(200).body.len() as u64, 64 * MIB);
    scene.server.sign_up("eve").get(&path).expect_problem(404, "not_found");
}

#[test]
fn a_small_read_in_a_large_file_fetches_little() {
    let scene = Single::new();
    scene.copy_in(GIB);
    scene.one.sync();
    let two = scene.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let before = scene.server.metric("miaofs_download_bytes_total");
    let mut expected = vec![0; 64 * 1024];
    let local = File::open(scene.directory.path().join("film")).unwrap();
    local.read_exact_at(&mut expected, 512 * MIB).unwrap();
    let mut bytes = vec![0; 64 * 1024];
    let remote = File::open(two.path("film")).unwrap();
    remote.read_exact_at(&mut bytes, 512 * MIB).unwrap();
    assert!(bytes == expected, "other bytes came back");
    let fetched = scene.server.metric("miaofs_download_bytes_total") - before;
    println!("fetched for 64 KiB read: {} KiB", fetched / 1024);
    assert!(fetched <= MIB, "{fetched} bytes were fetched for 64 KiB");
}

#[test]
fn a_sequential_read_keeps_several_ranges_in_flight() {
    let scene = Single::new();
    scene.copy_in(256 * MIB);
    scene.one.sync();
    let two = scene.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let expected = b3sum(&scene.directory.path().join("film"));
    assert_eq!(b3sum(&two.path("film")), expected);
    let status = two.status();
    let most = status["counters"]["ranges_in_flight_max"].as_u64();
    println!("ranges in flight at the most: {most:?}");
    assert!(most >= Some(3), "{status}");
}
