//! No token, password or signed URL stands in the log of a daemon, however much it logs.

use std::fs;

use crate::fixture::Single;

/// The logs are looked through when the device ends.
#[test]
fn a_daemon_that_logs_everything_logs_no_secret() {
    let scene = Single::new();
    scene.one.umount();
    scene.one.mount_with(&["--log", "trace"]).expect_success();
    let bytes = vec![7; 6 << 20];
    fs::write(scene.one.path("large"), &bytes).unwrap();
    fs::write(scene.one.path("small"), "x").unwrap();
    scene.one.sync();
    let created = ["token", "create", "--path", "/small", "--read", "--expires", "1h", "--json"];
    let created = scene.one.run(&created).expect_success();
    let created: serde_json::Value = serde_json::from_str(&created.stdout).unwrap();
    assert!(created["token"].as_str().unwrap().starts_with("miao_"));
    let listed = scene.one.run(&["token", "list"]).expect_success().stdout;
    assert!(listed.contains("/small read") && !listed.contains("miao_"), "{listed}");
    scene.one.run(&["token", "revoke", "/small read"]).expect_success();
    scene.one.run(&["token", "revoke", "/small read"]).expect_failure(&["no token"]);
    scene.one.umount();
    let log = scene.one.state().join("daemon.log");
    assert!(fs::metadata(log).unwrap().len() > 10_000, "it has hardly logged anything");
}
