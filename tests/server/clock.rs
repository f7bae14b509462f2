//! A server whose clock jumps deletes nothing for it that is still in its time.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::api::Api;
use crate::harness::clock::Clock;
use crate::harness::command::output;
use crate::harness::content::{Content, upload};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};
use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::ids::NodeId;

const YEARS: i64 = 10 * 365 * 24 * 3600;
/// So many seconds after 1970 it is at least.
const LONG_AGO: i64 = 1_700_000_000;

struct Scene {
    server: Server,
    clock: Clock,
    session: Value,
    data: PathBuf,
    _directory: TempDir,
}

impl Scene {
    /// A server whose clock is so many seconds ahead, with a session.
    fn new(ahead: i64) -> Self {
        let directory = scratch();
        let (data, clock) = (directory.path().join("data"), Clock::new(directory.path(), "server"));
        clock.set(ahead);
        let server = Server::start_with_clock(&data, &[], &clock);
        let body = json!({ "name": "ada", "password": PASSWORD, "device": { "name": "test" } });
        let session = server.api().post("/user/signup", &body).expect(200).json();
        Self { server, clock, session, data, _directory: directory }
    }

    fn ada(&self) -> Api {
        self.server.api().with_token(self.session["access_token"].as_str().unwrap())
    }

    fn renew(&mut self) -> Api {
        let refresh = json!({ "refresh_token": self.session["refresh_token"] });
        self.session = self.server.api().post("/user/refresh", &refresh).expect(200).json();
        self.ada()
    }

    /// Collects what the clock says is over.
    fn collect(&self) {
        let mut command = Server::command(&self.data, &["gc"]);
        self.clock.give(&mut command);
        output(&mut command);
    }
}

#[test]
fn a_clock_that_leaps_ahead_collects_nothing_and_signs_nobody_out() {
    let mut scene = Scene::new(0);
    let content = Content::random(Seed::of_this_run(), "film", 2 * CHUNK_SIZE as usize);
    upload(&scene.ada(), &content);
    scene.clock.set(YEARS);
    scene.collect();
    scene.renew();
    // Its course has begun anew for the next process, too.
    scene.server.kill();
    scene.server.restart();
    scene.collect();
    scene.renew();
    scene.clock.set(0);
    scene.collect();
    let ada = scene.renew();
    apply(&ada, &[&Change::file(NodeId::ROOT, "film", &content)]);
    assert!(ada.get("/file/download?path=/film").expect(200).body == content.bytes);
}

#[test]
fn a_clock_that_is_set_right_after_1970_signs_nobody_out() {
    let mut scene = Scene::new(-LONG_AGO);
    scene.server.kill();
    scene.clock.set(0);
    scene.server.restart();
    scene.renew().get("/user/info").expect(200);
}
