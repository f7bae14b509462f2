//! The devices of an account: which are signed in, the end of one, and what it is told.

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::command::output;
use crate::harness::server::{PASSWORD, Server};

fn sign_in(server: &Server, user: &str, device: &str) -> Value {
    let body = json!({ "name": user, "password": PASSWORD, "device": { "name": device } });
    server.api().post("/user/signin", &body).expect(200).json()
}

fn with(server: &Server, session: &Value) -> Api {
    server.api().with_token(session["access_token"].as_str().unwrap())
}

/// The answer to a device that renews its session.
#[track_caller]
fn told(server: &Server, session: &Value) -> Value {
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let answer = server.api().post("/user/refresh", &refresh);
    answer.expect_problem(401, "unauthorized")["detail"].clone()
}

fn names(devices: &Value) -> Vec<&str> {
    let devices = devices["devices"].as_array().unwrap();
    devices.iter().map(|device| device["name"].as_str().unwrap()).collect()
}

#[test]
fn a_device_that_another_one_signs_out_is_told_so_and_nobody_else_is_signed_out() {
    let server = Server::new();
    server.sign_up("ada").post("/user/signout", &json!({})).expect(204);
    let [desk, lap] = ["desk", "lap"].map(|name| sign_in(&server, "ada", name));
    let (ada, other) = (with(&server, &desk), with(&server, &lap));
    let devices = ada.get("/user/devices").expect(200).json();
    let mut both = names(&devices);
    both.sort_unstable();
    assert_eq!(both, ["desk", "lap"]);
    for device in devices["devices"].as_array().unwrap() {
        assert_eq!(device["current"], json!(device["id"] == desk["device"]));
        assert!(device["first_seen"].as_i64() > Some(1_700_000_000), "{device}");
        assert!(device["last_seen"].as_i64() >= device["first_seen"].as_i64(), "{device}");
    }
    let route = format!("/user/devices/{}", lap["device"].as_str().unwrap());

    let eve = server.sign_up("eve");
    assert_eq!(names(&eve.get("/user/devices").expect(200).json()), ["test"]);
    eve.delete(&route).expect_problem(404, "not_found");
    other.get("/user/info").expect(200);

    ada.delete(&route).expect(204);
    other.get("/user/info").expect_problem(401, "unauthorized");
    assert_eq!(told(&server, &lap), "signed out by another device");
    ada.delete(&route).expect_problem(404, "not_found");
    assert_eq!(names(&ada.get("/user/devices").expect(200).json()), ["desk"]);
    let again = json!({ "name": "ada", "password": PASSWORD,
        "device": { "name": "lap", "id": lap["device"] } });
    let again = server.api().post("/user/signin", &again).expect(200).json();
    with(&server, &again).get("/user/info").expect(200);
    assert_eq!(told(&server, &lap), "the session is over");
}

#[test]
fn a_device_is_told_why_it_was_signed_out() {
    let server = Server::with(&["--max-devices", "1"]);
    server.sign_up("ada");
    let first = sign_in(&server, "ada", "first");
    let second = sign_in(&server, "ada", "second");
    assert_eq!(told(&server, &first), "signed out, since another device signed in");
    let operator = |arguments: &[&str]| {
        output(&mut Server::command(server.data(), arguments));
    };
    operator(&["user", "disable", "ada"]);
    let disabled = "signed out, since the operator disabled the account";
    assert_eq!(told(&server, &second), disabled);
    operator(&["user", "enable", "ada"]);
    let third = sign_in(&server, "ada", "third");
    let change = json!({ "old": PASSWORD, "new": "another password" });
    with(&server, &third).post("/user/password", &change).expect(200);
    assert_eq!(told(&server, &third), "the session is over", "it goes on with another one");
}
