//! Two users of one server: the owner of things of every kind that has an id, and another one.

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use super::Column;
use super::calls::ENDING;
use crate::harness::api::Api;
use crate::harness::content::{Content, Upload, batch_of, send_batch};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// The owner's password.
pub(super) const PASSWORD: &str = "ada's own battery staple";

/// A token that reaches a part of a drive.
pub(super) struct Restricted {
    /// Name for people.
    pub name: &'static str,
    /// The token.
    pub token: String,
    /// True if it reads the owner's secret directory.
    pub may_read: bool,
}

/// The users, and the ids of what the owner has.
pub(super) struct Stage {
    /// The server.
    pub server: Server,
    /// The owner.
    pub ada: Api,
    /// The other one.
    pub bob: Api,
    /// The owner's session, as sign-up answered it.
    pub session: Value,
    /// A session of the owner's that has ended.
    ended: String,
    /// A directory, `/secret-directory`.
    pub directory: Change,
    /// A file in it, `secret-file`.
    pub file: Change,
    /// The file's content.
    pub content: Content,
    /// A content of two chunks of which an upload has begun: the second chunk is missing still.
    pub film: Content,
    /// Path of that upload.
    pub upload: String,
    /// Path of an upload that wants nothing but to be completed.
    pub finished: String,
    /// A content of somebody else's that the owner was asked to prove.
    pub challenged: Content,
    /// The challenge for it.
    pub challenge: Value,
    /// The owner's last commit: sequence number and id.
    pub seen: Value,
    /// Id of a token that the owner made for a part of the drive.
    pub scoped: String,
    /// Tokens that reach a part of a drive, none of which reaches what the rows are about other than to read it.
    pub restricted: Vec<Restricted>,
    /// Such tokens that reach nothing any more.
    gone: [String; 2],
}

impl Stage {
    /// Signs both up and makes everything.
    pub(super) fn new() -> Self {
        let (server, seed) = (Server::new(), Seed::of_this_run());
        let session = session(&server, "signup", "ada");
        let ada = with(&server, &session);
        let ended = session_that_ended(&server);
        let bob = server.sign_up("bob");
        apply(&bob, &[&Change::directory(NodeId::ROOT, "bobs")]);
        apply(&ada, &[&Change::directory(NodeId::ROOT, "open")]);

        let content = Content::new(b"the secret text of the owner".to_vec());
        send_batch(&ada, batch_of(&[&content])).expect(200);
        let directory = Change::directory(NodeId::ROOT, "secret-directory");
        let file = Change::file(directory.id(), "secret-file", &content);
        apply(&ada, &[&directory, &file]);

        let film = Content::random(seed, "film", CHUNK_SIZE as usize + 1000);
        let begun = Upload::begin(&ada, &film.init());
        begun.put(0, film.chunk(0)).expect(204);
        let upload = begun.path.clone();
        let finished = Upload::begin(&ada, &content.init()).path.clone();

        let challenged = Content::random(seed, "somebody else's", 1000);
        send_batch(&server.sign_up("carol"), batch_of(&[&challenged])).expect(200);
        let ask = json!({ "filehash": challenged.digest, "size": challenged.size() });
        let asked = ada.post("/file/fastupload", &ask).expect(200).json();
        let token = json!({ "name": "one", "path": "/secret-directory", "operations": "write" });
        let token = ada.post("/user/tokens", &token).expect(200).json();
        let page = ada.get("/fs/changes?since=0").expect(200).json();
        let (restricted, gone) = (restricted(&ada, &bob), gone(&ada));
        Self {
            restricted,
            gone,
            challenge: asked["challenge"].clone(),
            scoped: token["about"]["id"].as_str().unwrap().to_owned(),
            seen: json!({ "seq": page["cursor"], "id": page["commit"] }),
            server,
            ada,
            bob,
            session,
            ended,
            directory,
            file,
            content,
            film,
            upload,
            finished,
            challenged,
        }
    }

    /// Tokens with which nobody gets in.
    pub(super) fn useless_tokens(&self) -> Vec<Column> {
        let text = |name: &str| self.session[name].as_str().unwrap().to_owned();
        let cut = text("access_token").rsplit_once('.').map(|(head, _)| format!("{head}."));
        vec![
            Column { name: "no token", token: None },
            Column { name: "garbage", token: Some("x".to_owned()) },
            Column { name: "the owner's without a signature", token: cut },
            Column { name: "one of the owner's that has ended", token: Some(self.ended.clone()) },
            Column { name: "the owner's refresh token", token: Some(text("refresh_token")) },
            Column { name: "a restricted one that was revoked", token: Some(self.gone[0].clone()) },
            Column { name: "a restricted one that has expired", token: Some(self.gone[1].clone()) },
            Column { name: "the owner's device", token: Some(text("device")) },
        ]
    }

