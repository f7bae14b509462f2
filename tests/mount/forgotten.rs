//! A device that was away while the server forgot deletions: what was deleted goes, and what it made itself stays.

use std::fs;

use rusqlite::Connection;

use crate::harness::device::Device;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};
use crate::restored::settle;

/// Waits until an embedded server that remembers deletions for a second has forgotten all.
pub(crate) fn await_forgetting(server: &Server) {
    let database = Connection::open(server.data().join("miaofs.db")).unwrap();
    let count = "SELECT COUNT(*) FROM nodes WHERE deleted_at IS NOT NULL";
    wait_until("the server has forgotten all deletions", seconds(30), || {
        database.query_row(count, [], |row| row.get(0)) == Ok(0)
    });
}

#[test]
fn who_was_away_while_deletions_were_forgotten_deletes_them_and_keeps_its_own_changes() {
    let directory = scratch();
    let arguments = ["--tombstone-ttl", "1"];
    let mut server = Server::start_embedded(&directory.path().join("data"), &arguments);
    let one = Device::signed_up(directory.path(), "one", &server, "ada");
    let two = Device::signed_in(directory.path(), "two", &server, "ada");
    for name in ["gone/a/b", "filled/inner", "kept", "removed on both"] {
        fs::create_dir_all(one.path(name)).unwrap();
    }
    let files = ["file", "edited", "renamed", "gone/a/b/file", "filled/inner/old", "kept/file"];
    for name in files {
        fs::write(one.path(name), format!("{name} as it was")).unwrap();
    }
    one.sync();
    settle(&[&one, &two]);
    // One that was read before it is deleted, and whose inode the kernel knows.
    assert_eq!(fs::read_to_string(two.path("file")).unwrap(), "file as it was");
    server.stop();
    fs::write(two.path("edited"), "edited on two").unwrap();
    fs::write(two.path("filled/inner/new"), "made on two").unwrap();
    fs::write(two.path("kept/of two"), "made on two").unwrap();
    fs::remove_dir(two.path("removed on both")).unwrap();
    two.kill();
    server.restart();
    for name in ["file", "edited"] {
        fs::remove_file(one.path(name)).unwrap();
    }
    for name in ["gone", "filled", "removed on both"] {
        fs::remove_dir_all(one.path(name)).unwrap();
    }
    fs::rename(one.path("renamed"), one.path("kept/renamed")).unwrap();
    fs::write(one.path("file"), "another of the same name").unwrap();
    one.sync();
    await_forgetting(&server);

    two.mount();
    settle(&[&one, &two]);
    for device in [&one, &two] {
        let text = |name: &str| fs::read_to_string(device.path(name)).unwrap();
        assert_eq!(text("edited"), "edited on two");
        assert_eq!(text("filled/inner/new"), "made on two");
        assert_eq!(text("file"), "another of the same name");
        assert_eq!(text("kept/of two"), "made on two");
        assert_eq!(text("kept/renamed"), "renamed as it was");
        for name in ["gone", "filled/inner/old", "removed on both", "renamed"] {
            assert!(!device.path(name).exists(), "{name} came back");
        }
        assert_eq!(fs::read_dir(device.path("")).unwrap().count(), 4);
    }
    let log = fs::read_to_string(two.state().join("daemon.log")).unwrap();
    assert!(log.contains("listing the whole drive again"), "{log}");
}
