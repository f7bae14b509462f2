//! Requests that can be watched: each has an id, in its answer, its problem document and its line of the log.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use miaofs::protocol::problem::REQUEST_ID;
use miaofs::protocol::routes;
use reqwest::Method;
use serde_json::json;

use crate::harness::api::Api;
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};

/// Asks without a token, under this id; answers the ids in the problem document and in the header.
fn refused_as(api: &Api, path: &str, status: u16, id: &str) -> [String; 2] {
    let answer = api.send(Method::GET, path, &[(REQUEST_ID, id)], Vec::new()).expect(status);
    let header = answer.header(REQUEST_ID).unwrap().to_owned();
    [answer.json()["request_id"].as_str().unwrap().to_owned(), header]
}

#[test]
fn a_problem_carries_the_id_that_the_client_sent_and_a_bad_id_is_replaced() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let api = server.api();
    let long = "x".repeat(64);
    for id in ["a-b_c.0", &long] {
        assert_eq!(refused_as(&api, routes::ACCOUNT, 401, id), [id, id]);
    }
    assert_eq!(refused_as(&api, "/nowhere", 404, "lost"), ["lost", "lost"]);
    assert_eq!(refused_as(&api, "/on/elsewhere/healthz", 421, "there"), ["there", "there"]);
    let too_long = "x".repeat(65);
    for bad in ["", "two words", "a\"b", "a/b", &too_long] {
        let [in_problem, in_header] = refused_as(&api, routes::ACCOUNT, 401, bad);
        assert_eq!(in_problem, in_header);
        assert!(in_problem != bad && in_problem.len() == 32, "{bad}: {in_problem}");
    }
    let ids = [(); 2].map(|()| api.get("/healthz").header(REQUEST_ID).unwrap().to_owned());
    assert_ne!(ids[0], ids[1]);
}

/// A server whose log is at debug.
struct Watched {
    process: Child,
    api: Api,
}

impl Watched {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(Server::binary());
        command.arg("serve").arg("--data").arg(directory.join("data"));
        command.args(["--listen", "127.0.0.1:0"]).env("MIAOFS_LOG", "debug");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(directory.join("log")).unwrap());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let api = Api::new(line.trim().strip_prefix("listening on ").unwrap());
        Self { process, api }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _it_may_have_ended = self.process.kill();
        let _it_may_have_been_waited_for = self.process.wait();
    }
}

#[test]
fn a_request_is_one_line_of_the_log_and_no_secret_is_in_it() {
    let directory = scratch();
    let server = Watched::start(directory.path());
    let body = json!({ "name": "ada", "password": PASSWORD, "device": { "name": "test" } });
    let headers = [("content-type", "application/json"), (REQUEST_ID, "signing-up")];
    let body = body.to_string().into_bytes();
    let session = server.api.send(Method::POST, routes::SIGN_UP, &headers, body).expect(200).json();
    let ada = server.api.with_token(session["access_token"].as_str().unwrap());
    let headers = [(REQUEST_ID, "looking")];
    let path = format!("{}?path=/hidden", routes::META);
    ada.send(Method::GET, &path, &headers, Vec::new()).expect(404);

    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    let answers = || log.lines().filter(|line| line.contains("answered"));
    let lines = |id: &str| answers().filter(|line| line.contains(id)).collect::<Vec<_>>();
    assert_eq!(lines("signing-up").len(), 1, "{log}");
    let looking = lines("looking");
    assert_eq!(looking.len(), 1, "{log}");
    for part in ["method=GET", routes::META, "status=404", "took=", "origin=127.0.0.1", "user=1"] {
        assert!(looking[0].contains(part), "no {part} in: {}", looking[0]);
    }
    for secret in [PASSWORD, ada.token(), session["refresh_token"].as_str().unwrap(), "hidden"] {
        assert!(!log.contains(secret), "the log says '{secret}':\n{log}");
    }
}
