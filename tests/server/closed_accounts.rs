//! Accounts that come and go: made by invitation, closed by their owner or the operator, restored, removed.

use std::path::Path;
use std::thread;

use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::{Value, json};

use super::commands::run_with;
use crate::harness::api::{Answer, Api};
use crate::harness::content::{Content, upload};
use crate::harness::device::Device;
use crate::harness::drive::{Change, apply, commit};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::wait::{seconds, wait_until};

/// Runs a command that must succeed; answers the lines that it prints.
#[track_caller]
fn run(data: &Path, arguments: &[&str], input: &str) -> String {
    let output = run_with(data, arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn sign(server: &Server, route: &str, name: &str, invitation: Option<&str>) -> Answer {
    let mut body = json!({ "name": name, "password": PASSWORD, "device": { "name": "test" } });
    if let Some(invitation) = invitation {
        body["invitation"] = json!(invitation);
    }
    server.api().post(route, &body)
}

fn sign_up(server: &Server, name: &str, invitation: Option<&str>) -> Answer {
    sign(server, "/user/signup", name, invitation)
}

fn invite(server: &Server, uses: &str) -> Value {
    let printed = run(server.data(), &["user", "invite", "--uses", uses, "--json"], "");
    serde_json::from_str(&printed).unwrap()
}

fn close(api: &Api, password: &str) -> Answer {
    let body = json!({ "password": password }).to_string().into_bytes();
    api.send(Method::DELETE, "/user", &[("content-type", "application/json")], body)
}

fn accounts(server: &Server) -> Vec<(String, String)> {
    let listed = run(server.data(), &["user", "list", "--json"], "");
    let word = |user: &Value, field: &str| user[field].as_str().unwrap().to_owned();
    let users = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    users.map(|user| (word(&user, "name"), word(&user, "status"))).collect()
}

#[test]
fn an_invitation_makes_as_many_accounts_as_it_says_however_many_try_at_once() {
    let server = Server::with(&["--sign-up", "invite"]);
    sign_up(&server, "ada", None).expect_problem(403, "invitation_needed");
    sign_up(&server, "ada", Some("nonsense")).expect_problem(403, "invitation_needed");
    sign_up(&server, "ada", Some(&"0".repeat(32))).expect_problem(403, "invitation_needed");
    let invitation = invite(&server, "3");
    let code = invitation["code"].as_str().unwrap();
    let made = thread::scope(|scope| {
        let server = &server;
        let guests = (0..8).map(|at| format!("guest-{at}"));
        let tries: Vec<_> =
            guests.map(|name| scope.spawn(move || sign_up(server, &name, Some(code)))).collect();
        tries.into_iter().map(|guest| guest.join().unwrap().status).collect::<Vec<_>>()
    });
    assert_eq!(made.iter().filter(|status| **status == 200).count(), 3, "{made:?}");
    assert_eq!(made.iter().filter(|status| **status == 403).count(), 5, "{made:?}");
    assert_eq!(accounts(&server).len(), 3);
}

#[test]
fn an_invitation_is_not_used_up_in_vain_and_can_be_taken_back() {
    let server = Server::with(&["--sign-up", "invite"]);
    run(server.data(), &["user", "add", "ada"], &format!("{PASSWORD}\n"));
    sign(&server, "/user/signin", "ada", None).expect(200);
    let invitation = invite(&server, "1");
    let code = invitation["code"].as_str().unwrap();
    sign_up(&server, "ada", Some(code)).expect_problem(409, "account_exists");
    sign_up(&server, "ben", Some(code)).expect(200);
    sign_up(&server, "cid", Some(code)).expect_problem(403, "invitation_needed");

    let other = invite(&server, "1");
    let listed = run(server.data(), &["user", "invite", "list", "--json"], "");
    assert!(listed.contains(other["id"].as_str().unwrap()), "{listed}");
    assert!(!listed.contains(other["code"].as_str().unwrap()), "{listed}");
    run(server.data(), &["user", "invite", "revoke", other["id"].as_str().unwrap()], "");
    let revoked = sign_up(&server, "cid", Some(other["code"].as_str().unwrap()));
    revoked.expect_problem(403, "invitation_needed");

    let directory = scratch();
    let device = Device::new(directory.path(), "guest");
    let refused = device.sign("signup", &server.url(), "cid");
    refused.expect_failure(&["an invitation is needed", "--invite"]);
    let last = invite(&server, "1");
    let program = |arguments: &[&str]| {
        let input = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(input.path(), format!("{PASSWORD}\n")).unwrap();
        let mut command = device.command(arguments);
        command.stdin(std::fs::File::open(input.path()).unwrap()).output().unwrap()
    };
    let code = last["code"].as_str().unwrap();
    let url = server.url();
    let made = program(&["signup", &url, "--user", "cid", "--password-stdin", "--invite", code]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(accounts(&server).len(), 3);
}

#[test]
fn a_closed_account_is_signed_out_at_once_and_goes_with_all_that_it_has() {
    const DIRECTORIES: usize = 450;
    let directory = scratch();
    let arguments = ["--account-grace", "1", "--grace-period", "1"];
    let server = Server::start_embedded(&directory.path().join("data"), &arguments);
    let (ada, eve) = (server.sign_up("ada"), server.sign_up("eve"));
    let seed = Seed::of_this_run();
    let shared = Content::random(seed, "shared", 3000);
    let own = Content::random(seed, "own", 5000);
    let unnamed = Content::random(seed, "unnamed", 7000);
    for content in [&shared, &own, &unnamed] {
        upload(&ada, content);
    }
    upload(&eve, &shared);
    apply(&eve, &[&Change::file(NodeId::ROOT, "kept", &shared)]);
    let names = ["a", "b", "c"];
    let files = names.map(|name| Change::file(NodeId::ROOT, name, &own));
    let other = Change::file(NodeId::ROOT, "d", &shared);
    apply(&ada, &[&files[0], &files[1], &files[2], &other]);
    let folders: Vec<Change> =
        (0..DIRECTORIES).map(|at| Change::directory(NodeId::ROOT, &at.to_string())).collect();
    commit(&ada, &folders.iter().collect::<Vec<_>>());
    let session = sign(&server, "/user/signin", "ada", None).expect(200).json();

    close(&ada, "not it").expect_problem(401, "wrong_credentials");
    ada.get("/user/info").expect(200);
    close(&ada, PASSWORD).expect(204);
    ada.get("/user/info").expect_problem(401, "unauthorized");
    sign(&server, "/user/signin", "ada", None).expect_problem(401, "wrong_credentials");
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let told = server.api().post("/user/refresh", &refresh);
    told.expect_problem(401, "unauthorized");

    wait_until("the account is gone", seconds(60), || {
        accounts(&server) == [("eve".to_owned(), "active".to_owned())]
    });
    wait_until("what it had is gone", seconds(60), || {
        server.staged().iter().chain(&server.stored()).sum::<u64>() == shared.size()
    });
    let path = format!("/file/download?digest={}", shared.digest);
    assert_eq!(eve.get(&path).expect(200).body, shared.bytes);
    let fsck = run_with(server.data(), &["fsck", "--json", "--grace", "0", "--deep"], "");
    assert_eq!(fsck.status.code(), Some(0), "{fsck:?}");
    let ada = server.sign_up("ada");
    assert_eq!(ada.get("/user/info").expect(200).json()["nodes"], 0, "the drive is a new one");
}

#[test]
fn an_operator_closes_an_account_and_restores_it_within_the_grace() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let note = Content::random(Seed::of_this_run(), "note", 3000);
    upload(&ada, &note);
    apply(&ada, &[&Change::file(NodeId::ROOT, "note", &note)]);
    run(server.data(), &["user", "delete", "ada"], "");
    ada.get("/user/info").expect_problem(401, "unauthorized");
    sign(&server, "/user/signin", "ada", None).expect_problem(401, "wrong_credentials");
    sign_up(&server, "ada", None).expect_problem(409, "account_exists");
    assert_eq!(accounts(&server), [("ada".to_owned(), "closed".to_owned())]);
    let enabled = run_with(server.data(), &["user", "enable", "ada"], "");
    assert!(!enabled.status.success(), "{enabled:?}");

    run(server.data(), &["user", "restore", "ada"], "");
    let ada = server.sign_in("ada");
    assert_eq!(ada.get("/file/download?path=/note").expect(200).body, note.bytes);
    let again = run_with(server.data(), &["user", "restore", "ada"], "");
    assert!(!again.status.success(), "{again:?}");
}
