//! Work in flight when a dependency ends under it. These tests break dependencies that others use, and
//! run alone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::Value;

use crate::database::Database;
use crate::harness::api::Api;
use crate::harness::content::{Content, batch_of, send_batch};
use crate::harness::drive::{Change, commit_of};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::services::services;
use crate::harness::wait::{seconds, wait_until};

/// Devices that commit at once.
const DEVICES: usize = 4;
/// Kills of the primary.
const KILLS: u64 = 3;

/// Sends a request until it is answered with 200; each other answer has to tell when to come again.
fn insist(send: impl Fn() -> crate::harness::api::Answer) -> Value {
    let began = Instant::now();
    loop {
        let answer = send();
        if answer.status == 200 {
            return answer.json();
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 503, "{text}");
        assert!(answer.header("retry-after").is_some(), "503 does not say when to come again");
        assert!(began.elapsed() < seconds(90), "still 503 after {:?}", began.elapsed());
        thread::sleep(seconds(1) / 10);
    }
}

/// Uploads a small content and names it; again and again the same until it is acknowledged.
fn bring(user: &Api, content: &Content, name: &str) {
    insist(|| send_batch(user, batch_of(&[content])));
    let body = commit_of(&[&Change::file(NodeId::ROOT, name, content)]).to_string();
    let headers = [("content-type", "application/json")];
    let committed =
        insist(|| user.send(Method::POST, "/fs/commit", &headers, body.clone().into_bytes()));
    assert_eq!(committed["applied"].as_array().unwrap().len(), 1, "{committed}");
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_primary_that_is_killed_amid_commits_leaves_nothing_half_done() {
    let (directory, database) = (scratch(), Database::new());
    let data = directory.path().join("data");
    let mut server = database.serve(&data, &[]);
    let seed = Seed::of_this_run();
    let users: Vec<Api> = (0..DEVICES).map(|user| server.sign_up(&format!("user{user}"))).collect();
    let (done, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let counts: Vec<u64> = thread::scope(|scope| {
        let work = |(number, user)| {
            let (done, acknowledged) = (&done, &acknowledged);
            scope.spawn(move || {
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    let content = Content::random(seed, &format!("{number} {count}"), 2000);
                    bring(user, &content, &format!("f{count}"));
                    count += 1;
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                count
            })
        };
        let workers: Vec<_> = users.iter().enumerate().map(work).collect();
        for kill in 1..=KILLS {
            let enough = acknowledged.load(Ordering::Relaxed) + 20 * kill;
            wait_until("commits go on", seconds(120), || {
                acknowledged.load(Ordering::Relaxed) >= enough
            });
            services(&["kill", "mariadb"]);
            services(&["start", "mariadb"]);
        }
        let enough = acknowledged.load(Ordering::Relaxed) + 20;
        wait_until("commits go on", seconds(120), || {
            acknowledged.load(Ordering::Relaxed) >= enough
        });
        done.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    for (user, count) in users.iter().zip(&counts) {
        let listing = user.get(&format!("/fs/list/{}", NodeId::ROOT)).expect(200).json();
        assert_eq!(listing["nodes"].as_array().unwrap().len() as u64, *count);
        let newest = count - 1;
        assert_eq!(
            user.get(&format!("/file/download?path=/f{newest}")).expect(200).body.len(),
            2000
        );
    }
    // What a refused request left staged goes when the process starts anew.
    server.stop();
    server.restart();
    server.stop();
    database.check(&data);
}
