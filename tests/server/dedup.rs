//! With `dedup = "user"`, no upload tells what other users have: not by its answer or its counters; `upload_times` has its time.

use std::cell::Cell;
use std::collections::BTreeMap;

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fsck::fsck;
use crate::harness::api::{Answer, Api};
use crate::harness::content::{Content, Upload, batch_of, send_batch, upload};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// A server where `ada` has some contents and `bob` wants to know which.
pub(super) struct Fixture {
    _directory: TempDir,
    pub(super) server: Server,
    pub(super) ada: Api,
    pub(super) bob: Api,
    /// Blobs that were received, all of which are to move.
    received: Cell<u64>,
}

impl Fixture {
    pub(super) fn new(arguments: &[&str]) -> Self {
        let directory = scratch();
        let arguments = [&["--dedup", "user"], arguments].concat();
        let server = Server::start_with(&directory.path().join("data"), &arguments);
        let (ada, bob) = (server.sign_up("ada"), server.sign_up("bob"));
        Self { _directory: directory, server, ada, bob, received: Cell::new(0) }
    }

    /// Two contents of one size: one that `ada` has, and one that nobody has.
    fn contents(&self, label: &str, size: usize) -> [Content; 2] {
        let random =
            |whose| Content::random(Seed::of_this_run(), &format!("{whose} {label}"), size);
        let contents = [random("known"), random("unknown")];
        upload(&self.ada, &contents[0]);
        self.receive(1);
        contents
    }

    pub(super) fn receive(&self, blobs: u64) {
        self.received.set(self.received.get() + blobs);
    }

    /// The counters, when nothing moves any more: all but those of the requests that ask for them.
    pub(super) fn counters(&self) -> BTreeMap<String, u64> {
        wait_until("all that was received has moved", seconds(60), || {
            let moved = self.server.metric_where("miaofs_transfers_total", "\"done\"");
            moved == Some(self.received.get()) && self.server.staged().is_empty()
        });
        let text = String::from_utf8(self.server.api().get("/metrics").expect(200).body).unwrap();
        let counters = text.lines().filter(|line| !line.starts_with('#'));
        let counters = counters.filter_map(|line| line.rsplit_once(' '));
        let counters =
            counters.filter(|(name, _)| name.contains("_total") && !name.contains("/metrics"));
        counters
            .map(|(name, value)| (name.to_owned(), value.parse::<f64>().unwrap() as u64))
            .collect()
    }
}

/// Fields that differ between any two contents.
const NAMES: [&str; 10] = [
    "btime",
    "ctime",
    "digest",
    "id",
    "mtime",
    "name",
    "parent",
    "revision",
    "upload_id",
    "version",
];

/// An answer without what differs anyway.
fn told(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    forget(&mut body);
    (answer.status, body)
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !NAMES.contains(&name.as_str()));
            fields.values_mut().for_each(forget);
        }
        Value::Array(values) => values.iter_mut().for_each(forget),
        _ => (),
    }
}

/// Does the same, which brings so many blobs, with a content that another has and one that nobody has,
/// and compares all that is told.
#[track_caller]
fn compare(
    fixture: &Fixture,
    blobs: u64,
    contents: &[Content; 2],
    act: impl Fn(&Api, &Content) -> Vec<Answer>,
) {
    let [known, unknown] = contents.each_ref().map(|content| {
        let before = fixture.counters();
        let answers: Vec<_> = act(&fixture.bob, content).iter().map(told).collect();
        fixture.receive(blobs);
        let after = fixture.counters();
        let grown: BTreeMap<String, u64> = after
            .into_iter()
            .map(|(name, value)| (name.clone(), value - before.get(&name).unwrap_or(&0)))
            .filter(|(_, grown)| *grown > 0)
            .collect();
        (answers, grown)
    });
    assert_eq!(known, unknown);
}

#[test]
fn no_upload_tells_what_others_have() {
    let fixture = Fixture::new(&[]);
    let small = fixture.contents("small", 5000);
    compare(&fixture, 1, &small, |bob, content| {
        let body = batch_of(&[content]);
        vec![send_batch(bob, body.clone()), send_batch(bob, body)]
    });
    let plain = fixture.contents("plain", 7000);
    compare(&fixture, 1, &plain, |bob, content| vec![bob_uploads(bob, content)]);
    let large = fixture.contents("large", CHUNK_SIZE as usize + 9);
    compare(&fixture, 1, &large, |bob, content| {
        let upload = Upload::begin(bob, &content.init());
        assert_eq!(upload.missing, [0, 1]);
        for index in &upload.missing {
            upload.put(*index, content.chunk(*index)).expect(204);
        }
        vec![upload.status(), upload.complete()]
    });
    let asked = fixture.contents("asked", CHUNK_SIZE as usize + 9);
    compare(&fixture, 0, &asked, |bob, content| {
        let md5 = miaofs::content::Md5::of(&content.bytes);
        vec![
            bob.post("/file/known", &json!({ "digests": [content.digest] })),
            bob.post(
                "/file/fastupload",
                &json!({ "filehash": content.digest, "size": content.size() }),
            ),
            bob.post("/file/fastupload", &json!({ "md5": md5, "size": content.size() })),
        ]
    });
}

fn bob_uploads(bob: &Api, content: &Content) -> Answer {
    let path = format!("/file/upload?path=/{}", content.digest);
    bob.send(reqwest::Method::POST, &path, &[], content.bytes.clone())
}

#[test]
fn what_was_received_for_nothing_goes_and_the_content_stays() {
    let fixture = Fixture::new(&["--grace-period", "2"]);
    let [content, _] = fixture.contents("small", 5000);
    let file = Change::file(NodeId::ROOT, "file", &content);
    apply(&fixture.ada, &[&file]);
    assert_eq!(send_batch(&fixture.bob, batch_of(&[&content])).expect(200).json()["new"], 1);
    apply(&fixture.bob, &[&Change::file(NodeId::ROOT, "file", &content)]);
    wait_until("one copy is left", seconds(60), || {
        fixture.server.staged().is_empty() && fixture.server.stored() == [5000]
    });
    for api in [&fixture.ada, &fixture.bob] {
        assert!(api.get("/file/download?path=/file").expect(200).body == content.bytes);
    }
    let (code, report) = fsck(&fixture.server, &["--grace", "0", "--deep"]);
    assert_eq!(code, 0, "{report}");
}
