//! What an operator sees: health, counters, the document of the API, and an orderly end.

use std::thread;

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::routes;

use crate::harness::content::{Content, Upload};
use crate::harness::drive::head;
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const ROUTES: [&str; 28] = [
    routes::SIGN_UP,
    routes::SIGN_IN,
    routes::REFRESH,
    routes::SIGN_OUT,
    routes::PASSWORD,
    routes::ACCOUNT,
    routes::COMMIT,
    routes::CHANGES,
    routes::LIST,
    routes::FAST_UPLOAD,
    routes::FAST_UPLOAD_PROVE,
    routes::MULTIPART_INIT,
    routes::MULTIPART,
    routes::MULTIPART_CHUNK,
    routes::MULTIPART_COMPLETE,
    routes::KNOWN,
    routes::BATCH,
    routes::UPLOAD,
    routes::DOWNLOAD,
    routes::LOCATE,
    routes::QUERY,
    routes::META,
    routes::UPDATE,
    routes::DELETE,
    routes::HEALTH,
    routes::READY,
    routes::METRICS,
    routes::OPENAPI,
];

#[test]
fn the_document_of_the_api_describes_every_route() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let document = server.api().get("/openapi.json").expect(200).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    let missing: Vec<_> = ROUTES.iter().filter(|route| !paths.contains_key(**route)).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
    let methods = paths[routes::MULTIPART].as_object().unwrap();
    assert!(methods.contains_key("get") && methods.contains_key("delete"));
}

#[test]
fn counters_are_there_from_the_start_and_count() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    for name in [
        "miaofs_chunk_bytes_received_total",
        "miaofs_chunks_received_total",
        "miaofs_batch_bytes_received_total",
        "miaofs_upload_bytes_received_total",
        "miaofs_download_bytes_total",
        "miaofs_uploads_active",
        "miaofs_staged_bytes",
    ] {
        assert_eq!(server.metric(name), 0, "{name}");
    }
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 9);
    let upload = Upload::begin(&ada, &content.init());
    assert_eq!(server.metric("miaofs_uploads_active"), 1);
    upload.put(1, content.chunk(1)).expect(204);
    upload.put(1, content.chunk(1)).expect(204);
    assert_eq!(server.metric("miaofs_chunk_bytes_received_total"), 18);
    assert_eq!(server.metric("miaofs_chunks_received_total"), 2);
    let puts = server.metric_where("miaofs_requests_total", "method=\"PUT\"");
    assert_eq!(puts, Some(2));
    upload.cancel().expect(204);
    assert_eq!(server.metric("miaofs_uploads_active"), 0);
}

#[test]
fn health_and_readiness_need_no_token() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    server.api().get("/healthz").expect(200);
    server.api().get("/readyz").expect(200);
}

#[test]
fn a_server_asked_to_end_finishes_what_is_in_flight() {
    let directory = scratch();
    let mut server = Server::start(&directory.path().join("data"));
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 9);
    let path = Upload::begin(&ada, &content.init()).path;
    let start = head(&ada);
    thread::scope(|scope| {
        let poll = scope.spawn(|| {
            let path = format!("/fs/changes?since={start}&wait=50");
            ada.try_send(reqwest::Method::GET, &path, &[], Vec::new())
        });
        let chunk = scope.spawn(|| slow_put(&server, &format!("{path}/0"), ada.token(), &content));
        wait_until("the chunk is on its way", seconds(30), || {
            server.metric("miaofs_chunk_bytes_received_total") > 0
                || std::fs::read_dir(server.data().join("staging")).is_ok_and(|it| it.count() > 0)
        });
        server.terminate();
        assert!(chunk.join().unwrap().starts_with("HTTP/1.1 204"), "a request in flight was cut");
        let answer = poll.join().unwrap();
        assert!(answer.is_ok_and(|answer| answer.status < 600), "a waiting client was cut");
    });
    let status = server.wait();
    assert!(status.success(), "{status}");
    server.restart();
    assert_eq!(Upload::begin(&ada, &content.init()).missing, [1]);
}

/// Sends a chunk in two halves with a pause between them, and answers the head of the answer.
fn slow_put(server: &Server, path: &str, token: &str, content: &Content) -> String {
    use std::io::{Read, Write};
    let address = server.url().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let bytes = content.chunk(0);
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    stream.write_all(first).unwrap();
    thread::sleep(seconds(2));
    stream.write_all(second).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let mut command = std::process::Command::new(Server::binary());
    command.arg("serve").arg("--data").arg(server.data()).args(["--listen", "127.0.0.1:0"]);
    let output = directory.path().join("second");
    let finished = crate::harness::device::finish(command, &output, seconds(20));
    finished.expect_failure(&[&server.data().to_string_lossy().to_lowercase()]);
    server.api().get("/healthz").expect(200);
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_its_name() {
    let directory = scratch();
    let configuration = directory.path().join("server.toml");
    std::fs::write(&configuration, "quotta = 5\n").unwrap();
    let mut command = std::process::Command::new(Server::binary());
    command.arg("serve").arg("--config").arg(&configuration).args(["--listen", "127.0.0.1:0"]);
    command.arg("--data").arg(directory.path().join("data"));
    let output = directory.path().join("wrong");
    crate::harness::device::finish(command, &output, seconds(20)).expect_failure(&["quotta"]);
}

#[test]
fn secrets_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let key = std::fs::metadata(server.data().join("token.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}
