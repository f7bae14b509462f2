//! Accounts and sessions: who may do what, and how long.

use serde_json::{Value, json};

use crate::harness::api::{Answer, Api};
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::wait::{seconds, wait_until};

fn credentials(name: &str, password: &str) -> Value {
    json!({ "name": name, "password": password, "device": { "name": "test" } })
}

fn sign_in(server: &Server, name: &str, password: &str) -> Value {
    server.api().post("/user/signin", &credentials(name, password)).expect(200).json()
}

fn with(server: &Server, session: &Value) -> Api {
    server.api().with_token(session["access_token"].as_str().unwrap())
}

#[test]
fn signing_up_and_in_gives_a_session_that_knows_its_account() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let account = ada.get("/user/info").expect(200).json();
    assert_eq!((&account["name"], &account["used"]), (&json!("ada"), &json!(0)));
    let session = sign_in(&server, "ada", PASSWORD);
    assert!(session["expires_in"].as_u64().unwrap() > 0);
    assert_eq!(with(&server, &session).get("/user/info").expect(200).json()["name"], "ada");
    ada.get("/user/info").expect(200);
}

#[test]
fn a_wrong_password_and_an_unknown_name_are_told_apart_by_nobody() {
    let server = Server::new();
    server.sign_up("ada");
    let answer = |name, password| {
        let answer = server.api().post("/user/signin", &credentials(name, password));
        let mut problem = answer.expect_problem(401, "wrong_credentials");
        // Each request has its own.
        assert!(problem.as_object_mut().unwrap().remove("request_id").is_some());
        problem
    };
    assert_eq!(answer("ada", "not her password"), answer("nobody", "not her password"));
}

#[test]
fn a_name_is_taken_once_and_must_be_a_name() {
    let server = Server::new();
    server.sign_up("ada");
    let sign_up = |name: &str, password: &str| {
        server.api().post("/user/signup", &credentials(name, password))
    };
    sign_up("ada", PASSWORD).expect_problem(409, "account_exists");
    for name in ["", "a b", "a/b", "a\u{0}", &"x".repeat(65)] {
        sign_up(name, PASSWORD).expect_problem(400, "invalid_value");
    }
    sign_up("bob", "short").expect_problem(400, "invalid_value");
    sign_up("bob", &"x".repeat(1025)).expect_problem(400, "invalid_value");
}

#[test]
fn no_route_but_the_public_ones_answers_without_a_token() {
    let server = Server::new();
    server.sign_up("ada");
    let document = server.api().get("/openapi.json").expect(200).json();
    let public = [
        "/user/signup",
        "/user/signin",
        "/user/refresh",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
    ];
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let Ok(method) = method.to_uppercase().parse::<reqwest::Method>() else { continue };
            let filled = path.replace(['{', '}'], "");
            if !public.contains(&path.as_str()) {
                let answer = server.api().send(method, &filled, &[], Vec::new());
                answer.expect_problem(401, "unauthorized");
                asked += 1;
            }
        }
    }
    assert!(asked >= 20, "only {asked} operations were asked");
}

#[test]
fn a_forged_or_damaged_token_is_refused() {
    let directory = scratch();
    let server = Server::start(&directory.path().join("data"));
    let ada = server.sign_up("ada");
    let other = Server::start(&directory.path().join("other"));
    let of_another_server = other.sign_up("ada").token().to_owned();
    let mut damaged = ada.token().to_owned();
    let middle = damaged.len() / 2;
    let replacement = if damaged.as_bytes()[middle] == b'A' { "B" } else { "A" };
    damaged.replace_range(middle..=middle, replacement);
    let unsigned = format!("{}.", ada.token().rsplit_once('.').map_or("a.b", |(head, _)| head));
    // The same claims under `{"alg":"none","typ":"JWT"}`.
    let claims = ada.token().split('.').nth(1).unwrap_or("e30");
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    for token in [&of_another_server, &damaged, &unsigned, &none, "x", ""] {
        let answer = server.api().with_token(token).get("/user/info");
        answer.expect_problem(401, "unauthorized");
    }
    let in_url = server.api().get(&format!("/user/info?access_token={}", ada.token()));
    in_url.expect_problem(401, "unauthorized");
    ada.get("/user/info").expect(200);
}

#[test]
fn an_expired_token_is_refused_and_the_refresh_token_goes_on() {
    let server = Server::with(&["--access-ttl", "1"]);
    server.sign_up("ada");
    let session = sign_in(&server, "ada", PASSWORD);
    let ada = with(&server, &session);
    wait_until("the token expires", seconds(10), || ada.get("/user/info").status == 401);
    ada.get("/user/info").expect_problem(401, "unauthorized");
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let renewed = server.api().post("/user/refresh", &refresh).expect(200).json();
    with(&server, &renewed).get("/user/info").expect(200);
}

