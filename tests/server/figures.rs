//! Figures for whoever watches the server: each is there, and moves with what it measures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use miaofs::protocol::ids::NodeId;
use rusqlite::Connection;

use crate::harness::api::Api;
use crate::harness::content::{Content, upload};
use crate::harness::device::finish;
use crate::harness::drive::{Change, apply, head};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// A count of a histogram, by a label.
fn count_of(server: &Server, histogram: &str, label: &str) -> u64 {
    server.metric_where(&format!("{histogram}_count"), label).unwrap_or(0)
}

fn content(size: usize) -> Content {
    Content::random(Seed::of_this_run(), "content", size)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn requests_are_timed_by_route_and_a_poll_that_waits_is_not() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let timed = |route: &str| {
        count_of(&server, "miaofs_request_duration_seconds", &format!("route=\"{route}\""))
    };
    for _ in 0..3 {
        server.api().get("/healthz").expect(200);
    }
    server.api().get("/no/such/route/4711").expect(404);
    assert_eq!((timed("/healthz"), timed("none"), timed("/no/such/route/4711")), (3, 1, 0));
    let longest = server
        .metric_where("miaofs_request_duration_seconds_bucket", "route=\"/healthz\",le=\"30\"");
    assert_eq!(longest, Some(3));

    apply(&ada, &[&Change::directory(NodeId::ROOT, "a")]);
    let start = head(&ada);
    let before = timed("/fs/changes");
    ada.get(&format!("/fs/changes?since={start}&wait=1")).expect(200);
    assert_eq!(timed("/fs/changes"), before, "a poll that waited was timed");
    ada.get(&format!("/fs/changes?since={start}")).expect(200);
    ada.get("/fs/changes?since=0&wait=1").expect(200);
    assert_eq!(timed("/fs/changes"), before + 2);
    let answered = server.metric_where("miaofs_requests_total", "\"/fs/changes\"");
    assert!(answered.unwrap() >= before + 3, "each poll is counted");
}

#[test]
fn requests_count_as_in_flight_until_they_are_answered() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    // The look itself is one.
    let in_flight = || server.metric("miaofs_requests_in_flight");
    wait_until("only the look is in flight", seconds(20), || in_flight() == 1);
    let mut stream = TcpStream::connect(server.url().replace("http://", "")).unwrap();
    let head = format!(
        "POST /file/known HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 14\r\nconnection: close\r\n\r\n",
        ada.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    wait_until("the request is in flight", seconds(20), || in_flight() == 2);
    stream.write_all(b"{\"digests\":[]}").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    wait_until("it is answered", seconds(20), || in_flight() == 1);
}

#[test]
fn pools_of_the_database_tell_who_has_a_connection_and_who_waits() {
    let directory = scratch();
    let server = Server::start_embedded(&directory.path().join("data"), &[]);
    let writer = |name: &str| server.metric_where(name, "pool=\"writer\"");
    let busy =
        || server.metric_where("miaofs_database_connections", "pool=\"writer\",state=\"busy\"");
    assert_eq!(writer("miaofs_database_connections_max"), Some(1));
    assert_eq!(server.metric_where("miaofs_database_connections_max", "\"reader\""), Some(8));
    let before = count_of(&server, "miaofs_database_wait_seconds", "\"writer\"");
    server.sign_up("ada");
    assert!(count_of(&server, "miaofs_database_wait_seconds", "\"writer\"") > before);
    assert_eq!(writer("miaofs_database_wait_failures_total"), Some(0));

    let other = Connection::open(server.data().join("miaofs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.sign_up("bob"));
        wait_until("a writer waits", seconds(20), || {
            writer("miaofs_database_waiting").unwrap() >= 1 && busy() == Some(1)
        });
        other.execute_batch("ROLLBACK").unwrap();
        waiting.join().unwrap();
    });
    wait_until("nobody waits", seconds(20), || {
        writer("miaofs_database_waiting") == Some(0) && busy() == Some(0)
    });
}

/// Lets nothing come into a local store, until it is mended.
fn break_store(store: &Path) {
    std::fs::remove_dir_all(store).unwrap();
    std::fs::write(store, "no directory").unwrap();
}

#[test]
fn transfers_that_wait_are_counted_with_their_bytes_and_their_age() {
    let directory = scratch();
    let arguments = ["--transfer-pause", "1", "--transfer-pause-max", "1", "--roles", "transfer"];
    let data = directory.path().join("data");
    let mut server = Server::start_embedded(&data, &[]);
    let ada = server.sign_up("ada");
    break_store(&data.join("store"));
    upload(&ada, &content(12_345));
    server.stop();
    drop(server);

    std::fs::remove_file(data.join("store")).unwrap();
    std::fs::create_dir(data.join("store")).unwrap();
    let server = Server::start_embedded(&data, &arguments);
    break_store(&data.join("store"));
    wait_until("it is counted", seconds(20), || {
        server.metric_where("miaofs_transfers_waiting", "lane=\"host\"") == Some(1)
            && server.metric_where("miaofs_transfers_waiting_bytes", "lane=\"host\"")
                == Some(12_345)
            && server.metric("miaofs_transfers_oldest_seconds") >= 1
    });
    assert_eq!(server.metric_where("miaofs_transfers_waiting", "lane=\"shared\""), Some(0));
    std::fs::remove_file(data.join("store")).unwrap();
    std::fs::create_dir(data.join("store")).unwrap();
    wait_until("it has moved", seconds(30), || {
        server.metric("miaofs_transfers_waiting") == 0
            && server.metric("miaofs_transfers_waiting_bytes") == 0
            && server.metric("miaofs_transfers_oldest_seconds") == 0
    });
}

