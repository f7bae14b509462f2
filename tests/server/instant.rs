//! Instant upload: knowing a digest is not owning a content; having its bytes, all of them, is.

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api};
use crate::harness::content::{Content, Upload, upload};
use crate::harness::drive::{Change, apply, refuse};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const SIZE: usize = 3 * CHUNK_SIZE as usize + 77;
/// Bytes of a content of which a proof takes samples.
const LARGE: usize = 5 * CHUNK_SIZE as usize + 77;
/// Challenges about one content that an account gets at once.
const CHALLENGES: usize = 4;

/// A server on which `ada` has a content that `bob` may try to get.
struct Fixture {
    server: Server,
    bob: Api,
    content: Content,
}

impl Fixture {
    fn new() -> Self {
        Self::of_size(SIZE)
    }

    fn of_size(size: usize) -> Self {
        let server = Server::new();
        let content = Content::random(Seed::of_this_run(), "film", size);
        upload(&server.sign_up("ada"), &content);
        let bob = server.sign_up("bob");
        Self { server, bob, content }
    }

    fn try_to_ask(&self) -> Answer {
        let body = json!({ "filehash": self.content.digest, "size": self.content.size() });
        self.bob.post("/file/fastupload", &body)
    }

    fn ask(&self) -> Value {
        self.try_to_ask().expect(200).json()
    }

    fn prove(&self, proof: &Value) -> Answer {
        self.bob.post("/file/fastupload/prove", proof)
    }

    fn file(&self) -> Change {
        Change::file(NodeId::ROOT, "film", &self.content)
    }
}

#[test]
fn a_known_content_is_there_at_once_after_the_proof() {
    for size in [SIZE, LARGE] {
        is_there_at_once_after_the_proof(size);
    }
}

fn is_there_at_once_after_the_proof(size: usize) {
    let fixture = Fixture::of_size(size);
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
    assert_eq!(one["ranges"], json!([{ "offset": 0, "length": fixture.content.size() }]));
    assert_eq!(one["ranges"], other["ranges"]);
}

#[test]
fn zeros_do_not_count_in_a_proof() {
    let server = Server::new();
    let (ada, bob) = (server.sign_up("ada"), server.sign_up("bob"));
    let mut bytes = vec![0; 40 * CHUNK_SIZE as usize];
    bytes[7 * CHUNK_SIZE as usize + 5] = 1;
    let content = Content::new(bytes.clone());
    let mut init = content.init();
    for (index, chunk) in init["chunks"].as_array_mut().unwrap().iter_mut().enumerate() {
        *chunk = if index == 7 { chunk.take() } else { Value::Null };
    }
    let sent = Upload::begin(&ada, &init);
    assert_eq!(sent.missing, [7]);
    sent.put(7, content.chunk(7)).expect(204);
    sent.complete().expect(200);

    let ask = json!({ "filehash": content.digest, "size": content.size() });
    let challenge = || bob.post("/file/fastupload", &ask).expect(200).json()["challenge"].clone();
    let asked = challenge();
    assert_eq!(asked["ranges"], json!([{ "offset": 7 * CHUNK_SIZE, "length": CHUNK_SIZE }]));
    bytes[7 * CHUNK_SIZE as usize + 5] = 0;
    let zeros = Content::new(bytes).proof(&asked);
    bob.post("/file/fastupload/prove", &zeros).expect_problem(403, "proof_wrong");
    bob.post("/file/fastupload/prove", &content.proof(&challenge())).expect(200);
}

#[test]
fn a_part_of_a_content_is_not_enough_and_tries_are_few() {
    for (size, percent) in [(LARGE, 50), (LARGE, 90), (LARGE, 99), (SIZE, 99)] {
        let fixture = Fixture::of_size(size);
        let mut had = fixture.content.bytes.clone();
        had[size / 100 * percent..].fill(0);
        let thief = Content::new(had);
        for _ in 0..CHALLENGES {
            let proof = thief.proof(&fixture.ask()["challenge"]);
            fixture.prove(&proof).expect_problem(403, "proof_wrong");
        }
        let refused = fixture.try_to_ask();
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((600..=900).contains(&wait), "{wait} seconds");
        refused.expect_problem(429, "too_many_requests");
        refuse(&fixture.bob, &fixture.file(), "no_content");

        // The limit is of this account and this content alone.
        let other = Content::random(Seed::of_this_run(), "other", 1000);
        upload(&fixture.server.sign_up("carl"), &other);
        let ask = json!({ "filehash": other.digest, "size": other.size() });
        assert_eq!(fixture.bob.post("/file/fastupload", &ask).expect(200).json()["found"], true);
        let eve = fixture.server.sign_up("eve");
        let ask = json!({ "filehash": fixture.content.digest, "size": fixture.content.size() });
        let challenge = eve.post("/file/fastupload", &ask).expect(200).json()["challenge"].clone();
        let proof = fixture.content.proof(&challenge);
        eve.post("/file/fastupload/prove", &proof).expect(200);
        // Whoever has the bytes sends them.
        upload(&fixture.bob, &fixture.content);
        assert_eq!(fixture.ask()["found"], true);
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
fn an_own_content_is_also_found_by_its_md5_and_nobody_elses() {
    let fixture = Fixture::new();
    let md5 = miaofs::content::Md5::of(&fixture.content.bytes);
    let body = json!({ "md5": md5, "size": fixture.content.size() });
    let carl = fixture.server.sign_up("carl");
    upload(&carl, &fixture.content);
    let ask = |api: &Api| api.post("/file/fastupload", &body).expect(200).json();
    // The MD5 of what came in chunks is computed behind the upload, not in its way.
    wait_until("the MD5 is known", seconds(60), || ask(&carl)["found"] == true);
    assert_eq!(ask(&carl), json!({ "found": true, "digest": fixture.content.digest }));
    assert_eq!(ask(&fixture.bob), json!({ "found": false }));
    let other_size = json!({ "md5": md5, "size": 1 });
    assert_eq!(carl.post("/file/fastupload", &other_size).expect(200).json()["found"], false);
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
