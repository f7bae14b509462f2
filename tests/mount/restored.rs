//! A server that was restored from an older copy: it gets back what devices have and it lacks, and all are equal again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::device::Device;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::tree::difference;
use crate::harness::wait::{seconds, wait_until};

/// Time in which all devices must be equal again.
const SETTLED: Duration = seconds(60);

/// Two devices, and a server with an older copy of what it has.
struct Restored {
    one: Device,
    two: Device,
    server: Server,
    directory: TempDir,
}

/// Writes what the copy has, and what is made after it.
fn prepare() -> Restored {
    let directory = scratch();
    let server = Server::start_embedded(&directory.path().join("data"), &[]);
    let one = Device::signed_up(directory.path(), "one", &server, "ada");
    let two = Device::signed_in(directory.path(), "two", &server, "ada");
    fs::create_dir_all(one.path("directory/inner")).unwrap();
    for name in ["same", "edited", "edited on both", "removed", "directory/inner/file"] {
        fs::write(one.path(name), format!("{name} as it was")).unwrap();
    }
    one.sync();
    settle(&[&one, &two]);
    command(server.data(), "backup", directory.path());
    fs::write(one.path("edited"), "edited after the copy").unwrap();
    fs::write(one.path("edited on both"), "edited after the copy, on one").unwrap();
    fs::write(one.path("new"), "made after the copy").unwrap();
    fs::create_dir(one.path("new directory")).unwrap();
    fs::write(one.path("new directory/large"), vec![7; 9 << 20]).unwrap();
    fs::rename(one.path("directory"), one.path("moved")).unwrap();
    fs::remove_file(one.path("removed")).unwrap();
    one.sync();
    settle(&[&one, &two]);
    // All that is after the copy is here, on one of the devices at least.
    fs::read(two.path("new directory/large")).unwrap();
    Restored { one, two, server, directory }
}

impl Restored {
    /// Puts the backup in place of what the server has; it is stopped afterwards.
    fn restore(&mut self) {
        self.server.kill();
        fs::remove_dir_all(self.server.data()).unwrap();
        command(self.server.data(), "restore", self.directory.path());
    }

    /// The drive is as it was before the restoration, also for a device that comes anew.
    fn check(&self) {
        settle(&[&self.one, &self.two]);
        let third = Device::signed_in(self.directory.path(), "three", &self.server, "ada");
        settle(&[&self.one, &third]);
        for (name, text) in [
            ("same", "same as it was"),
            ("edited", "edited after the copy"),
            ("new", "made after the copy"),
            ("moved/inner/file", "directory/inner/file as it was"),
        ] {
            assert_eq!(fs::read_to_string(third.path(name)).unwrap(), text, "{name}");
        }
        assert_eq!(fs::read(third.path("new directory/large")).unwrap(), vec![7; 9 << 20]);
        assert!(!third.path("directory").exists());
    }
}

/// Runs a command of the server that takes the place of the backup.
fn command(data: &Path, verb: &str, directory: &Path) {
    let backup = directory.join("backup");
    let mut command = Server::command(data, &[verb, backup.to_str().unwrap()]);
    assert!(command.status().unwrap().success(), "{verb}");
}

