//! Clients that are many, slow or silent: they cost themselves, and nobody else.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use miaofs::content::CHUNK_SIZE;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::harness::api::Api;
use crate::harness::content::{Content, Upload};
use crate::harness::random::Seed;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Within which another client is served, whatever is going on.
const SOON: Duration = seconds(2);

/// A connection to a server, with a limit for each wait.
fn connect(server: &Server) -> TcpStream {
    let url = server.url();
    let stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(seconds(20))).unwrap();
    stream
}

/// A connection that has sent something.
fn sent(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(server);
    stream.write_all(bytes).unwrap();
    stream
}

/// All that comes until the server closes; panics when it does not close.
fn until_closed(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => (),
        Err(error) => panic!("not closed: {error}"),
    }
    String::from_utf8(all).unwrap()
}

/// True while the server keeps a connection open on which it has nothing to say.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Lets this process have as many connections as it may.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[track_caller]
fn is_served_soon(api: &Api) {
    let start = Instant::now();
    api.get("/healthz").expect(200);
    assert!(start.elapsed() < SOON, "another client waited for {:?}", start.elapsed());
}

/// The head of a PUT of a chunk whose body is still to come: a request that keeps its connection busy.
fn chunk_head(upload: &Upload<'_>, api: &Api, index: u64) -> String {
    format!(
        "PUT {}/{index} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {}\r\ncontent-length: {CHUNK_SIZE}\r\n\r\n",
        upload.path,
        api.token(),
    )
}

#[test]
fn a_process_without_a_descriptor_left_closes_who_is_idle_and_serves_the_others() {
    allow_many_files();
    let server = Server::new();
    let few = Rlimit { current: Some(1024), maximum: Some(1024) };
    prlimit(Some(server.pid()), Resource::Nofile, few).unwrap();
    let idle: Vec<TcpStream> = (0..1100).map(|_| connect(&server)).collect();
    for _ in 0..20 {
        is_served_soon(&server.api());
    }
    assert!(idle.iter().any(is_open), "only as many were closed as had to be");
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let less = maximum.map(|maximum| maximum - 1).or(Some(4096));
    setrlimit(Resource::Nofile, Rlimit { current: less, maximum }).unwrap();
    let server = Server::new();
    let limits =
        prlimit(Some(server.pid()), Resource::Nofile, Rlimit { current: maximum, maximum });
    assert_eq!(limits.unwrap(), Rlimit { current: maximum, maximum });
}

#[test]
fn at_the_limit_the_connection_that_was_idle_longest_makes_room_and_a_busy_one_never() {
    let server = Server::with(&["--max-connections", "4", "--max-connections-per-address", "4"]);
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize * 2);
    let upload = Upload::begin(&ada, &content.init());
    let mut busy = sent(&server, chunk_head(&upload, &ada, 0).as_bytes());
    wait_until("the request is under way", seconds(10), || {
        server.metric_where("miaofs_connections", "busy") == Some(2)
    });
    let mut idle: Vec<TcpStream> = (0..3).map(|_| connect(&server)).collect();
    is_served_soon(&server.api());
    let mut first = idle.remove(0);
    assert_eq!(until_closed(&mut first), "");
    assert!(is_open(&busy) && is_open(&idle[1]));
    busy.write_all(content.chunk(0)).unwrap();
    let mut answer = [0; 12];
    busy.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 204");
}

#[test]
fn while_all_connections_are_busy_a_new_one_is_told_so() {
    let server = Server::with(&["--max-connections", "3", "--max-connections-per-address", "2"]);
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize * 2);
    let upload = Upload::begin(&ada, &content.init());
    let head = |index| chunk_head(&upload, &ada, index);
    let mut busy: Vec<TcpStream> = Vec::new();
    let refused = || server.api().try_get("/healthz").ok().filter(|answer| answer.status == 503);
    let mut answer = None;
    wait_until("both requests are under way", seconds(10), || {
        // One whose head has not come yet is idle, and may have made room.
        busy.retain(is_open);
        while busy.len() < 2 {
            busy.push(sent(&server, head(busy.len() as u64).as_bytes()));
        }
        answer = refused();
        answer.is_some()
    });
    let answer = answer.unwrap();
    assert_eq!(answer.header("retry-after"), Some("5"));
    answer.expect_problem(503, "unavailable");
    busy.pop();
    wait_until("a place is free again", seconds(10), || refused().is_none());
    is_served_soon(&server.api());
}

