//! The rows of the table: how each operation is called for what is the owner's, and what another user may get for it.

use miaofs::protocol::batch;
use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::{PASSWORD, Stage};
use crate::harness::api::Answer;
use crate::harness::content::{Content, batch_of};
use crate::harness::drive::{Change, commit_of};

/// Operations that take away what others are about, in the order in which they come after all others.
pub(super) const LAST: [&str; 8] =
    ["complete", "cancel", "update", "delete", "revoke", "sign_out", "change_password", "close"];
/// Operations that end sessions: each is asked for within one of its own.
pub(super) const ENDING: [&str; 3] = ["sign_out", "change_password", "close"];

/// Answers that another user may get.
#[derive(Clone)]
pub(super) enum Foreign {
    /// One of these statuses.
    Refused(&'static [u16]),
    /// An answer that tells nothing and gives nothing.
    Only(fn(&Answer) -> bool),
    /// A success within that user's own drive.
    Own,
}

use Foreign::{Only, Own, Refused};

/// A request of the owner, to be sent by others.
#[derive(Clone)]
pub(super) struct Call {
    /// The id that it names.
    pub names: &'static str,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The body; empty when there is none.
    pub body: Vec<u8>,
    /// The body's media type.
    pub media_type: &'static str,
    /// Answers that another user may get for it.
    pub foreign: Foreign,
}

impl Call {
    /// True if the request says a word itself.
    pub(super) fn says(&self, word: &str) -> bool {
        self.path.contains(word) || String::from_utf8_lossy(&self.body).contains(word)
    }

    /// Header fields.
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        vec![("content-type", self.media_type)]
    }

    fn new(names: &'static str, method: Method, path: impl Into<String>, foreign: Foreign) -> Self {
        let (path, media_type) = (path.into(), "application/octet-stream");
        Self { names, method, path, body: Vec::new(), media_type, foreign }
    }

    fn get(names: &'static str, path: impl Into<String>, foreign: Foreign) -> Self {
        Self::new(names, Method::GET, path, foreign)
    }

    fn post(names: &'static str, path: &str, body: &Value, foreign: Foreign) -> Self {
        let body = body.to_string().into_bytes();
        Self {
            body,
            media_type: "application/json",
            ..Self::new(names, Method::POST, path, foreign)
        }
    }
}

/// The calls of an operation; none for one that the table does not know.
pub(super) fn calls(operation: &str, stage: &Stage) -> Vec<Call> {
    match operation {
        "sign_up" | "sign_in" | "refresh" => public(operation, stage),
        "create_token" | "tokens" | "revoke_token" => scoped_tokens(operation, stage),
        "account" | "change_password" | "close" | "devices" | "revoke" | "sign_out" => {
            account(operation, stage)
        }
        "commit" => commits(stage),
        "changes" | "list" => feed(operation, stage),
        "meta" | "query" | "update" | "delete" => by_path(operation),
        "download" | "contents" | "locate" | "known" => contents(operation, stage),
        "upload" | "batch" | "fast_upload" | "prove" => uploads_at_once(operation, stage),
        "init" | "status" | "put_chunk" | "complete" | "cancel" => chunked(operation, stage),
        _ => Vec::new(),
    }
}

fn account(operation: &str, stage: &Stage) -> Vec<Call> {
    match operation {
        "account" => vec![Call::get("nothing", "/user/info", Own)],
        "devices" => vec![Call::get("nothing", "/user/devices", Own)],
        "revoke" => {
            let device = stage.session["device"].as_str().unwrap_or_default();
            let path = format!("/user/devices/{device}");
            vec![Call::new("a device", Method::DELETE, path, Refused(&[404]))]
        }
        "change_password" => {
            // The same again: the owner signs in by it for what comes after.
            let body = json!({ "old": PASSWORD, "new": PASSWORD });
            vec![Call::post("the password", "/user/password", &body, Refused(&[401]))]
        }
        "close" => {
            let body = json!({ "password": PASSWORD });
            let call = Call::post("the password", "/user", &body, Refused(&[401]));
            vec![Call { method: Method::DELETE, ..call }]
        }
        _ => vec![Call::post("nothing", "/user/signout", &json!({}), Own)],
    }
}

fn scoped_tokens(operation: &str, stage: &Stage) -> Vec<Call> {
    match operation {
        "tokens" => vec![Call::get("nothing", "/user/tokens", Own)],
        "create_token" => {
            let body = json!({ "name": "new", "path": "/secret-directory", "operations": "read" });
            vec![Call::post("a path", "/user/tokens", &body, Refused(&[404]))]
        }
        _ => {
            let path = format!("/user/tokens/{}", stage.scoped);
            vec![Call::new("a token", Method::DELETE, path, Refused(&[404]))]
        }
    }
}

fn public(operation: &str, stage: &Stage) -> Vec<Call> {
    let device = json!({ "id": stage.session["device"], "name": "theirs" });
    let with = |name: &str, password: &str| json!({ "name": name, "password": password, "device": device });
    match operation {
        "sign_up" => vec![
            Call::post("the name", "/user/signup", &with("ADA", PASSWORD), Refused(&[409])),
            Call::post("the device", "/user/signup", &with("dora", PASSWORD), Own),
        ],
        "sign_in" => vec![
            Call::post("the name", "/user/signin", &with("ada", "a guess at it"), Refused(&[401])),
            Call::post(
                "the device",
                "/user/signin",
                &with("bob", crate::harness::server::PASSWORD),
                Own,
            ),
        ],
        _ => {
            let body = json!({ "refresh_token": stage.session["access_token"] });
            vec![Call::post("the access token", "/user/refresh", &body, Refused(&[401]))]
        }
    }
}

