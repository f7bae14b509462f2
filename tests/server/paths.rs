//! The plain API: the drive by path, for scripts, browsers and curl.

use miaofs::content::CHUNK_SIZE;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api};
use crate::harness::random::Seed;
use crate::harness::server::Server;

const BOUNDARY: &str = "a-boundary-that-no-content-has-7d1f0c";

/// Uploads as a form of a browser or `curl -F`.
fn upload(api: &Api, path: &str, bytes: &[u8]) -> Answer {
    let mut body = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"path\"\r\n\r\n{path}\r\n\
         --{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    let media_type = format!("multipart/form-data; boundary={BOUNDARY}");
    api.send(Method::POST, "/file/upload", &[("content-type", &media_type)], body)
}

#[test]
fn a_form_upload_makes_the_file_and_its_directories() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let bytes = Seed::of_this_run().bytes("photo", 3 * CHUNK_SIZE as usize + 5);
    let answer = upload(&ada, "/photos/2026/cat 秒.jpg", &bytes);
    assert!((200..300).contains(&answer.status), "{}", String::from_utf8_lossy(&answer.body));
    let path = "/file/download?path=/photos/2026/cat%20%E7%A7%92.jpg";
    assert!(ada.get(path).expect(200).body == bytes, "other bytes came back");
    let listing = ada.get("/file/query?path=/photos/2026").expect(200).json();
    let names: Vec<_> = listing["nodes"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0]["state"]["entries"][0]["name"], "cat 秒.jpg");
    assert_eq!(names[0]["state"]["content"]["size"], bytes.len());
    assert_eq!(server.metric("miaofs_upload_bytes_received_total"), bytes.len() as u64);
}

/// Sends a file's bytes on a condition.
fn put_on(api: &Api, condition: (&str, &str), path: &str, bytes: &[u8]) -> Answer {
    let path = format!("/file/upload?path={path}");
    api.send(Method::POST, &path, &[condition], bytes.to_vec())
}

/// Asks for a change by path on a condition.
fn ask_on(api: &Api, condition: (&str, &str), path: &str, body: &Value) -> Answer {
    let headers = [condition, ("content-type", "application/json")];
    api.send(Method::POST, path, &headers, body.to_string().into_bytes())
}

#[test]
fn a_change_by_path_is_made_only_on_its_conditions() {
    const GONE: (u16, &str) = (412, "precondition_failed");
    let server = Server::new();
    let ada = server.sign_up("ada");
    let new = ("if-none-match", "*");
    let first = put_on(&ada, new, "/a", b"one").expect(200);
    let tag = first.header("etag").unwrap().to_owned();
    for path in ["/file/download?path=/a", "/file/meta?path=/a"] {
        assert_eq!(ada.get(path).expect(200).header("etag"), Some(&*tag), "{path}");
    }
    put_on(&ada, new, "/a", b"two").expect_problem(GONE.0, GONE.1);
    put_on(&ada, ("if-match", "\"other\""), "/a", b"two").expect_problem(GONE.0, GONE.1);
    put_on(&ada, ("if-match", "*"), "/b", b"two").expect_problem(GONE.0, GONE.1);
    put_on(&ada, ("if-match", "one"), "/a", b"two").expect_problem(400, "invalid_value");
    assert_eq!(ada.get("/file/download?path=/a").expect(200).body, b"one");
    ada.get("/file/meta?path=/b").expect(404);
    let second = put_on(&ada, ("if-match", &tag), "/a", b"two").expect(200);
    let (old, tag) = (tag, second.header("etag").unwrap().to_owned());
    assert_ne!(old, tag);

    let rename = json!({ "path": "/a", "new_path": "/c" });
    ask_on(&ada, ("if-match", &old), "/file/update", &rename).expect_problem(GONE.0, GONE.1);
    let renamed = ask_on(&ada, ("if-match", &tag), "/file/update", &rename).expect(200);
    assert_eq!(renamed.header("etag"), Some(&*tag), "the content is the same");
    let gone = json!({ "path": "/c" });
    ask_on(&ada, ("if-match", &old), "/file/delete", &gone).expect_problem(GONE.0, GONE.1);
    ask_on(&ada, ("if-match", "*"), "/file/delete", &json!({ "path": "/a" }))
        .expect_problem(GONE.0, GONE.1);
    ask_on(&ada, ("if-match", &tag), "/file/delete", &gone).expect(204);
    ada.post("/file/delete", &gone).expect_problem(404, "not_found");
}

#[test]
fn uploading_again_replaces_the_content_of_the_same_node() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    let id =
        |path: &str| ada.get(&format!("/file/meta?path={path}")).expect(200).json()["id"].clone();
    upload(&ada, "/a", b"one");
    let before = id("/a");
    upload(&ada, "/a", b"two");
    assert_eq!(id("/a"), before);
    assert_eq!(ada.get("/file/download?path=/a").expect(200).body, b"two");
    upload(&ada, "/empty", b"");
    assert_eq!(ada.get("/file/download?path=/empty").expect(200).body, b"");
    assert_eq!(ada.get("/user/info").expect(200).json()["used"], 3);
}

#[test]
fn files_are_renamed_moved_and_deleted_by_path() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    upload(&ada, "/a/b/one", b"1");
    upload(&ada, "/c/two", b"2");
    let update =
        |path: &str, new: &str| ada.post("/file/update", &json!({ "path": path, "new_path": new }));
    update("/a/b/one", "/c/three").expect(200);
    assert_eq!(ada.get("/file/download?path=/c/three").expect(200).body, b"1");
    ada.get("/file/meta?path=/a/b/one").expect_problem(404, "not_found");
    update("/c/three", "/c/two").expect_problem(409, "already_exists");
    update("/nothing", "/x").expect_problem(404, "not_found");
    update("/a", "/a/b/inside").expect_problem(409, "wrong_kind");
    update("/c", "/a/b/moved").expect(200);
    assert_eq!(ada.get("/file/download?path=/a/b/moved/two").expect(200).body, b"2");
    let delete = |body| ada.post("/file/delete", &body);
    delete(json!({ "path": "/a" })).expect_problem(409, "not_empty");
    delete(json!({ "path": "/a/b/moved/two" })).expect(204);
    delete(json!({ "path": "/a", "recursive": true })).expect(204);
    delete(json!({ "path": "/a" })).expect_problem(404, "not_found");
    assert_eq!(ada.get("/file/query?path=/").expect(200).json()["nodes"], json!([]));
    assert!((400..500).contains(&delete(json!({ "path": "/", "recursive": true })).status));
}

#[test]
fn paths_that_are_none_are_refused() {
    let server = Server::new();
    let ada = server.sign_up("ada");
    upload(&ada, "/file", b"x");
    let long = format!("/{}", "x".repeat(256));
    for path in ["relative", "", "/a/../b", "/.", "/a/./b", "/a\0b", long.as_str()] {
        let status = upload(&ada, path, b"x").status;
        assert!((400..500).contains(&status), "{path:?}: {status}");
    }
    let below_a_file = upload(&ada, "/file/inside", b"x");
    below_a_file.expect_problem(409, "wrong_kind");
    assert_eq!(
        ada.get("/file/query?path=/").expect(200).json()["nodes"].as_array().unwrap().len(),
        1
    );
    ada.get("/file/query?path=/file").expect_problem(409, "wrong_kind");
}
