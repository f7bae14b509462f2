//! What only so many may do at once: nobody keeps others from it, by being slow, many or large.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use miaofs::content::{CHUNK_SIZE, Digest, chunk_count};
use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::content::{Content, Upload, batch_of, send_batch, upload};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Starts a request whose body is not all sent.
fn begin(server: &Server, api: &Api, route: &str, length: u64) -> TcpStream {
    let url = server.url();
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(seconds(30))).unwrap();
    let head = format!(
        "{route} HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {}\r\ncontent-length: {length}\r\n\
         content-type: application/json\r\n\r\n",
        api.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn held(server: &Server, room: &str) -> u64 {
    server.metric_where("miaofs_room_held", room).unwrap()
}

fn waiting(server: &Server, room: &str) -> u64 {
    server.metric_where("miaofs_room_waiting", room).unwrap()
}

fn busy(server: &Server) -> u64 {
    server.metric_where("miaofs_connections", "busy").unwrap()
}

/// Panics when something takes long that others may not keep from being done.
#[track_caller]
fn is_soon_done(what: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    let took = start.elapsed();
    assert!(took < seconds(2), "{what} took {took:?}");
}

/// The status line and the body of an answer after which the connection is closed.
fn answer(mut stream: TcpStream) -> (String, String) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let all = String::from_utf8(all).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").expect("an answer");
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn clients_that_stop_in_the_middle_of_a_batch_or_a_list_stop_nobody() {
    let server = Server::new();
    let (ada, mallory) = (server.sign_up("ada"), server.sign_up("mallory"));
    let mut vanished = Vec::new();
    for route in ["POST /file/batch", "POST /fs/commit", "POST /file/known"] {
        for _ in 0..6 {
            let mut stream = begin(&server, &mallory, route, 1_000_000);
            stream.write_all(&[b' '; 300_000]).unwrap();
            vanished.push(stream);
        }
    }
    wait_until("all are under way", seconds(20), || busy(&server) == 19);
    assert_eq!((held(&server, "batches"), held(&server, "lists")), (0, 0));
    let content = Content::random(Seed::of_this_run(), "small", 100_000);
    is_soon_done("a batch", || {
        send_batch(&ada, batch_of(&[&content])).expect(200);
    });
    let long = "x".repeat(70_000);
    is_soon_done("a long list", || {
        ada.post("/file/known", &json!({ "digests": [], "more": long })).expect(400);
    });
    drop(vanished);
    wait_until("they are forgotten", seconds(20), || busy(&server) == 1);
}

#[test]
fn a_body_that_does_not_come_on_is_given_up_and_may_be_sent_again() {
    let server = Server::with(&["--body-pause", "1"]);
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 9);
    let begun = Upload::begin(&ada, &content.init());
    let chunk = format!("PUT {}/0", begun.path);
    let routes = [&chunk, "POST /file/batch", "POST /fs/commit", "POST /file/upload?path=/film"];
    let slow: Vec<TcpStream> = routes
        .map(|route| {
            let mut stream = begin(&server, &ada, route, CHUNK_SIZE);
            stream.write_all(b"{").unwrap();
            stream
        })
        .into();
    for stream in slow {
        let (status, body) = answer(stream);
        assert_eq!(status, "HTTP/1.1 408 Request Timeout", "{body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["code"], "too_slow", "{body}");
    }
    begun.put(0, content.chunk(0)).expect(204);
}

#[test]
fn several_accounts_that_send_slowly_hold_no_seats() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 9);
    let mut slow = Vec::new();
    for name in ["mallory", "eve", "trudy"] {
        let account = server.sign_up(name);
        let chunk = format!("PUT {}/0", Upload::begin(&account, &content.init()).path);
        for route in [&chunk, "POST /file/upload?path=/film"] {
            for _ in 0..32 {
                let mut stream = begin(&server, &account, route, CHUNK_SIZE);
                stream.write_all(&[b' '; 100_000]).unwrap();
                slow.push(stream);
            }
        }
    }
    wait_until("all are under way", seconds(20), || busy(&server) == 193);
    wait_until("who does not go on has given the seat back", seconds(20), || {
        ["chunks", "files"]
            .iter()
            .all(|room| (held(&server, room), waiting(&server, room)) == (0, 0))
    });
    assert_eq!(busy(&server), 193, "nobody was sent away");
    is_soon_done("another one's upload", || upload(&ada, &content));
    is_soon_done("another one's file", || {
        let path = "/file/upload?path=/film";
        ada.send(Method::POST, path, &[], vec![b'x'; 300_000]).expect(200);
    });
    drop(slow);
    wait_until("they are forgotten", seconds(20), || busy(&server) == 1);
}

#[test]
fn readers_that_take_nothing_of_a_long_listing_hold_nothing_that_others_wait_for() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    for part in 0..10 {
        let name = |number| format!("{part}-{number}-{}", "x".repeat(200));
        let nodes: Vec<Change> =
            (0..1000).map(|number| Change::directory(NodeId::ROOT, &name(number))).collect();
        apply(&ada, &nodes.iter().collect::<Vec<_>>());
    }
    let route = format!("GET /fs/list/{}", NodeId::ROOT);
    let slow: Vec<TcpStream> = (0..6).map(|_| begin(&server, &ada, &route, 0)).collect();
    wait_until("all have been read", seconds(60), || {
        let answered = server.metric_where("miaofs_requests_total", "/fs/list/");
        answered.unwrap_or(0) == slow.len() as u64
    });
    wait_until("all seats are given back", seconds(20), || {
        (held(&server, "listings"), waiting(&server, "listings")) == (0, 0)
    });
    assert_eq!(busy(&server), 7, "nobody has taken an answer");
    let listing = ada.get(&format!("/fs/list/{}", NodeId::ROOT)).expect(200).json();
    assert_eq!(listing["nodes"].as_array().unwrap().len(), 10_000);
    drop(slow);
}

#[test]
fn contents_of_nothing_but_holes_hold_up_nobody_and_end_with_their_client() {
    let server = Server::new();
    let (ada, mallory) = (server.sign_up("ada"), server.sign_up("mallory"));
    let size = 1_u64 << 40;
    let digest = Digest::of(b"not that of a tebibyte of zeros");
    let holes = vec![Value::Null; chunk_count(size) as usize];
    let init = json!({ "digest": digest, "size": size, "chunks": holes }).to_string();
    let monsters: Vec<TcpStream> = (0..3)
        .map(|_| {
            let route = "POST /file/multipart/init";
            let mut stream = begin(&server, &mallory, route, init.len() as u64);
            stream.write_all(init.as_bytes()).unwrap();
            stream
        })
        .collect();
    wait_until("they are at work", seconds(30), || held(&server, "proofs") == 1);
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 9);
    is_soon_done("another one's upload", || upload(&ada, &content));
    drop(monsters);
    wait_until("the work ends with its client", seconds(10), || held(&server, "proofs") == 0);
}