fn commits(stage: &Stage) -> Vec<Call> {
    let nothing_applied = |answer: &Answer| answer.json()["applied"] == json!([]);
    let commit = |names, change: &Change, foreign| {
        Call::post(names, "/fs/commit", &commit_of(&[change]), foreign)
    };
    let edit = stage.file.clone().based_on(1).with("mode", json!(0o600));
    let child = Change::directory(stage.directory.id(), "new");
    let copy = Change::file(NodeId::ROOT, "copy", &stage.content);
    let seen = json!({ "seen": stage.seen, "changes": [] });
    vec![
        commit("a node", &edit, Only(nothing_applied)),
        commit("a directory", &child, Only(nothing_applied)),
        commit("a content", &copy, Only(nothing_applied)),
        Call::post("a commit", "/fs/commit", &seen, Refused(&[409])),
    ]
}

fn feed(operation: &str, stage: &Stage) -> Vec<Call> {
    let id = |json: &Value| json.as_str().unwrap_or_default().to_owned();
    if operation == "list" {
        let path = format!("/fs/list/{}", id(&stage.directory.0["id"]));
        let root = format!("/fs/list/{}", NodeId::ROOT);
        return vec![
            Call::get("a directory", path, Refused(&[404])),
            Call::get("the root", root, Own),
        ];
    }
    let seen = format!("/fs/changes?since={}&commit={}", stage.seen["seq"], id(&stage.seen["id"]));
    vec![
        Call::get("a commit", seen, Refused(&[409])),
        Call::get("nothing", "/fs/changes?since=0", Own),
    ]
}

fn by_path(operation: &str) -> Vec<Call> {
    let missing = Refused(&[404]);
    let file = "/secret-directory/secret-file";
    match operation {
        "meta" => vec![Call::get("a path", format!("/file/meta?path={file}"), missing)],
        "query" => vec![Call::get("a path", "/file/query?path=/secret-directory", missing)],
        "update" => {
            let body = json!({ "path": file, "new_path": "/moved" });
            vec![Call::post("a path", "/file/update", &body, missing)]
        }
        _ => {
            let body = json!({ "path": "/secret-directory", "recursive": true });
            vec![Call::post("a path", "/file/delete", &body, missing)]
        }
    }
}

fn contents(operation: &str, stage: &Stage) -> Vec<Call> {
    let digest = stage.content.digest;
    let list = json!({ "digests": [digest] });
    match operation {
        "download" => vec![
            Call::get("a content", format!("/file/download?digest={digest}"), Refused(&[404])),
            Call::get(
                "a path",
                "/file/download?path=/secret-directory/secret-file",
                Refused(&[404]),
            ),
        ],
        "contents" => {
            vec![Call::post(
                "a content",
                "/file/contents",
                &list,
                Only(|answer| answer.body.is_empty()),
            )]
        }
        "known" => {
            let none = Only(|answer| answer.json()["known"] == json!([]));
            vec![Call::post("a content", "/file/known", &list, none)]
        }
        _ => {
            let body = json!({ "digest": digest, "first": 0, "count": 1 });
            vec![Call::post("a content", "/file/locate", &body, Refused(&[404]))]
        }
    }
}

fn uploads_at_once(operation: &str, stage: &Stage) -> Vec<Call> {
    match operation {
        "upload" => {
            let path = "/file/upload?path=/elsewhere/new";
            vec![Call { body: b"new".to_vec(), ..Call::new("a path", Method::POST, path, Own) }]
        }
        "batch" => {
            let body = batch_of(&[&Content::new(b"new".to_vec())]);
            let call = Call::new("nothing", Method::POST, "/file/batch", Own);
            vec![Call { body, media_type: batch::MEDIA_TYPE, ..call }]
        }
        "fast_upload" => {
            let body = json!({ "filehash": stage.content.digest, "size": stage.content.size() });
            // The server tells that it has it, and gives nothing without a proof.
            let unproven = Only(|answer| answer.json()["challenge"].is_object());
            vec![Call::post("a content", "/file/fastupload", &body, unproven)]
        }
        _ => {
            let proof = stage.challenged.proof(&stage.challenge);
            vec![Call::post("a challenge", "/file/fastupload/prove", &proof, Refused(&[404]))]
        }
    }
}

fn chunked(operation: &str, stage: &Stage) -> Vec<Call> {
    let (upload, finished, missing) = (&stage.upload, &stage.finished, Refused(&[404]));
    match operation {
        "init" => {
            let all_missing = |answer: &Answer| answer.json()["missing"] == json!([0, 1]);
            let mut edited = stage.film.bytes.clone();
            edited.push(7);
            let mut based = Content::new(edited).init();
            based["base"] = json!(stage.content.digest);
            let again = stage.film.init();
            vec![
                Call::post(
                    "an upload's content",
                    "/file/multipart/init",
                    &again,
                    Only(all_missing),
                ),
                Call::post("a base", "/file/multipart/init", &based, Only(all_missing)),
            ]
        }
        "put_chunk" => {
            let call = Call::new("an upload", Method::PUT, format!("{upload}/1"), missing);
            vec![Call { body: stage.film.chunk(1).to_vec(), ..call }]
        }
        "status" => {
            [upload, finished].map(|path| Call::get("an upload", path, Refused(&[404]))).into()
        }
        "complete" => [upload, finished]
            .map(|path| {
                Call::new("an upload", Method::POST, format!("{path}/complete"), missing.clone())
            })
            .into(),
        _ => [upload, finished]
            .map(|path| Call::new("an upload", Method::DELETE, path, missing.clone()))
            .into(),
    }
}