/// Waits until devices are equal and have nothing left to send.
pub(crate) fn settle(devices: &[&Device]) {
    let start = Instant::now();
    loop {
        let pending = devices.iter().map(|device| device.status()["pending_nodes"].clone());
        let apart = difference(&devices[0].path(""), &devices[1].path(""));
        if apart.is_empty() && pending.clone().all(|pending| pending == 0) {
            return;
        }
        let told = || devices.iter().map(|it| format!("{:#}", it.status())).collect::<String>();
        assert!(start.elapsed() < SETTLED, "they do not settle: {apart}\n{}", told());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Names in a directory that tell of a conflict.
fn conflicts(at: &Path) -> Vec<String> {
    let names = fs::read_dir(at).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("(conflict ")).collect()
}

/// Kills a device, and puts it back to where it was before the server told it of its own last commits.
fn kill_and_forget_the_feed_since(device: &Device, cursor: &Value) {
    let database = Connection::open(device.state().join("state.db")).unwrap();
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    let get = "SELECT value FROM meta WHERE key = 'cursor'";
    wait_until("the database has committed the cursor", seconds(20), || {
        let committed: Option<i64> = database.query_row(get, [], |row| row.get(0)).ok();
        device.status()["cursor"].as_i64() == committed
    });
    device.kill();
    let set = "UPDATE meta SET value = ?1 WHERE key = 'cursor'";
    assert_eq!(database.execute(set, [cursor.as_i64()]).unwrap(), 1);
}

#[test]
fn what_the_server_had_just_taken_when_it_was_restored_is_sent_again() {
    for commits_of_the_other in [0, 4] {
        let directory = scratch();
        let mut server = Server::start_embedded(&directory.path().join("data"), &[]);
        let one = Device::signed_up(directory.path(), "one", &server, "ada");
        let two = Device::signed_in(directory.path(), "two", &server, "ada");
        fs::create_dir(one.path("directory")).unwrap();
        one.sync();
        settle(&[&one, &two]);
        command(server.data(), "backup", directory.path());
        let cursor = one.status()["cursor"].clone();
        two.kill();
        fs::rename(one.path("directory"), one.path("renamed")).unwrap();
        one.sync();
        kill_and_forget_the_feed_since(&one, &cursor);
        server.kill();
        fs::remove_dir_all(server.data()).unwrap();
        command(server.data(), "restore", directory.path());
        server.restart();
        two.mount();
        for number in 0..commits_of_the_other {
            fs::write(two.path(&format!("directory/{number}")), "of two").unwrap();
            two.sync();
        }
        one.mount();
        settle(&[&one, &two]);
        assert!(two.path("renamed").exists(), "after {commits_of_the_other} commits of the other");
        let made = fs::read_dir(two.path("renamed")).unwrap().count();
        assert_eq!(made, commits_of_the_other);
    }
}

#[test]
fn a_server_restored_from_an_older_copy_gets_back_what_it_lacks() {
    let mut restored = prepare();
    restored.restore();
    restored.server.restart();
    restored.check();
    assert_eq!(conflicts(&restored.one.path("")), Vec::<String>::new());
}

#[test]
fn what_was_changed_on_a_restored_server_meanwhile_is_a_conflict_only_where_both_differ() {
    let mut restored = prepare();
    restored.one.umount();
    restored.two.umount();
    restored.restore();
    restored.server.restart();
    // Another device takes the drive past the commits that the first two have seen.
    let other = Device::signed_in(restored.directory.path(), "other", &restored.server, "ada");
    fs::write(other.path("edited on both"), "edited after the copy, on other").unwrap();
    for number in 0..20 {
        fs::write(other.path("new of other"), format!("{number}")).unwrap();
        other.sync();
    }
    restored.one.mount();
    restored.two.mount();
    settle(&[&restored.one, &other]);
    restored.check();
    let conflicts = conflicts(&restored.one.path(""));
    assert!(matches!(&conflicts[..], [one] if one.starts_with("edited on both ")), "{conflicts:?}");
    let mut texts = [restored.one.path("edited on both"), restored.one.path(&conflicts[0])]
        .map(|path| fs::read_to_string(path).unwrap());
    texts.sort();
    assert_eq!(texts, ["edited after the copy, on one", "edited after the copy, on other"]);
    assert_eq!(fs::read_to_string(restored.one.path("new of other")).unwrap(), "19");
}

#[test]
fn a_change_that_was_made_offline_reaches_a_server_that_is_restored_meanwhile() {
    let mut restored = prepare();
    restored.restore();
    fs::write(restored.one.path("edited"), "edited offline").unwrap();
    fs::remove_file(restored.one.path("same")).unwrap();
    fs::write(restored.one.path("offline"), "made offline").unwrap();
    restored.one.kill();
    restored.server.restart();
    restored.one.mount();
    wait_until("the change is on the other device", SETTLED, || {
        fs::read(restored.two.path("offline")).is_ok_and(|text| text == b"made offline")
    });
    settle(&[&restored.one, &restored.two]);
    assert_eq!(fs::read_to_string(restored.two.path("edited")).unwrap(), "edited offline");
    assert!(!restored.two.path("same").exists());
    assert_eq!(fs::read_to_string(restored.two.path("new")).unwrap(), "made after the copy");
}