    /// The owner, in a session that this operation may end.
    pub(super) fn owner(&self, operation: &str) -> Api {
        match ENDING.contains(&operation) {
            true => with(&self.server, &session(&self.server, "signin", "ada")),
            false => self.ada.clone(),
        }
    }

    /// The other one, in such a session.
    pub(super) fn other(&self, operation: &str) -> Api {
        match ENDING.contains(&operation) {
            true => self.server.sign_in("bob"),
            false => self.bob.clone(),
        }
    }

    /// Words that only the owner is told.
    pub(super) fn marks(&self) -> Vec<&str> {
        let upload = self.upload.rsplit('/').next().unwrap();
        let mut marks = vec!["secret", "\"ada\"", upload];
        marks.extend(
            [&self.session["device"], &self.directory.0["id"], &self.file.0["id"]]
                .map(|id| id.as_str().unwrap()),
        );
        marks.extend(
            [&self.directory.0["revision"], &self.seen["id"], &self.challenge["id"]]
                .map(|id| id.as_str().unwrap()),
        );
        marks
    }

    /// All that the owner can see of what is the owner's.
    pub(super) fn snapshot(&self) -> Vec<Value> {
        let looks =
            ["/fs/changes?since=0&deleted=true", "/user/info", &self.upload, &self.finished];
        let mut seen: Vec<Value> =
            looks.iter().map(|path| self.ada.get(path).expect(200).json()).collect();
        for upload in &mut seen[2..] {
            upload["expires_in"].take();
        }
        let file = self.ada.get("/file/download?path=/secret-directory/secret-file").expect(200);
        seen.push(json!(file.body));
        seen
    }
}

fn session(server: &Server, verb: &str, name: &str) -> Value {
    let body = json!({ "name": name, "password": PASSWORD, "device": { "name": "ada's device" } });
    server.api().post(&format!("/user/{verb}"), &body).expect(200).json()
}

fn with(server: &Server, session: &Value) -> Api {
    server.api().with_token(session["access_token"].as_str().unwrap())
}

/// Makes a token that reaches a part of a drive; its text and its id.
fn restrict(api: &Api, mut request: Value) -> [String; 2] {
    let path = request["path"].as_str().unwrap().to_owned();
    request["name"] = json!(format!("{path} {}", request["operations"]));
    let made = api.post("/user/tokens", &request).expect(200).json();
    [&made["token"], &made["about"]["id"]].map(|text| text.as_str().unwrap().to_owned())
}

fn restricted(ada: &Api, bob: &Api) -> Vec<Restricted> {
    let make = |name, api, path: &str, operations: &str| {
        let [token, _] = restrict(api, json!({ "path": path, "operations": operations }));
        Restricted { name, token, may_read: (path, operations) == ("/secret-directory", "read") }
    };
    vec![
        make("the other's for a directory", bob, "/bobs", "write"),
        make("the other's for reading a directory", bob, "/bobs", "read"),
        make("the owner's for another directory", ada, "/open", "write"),
        make("the owner's for reading another directory", ada, "/open", "read"),
        make("the owner's for reading", ada, "/secret-directory", "read"),
    ]
}

/// A token that was revoked, and one that has expired.
fn gone(ada: &Api) -> [String; 2] {
    let open = |operations: &str, expires_in: Value| {
        restrict(ada, json!({ "path": "/", "operations": operations, "expires_in": expires_in }))
    };
    let [revoked, id] = open("write", Value::Null);
    ada.delete(&format!("/user/tokens/{id}")).expect(204);
    let [expired, _] = open("read", json!(1));
    wait_until("a token expires", seconds(10), || {
        ada.with_token(&expired).get("/file/meta?path=/").status == 401
    });
    [revoked, expired]
}

/// The token of another device of the owner, which has signed out.
fn session_that_ended(server: &Server) -> String {
    let other = with(server, &session(server, "signin", "ada"));
    other.post("/user/signout", &json!({})).expect(204);
    other.token().to_owned()
}
