//! A server of several processes: which disk has what, what a host that is down delays, and restarts that
//! nobody notices.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use miaofs::content::CHUNK_SIZE;
use serde_json::json;

use crate::harness::api::Api;
use crate::harness::cluster::Cluster;
use crate::harness::content::{Content, Upload, upload};
use crate::harness::disk::room_taken;
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::services::sql;
use crate::harness::wait::{seconds, wait_until};

const CHUNK: usize = CHUNK_SIZE as usize;
/// Uploads that are begun before it counts as a fault that one host got none of them.
const UPLOADS_MAX: usize = 64;
/// Uploads of a test, half of them on each host.
const CONTENTS: usize = 12;
/// Most of the time for which a host that is silent counts as one that restarts.
const AWAY_SECONDS: u32 = 25;

fn download(api: &Api, content: &Content) -> u16 {
    let answer = api.get(&format!("/file/download?digest={}", content.digest));
    assert!(answer.status != 200 || answer.body == content.bytes, "other bytes came back");
    answer.status
}

/// A content of some chunks whose upload began on this host.
fn begin_on<'a>(api: &'a Api, seed: Seed, host: &str, label: &str) -> (Content, Upload<'a>) {
    for at in 0..UPLOADS_MAX {
        let content = Content::random(seed, &format!("{label} {at}"), 2 * CHUNK + 99);
        let upload = Upload::begin(api, &content.init());
        if upload.host.as_deref() == Some(host) {
            return (content, upload);
        }
        upload.cancel().expect(204);
    }
    panic!("none of {UPLOADS_MAX} uploads began on {host}");
}

fn put_all(content: &Content, upload: &Upload) {
    for index in &upload.missing {
        upload.put(*index, content.chunk(*index)).expect(204);
    }
}

/// Sends all chunks of a content, the last one after the upload was begun a second time: by way of whichever
/// process the proxy takes, it is the same upload.
fn fill_by_two_ways(api: &Api, content: &Content, upload: &Upload) {
    for index in [2, 0] {
        upload.put(index, content.chunk(index)).expect(204);
    }
    let again = Upload::begin(api, &content.init());
    assert_eq!((&again.path, &again.missing), (&upload.path, &vec![1]));
    again.put(1, content.chunk(1)).expect(204);
}

/// Panics unless what was uploaded is on the disk of the upload's host, and on no other.
#[track_caller]
fn expect_on_one_disk(cluster: &Cluster, upload: &Upload) {
    let host = upload.host.as_deref().expect("a cluster says which host it is");
    let id = upload.path.rsplit('/').next().expect("a path has an end");
    let blob = format!("{id}.blob");
    for disk in &cluster.hosts {
        let here = disk.staging().join(&blob).exists();
        assert_eq!(here, disk.name == host, "{blob} of {host} on the disk of {}", disk.name);
    }
}

/// Where something listens, of its URL.
fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
}

fn wait_until_moved(what: &str, staging: &Path) {
    wait_until(what, seconds(60), || room_taken(staging) < CHUNK_SIZE);
}

