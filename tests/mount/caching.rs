//! What is kept on a device: at most the limit, and never less than what exists nowhere else.

use crate::harness::device::Device;
use crate::harness::disk::room_taken;
use crate::harness::wait::{seconds, wait_until};
use crate::scene::{MIB, Single, b3sum};

#[test]
fn the_cache_keeps_its_limit_and_the_file_stays_whole() {
    let scene = Single::new();
    scene.copy_in(256 * MIB);
    scene.one.sync();
    let two = Device::new(scene.directory.path(), "two");
    two.sign("login", &scene.server.url(), "ada").expect_success();
    two.mount_with(&["--cache-size", "64M"]).expect_success();
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let expected = b3sum(&scene.directory.path().join("film"));
    for _ in 0..2 {
        assert_eq!(b3sum(&two.path("film")), expected);
        wait_until("the cache is within its limit", seconds(20), || {
            room_taken(two.state()) < 80 * MIB
        });
    }
}

#[test]
fn what_is_not_on_the_server_yet_is_never_evicted() {
    let mut scene = Single::new();
    scene.one.umount();
    scene.one.mount_with(&["--cache-size", "16M"]).expect_success();
    scene.server.stop();
    scene.copy_in(64 * MIB);
    let expected = b3sum(&scene.directory.path().join("film"));
    assert_eq!(b3sum(&scene.one.path("film")), expected);
    scene.server.restart();
    scene.one.sync();
    wait_until("what is on the server goes", seconds(30), || {
        room_taken(scene.one.state()) < 32 * MIB
    });
    assert_eq!(b3sum(&scene.one.path("film")), expected);
}

#[test]
fn a_file_that_was_read_is_not_fetched_again() {
    let scene = Single::new();
    scene.copy_in(32 * MIB);
    scene.one.sync();
    let two = scene.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let expected = b3sum(&two.path("film"));
    let fetched = scene.server.metric("miaofs_download_bytes_total");
    assert!((32 * MIB..=40 * MIB).contains(&fetched), "{fetched} bytes for 32 MiB");
    two.umount();
    two.mount();
    assert_eq!(b3sum(&two.path("film")), expected);
    assert_eq!(scene.server.metric("miaofs_download_bytes_total"), fetched);
}