#[test]
fn single_device_login_ends_the_older_session() {
    let server = Server::with(&["--max-devices", "1"]);
    let first = server.sign_up("ada");
    let second = with(&server, &sign_in(&server, "ada", PASSWORD));
    first.get("/user/info").expect_problem(401, "unauthorized");
    second.get("/user/info").expect(200);
}

#[test]
fn a_token_of_a_device_that_signed_out_is_refused() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let session = sign_in(&server, "ada", PASSWORD);
    let second = with(&server, &session);
    second.post("/user/signout", &json!({})).expect(204);
    second.get("/user/info").expect_problem(401, "unauthorized");
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    server.api().post("/user/refresh", &refresh).expect_problem(401, "unauthorized");
    ada.get("/user/info").expect(200);
}

fn refresh(server: &Server, session: &Value) -> Answer {
    let body = json!({ "refresh_token": session["refresh_token"] });
    server.api().post("/user/refresh", &body)
}

#[test]
fn a_lost_answer_to_a_refresh_signs_nobody_out() {
    let mut server = Server::new();
    server.sign_up("ada");
    let first = sign_in(&server, "ada", PASSWORD);
    let lost = refresh(&server, &first).expect(200).json();
    server.kill();
    server.restart();
    let second = refresh(&server, &first).expect(200).json();
    assert_eq!(second["device"], first["device"]);
    assert_eq!(second["refresh_token"], lost["refresh_token"]);
    with(&server, &first).get("/user/info").expect_problem(401, "unauthorized");
    with(&server, &second).get("/user/info").expect(200);
    let third = refresh(&server, &second).expect(200).json();
    assert_ne!(third["refresh_token"], second["refresh_token"]);
    with(&server, &third).get("/user/info").expect(200);
}

#[test]
fn only_a_refresh_token_refreshes_and_it_does_nothing_else() {
    let server = Server::new();
    server.sign_up("ada");
    let session = sign_in(&server, "ada", PASSWORD);
    for none in [&json!("x"), &json!("0".repeat(64)), &session["access_token"]] {
        let answer = refresh(&server, &json!({ "refresh_token": none }));
        answer.expect_problem(401, "unauthorized");
    }
    let refresh_as_access = server.api().with_token(session["refresh_token"].as_str().unwrap());
    refresh_as_access.get("/user/info").expect_problem(401, "unauthorized");
    with(&server, &session).get("/user/info").expect(200);
}

#[test]
fn a_new_password_ends_every_other_session() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let other = with(&server, &sign_in(&server, "ada", PASSWORD));
    let change = |old: &str| json!({ "old": old, "new": "another password" });
    let wrong = ada.post("/user/password", &change("not it"));
    wrong.expect_problem(401, "wrong_credentials");
    let session = ada.post("/user/password", &change(PASSWORD)).expect(200).json();
    with(&server, &session).get("/user/info").expect(200);
    other.get("/user/info").expect_problem(401, "unauthorized");
    let old = server.api().post("/user/signin", &credentials("ada", PASSWORD));
    old.expect_problem(401, "wrong_credentials");
    sign_in(&server, "ada", "another password");
}

#[test]
fn a_known_device_keeps_its_id_and_loses_its_former_session() {
    let server = Server::new();
    server.sign_up("ada");
    let first = sign_in(&server, "ada", PASSWORD);
    let mut body = credentials("ada", PASSWORD);
    body["device"]["id"] = first["device"].clone();
    let second = server.api().post("/user/signin", &body).expect(200).json();
    assert_eq!(second["device"], first["device"]);
    with(&server, &first).get("/user/info").expect_problem(401, "unauthorized");
    with(&server, &second).get("/user/info").expect(200);
}

#[test]
fn sessions_survive_a_restart_of_the_server() {
    let mut server = Server::new();
    let ada = server.sign_up("ada");
    server.kill();
    server.restart();
    ada.get("/user/info").expect(200);
}

#[test]
fn guessing_passwords_is_slowed_down() {
    let server = Server::new();
    server.sign_up("ada");
    let guess = |n: u32| {
        server.api().post("/user/signin", &credentials("ada", &format!("wrong guess {n}")))
    };
    let refused = (0..200).map(guess).find(|answer| answer.status != 401).expect("no limit");
    assert!(refused.header("retry-after").is_some());
    refused.expect_problem(429, "too_many_requests");
}
