//! The table of isolation: every route of the document × every id of another user × every token, of which none gets in.
//!
//! The rows are in `calls`: for each operation requests of the owner that name all that they can name, and what
//! another user may get for them. A route without a row fails the test. The columns are tokens: those that are good for
//! nothing, for which every row is a 401; restricted ones, the other user's and the
//! owner's; another user's; and at last the owner's own, with which every row must succeed, so that none was refused
//! for another reason.

mod calls;
mod stage;

use reqwest::Method;
use serde_json::Value;

use self::calls::{Call, Foreign, calls};
use self::stage::{Restricted, Stage};
use crate::harness::api::{Answer, Api};

/// Routes that say how the process is, or are the document: the same for everybody.
const OPERATION: &str = "operation";

/// A kind of token that is good for nothing.
struct Column {
    name: &'static str,
    token: Option<String>,
}

/// The names of all operations, those that end sessions last, and whether each is private.
fn operations(document: &Value) -> Vec<(String, bool)> {
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let guarded = operations.filter(|operation| operation["tags"][0] != OPERATION);
    let row = |operation: &Value| {
        let name = operation["operationId"].as_str().unwrap().to_owned();
        (name, operation["security"].is_null())
    };
    let mut rows: Vec<_> = guarded.map(row).collect();
    rows.sort_by_key(|(name, _)| calls::LAST.iter().position(|last| last == name));
    rows
}

/// The first word that an answer tells of the owner that the request did not say itself.
fn leak<'a>(stage: &'a Stage, call: &Call, answer: &Answer) -> Option<&'a str> {
    let body = String::from_utf8_lossy(&answer.body);
    let told = |mark: &&str| body.contains(*mark) && !call.says(mark);
    stage.marks().into_iter().find(told)
}

fn ask(api: &Api, call: &Call) -> Answer {
    api.send(call.method.clone(), &call.path, &call.headers(), call.body.clone())
}

/// Asks as somebody whom no route lets in.
fn refuses_everybody(stage: &Stage, call: &Call, what: &str) {
    for Column { name, token } in stage.useless_tokens() {
        let api = stage.server.api();
        let api = token.map_or(api.clone(), |token| api.with_token(&token));
        let answer = ask(&api, call);
        assert_eq!(answer.status, 401, "{what} with {name}");
        answer.expect_problem(401, "unauthorized");
    }
}

/// Asks with the tokens that reach a part of a drive, of which some reach what the row is about, but only to read it.
fn refuses_restricted(stage: &Stage, operation: &str, call: &Call, what: &str) {
    for Restricted { name, token, may_read } in &stage.restricted {
        if *may_read && ["meta", "query", "download"].contains(&operation) {
            continue;
        }
        let answer = ask(&stage.server.api().with_token(token), call);
        assert_eq!(answer.status, 403, "{what} with {name}");
        assert_eq!(leak(stage, call, &answer), None, "{what} with {name} tells of the owner");
        answer.expect_problem(403, "insufficient_scope");
    }
}

/// Asks as another user.
fn tells_others_nothing(stage: &Stage, other: &Api, call: &Call, what: &str) {
    let answer = ask(other, call);
    assert_eq!(leak(stage, call, &answer), None, "{what} as another user tells of the owner");
    let body = || String::from_utf8_lossy(&answer.body).into_owned();
    match &call.foreign {
        Foreign::Refused(statuses) => {
            assert!(statuses.contains(&answer.status), "{what}: {} {}", answer.status, body());
        }
        Foreign::Only(is_harmless) => {
            assert_eq!(answer.status, 200, "{what}: {}", body());
            assert!(is_harmless(&answer), "{what} as another user: {}", body());
        }
        Foreign::Own => assert!((200..300).contains(&answer.status), "{what}: {}", body()),
    }
    if call.method == Method::GET {
        let head = ask(other, &Call { method: Method::HEAD, ..call.clone() });
        assert_eq!(head.status, answer.status, "HEAD of {what}");
    }
}

#[test]
fn no_token_of_another_gets_at_what_is_ones_own() {
    let stage = Stage::new();
    let document = stage.server.api().get("/openapi.json").expect(200).json();
    let operations = operations(&document);
    let rows: Vec<(&str, String, Call)> = operations
        .iter()
        .filter(|(_, is_private)| *is_private)
        .flat_map(|(name, _)| {
            let calls = calls(name, &stage);
            assert!(!calls.is_empty(), "the table has no row for {name}: say how it is called");
            calls
                .into_iter()
                .map(move |call| (name.as_str(), format!("{name} ({})", call.names), call))
        })
        .collect();
    let before = stage.snapshot();
    for (name, what, call) in &rows {
        refuses_everybody(&stage, call, what);
        refuses_restricted(&stage, name, call, what);
        tells_others_nothing(&stage, &stage.other(name), call, what);
        assert_eq!(stage.snapshot(), before, "{what} changed something of another user's");
    }
    for (name, what, call) in &rows {
        let answer = ask(&stage.owner(name), call);
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            (200..300).contains(&answer.status),
            "{what}: the owner gets {}: {body}",
            answer.status
        );
    }
    println!("{} rows of {} routes", rows.len(), operations.iter().filter(|it| it.1).count());
}

#[test]
fn public_routes_let_nobody_in_by_what_they_know_of_another() {
    let stage = Stage::new();
    let document = stage.server.api().get("/openapi.json").expect(200).json();
    let before = stage.snapshot();
    for (name, _) in operations(&document).iter().filter(|(_, is_private)| !is_private) {
        let calls = calls(name, &stage);
        assert!(!calls.is_empty(), "the table has no row for {name}: say how it is called");
        for call in calls {
            let what = format!("{name} ({})", call.names);
            tells_others_nothing(&stage, &stage.server.api(), &call, &what);
            assert_eq!(stage.snapshot(), before, "{what} changed something of another user's");
        }
    }
}
