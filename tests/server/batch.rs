//! Batches: many small contents in one request, all or nothing.

use serde_json::json;

use miaofs::protocol::ids::NodeId;

use crate::harness::content::{Content, batch_of, send_batch};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::server::Server;

#[test]
fn many_small_contents_travel_in_one_request_and_are_owned() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let seed = Seed::of_this_run();
    let size = |number: u64| seed.below(&format!("size {number}"), 9000) as usize;
    let random = |number| Content::random(seed, &format!("small {number}"), size(number));
    let contents: Vec<Content> = (0..300).map(random).collect();
    let body = batch_of(&contents.iter().collect::<Vec<_>>());
    let stored = send_batch(&ada, body.clone()).expect(200).json();
    assert_eq!(stored["contents"], 300);
    let again = send_batch(&ada, body).expect(200).json();
    assert_eq!(again["new"], 0);
    let digests: Vec<_> = contents.iter().map(|content| content.digest).collect();
    let stranger = Content::random(seed, "stranger", 10).digest;
    let mut asked = digests.clone();
    asked.insert(7, stranger);
    let known = ada.post("/file/known", &json!({ "digests": asked })).expect(200).json();
    assert_eq!(known["known"], json!(digests));
    for content in &contents[..20] {
        let path = format!("/file/download?digest={}", content.digest);
        assert!(ada.get(&path).expect(200).body == content.bytes, "other bytes came back");
    }
}

#[test]
fn a_batch_with_one_wrong_digest_stores_nothing() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let seed = Seed::of_this_run();
    let contents = [Content::random(seed, "one", 100), Content::random(seed, "two", 100)];
    let mut body = batch_of(&[&contents[0], &contents[1]]);
    *body.last_mut().unwrap() ^= 1;
    send_batch(&ada, body).expect_problem(422, "digest_mismatch");
    let digests = contents.each_ref().map(|content| content.digest);
    let known = ada.post("/file/known", &json!({ "digests": digests })).expect(200).json();
    assert_eq!(known["known"], json!([]));
}

#[test]
fn a_batch_that_ends_within_a_record_or_is_too_large_is_refused() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let content = Content::random(Seed::of_this_run(), "one", 100);
    let body = batch_of(&[&content]);
    for length in [1, 35, 36, body.len() - 1] {
        let status = send_batch(&ada, body[..length].to_vec()).status;
        assert!((400..500).contains(&status), "{length} bytes: {status}");
    }
    let mut huge = content.digest.as_bytes().to_vec();
    huge.extend_from_slice(&u32::MAX.to_be_bytes());
    let status = send_batch(&ada, huge).status;
    assert!((400..500).contains(&status), "{status}");
    send_batch(&ada, vec![0; 65 << 20]).expect_problem(413, "too_large");
}

#[test]
fn the_empty_content_is_a_content_too() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let empty = Content::new(Vec::new());
    send_batch(&ada, batch_of(&[&empty])).expect(200);
    apply(&ada, &[&Change::file(NodeId::ROOT, "empty", &empty)]);
    assert_eq!(ada.get("/file/download?path=/empty").expect(200).body, b"");
}
