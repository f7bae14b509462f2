//! Bad input: each gets a clear 4xx with a code, writes nothing, and leaves the server standing.

use miaofs::content::CHUNK_SIZE;
use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::harness::content::{Content, Upload};
use crate::harness::drive::{Change, commit_of, head};
use crate::harness::random::Seed;

impl Fixture {
    /// Commits this and expects a 4xx with a code and an unchanged drive.
    #[track_caller]
    fn refuses(&self, commit: &Value) {
        let before = head(&self.ada);
        let answer = self.ada.post("/fs/commit", commit);
        let (status, problem) = (answer.status, answer.json());
        assert!((400..500).contains(&status), "{status} to {commit}");
        assert!(problem["code"].is_string(), "{problem}");
        assert_eq!(head(&self.ada), before, "the drive changed by {commit}");
    }

    /// Commits one change and expects it to be refused or reported as a conflict.
    #[track_caller]
    fn refuses_or_conflicts(&self, change: &Change) {
        let answer = self.ada.post("/fs/commit", &commit_of(&[change]));
        let conflicts = answer.status == 200 && answer.json()["applied"] == json!([]);
        assert!(conflicts || (400..500).contains(&answer.status), "{}", answer.json());
    }
}

#[test]
fn names_that_no_directory_can_hold_are_refused() {
    let fixture = Fixture::new();
    let long = "x".repeat(256);
    for name in ["", ".", "..", "a/b", "a\0b", long.as_str()] {
        fixture.refuses(&commit_of(&[&Change::directory(NodeId::ROOT, name)]));
    }
    let slash = json!([{ "parent": NodeId::ROOT, "name": { "base64": "YS9i" } }]);
    let hidden = Change::directory(NodeId::ROOT, "x").with("entries", slash);
    fixture.refuses(&commit_of(&[&hidden]));
}

#[test]
fn states_that_no_node_can_have_are_refused() {
    let fixture = Fixture::new();
    let directory = || Change::directory(NodeId::ROOT, "d");
    let content = Content::new(vec![1]).reference();
    let two_names = directory().named(&[(NodeId::ROOT, "a"), (NodeId::ROOT, "b")]);
    let long_target = json!("t".repeat(4096));
    for change in [
        directory().with("mode", json!(0o10000)),
        directory().with("mode", json!(-1)),
        directory().with("uid", json!(1u64 << 32)),
        directory().with("mtime", json!(1.5)),
        directory().with("mtime", json!(u64::MAX)),
        directory().with("kind", json!("spaceship")),
        directory().with("surprise", json!(1)),
        directory().with("content", content),
        directory().with("xattrs", json!({ "user.a": "x".repeat(200_000) })),
        two_names,
        Change::create("file", NodeId::ROOT, "no content"),
        Change::create("symlink", NodeId::ROOT, "no target"),
        Change::create("symlink", NodeId::ROOT, "long").with("target", long_target),
        Change::create("symlink", NodeId::ROOT, "empty").with("target", json!("")),
    ] {
        fixture.refuses(&commit_of(&[&change]));
    }
    let mut foreign_id = directory();
    foreign_id.0["id"] = json!("../../etc/passwd");
    fixture.refuses(&commit_of(&[&foreign_id]));
}

#[test]
fn the_root_stays_where_it_is() {
    let fixture = Fixture::new();
    let version = head(&fixture.ada);
    let mut gone = Change::delete(NodeId::ROOT, version);
    fixture.refuses_or_conflicts(&gone);
    gone = Change::directory(NodeId::ROOT, "root").based_on(version);
    gone.0["id"] = json!(NodeId::ROOT);
    fixture.refuses_or_conflicts(&gone);
    assert_eq!(fixture.ada.get("/file/query?path=/").expect(200).json()["nodes"], json!([]));
}

