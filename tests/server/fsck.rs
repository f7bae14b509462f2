//! `miaofs-server fsck`: quiet beside a busy server, and right about what is broken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use crate::commands::run_with;
use crate::harness::api::Api;
use crate::harness::content::{Content, batch_of, send_batch, upload};
use crate::harness::drive::{Change, commit};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Runs a check; answers its exit code and what it says.
pub(crate) fn fsck(server: &Server, arguments: &[&str]) -> (i32, Value) {
    let output = run_with(server.data(), &[&["fsck", "--json"], arguments].concat(), "");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_no_json| panic!("no report: {output:?}"));
    (output.status.code().unwrap(), report)
}

/// One user of many: uploads alone or in batches, commits, changes and deletes, at random.
pub(crate) fn work(api: &Api, seed: Seed, user: u64, stop: &AtomicBool) {
    let (mut files, mut round): (Vec<Value>, u64) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let label = format!("{user}-{round}");
        // The same contents come from several users now and then.
        let shared = format!("shared-{}", seed.below(&label, 6));
        let content = Content::random(seed, &shared, 1000);
        let own = Content::random(seed, &label, 3000);
        send_batch(api, batch_of(&[&content, &own])).expect(200);
        if round.is_multiple_of(5) {
            upload(api, &Content::random(seed, &format!("unnamed-{label}"), 5000));
        }
        let named = if round.is_multiple_of(2) { &content } else { &own };
        let change = Change::file(NodeId::ROOT, &label, named);
        let answer = commit(api, &[&change]);
        files.extend(answer["applied"].as_array().unwrap().iter().cloned());
        if files.len() > 5 {
            let file = files.swap_remove(seed.below(&format!("delete {label}"), 5) as usize);
            let id = serde_json::from_value(file["id"].clone()).unwrap();
            commit(api, &[&Change::delete(id, file["version"].as_u64().unwrap())]);
        }
    }
}

#[test]
fn a_busy_server_has_no_findings_and_neither_has_a_quiet_one() {
    let (directory, seed) = (scratch(), Seed::of_this_run());
    let data = directory.path().join("data");
    let server = Server::start_with(&data, &["--grace-period", "1"]);
    let stop = AtomicBool::new(false);
    let users: Vec<Api> = (0..4).map(|user| server.sign_up(&format!("user{user}"))).collect();
    let checks = std::thread::scope(|scope| {
        for (user, api) in (0..).zip(&users) {
            let stop = &stop;
            scope.spawn(move || work(api, seed, user, stop));
        }
        let (began, mut checks) = (Instant::now(), 0);
        let mut reports = Vec::new();
        while began.elapsed() < seconds(12) {
            let deep: &[&str] =
                if checks % 2 == 0 { &["--grace", "20"] } else { &["--grace", "20", "--deep"] };
            reports.push(fsck(&server, deep));
            checks += 1;
        }
        stop.store(true, Ordering::Relaxed);
        for (code, report) in reports {
            assert_eq!((code, &report["findings"]), (0, &json!([])), "{report:#}");
        }
        checks
    });
    eprintln!("{checks} checks beside the work");
    let staged = || server.staged().iter().sum::<u64>();
    wait_until("all is moved", seconds(60), || staged() == 0);
    let (code, report) = fsck(&server, &["--grace", "0", "--deep"]);
    assert_eq!((code, &report["findings"]), (0, &json!([])), "{report:#}");
    assert_eq!(report["checked"]["users"], 4);
    assert!(report["checked"]["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn the_exit_code_says_what_became_of_the_findings() {
    let (directory, seed) = (scratch(), Seed::of_this_run());
    let data = directory.path().join("data");
    let server = Server::start(&data);
    let anna = server.sign_up("anna");
    let content = Content::random(seed, "content", 5000);
    upload(&anna, &content);
    commit(&anna, &[&Change::file(NodeId::ROOT, "letter.txt", &content)]);
    let staging = data.join("staging");
    wait_until("it is moved", seconds(30), || std::fs::read_dir(&staging).unwrap().count() == 0);
    assert_eq!(fsck(&server, &[]).0, 0);

    std::fs::write(staging.join(format!("{}.blob", "ab".repeat(16))), b"stray").unwrap();
    assert_eq!(fsck(&server, &["--grace", "0"]).0, 4, "nothing is mended unasked");
    let (code, report) = fsck(&server, &["--grace", "0", "--repair"]);
    assert_eq!((code, &report["findings"][0]["outcome"]), (1, &json!("mended")), "{report:#}");
    assert_eq!(fsck(&server, &["--grace", "0", "--repair"]).0, 0);

    for shelf in std::fs::read_dir(data.join("store")).unwrap() {
        std::fs::remove_dir_all(shelf.unwrap().path()).unwrap();
    }
    let (code, report) = fsck(&server, &["--repair"]);
    assert_eq!((code, &report["left"]), (4, &json!(1)), "{report:#}");
    assert_eq!(report["findings"][0]["flaw"], "missing_bytes");
    assert_eq!(report["findings"][0]["affected"], json!(["anna:/letter.txt"]));
    let words = run_with(server.data(), &["fsck"], "");
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains("anna:/letter.txt"), "{words}");

    let nowhere = run_with(&directory.path().join("nowhere"), &["fsck"], "");
    assert_eq!(nowhere.status.code(), Some(8));
    let misspelt = run_with(server.data(), &["fsck", "--repare"], "");
    assert_eq!(misspelt.status.code(), Some(16));
}
