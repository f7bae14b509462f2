//! Instant upload: knowing a digest is not owning a content; having its bytes is.

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::content::{Content, upload};
use crate::harness::drive::{Change, apply, refuse};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const SIZE: usize = 3 * CHUNK_SIZE as usize + 77;

/// A server on which `ada` has a content that `bob` may try to get.
struct Fixture {
    server: Server,
    bob: Api,
    content: Content,
}

impl Fixture {
    fn new() -> Self {
        let server = Server::new();
        let content = Content::random(Seed::of_this_run(), "film", SIZE);
        upload(&server.sign_up("ada"), &content);
        let bob = server.sign_up("bob");
        Self { server, bob, content }
    }

    fn ask(&self) -> Value {
        let body = json!({ "filehash": self.content.digest, "size": self.content.size() });
        self.bob.post("/file/fastupload", &body).expect(200).json()
    }

    fn prove(&self, proof: &Value) -> crate::harness::api::Answer {
        self.bob.post("/file/fastupload/prove", proof)
    }

    fn file(&self) -> Change {
        Change::file(NodeId::ROOT, "film", &self.content)
    }
}

#[test]
fn a_known_content_is_there_at_once_after_the_proof() {
    let fixture = Fixture::new();
    let before = fixture.server.metric("miaofs_chunk_bytes_received_total");
    let answer = fixture.ask();
    assert_eq!(answer["found"], true);
    let proof = fixture.content.proof(&answer["challenge"]);
    assert_eq!(fixture.prove(&proof).expect(200).json(), fixture.content.reference());
    apply(&fixture.bob, &[&fixture.file()]);
    assert_eq!(fixture.server.metric("miaofs_chunk_bytes_received_total"), before);
    let path = format!("/file/download?digest={}", fixture.content.digest);
    assert!(
        fixture.bob.get(&path).expect(200).body == fixture.content.bytes,
        "other bytes came back"
    );
}

#[test]
fn without_the_proof_nothing_can_be_done_with_a_digest() {
    let fixture = Fixture::new();
    assert_eq!(fixture.ask()["found"], true);
    refuse(&fixture.bob, &fixture.file(), "no_content");
    let path = format!("/file/download?digest={}", fixture.content.digest);
    fixture.bob.get(&path).expect_problem(404, "not_found");
    let body = json!({ "digest": fixture.content.digest, "first": 0, "count": 9 });
    fixture.bob.post("/file/locate", &body).expect_problem(404, "not_found");
    let known = fixture.bob.post("/file/known", &json!({ "digests": [fixture.content.digest] }));
    assert_eq!(known.expect(200).json()["known"], json!([]));
}

#[test]
fn a_wrong_proof_is_refused_and_spends_the_challenge() {
    let fixture = Fixture::new();
    let challenge = fixture.ask()["challenge"].clone();
    let good = fixture.content.proof(&challenge);
    let mut wrong = good.clone();
    wrong["proof"] = json!(fixture.content.digest);
    fixture.prove(&wrong).expect_problem(403, "proof_wrong");
    assert!(
        (400..500).contains(&fixture.prove(&good).status),
        "a challenge was good for two answers"
    );
    refuse(&fixture.bob, &fixture.file(), "no_content");
}

#[test]
fn a_proof_is_good_once_and_for_its_account_only() {
    let fixture = Fixture::new();
    let proof = fixture.content.proof(&fixture.ask()["challenge"]);
    let eve = fixture.server.sign_up("eve");
    let stolen = eve.post("/file/fastupload/prove", &proof);
    assert!((400..500).contains(&stolen.status), "{}", stolen.status);
    let fresh = fixture.content.proof(&fixture.ask()["challenge"]);
    fixture.prove(&fresh).expect(200);
    assert!((400..500).contains(&fixture.prove(&fresh).status), "a proof was good twice");
    refuse(&eve, &fixture.file(), "no_content");
}

#[test]
fn challenges_differ_and_cover_ranges_of_the_content() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.ask()["challenge"].clone(), fixture.ask()["challenge"].clone());
    assert_ne!(one["nonce"], other["nonce"]);
    assert_ne!(one["ranges"], other["ranges"]);
    for range in one["ranges"].as_array().unwrap() {
        let (offset, length) =
            (range["offset"].as_u64().unwrap(), range["length"].as_u64().unwrap());
        assert!(length > 0 && offset + length <= fixture.content.size(), "{range}");
    }
}

#[test]
fn an_unknown_content_is_not_found_and_a_wrong_size_is_no_match() {
    let fixture = Fixture::new();
    let ask = |body: Value| fixture.bob.post("/file/fastupload", &body).expect(200).json();
    let unknown = json!({ "filehash": Content::new(vec![1]).digest, "size": 1 });
    assert_eq!(ask(unknown)["found"], false);
    let other_size =
        json!({ "filehash": fixture.content.digest, "size": fixture.content.size() - 1 });
    assert_eq!(ask(other_size)["found"], false);
}

#[test]
fn a_content_is_also_found_by_its_md5() {
    let fixture = Fixture::new();
    let md5 = miaofs::content::Md5::of(&fixture.content.bytes);
    let body = json!({ "md5": md5, "size": fixture.content.size() });
    let ask = || fixture.bob.post("/file/fastupload", &body).expect(200).json();
    // The MD5 of what came in chunks is computed behind the upload, not in its way.
    wait_until("the MD5 is known", seconds(60), || ask()["found"] == true);
    let proof = fixture.content.proof(&ask()["challenge"]);
    assert_eq!(fixture.prove(&proof).expect(200).json(), fixture.content.reference());
}

#[test]
fn an_own_content_needs_no_proof() {
    let fixture = Fixture::new();
    upload(&fixture.bob, &fixture.content);
    let answer = fixture.ask();
    assert_eq!(answer["found"], true);
    assert_eq!(answer.get("challenge"), None);
}

#[test]
fn with_dedup_by_user_nothing_can_be_learnt_about_others() {
    let directory = scratch();
    let arguments = ["--dedup", "user"];
    let server = Server::start_with(&directory.path().join("data"), &arguments);
    let content = Content::random(Seed::of_this_run(), "film", SIZE);
    let (ada, bob) = (server.sign_up("ada"), server.sign_up("bob"));
    upload(&ada, &content);
    let body = json!({ "filehash": content.digest, "size": content.size() });
    assert_eq!(bob.post("/file/fastupload", &body).expect(200).json()["found"], false);
    assert_eq!(ada.post("/file/fastupload", &body).expect(200).json()["found"], true);
}