#[test]
fn bodies_that_are_no_json_or_too_deep_or_too_large_are_refused() {
    let fixture = Fixture::new();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "{", "null", "[]", "\"x\"", "{\"changes\":1}", &deep] {
        let answer = fixture.ada.send_json("/fs/commit", body.as_bytes().to_vec());
        let (status, start) = (answer.status, &body[..body.len().min(20)]);
        assert!((400..500).contains(&status), "{start}: {status}");
        assert!(answer.json()["code"].is_string(), "{start}");
    }
    let not_text = fixture.ada.send_json("/fs/commit", vec![0xff; 100]);
    assert!((400..500).contains(&not_text.status));
    let body = vec![b' '; 80 << 20];
    let headers = [("content-type", "application/json")];
    for _ in 0..5 {
        let answer = fixture.ada.send(Method::POST, "/user/signin", &headers, body.clone());
        answer.expect_problem(413, "too_large");
        let refused = fixture.server.api().send(Method::POST, "/file/batch", &[], body.clone());
        refused.expect_problem(401, "unauthorized");
    }
    fixture.ada.get("/healthz").expect(200);
    let plain = fixture.ada.send(Method::POST, "/fs/commit", &[], b"{}".to_vec());
    assert!((400..500).contains(&plain.status));
}

#[test]
fn long_lists_at_once_take_the_memory_of_a_few() {
    let fixture = Fixture::new();
    let mut commit = vec![b' '; 31 << 20];
    commit.extend_from_slice(b"{\"changes\":[]}");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| fixture.ada.send_json("/fs/commit", commit.clone()).expect(200));
        }
    });
    let peak = fixture.server.peak_memory();
    assert!(peak < 200 * 1024, "{peak} KiB for 16 lists of 31 MiB");
}

#[test]
fn an_upload_that_cannot_be_is_refused_at_its_start() {
    let fixture = Fixture::new();
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 1);
    let with = |field: &str, value: Value| {
        let mut body = content.init();
        body[field] = value;
        body
    };
    for body in [
        with("size", json!(-1)),
        with("size", json!(u64::MAX)),
        with("size", json!(1u64 << 50)),
        with("size", json!(CHUNK_SIZE)),
        with("size", json!(1e3)),
        with("chunks", json!([])),
        with("chunks", json!([content.chunks[0]])),
        with("chunks", json!([content.chunks[1], content.chunks[0]])),
        with("chunks", json!(["x", "y"])),
        with("digest", json!("ABC")),
        with("digest", json!("z".repeat(64))),
        with("digest", json!(Content::new(vec![2]).digest)),
        with("base", json!("nonsense")),
        with("path", json!("/etc/passwd")),
    ] {
        let answer = fixture.ada.post("/file/multipart/init", &body);
        assert!((400..500).contains(&answer.status), "{} to {body}", answer.status);
        assert!(answer.json()["code"].is_string(), "{body}");
    }
    assert_eq!(fixture.server.metric("miaofs_uploads_active"), 0);
}

#[test]
fn an_index_or_id_out_of_range_is_refused() {
    let fixture = Fixture::new();
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 1);
    let upload = Upload::begin(&fixture.ada, &content.init());
    for index in ["2", "18446744073709551615", "18446744073709551616", "-1", "x", "0x0", "..%2f0"] {
        let answer = fixture.ada.put(&format!("{}/{index}", upload.path), content.chunk(1));
        assert!((400..500).contains(&answer.status), "{index}: {}", answer.status);
    }
    for id in ["..", "%2e%2e%2fstore", "x", &"0".repeat(32), &"0".repeat(33)] {
        let path = format!("/file/multipart/{id}");
        let statuses = [
            fixture.ada.get(&path).status,
            fixture.ada.put(&format!("{path}/0"), b"x").status,
            fixture.ada.delete(&path).status,
        ];
        assert!(statuses.iter().all(|status| (400..500).contains(status)), "{id}: {statuses:?}");
    }
    assert_eq!(upload.status().expect(200).json()["received"], json!([]));
}

