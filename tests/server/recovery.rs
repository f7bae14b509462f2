//! A server that is killed: nothing acknowledged is lost, and what was begun goes on.

use std::thread;

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::ids::NodeId;

use crate::harness::content::{Content, Upload, batch_of, send_batch, upload};
use crate::harness::drive::{Change, apply, commit, head};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const CHUNK: usize = CHUNK_SIZE as usize;

#[test]
fn an_upload_goes_on_after_the_server_was_killed() {
    let mut server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 8 * CHUNK);
    let begun = Upload::begin(&ada, &content.init());
    for index in 0..5 {
        begun.put(index, content.chunk(index)).expect(204);
    }
    server.kill();
    server.restart();
    let again = Upload::begin(&ada, &content.init());
    assert_eq!(again.path, begun.path);
    assert_eq!(again.missing, [5, 6, 7], "acknowledged chunks were lost");
    for index in again.missing.clone() {
        again.put(index, content.chunk(index)).expect(204);
    }
    again.complete().expect(200);
    let path = format!("/file/download?digest={}", content.digest);
    assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
}

#[test]
fn a_server_killed_while_chunks_arrive_keeps_those_that_it_acknowledged() {
    let mut server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 24 * CHUNK);
    let path = Upload::begin(&ada, &content.init()).path;
    let mut acknowledged = Vec::new();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let put = |index: &u64| {
                let path = format!("{path}/{index}");
                let body = content.chunk(*index).to_vec();
                let answer = ada.try_send(reqwest::Method::PUT, &path, &[], body);
                answer.is_ok_and(|answer| answer.status == 204)
            };
            (0..24u64).take_while(put).collect::<Vec<u64>>()
        });
        let watch = server.api();
        let received = || {
            let text = String::from_utf8(watch.get("/metrics").expect(200).body).unwrap();
            let line =
                text.lines().find_map(|line| line.strip_prefix("miaofs_chunks_received_total "));
            line.map_or(0.0, |value| value.parse().unwrap())
        };
        wait_until("some chunks arrived", seconds(60), || received() >= 3.0);
        server.kill();
        acknowledged = sender.join().unwrap();
    });
    server.restart();
    let again = Upload::begin(&ada, &content.init());
    let lost: Vec<&u64> =
        acknowledged.iter().filter(|index| again.missing.contains(index)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    upload(&ada, &content);
    let path = format!("/file/download?digest={}", content.digest);
    assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
}

#[test]
fn an_acknowledged_commit_and_content_survive_the_kill() {
    let mut server = Server::new();
    let ada = server.sign_up("ada");
    let seed = Seed::of_this_run();
    let (large, small) =
        (Content::random(seed, "l", 2 * CHUNK + 9), Content::random(seed, "s", 99));
    upload(&ada, &large);
    send_batch(&ada, batch_of(&[&small])).expect(200);
    let files =
        [Change::file(NodeId::ROOT, "large", &large), Change::file(NodeId::ROOT, "small", &small)];
    let seq = apply(&ada, &[&files[0], &files[1]]);
    server.kill();
    server.restart();
    assert_eq!(head(&ada), seq);
    for (path, content) in [("large", &large), ("small", &small)] {
        let answer = ada.get(&format!("/file/download?path=/{path}")).expect(200);
        assert!(answer.body == content.bytes, "{path}: other bytes came back");
    }
    let again = commit(&ada, &[&files[0]]);
    assert_eq!(again["applied"][0]["version"], seq);
}

#[test]
fn staged_bytes_move_to_the_store_and_stay_readable_all_the_while() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 2 * CHUNK + 55);
    upload(&ada, &content);
    apply(&ada, &[&Change::file(NodeId::ROOT, "film", &content)]);
    let path = format!("/file/download?digest={}", content.digest);
    let moved = || server.stored().contains(&content.size());
    wait_until("the blob is in the store", seconds(60), || {
        assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
        moved()
    });
    let staged = || server.staged().iter().sum::<u64>();
    wait_until("nothing is staged any more", seconds(60), || staged() < CHUNK_SIZE);
    assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
    assert!(server.metric("miaofs_transfers_total") >= 1);
}

#[test]
fn a_transfer_that_a_kill_interrupted_is_finished_after_the_restart() {
    let mut server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 4 * CHUNK);
    upload(&ada, &content);
    server.kill();
    server.restart();
    let moved = || server.stored().contains(&content.size());
    wait_until("the blob is in the store", seconds(120), moved);
    let path = format!("/file/download?digest={}", content.digest);
    assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
}

#[test]
fn contents_that_nobody_refers_to_are_collected_and_the_others_stay() {
    let directory = scratch();
    let arguments = ["--grace-period", "1"];
    let server = Server::start_with(&directory.path().join("data"), &arguments);
    let ada = server.sign_up("ada");
    let seed = Seed::of_this_run();
    let contents = ["kept", "gone"].map(|label| Content::random(seed, label, 2 * CHUNK));
    let files = ["kept", "gone"].map(|name| name.to_owned());
    let mut changes = Vec::new();
    for (name, content) in files.iter().zip(&contents) {
        upload(&ada, content);
        let change = Change::file(NodeId::ROOT, name, content);
        apply(&ada, &[&change]);
        changes.push(change);
    }
    apply(&ada, &[&Change::delete(changes[1].id(), head(&ada))]);
    let held = || server.stored().iter().chain(&server.staged()).sum::<u64>();
    wait_until("the unused bytes are gone", seconds(120), || held() < 3 * CHUNK_SIZE);
    assert!(ada.get("/file/download?path=/kept").expect(200).body == contents[0].bytes);
}
