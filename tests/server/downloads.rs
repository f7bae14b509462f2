//! Downloads: whole and by range, with what a resuming client needs to be sure.

use miaofs::content::{CHUNK_SIZE, Digest};
use miaofs::protocol::batch;
use miaofs::protocol::downloads::{CONTENTS_MAX, SMALL_MAX};
use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::json;

use crate::harness::api::{Answer, Api};
use crate::harness::content::{Content, batch_of, send_batch, upload};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::server::Server;

const SIZE: usize = 2 * CHUNK_SIZE as usize + 1000;

/// A server with a file `film` of three chunks.
struct Fixture {
    server: Server,
    ada: Api,
    content: Content,
}

impl Fixture {
    fn new() -> Self {
        let server = Server::new();
        let ada = server.sign_up("ada");
        let content = Content::random(Seed::of_this_run(), "film", SIZE);
        upload(&ada, &content);
        apply(&ada, &[&Change::file(NodeId::ROOT, "film", &content)]);
        Self { server, ada, content }
    }

    fn get(&self, headers: &[(&str, &str)]) -> Answer {
        self.ada.send(Method::GET, "/file/download?path=/film", headers, Vec::new())
    }

    fn etag(&self) -> String {
        format!("\"{}\"", self.content.digest)
    }
}

#[test]
fn a_whole_file_comes_with_its_digest_as_etag() {
    let fixture = Fixture::new();
    let answer = fixture.get(&[]).expect(200);
    assert!(answer.body == fixture.content.bytes, "other bytes came back");
    assert_eq!(answer.header("etag"), Some(fixture.etag().as_str()));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
    assert_eq!(answer.header("content-length"), Some(SIZE.to_string().as_str()));
}

#[test]
fn every_form_of_range_gives_exactly_its_bytes() {
    let fixture = Fixture::new();
    let chunk = CHUNK_SIZE as usize;
    let samples = [
        ("bytes=0-0".to_owned(), 0..1),
        ("bytes=100-".to_owned(), 100..SIZE),
        ("bytes=-17".to_owned(), SIZE - 17..SIZE),
        (format!("bytes={}-{}", chunk - 3, chunk + 2), chunk - 3..chunk + 3),
        (format!("bytes={}-{}", 2 * chunk, 3 * chunk), 2 * chunk..SIZE),
        (format!("bytes=-{}", 10 * SIZE), 0..SIZE),
    ];
    for (header, range) in samples {
        let answer = fixture.get(&[("range", &header)]).expect(206);
        assert!(answer.body == fixture.content.bytes[range.clone()], "{header}: other bytes");
        let expected = format!("bytes {}-{}/{SIZE}", range.start, range.end - 1);
        assert_eq!(answer.header("content-range"), Some(expected.as_str()), "{header}");
        assert_eq!(answer.header("etag"), Some(fixture.etag().as_str()));
    }
}

#[test]
fn a_range_past_the_end_is_not_satisfiable() {
    let fixture = Fixture::new();
    for header in [format!("bytes={SIZE}-"), "bytes=-0".to_owned()] {
        let answer = fixture.get(&[("range", &header)]);
        let expected = format!("bytes */{SIZE}");
        assert_eq!(answer.header("content-range"), Some(expected.as_str()), "{header}");
        answer.expect_problem(416, "range_not_satisfiable");
    }
}

#[test]
fn a_malformed_range_is_refused_or_ignored_but_never_guessed() {
    let fixture = Fixture::new();
    for header in ["bytes=5-2", "bytes=a-b", "bytes=", "lines=1-2", "bytes=--5", "bytes=0x1-2"] {
        let answer = fixture.get(&[("range", header)]);
        let whole = answer.status == 200 && answer.body == fixture.content.bytes;
        assert!(whole || (400..500).contains(&answer.status), "{header}: {}", answer.status);
    }
}

