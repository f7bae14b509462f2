//! What two devices do while both are offline: both end equal, and nothing that either made is lost.

use std::fs;
use std::path::Path;

use crate::fixture::Pair;
use crate::harness::tree::difference;
use crate::harness::wait::{seconds, wait_until};

/// Waits until both devices are equal and have nothing left to send.
fn settle(fixture: &Pair) {
    for _round in 0..2 {
        fixture.one.sync();
        fixture.two.sync();
    }
    wait_until("both devices are equal and nothing is pending", seconds(60), || {
        let settled =
            [&fixture.one, &fixture.two].map(|device| device.status()["pending_nodes"] == 0);
        settled == [true, true]
            && difference(&fixture.one.path(""), &fixture.two.path("")).is_empty()
    });
}

/// Does what both do while neither sees the server; `one` comes back first.
fn apart(fixture: &mut Pair, ones: impl FnOnce(&Path), twos: impl FnOnce(&Path)) {
    settle(fixture);
    fixture.server.stop();
    ones(&fixture.one.path(""));
    twos(&fixture.two.path(""));
    fixture.two.umount();
    fixture.server.restart();
    fixture.one.sync();
    fixture.two.mount();
    settle(fixture);
}

#[test]
fn directories_moved_into_each_other_end_one_in_the_other_on_both_devices() {
    let mut fixture = Pair::new();
    for name in ["x", "y"] {
        fs::create_dir(fixture.one.path(name)).unwrap();
        fs::write(fixture.one.path(name).join("file"), name).unwrap();
    }
    apart(
        &mut fixture,
        |one| fs::rename(one.join("x"), one.join("y/x")).unwrap(),
        |two| fs::rename(two.join("y"), two.join("x/y")).unwrap(),
    );
    for device in [&fixture.one, &fixture.two] {
        assert_eq!(fs::read_to_string(device.path("y/file")).unwrap(), "y");
        assert_eq!(fs::read_to_string(device.path("y/x/file")).unwrap(), "x");
        assert!(!device.path("x").exists());
    }
}
