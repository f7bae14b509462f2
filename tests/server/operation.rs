//! The operator's view: health, counters, the document of the API, and an orderly end.

use std::io::{Read, Write};
use std::net::TcpStream;

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
    routes::INSTANT_UPLOAD,
    routes::INSTANT_UPLOAD_PROVE,
    routes::MULTIPART_INIT,
    routes::MULTIPART,
    routes::MULTIPART_CHUNK,
    routes::MULTIPART_COMPLETE,
    routes::KNOWN,
    routes::BATCH,
    routes::UPLOAD,
    routes::DOWNLOAD,
    routes::CONTENTS,
    routes::LOCATE,
    routes::QUERY,
    routes::META,
    routes::UPDATE,
    routes::DELETE,
    routes::HEALTH,
    routes::READY,
    routes::METRICS,
];

#[test]
fn the_document_of_the_api_describes_every_other_route() {
    let server = Server::new();
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
    let server = Server::new();
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
    let server = Server::new();
    server.api().get("/healthz").expect(200);
    server.api().get("/readyz").expect(200);
}

#[test]
fn a_server_asked_to_end_finishes_what_is_in_flight() {
    let mut server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 9);
    let path = Upload::begin(&ada, &content.init()).path;
    let start = head(&ada);
    let head_of_put = head_of("PUT", &format!("{path}/0"), ada.token(), content.chunk(0).len());
    let mut put = send(&server, head_of_put.as_bytes());
    let (first, second) = content.chunk(0).split_at(1000);
    put.write_all(first).unwrap();
    let head_of_poll =
        head_of("GET", &format!("/fs/changes?since={start}&wait=50"), ada.token(), 0);
    let mut poll = send(&server, head_of_poll.as_bytes());
    // It has then taken up the put as well, which came before.
    wait_until("the client waits", seconds(20), || server.metric("miaofs_changes_waiting") == 1);
    server.terminate();
    let mut answer = String::new();
    poll.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "a waiting client was cut: {answer}");
    put.write_all(second).unwrap();
    answer.clear();
    put.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "a request in flight was cut: {answer}");
    let status = server.wait();
    assert!(status.success(), "{status}");
    server.restart();
    assert_eq!(Upload::begin(&ada, &content.init()).missing, [1]);
}

fn head_of(method: &str, path: &str, token: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    )
}

/// Opens a connection and sends the beginning of a request.
fn send(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.url().replace("http://", "")).unwrap();
    stream.set_read_timeout(Some(seconds(40))).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let directory = scratch();
    let server = Server::start_embedded(&directory.path().join("data"), &[]);
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
    let server = Server::new();
    let key = std::fs::metadata(server.data().join("token.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}
