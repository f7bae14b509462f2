//! Transfers by a real RabbitMQ: killed in the middle, and with a store that refuses.

use std::fs;
use std::path::Path;
use std::process::Command;

use miaofs::content::CHUNK_SIZE;
use serde_json::Value;

use crate::harness::api::Api;
use crate::harness::command::output;
use crate::harness::content::{Content, batch_of, send_batch, upload};
use crate::harness::rabbit::Rabbit;
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const CHUNK: usize = CHUNK_SIZE as usize;

/// Output of `transfer ACTION --json`, one value a line.
fn transfer(data: &Path, rabbit: &Rabbit, action: &[&str]) -> Vec<Value> {
    let mut command = Command::new(Server::binary());
    command.arg("transfer").args(action).arg("--json").arg("--data").arg(data);
    let printed = output(command.env("MIAOFS_SERVER_AMQP_URL", rabbit.url()));
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A content that came in chunks and one that came in a batch: two blobs.
fn bring(api: &Api, seed: Seed, label: &str) -> [Content; 2] {
    let large = Content::random(seed, &format!("{label}, large"), CHUNK + 77);
    let small = Content::random(seed, &format!("{label}, small"), 1000);
    upload(api, &large);
    send_batch(api, batch_of(&[&small])).expect(200);
    [large, small]
}

fn are_whole(api: &Api, contents: &[Content]) {
    for content in contents {
        let path = format!("/file/download?digest={}", content.digest);
        assert!(api.get(&path).expect(200).body == content.bytes, "other bytes came back");
    }
}

#[test]
#[ignore = "starts a RabbitMQ, which scripts/services installs"]
fn a_killed_rabbitmq_delays_transfers_and_loses_none() {
    let directory = scratch();
    let (data, seed) = (directory.path().join("data"), Seed::of_this_run());
    let rabbit = Rabbit::start(&directory.path().join("services"));
    let server = Server::start_embedded(&data, &["--amqp-url", &rabbit.url()]);
    let ada = server.sign_up("ada");
    let mut brought = Vec::new();
    for round in 0..3 {
        brought.extend(bring(&ada, seed, &format!("{round}, before")));
        rabbit.kill();
        brought.extend(bring(&ada, seed, &format!("{round}, meanwhile")));
        rabbit.start_again();
    }
    let waiting = || transfer(&data, &rabbit, &["list"]);
    wait_until("everything has moved", seconds(90), || waiting().is_empty());
    let status = &transfer(&data, &rabbit, &["status"])[0];
    assert_eq!(status["queues"][0]["messages"], 0, "dead letters: {status}");
    assert!(server.staged().is_empty(), "staged bytes are left");
    are_whole(&ada, &brought);
}

/// Puts a file wherever a store would have a directory, so that it takes no new blob.
fn refuse(data: &Path) {
    for first in 0..=255 {
        fs::write(data.join(format!("store/{first:02x}")), b"in the way").unwrap();
    }
}

fn mend(data: &Path) {
    for first in 0..=255 {
        fs::remove_file(data.join(format!("store/{first:02x}"))).unwrap();
    }
}

#[test]
#[ignore = "starts a RabbitMQ, which scripts/services installs"]
fn what_a_store_refuses_is_listed_with_its_reason_and_moves_after_a_retry() {
    let directory = scratch();
    let (data, seed) = (directory.path().join("data"), Seed::of_this_run());
    let rabbit = Rabbit::start(&directory.path().join("services"));
    let url = rabbit.url();
    let impatient = ["--amqp-url", &url, "--transfer-attempts", "3", "--transfer-pause", "0"];
    let server = Server::start_embedded(&data, &impatient);
    let ada = server.sign_up("ada");
    refuse(&data);
    let brought = bring(&ada, seed, "refused");

    let dead = || transfer(&data, &rabbit, &["list", "--state", "dead"]);
    wait_until("both have failed for good", seconds(60), || dead().len() == 2);
    for transfer in dead() {
        assert_eq!(transfer["attempts"], 3, "{transfer}");
        let error = transfer["error"].as_str().unwrap();
        assert!(error.contains("store"), "it does not say why: {error}");
    }
    let letters = || {
        transfer(&data, &rabbit, &["status"])[0]["queues"].as_array().unwrap().last().unwrap()["messages"].clone()
    };
    wait_until("the dead letters are in their queue", seconds(20), || letters() == 2);
    are_whole(&ada, &brought);

    mend(&data);
    let one = dead()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(transfer(&data, &rabbit, &["retry", &one])[0]["retried"], 1);
    wait_until("one has moved", seconds(60), || dead().len() == 1);
    assert_eq!(transfer(&data, &rabbit, &["retry", "--all"])[0]["retried"], 1);
    let waiting = || transfer(&data, &rabbit, &["list"]);
    wait_until("everything has moved", seconds(60), || waiting().is_empty());
    wait_until("no dead letter is left", seconds(20), || letters() == 0);
    are_whole(&ada, &brought);
}