#[test]
fn another_users_upload_cannot_be_touched() {
    let fixture = Fixture::new();
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 1);
    let upload = Upload::begin(&fixture.ada, &content.init());
    let bob = fixture.server.sign_up("bob");
    bob.get(&upload.path).expect_problem(404, "not_found");
    bob.put(&format!("{}/0", upload.path), content.chunk(0)).expect_problem(404, "not_found");
    bob.delete(&upload.path).expect_problem(404, "not_found");
    let complete = format!("{}/complete", upload.path);
    bob.post(&complete, &json!({})).expect_problem(404, "not_found");
    upload.status().expect(200);
}

#[test]
fn a_body_shorter_or_longer_than_said_marks_nothing() {
    let fixture = Fixture::new();
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 1000);
    let upload = Upload::begin(&fixture.ada, &content.init());
    let head = |length: usize| {
        format!(
            "PUT {}/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n",
            upload.path,
            fixture.ada.token()
        )
    };
    let request = |length: usize, body: &[u8]| [head(length).as_bytes(), body].concat();
    let cut = fixture.ada.raw_cut_off(&request(1000, &content.chunk(1)[..500]));
    assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 4"), "{cut}");
    let longer = [content.chunk(1), b"more"].concat();
    let answer = fixture.ada.raw(&request(1004, &longer));
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let huge = fixture.ada.raw(&request(1 << 40, content.chunk(1)));
    assert!(huge.starts_with("HTTP/1.1 4"), "{huge}");
    assert_eq!(upload.status().expect(200).json()["received"], json!([]));
    upload.put(1, content.chunk(1)).expect(204);
}

#[test]
fn md5_is_checked_when_it_is_given() {
    let fixture = Fixture::new();
    let content = Content::random(Seed::of_this_run(), "film", CHUNK_SIZE as usize + 3);
    let upload = Upload::begin(&fixture.ada, &content.init());
    let put = |md5: &str| {
        let path = format!("{}/1", upload.path);
        fixture.ada.send(Method::PUT, &path, &[("content-md5", md5)], content.chunk(1).to_vec())
    };
    // The MD5 of no bytes, in base64 as RFC 1864 has it.
    put("1B2M2Y8AsgTpgAmY7PhCfg==").expect_problem(422, "digest_mismatch");
    assert!((400..500).contains(&put("not base64!").status));
    assert_eq!(upload.status().expect(200).json()["received"], json!([]));
    let digest = miaofs::content::Md5::of(content.chunk(1));
    put(&base64_of(digest.as_bytes())).expect(204);
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn requests_that_are_none_get_an_answer_and_no_panic() {
    let fixture = Fixture::new();
    fixture.ada.get("/no/such/route").expect_problem(404, "not_found");
    let wrong = fixture.ada.send(Method::PATCH, "/fs/commit", &[], Vec::new());
    wrong.expect_problem(405, "method_not_allowed");
    for query in
        ["since=-1", "since=x", "", "since=0&limit=0", "since=0&surprise=1", "since=0&wait=1e9"]
    {
        let answer = fixture.ada.get(&format!("/fs/changes?{query}"));
        assert!((400..500).contains(&answer.status), "{query}: {}", answer.status);
        assert!(answer.json()["code"].is_string(), "{query}");
    }
    fixture.ada.get("/fs/list/xyz").expect(400);
    fixture.ada.get(&format!("/fs/list/{}", NodeId::random())).expect_problem(404, "not_found");
    for body in [json!({ "size": 1 }), json!({ "filehash": "x", "size": 1 }), json!({})] {
        let answer = fixture.ada.post("/file/fastupload", &body);
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.status);
    }
    let many = vec![Content::new(Vec::new()).digest; 10_001];
    let known = fixture.ada.post("/file/known", &json!({ "digests": many }));
    assert!((400..500).contains(&known.status), "{}", known.status);
    let digest = Content::new(Vec::new()).digest;
    let locate = json!({ "digest": digest, "first": 0, "count": u64::MAX });
    assert!((400..500).contains(&fixture.ada.post("/file/locate", &locate).status));
    let garbage = fixture.ada.raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n");
    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 4"), "{garbage}");
    fixture.ada.get("/healthz").expect(200);
}