#[test]
#[ignore = "needs scripts/services up"]
fn the_chunks_of_one_upload_meet_on_one_disk_and_leave_it_by_its_own_transfer() {
    let directory = scratch();
    let cluster = Cluster::start(directory.path());
    let (ada, seed) = (cluster.sign_up("ada"), Seed::of_this_run());
    let hosts = cluster.hosts.iter().map(|host| host.name.as_str()).cycle();
    let begun: Vec<(Content, Upload)> = hosts
        .enumerate()
        .map(|(at, host)| begin_on(&ada, seed, host, &at.to_string()))
        .take(CONTENTS)
        .collect();
    for (content, upload) in &begun {
        fill_by_two_ways(&ada, content, upload);
        expect_on_one_disk(&cluster, upload);
    }
    for (content, upload) in &begun {
        upload.complete().expect(200);
        assert_eq!(download(&ada, content), 200);
    }
    for host in &cluster.hosts {
        wait_until_moved("what is staged has moved", &host.staging());
    }
    for (content, _upload) in &begun {
        assert_eq!(download(&ada, content), 200);
    }
    let sent: u64 = begun.iter().map(|(content, _upload)| content.bytes.len() as u64).sum();
    assert_eq!(cluster.dependencies.stored().iter().sum::<u64>(), sent);
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_host_that_is_down_delays_only_its_own() {
    let directory = scratch();
    let mut cluster = Cluster::start(directory.path());
    let (ada, seed) = (cluster.sign_up("ada"), Seed::of_this_run());
    cluster.host("upload-2").transfer.kill();
    let (staged, whole) = begin_on(&ada, seed, "upload-2", "staged");
    put_all(&staged, &whole);
    whole.complete().expect(200);
    let (unfinished, half) = begin_on(&ada, seed, "upload-2", "unfinished");
    half.put(1, unfinished.chunk(1)).expect(204);
    assert_eq!(download(&ada, &staged), 200, "staged on another host than the one that is asked");
    cluster.host("upload-2").upload.kill();

    let others = Content::random(seed, "others", 2 * CHUNK);
    upload(&ada, &others);
    wait_until_moved("the other host moves what it has", &cluster.host("upload-1").staging());
    assert_eq!(download(&ada, &others), 200);
    let begun = ada.post("/file/multipart/init", &unfinished.init());
    begun.expect_problem(421, "wrong_host");

    let host = cluster.host("upload-2");
    host.restart();
    let staging = host.staging();
    let again = Upload::begin(&ada, &unfinished.init());
    assert_eq!((again.host.as_deref(), &again.missing), (Some("upload-2"), &vec![0, 2]));
    put_all(&unfinished, &again);
    again.complete().expect(200);
    wait_until_moved("the host that came back moves what it had", &staging);
    for content in [&staged, &unfinished] {
        assert_eq!(download(&ada, content), 200);
    }
}

#[test]
#[ignore = "needs scripts/services up"]
fn an_upload_whose_host_stays_away_begins_anew_elsewhere() {
    let directory = scratch();
    let mut cluster = Cluster::start(directory.path());
    let (ada, seed) = (cluster.sign_up("ada"), Seed::of_this_run());
    let (content, first) = begin_on(&ada, seed, "upload-2", "film");
    first.put(0, content.chunk(0)).expect(204);
    cluster.host("upload-2").kill();
    ada.post("/file/multipart/init", &content.init()).expect_problem(421, "wrong_host");
    // Nobody wants to wait half a minute: it was last heard of a while before it was killed.
    let hosts = format!("{}.hosts", cluster.dependencies.prefix());
    sql(&format!("update {hosts} set seen_at = seen_at - {AWAY_SECONDS} where name = 'upload-2'"));
    let mut answer = ada.post("/file/multipart/init", &content.init());
    wait_until("its host counts as gone", seconds(60), || {
        answer = ada.post("/file/multipart/init", &content.init());
        answer.status == 200
    });
    let begun = answer.json();
    assert_eq!((&begun["host"], &begun["missing"]), (&json!("upload-1"), &json!([0, 1, 2])));
    upload(&ada, &content);
    assert_eq!(download(&ada, &content), 200);
}

#[test]
#[ignore = "needs scripts/services up"]
fn requests_do_not_notice_that_processes_end_and_start_again() {
    let directory = scratch();
    let mut cluster = Cluster::start(directory.path());
    let ada = cluster.sign_up("ada");
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(0));
    let url = cluster.url();
    std::thread::scope(|scope| {
        let (stop, answered, ada) = (&stop, &answered, &ada);
        for path in ["/user/info", "/file/query?path=/", "/fs/changes?since=0"] {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ada.get(path).expect(200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more = |count| {
            let goal = answered.load(Ordering::Relaxed) + count;
            wait_until("requests are answered", seconds(60), || {
                answered.load(Ordering::Relaxed) >= goal
            });
        };
        for front in cluster.fronts_of("files") {
            more(50);
            assert!(front.stop().success(), "a process ended badly");
            more(50);
            front.restart();
            // nginx leaves a process out for some seconds that it could not reach.
            more(50);
            let here = Api::new(&front.url());
            wait_until("it is ready", seconds(20), || here.get("/readyz").status == 200);
        }
        stop.store(true, Ordering::Relaxed);
    });
    Api::new(&url).get("/internal/blobs/00").expect(404);
    Api::new(&url).get("/metrics").expect(404);
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_chunk_under_way_still_arrives_at_a_process_that_was_asked_to_end() {
    let directory = scratch();
    let mut cluster = Cluster::start(directory.path());
    let (ada, seed) = (cluster.sign_up("ada"), Seed::of_this_run());
    let content = Content::random(seed, "film", 2 * CHUNK);
    let upload = Upload::begin(&ada, &content.init());
    let (first, rest) = content.chunk(0).split_at(CHUNK / 2);
    let mut stream = TcpStream::connect(address(&cluster.url())).unwrap();
    stream.set_read_timeout(Some(seconds(30))).unwrap();
    let (path, token) = (format!("{}/0", upload.path), ada.token());
    write!(
        stream,
        "PUT {path} HTTP/1.1\r\nhost: miaofs\r\nauthorization: Bearer {token}\r\n\
         content-length: {CHUNK}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    stream.write_all(first).unwrap();
    let host = cluster.host(upload.host.as_deref().unwrap());
    host.upload.terminate();
    let listening = || TcpStream::connect(address(&host.upload.url())).is_ok();
    wait_until("it takes no more connections", seconds(20), || !listening());
    stream.write_all(rest).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert!(host.upload.wait().success(), "the process ended badly");
    host.upload.restart();
    assert_eq!(Upload::begin(&ada, &content.init()).missing, [1]);
}