#[test]
fn a_stranger_hears_refusals_late_and_who_has_a_token_at_once() {
    let server = Server::with(&["--refusals-per-second", "1"]);
    let ada = server.sign_up("ada");
    let stranger = server.api();
    let start = Instant::now();
    for _ in 0..7 {
        stranger.get("/nowhere").expect(404);
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1900), "the sixth and the seventh after {took:?}");
    let start = Instant::now();
    for _ in 0..20 {
        ada.get("/file/meta?path=/nowhere").expect(404);
    }
    assert!(start.elapsed() < seconds(20), "a second each, if they were counted");
}

#[test]
fn a_head_that_does_not_come_and_a_connection_without_a_request_are_closed() {
    let server = Server::with(&["--head-timeout", "1"]);
    let answered = b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut slow: Vec<TcpStream> =
        [&b""[..], b"GET /hea", answered].map(|bytes| sent(&server, bytes)).into();
    let mut trickling = sent(&server, b"GET /healthz HTTP/1.1\r\nhost: here\r\nx: ");
    let start = Instant::now();
    wait_until("a head that comes byte by byte is closed", seconds(10), || {
        trickling.write_all(b"x").is_err()
    });
    assert!(start.elapsed() >= Duration::from_millis(900), "after {:?}", start.elapsed());
    let said: Vec<String> = slow.iter_mut().map(until_closed).collect();
    assert!(said[0].is_empty() && said[1].is_empty(), "{said:?}");
    assert!(said[2].starts_with("HTTP/1.1 200") && said[2].ends_with("ok\n"), "{said:?}");
}

#[test]
fn a_head_has_at_most_16_kib() {
    let server = Server::new();
    let head = |bytes: usize| {
        let rest = "GET /healthz HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx: \r\n\r\n".len();
        let long = "x".repeat(bytes - rest);
        format!("GET /healthz HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx: {long}\r\n\r\n")
    };
    let answer = |bytes| server.api().raw(head(bytes).as_bytes());
    assert!(answer(8 * 1024).starts_with("HTTP/1.1 200"));
    let told = answer(16 * 1024);
    assert!(told.starts_with("HTTP/1.1 431") && told.contains("headers_too_long"), "{told}");
    for bytes in [16 * 1024 + 1, 20_000, 100_000] {
        let refused = answer(bytes);
        assert!(refused.starts_with("HTTP/1.1 431"), "{bytes}: {refused}");
        assert!(!refused.contains("headers_too_long"), "{bytes}: {refused}");
    }
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_left() {
    let server = Server::with(&["--answer-pause", "1"]);
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", 32 * CHUNK_SIZE as usize);
    ada.send(reqwest::Method::POST, "/file/upload?path=/film", &[], content.bytes.clone())
        .expect(200);
    let request = format!(
        "GET /file/download?path=/film HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {}\r\n\r\n",
        ada.token()
    );
    let busy = || server.metric_where("miaofs_connections", "busy") == Some(2);
    let reader = sent(&server, request.as_bytes());
    wait_until("the answer is under way", seconds(10), busy);
    wait_until("the answer is given up", seconds(20), || !busy());
    drop(reader);
}

#[test]
fn unfinished_heads_hold_little_memory_and_give_it_back() {
    allow_many_files();
    let server = Server::with(&["--head-timeout", "20"]);
    for _ in 0..20 {
        is_served_soon(&server.api());
    }
    let before = server.memory();
    let head = format!("GET /healthz HTTP/1.1\r\nhost: here\r\nx: {}", "x".repeat(15 * 1024));
    let slow: Vec<TcpStream> = (0..1000).map(|_| sent(&server, head.as_bytes())).collect();
    wait_until("all heads have come", seconds(20), || server.metric("miaofs_connections") > 1000);
    is_served_soon(&server.api());
    let held = server.memory();
    assert!(held < before + 80 * 1024, "{held} KiB, {before} before");
    drop(slow);
    wait_until("the memory is given back", seconds(20), || server.memory() < before + before / 5);
}
