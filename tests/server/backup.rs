//! `miaofs-server backup` and `restore`: a copy that is made beside a busy server is whole, and a server of it serves.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::commands::run_with;
use crate::fsck::work;
use crate::harness::api::Api;
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Backups that are made beside the users' work.
const BACKUPS: usize = 6;

#[test]
fn a_backup_beside_a_busy_server_is_whole_and_is_restored() {
    let (directory, seed) = (scratch(), Seed::of_this_run());
    let server = Server::start_embedded(&directory.path().join("data"), &["--grace-period", "60"]);
    let backup = directory.path().join("backup");
    let stop = AtomicBool::new(false);
    let users: Vec<Api> = (0..4).map(|user| server.sign_up(&format!("user{user}"))).collect();
    let backups: Vec<Value> = std::thread::scope(|scope| {
        for (user, api) in (0..).zip(&users) {
            let stop = &stop;
            scope.spawn(move || work(api, seed, user, stop));
        }
        let made = (0..BACKUPS).map(|number| {
            let blobs = server.stored().len();
            wait_until("there is more to copy", seconds(20), || server.stored().len() > blobs + 5);
            let arguments = ["backup", "--json", backup.to_str().unwrap()];
            let output = run_with(server.data(), &arguments, "");
            assert!(output.status.success(), "backup {number}: {output:?}");
            serde_json::from_slice(&output.stdout).unwrap()
        });
        let made = made.collect();
        stop.store(true, Ordering::Relaxed);
        made
    });
    let count = |at: usize, what: &str| backups[at][what].as_u64().unwrap();
    assert!((0..BACKUPS).all(|at| count(at, "lost") == 0), "{backups:?}");
    assert!(
        count(BACKUPS - 1, "kept") >= count(0, "blobs") / 2,
        "what is there is not copied again"
    );

    let data = directory.path().join("restored");
    let restored = run_with(&data, &["restore", backup.to_str().unwrap()], "");
    assert!(restored.status.success(), "{restored:?}");
    let again = run_with(&data, &["restore", backup.to_str().unwrap()], "");
    assert!(String::from_utf8_lossy(&again.stderr).contains("move it away first"), "{again:?}");
    let server = Server::start_embedded(&data, &[]);
    let checked = run_with(&data, &["fsck", "--deep", "--json"], "");
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert!(checked.status.success(), "{report:#}");
    assert!(report["checked"]["nodes"].as_u64().unwrap() > 4, "{report:#}");
    let listed = server.sign_in("user0").get("/fs/changes?since=0").expect(200).json();
    let files = listed["nodes"].as_array().unwrap().iter();
    let digests = files.filter_map(|node| node["state"]["content"]["digest"].as_str());
    let api = server.sign_in("user0");
    for digest in digests {
        api.get(&format!("/file/download?digest={digest}")).expect(200);
    }
}

#[test]
fn a_backup_needs_a_directory_of_its_own() {
    let directory = scratch();
    let server = Server::start_embedded(&directory.path().join("data"), &[]);
    let other = Server::start_embedded(&directory.path().join("other"), &[]);
    for target in [server.data(), other.data()] {
        let output = run_with(server.data(), &["backup", target.to_str().unwrap()], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("another server uses"), "{said}");
    }
    let nowhere = directory.path().join("nowhere");
    std::fs::create_dir(&nowhere).unwrap();
    let data = directory.path().join("new");
    let output = run_with(&data, &["restore", nowhere.to_str().unwrap()], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("there is no backup in"), "{said}");
}