#[test]
fn if_range_decides_between_the_part_and_the_whole() {
    let fixture = Fixture::new();
    let same = fixture.etag();
    let answer = fixture.get(&[("range", "bytes=5-9"), ("if-range", &same)]).expect(206);
    assert_eq!(answer.body, fixture.content.bytes[5..10]);
    let other = format!("\"{}\"", Content::new(vec![1]).digest);
    let answer = fixture.get(&[("range", "bytes=5-9"), ("if-range", &other)]).expect(200);
    assert_eq!(answer.body.len(), SIZE);
}

#[test]
fn what_the_client_has_already_is_not_sent_again() {
    let fixture = Fixture::new();
    let answer = fixture.get(&[("if-none-match", &fixture.etag())]).expect(304);
    assert!(answer.body.is_empty());
}

#[test]
fn a_content_downloads_by_digest_and_sent_bytes_are_counted() {
    let fixture = Fixture::new();
    let before = fixture.server.metric("miaofs_download_bytes_total");
    let path = format!("/file/download?digest={}", fixture.content.digest);
    let range = [("range", "bytes=1000-5999")];
    let answer = fixture.ada.send(Method::GET, &path, &range, Vec::new()).expect(206);
    assert!(answer.body == fixture.content.bytes[1000..6000], "other bytes came back");
    assert_eq!(fixture.server.metric("miaofs_download_bytes_total") - before, 5000);
}

#[test]
fn nothing_is_downloaded_that_is_not_there_or_not_ones_own() {
    let fixture = Fixture::new();
    fixture.ada.get("/file/download?path=/other").expect_problem(404, "not_found");
    fixture.ada.get("/file/download?path=/").expect_problem(409, "wrong_kind");
    fixture.ada.get("/file/download").expect(400);
    fixture.ada.get("/file/download?digest=00").expect(400);
    let both = format!("/file/download?path=/film&digest={}", fixture.content.digest);
    fixture.ada.get(&both).expect(400);
    let bob = fixture.server.sign_up("bob");
    let path = format!("/file/download?digest={}", fixture.content.digest);
    bob.get(&path).expect_problem(404, "not_found");
    bob.get("/file/download?path=/film").expect_problem(404, "not_found");
}

#[test]
fn locate_names_the_chunks_and_where_they_are() {
    let fixture = Fixture::new();
    let locate = |first: u64, count: u64| {
        let body = json!({ "digest": fixture.content.digest, "first": first, "count": count });
        fixture.ada.post("/file/locate", &body).expect(200).json()
    };
    let all = locate(0, 100);
    assert_eq!(all["size"], SIZE);
    let digests: Vec<_> =
        all["chunks"].as_array().unwrap().iter().map(|it| &it["digest"]).collect();
    assert_eq!(json!(digests), json!(fixture.content.chunks));
    assert_eq!(locate(1, 1)["chunks"][0]["digest"], json!(fixture.content.chunks[1]));
    assert_eq!(locate(3, 1)["chunks"], json!([]));
}

#[test]
fn small_contents_of_ones_own_come_together_and_others_are_left_out() {
    let fixture = Fixture::new();
    let contents = [0, 1, 5000, SMALL_MAX as usize].map(|size| Content::new(vec![7; size]));
    send_batch(&fixture.ada, batch_of(&contents.each_ref())).expect(200);
    let bobs = Content::new(b"bob's".to_vec());
    send_batch(&fixture.server.sign_up("bob"), batch_of(&[&bobs])).expect(200);
    let asked = [&contents[3], &bobs, &contents[0], &fixture.content, &contents[2], &contents[1]];
    let ask =
        |digests: &[Digest]| fixture.ada.post("/file/contents", &json!({ "digests": digests }));
    let answer = ask(&asked.map(|content| content.digest)).expect(200);
    assert_eq!(answer.header("content-type"), Some(batch::MEDIA_TYPE));
    let expected = batch_of(&[&contents[3], &contents[0], &contents[2], &contents[1]]);
    assert!(answer.body == expected, "other bytes came back");
    assert!(ask(&[]).expect(200).body.is_empty());
    ask(&[bobs.digest; CONTENTS_MAX]).expect(200);
    ask(&[bobs.digest; CONTENTS_MAX + 1]).expect(413);
    fixture.ada.post("/file/contents", &json!({ "digests": ["00"] })).expect(400);
}
