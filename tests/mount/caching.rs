//! The cache of a device: at most the limit, and never less than what exists nowhere else.

use crate::fixture::{MIB, Single};
use crate::harness::command::b3sum;
use crate::harness::device::Device;
use crate::harness::disk::room_taken;
use crate::harness::wait::{seconds, wait_until};

#[test]
fn the_cache_keeps_its_limit_and_the_file_stays_whole() {
    let fixture = Single::new();
    fixture.copy_in(256 * MIB);
    fixture.one.sync();
    let two = Device::new(fixture.directory.path(), "two");
    two.sign("login", &fixture.server.url(), "ada").expect_success();
    two.mount_with(&["--cache-size", "64M"]).expect_success();
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let expected = b3sum(&fixture.directory.path().join("film"));
    for _ in 0..2 {
        assert_eq!(b3sum(&two.path("film")), expected);
        wait_until("the cache is within its limit", seconds(20), || {
            room_taken(&two.state().join("data")) < 80 * MIB
        });
    }
}

#[test]
fn what_is_not_on_the_server_yet_is_never_evicted() {
    let mut fixture = Single::new();
    fixture.one.umount();
    fixture.one.mount_with(&["--cache-size", "16M"]).expect_success();
    fixture.server.stop();
    fixture.copy_in(64 * MIB);
    let expected = b3sum(&fixture.directory.path().join("film"));
    assert_eq!(b3sum(&fixture.one.path("film")), expected);
    fixture.server.restart();
    fixture.one.sync();
    wait_until("what is on the server goes", seconds(30), || {
        room_taken(&fixture.one.state().join("data")) < 32 * MIB
    });
    assert_eq!(b3sum(&fixture.one.path("film")), expected);
}

#[test]
fn a_file_that_was_read_is_not_fetched_again() {
    let fixture = Single::new();
    fixture.copy_in(32 * MIB);
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the file is seen", seconds(10), || two.path("film").exists());
    let expected = b3sum(&two.path("film"));
    let fetched = fixture.server.metric("miaofs_download_bytes_total");
    assert!((32 * MIB..=40 * MIB).contains(&fetched), "{fetched} bytes for 32 MiB");
    two.umount();
    two.mount();
    assert_eq!(b3sum(&two.path("film")), expected);
    assert_eq!(fixture.server.metric("miaofs_download_bytes_total"), fetched);
}