#[test]
fn collections_tell_when_they_were_and_what_they_have_freed() {
    let server = Server::with(&["--grace-period", "1"]);
    let began = now();
    let ada = server.sign_up("ada");
    upload(&ada, &content(4_321));
    wait_until("what nothing names is collected", seconds(60), || {
        server.metric("miaofs_collected_bytes_total") == 4_321
    });
    assert_eq!(server.metric("miaofs_collected_blobs_total"), 1);
    assert_eq!(server.metric("miaofs_collected_contents_total"), 1);
    wait_until("the collection has ended", seconds(20), || {
        server.metric("miaofs_collection_last_success_timestamp_seconds") >= began
    });
    let runs = |result: &str| server.metric_where("miaofs_collections_total", result).unwrap();
    assert!(runs("\"done\"") >= 1);
    assert_eq!(runs("\"failed\""), 0);
}

#[test]
fn a_collection_that_fails_is_counted_and_is_no_success() {
    let directory = scratch();
    let data = directory.path().join("data");
    let server = Server::start_embedded(&data, &["--grace-period", "1"]);
    let ada = server.sign_up("ada");
    upload(&ada, &content(4_321));
    wait_until("it has moved", seconds(30), || server.staged().is_empty());
    break_store(&data.join("store"));
    wait_until("a collection has failed", seconds(60), || {
        server.metric_where("miaofs_collections_total", "\"failed\"").unwrap() >= 1
    });
    assert_eq!(server.metric("miaofs_collected_bytes_total"), 0);
}

#[test]
fn the_process_tells_its_age_its_files_and_its_memory() {
    let began = now();
    let server = Server::new();
    let started = server.metric("process_start_time_seconds");
    assert!((began..=now()).contains(&started), "{started}");
    let memory = server.metric("process_resident_memory_bytes");
    assert!(memory.abs_diff(server.memory() * 1024) < 64 << 20, "{memory}");
    let open = || server.metric("process_open_fds");
    let before = open();
    assert!(before > 5 && server.metric("process_max_fds") > before);
    let address = server.url().replace("http://", "");
    let connections: Vec<_> = (0..60).map(|_| TcpStream::connect(&address).unwrap()).collect();
    // Other files come and go meanwhile, but not as many.
    wait_until("its connections are files", seconds(20), || open() >= before + 40);
    drop(connections);
    wait_until("they are closed", seconds(20), || open() <= before + 20);
    Api::new(&server.url()).get("/healthz").expect(200);
}

/// The address that the log says the figures are served on.
fn apart(server: &Server) -> String {
    let log = server.log();
    let (_, rest) = log.split_once("serving /metrics on ").expect("the log says where");
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn figures_with_an_address_of_their_own_are_served_there_alone() {
    let server = Server::with(&["--metrics-listen", "127.0.0.1:0"]);
    let (main, own) = (server.api(), Api::new(&apart(&server)));
    main.get("/metrics").expect_problem(404, "not_found");
    main.get("/on/local/metrics").expect_problem(404, "not_found");
    let document = main.get("/openapi.json").expect(200).json();
    assert!(document["paths"].get("/healthz").is_some());
    assert!(document["paths"].get("/metrics").is_none(), "it is described where it is not");
    let text = String::from_utf8(own.get("/metrics").expect(200).body).unwrap();
    for name in ["miaofs_requests_total", "miaofs_database_connections", "process_open_fds"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "no {name}");
    }
    for path in ["/healthz", "/readyz"] {
        own.get(path).expect(200);
        main.get(path).expect(200);
    }
    own.get("/user/info").expect_problem(404, "not_found");
    own.get("/openapi.json").expect_problem(404, "not_found");
}

#[test]
fn an_address_for_figures_that_cannot_be_had_is_refused_with_its_setting() {
    let server = Server::new();
    let taken = server.url().replace("http://", "");
    for (address, word) in [("nowhere", "--metrics-listen"), (&taken, "metrics_listen")] {
        let directory = scratch();
        let mut command = std::process::Command::new(Server::binary());
        command.arg("serve").arg("--data").arg(directory.path().join("data"));
        command.args(["--listen", "127.0.0.1:0", "--metrics-listen", address]);
        let finished = finish(command, &directory.path().join("output"), seconds(20));
        finished.expect_failure(&[word, address]);
    }
}
