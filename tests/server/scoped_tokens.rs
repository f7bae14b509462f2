//! Scoped tokens: what each reaches, and that it reaches nothing else, whatever the route.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api};
use crate::harness::server::{PASSWORD, Server};
use crate::harness::wait::{seconds, wait_until};

/// A drive with a part of it that tokens reach.
struct Scene {
    ada: Api,
    /// A token that may read `/photos`,
    reader: Api,
    /// and one that may change it.
    writer: Api,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let server = Server::new();
        let ada = server.sign_up("ada");
        put(&ada, "/photos/2026/cat.jpg", b"cat").expect(200);
        put(&ada, "/photos/dog.jpg", b"dog").expect(200);
        put(&ada, "/letters/secret.txt", b"secret").expect(200);
        put(&ada, "/photos2", b"no photo").expect(200);
        let reader = ada.with_token(&make(&ada, "read", "/photos", "read"));
        let writer = ada.with_token(&make(&ada, "write", "/photos", "write"));
        Self { ada, reader, writer, server }
    }
}

fn put(api: &Api, path: &str, bytes: &[u8]) -> Answer {
    api.send(Method::POST, &format!("/file/upload?path={path}"), &[], bytes.to_vec())
}

fn request(name: &str, path: &str, operations: &str) -> Value {
    json!({ "name": name, "path": path, "operations": operations })
}

fn make(api: &Api, name: &str, path: &str, operations: &str) -> String {
    let made = api.post("/user/tokens", &request(name, path, operations)).expect(200).json();
    made["token"].as_str().unwrap().to_owned()
}

fn refused(answer: &Answer, what: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 403, "{what}: {text}");
    assert_eq!(answer.json()["code"], "insufficient_scope", "{what}: {text}");
}

fn digest(api: &Api, path: &str) -> String {
    let node = api.get(&format!("/file/meta?path={path}")).expect(200).json();
    node["state"]["content"]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_token_reads_what_it_reaches() {
    let Scene { ada, reader, writer, server: _server } = Scene::new();
    let inside = digest(&ada, "/photos/2026/cat.jpg");
    for api in [&reader, &writer] {
        let listed = api.get("/file/query?path=/photos").expect(200).json();
        assert_eq!(listed["nodes"].as_array().unwrap().len(), 2);
        api.get("/file/meta?path=/photos/2026").expect(200);
        let whole = api.get("/file/download?path=/photos/2026/cat.jpg").expect(200);
        assert_eq!(whole.body, b"cat");
        let range = [("range", "bytes=1-1")];
        let path = format!("/file/download?digest={inside}");
        let part = api.send(Method::GET, &path, &range, Vec::new()).expect(206);
        assert_eq!(part.body, b"a");
        api.get("/file/meta?path=/photos/none").expect_problem(404, "not_found");
    }
}

#[test]
fn a_token_for_writing_changes_what_it_reaches_and_one_for_reading_nothing() {
    let Scene { ada, reader, writer, server: _server } = Scene::new();
    let rename = json!({ "path": "/photos/dog.jpg", "new_path": "/photos/2026/dog.jpg" });
    let delete = json!({ "path": "/photos/2026", "recursive": true });
    refused(&put(&reader, "/photos/new/a", b"a"), "upload");
    refused(&reader.post("/file/update", &rename), "update");
    refused(&reader.post("/file/delete", &delete), "delete");
    put(&writer, "/photos/new/a", b"a").expect(200);
    put(&writer, "/photos/dog.jpg", b"other").expect(200);
    writer.post("/file/update", &rename).expect(200);
    assert_eq!(ada.get("/file/download?path=/photos/2026/dog.jpg").expect(200).body, b"other");
    writer.post("/file/delete", &delete).expect(204);
    ada.get("/file/meta?path=/photos/2026").expect_problem(404, "not_found");
    ada.get("/file/meta?path=/photos/new/a").expect(200);
}

#[test]
fn outside_of_what_it_reaches_a_token_learns_and_changes_nothing() {
    let Scene { ada, writer, server: _server, .. } = Scene::new();
    let outside = digest(&ada, "/letters/secret.txt");
    // What is there and what is not is refused alike: the whole answer, but for the id of the request.
    let answer_of = |path: &str| {
        let mut answers = Vec::new();
        for route in ["/file/query", "/file/meta", "/file/download"] {
            let answer = writer.get(&format!("{route}?path={path}"));
            refused(&answer, &format!("{route} {path}"));
            let mut problem = answer.json();
            problem["request_id"] = Value::Null;
            answers.push(problem);
        }
        answers
    };
    let there = answer_of("/letters/secret.txt");
    for path in ["/", "/letters", "/letters/none", "/none", "/photos2", "/photos2/x", "/phot"] {
        assert_eq!(answer_of(path), there, "{path}");
    }
    for digest in [outside, "0".repeat(64)] {
        refused(&writer.get(&format!("/file/download?digest={digest}")), "download by digest");
    }
    let update = |path: &str, new_path: &str| {
        writer.post("/file/update", &json!({ "path": path, "new_path": new_path }))
    };
    let delete =
        |path: &str| writer.post("/file/delete", &json!({ "path": path, "recursive": true }));
    for path in ["/letters/secret.txt", "/letters", "/none", "/photos"] {
        refused(&update(path, "/photos/taken"), path);
        refused(&delete(path), path);
    }
    for path in ["/letters/dog.jpg", "/letters/secret.txt", "/dog.jpg", "/none/dog.jpg"] {
        refused(&update("/photos/dog.jpg", path), path);
        refused(&put(&writer, path, b"x"), path);
    }
    refused(&put(&writer, "/letters/secret.txt/below", b"x"), "below a file");
    assert_eq!(ada.get("/file/download?path=/letters/secret.txt").expect(200).body, b"secret");
    assert_eq!(
        ada.get("/file/query?path=/").expect(200).json()["nodes"][0]["state"]["kind"],
        "directory"
    );
    ada.get("/file/meta?path=/photos/dog.jpg").expect(200);
}

#[test]
fn a_token_for_one_file_reaches_that_file_wherever_it_goes() {
    let Scene { ada, server: _server, .. } = Scene::new();
    let file = ada.with_token(&make(&ada, "one", "/photos/dog.jpg", "write"));
    put(&file, "/photos/dog.jpg", b"new").expect(200);
    refused(&put(&file, "/photos/other.jpg", b"x"), "beside it");
    refused(&file.get("/file/query?path=/photos"), "its directory");
    let moved = json!({ "path": "/photos/dog.jpg", "new_path": "/letters/dog.jpg" });
    refused(&file.post("/file/update", &moved), "its own name");
    ada.post("/file/update", &moved).expect(200);
    assert_eq!(file.get("/file/download?path=/letters/dog.jpg").expect(200).body, b"new");
    refused(&file.get("/file/download?path=/photos/dog.jpg"), "where it was");
}

#[test]
fn what_is_moved_out_is_out_at_once_and_other_names_of_a_file_are_not_told() {
    let Scene { ada, reader, server: _server, .. } = Scene::new();
    let cat = digest(&ada, "/photos/2026/cat.jpg");
    let node = ada.get("/file/meta?path=/photos/dog.jpg").expect(200).json();
    let mut state = node["state"].clone();
    let root = ada.get("/file/meta?path=/").expect(200).json()["id"].clone();
    let link = json!({ "parent": root, "name": "private name" });
    state["entries"].as_array_mut().unwrap().push(link);
    let change = json!({ "id": node["id"], "base": node["version"], "revision": "a".repeat(32), "state": state });
    let committed = ada.post("/fs/commit", &json!({ "changes": [change] })).expect(200).json();
    assert_eq!(committed["conflicts"], json!([]));
    for path in ["/file/meta?path=/photos/dog.jpg", "/file/query?path=/photos"] {
        let text = String::from_utf8(reader.get(path).expect(200).body).unwrap();
        assert!(text.contains("dog.jpg") && !text.contains("private name"), "{text}");
    }
    let away = json!({ "path": "/photos/2026", "new_path": "/letters/2026" });
    ada.post("/file/update", &away).expect(200);
    refused(&reader.get("/file/meta?path=/letters/2026/cat.jpg"), "moved");
    refused(&reader.get(&format!("/file/download?digest={cat}")), "moved, by digest");
    let part = json!({ "path": "/photos", "new_path": "/letters/photos" });
    ada.post("/file/update", &part).expect(200);
    reader.get("/file/meta?path=/letters/photos/dog.jpg").expect(200);
}

/// The routes that a scoped token reaches; all others are for devices.
const BY_PATH: [&str; 6] =
    ["/file/query", "/file/meta", "/file/update", "/file/delete", "/file/upload", "/file/download"];

#[test]
fn every_other_route_of_the_document_refuses_a_scoped_token() {
    let Scene { writer, server, .. } = Scene::new();
    let document = server.api().get("/openapi.json").expect(200).json();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if BY_PATH.contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in methods.as_object().unwrap() {
            let Ok(method) = method.to_uppercase().parse::<Method>() else { continue };
            if operation["security"] == json!([]) || operation["security"] == json!([{}]) {
                continue;
            }
            let mut filled = path.clone();
            while let (Some(from), Some(to)) = (filled.find('{'), filled.find('}')) {
                filled.replace_range(from..=to, &"0".repeat(32));
            }
            let headers = [("content-type", "application/json")];
            let answer = writer.send(method.clone(), &filled, &headers, b"{}".to_vec());
            refused(&answer, &format!("{method} {path}"));
            tried += 1;
        }
    }
    assert!(tried >= 15, "only {tried} routes were tried");
}

#[test]
fn a_token_ends_when_it_is_revoked_expires_or_the_password_changes() {
    let Scene { ada, reader, server, .. } = Scene::new();
    let listed = ada.get("/user/tokens").expect(200);
    let text = String::from_utf8(listed.body.clone()).unwrap();
    assert!(!text.contains("miao_"), "a list tells secrets: {text}");
    let tokens = listed.json()["tokens"].clone();
    assert_eq!(tokens.as_array().unwrap().len(), 2);
    assert_eq!(tokens[0]["path"], "/photos");

    let eve = server.sign_up("eve");
    let id =
        tokens.as_array().unwrap().iter().find(|it| it["name"] == "read").unwrap()["id"].clone();
    let path = format!("/user/tokens/{}", id.as_str().unwrap());
    eve.delete(&path).expect_problem(404, "not_found");
    reader.get("/file/meta?path=/photos").expect(200);
    ada.delete(&path).expect(204);
    reader.get("/file/meta?path=/photos").expect_problem(401, "unauthorized");
    ada.delete(&path).expect_problem(404, "not_found");

    let mut brief = request("brief", "/photos", "read");
    brief["expires_in"] = json!(1);
    let brief = ada.post("/user/tokens", &brief).expect(200).json();
    let brief = ada.with_token(brief["token"].as_str().unwrap());
    wait_until("the token expires", seconds(10), || {
        brief.get("/file/meta?path=/photos").status == 401
    });

    let last = ada.with_token(&make(&ada, "last", "/photos", "read"));
    last.get("/file/meta?path=/photos").expect(200);
    let change = json!({ "old": PASSWORD, "new": "another horse battery" });
    ada.post("/user/password", &change).expect(200);
    last.get("/file/meta?path=/photos").expect_problem(401, "unauthorized");
}

#[test]
fn tokens_are_bounded_in_number_names_and_time() {
    let Scene { ada, server: _server, .. } = Scene::new();
    let again = ada.post("/user/tokens", &request("read", "/photos", "read"));
    again.expect_problem(409, "already_exists");
    let absent = ada.post("/user/tokens", &request("absent", "/none", "read"));
    absent.expect_problem(404, "not_found");
    for name in ["", "a\nb", &"x".repeat(65)] {
        let wrong = ada.post("/user/tokens", &request(name, "/photos", "read"));
        wrong.expect_problem(400, "invalid_value");
    }
    for lifetime in [0, u64::MAX] {
        let mut wrong = request("wrong", "/photos", "read");
        wrong["expires_in"] = json!(lifetime);
        ada.post("/user/tokens", &wrong).expect_problem(400, "invalid_value");
    }
    for number in 2..100 {
        make(&ada, &format!("token {number}"), "/photos", "read");
    }
    let surplus = ada.post("/user/tokens", &request("surplus", "/photos", "read"));
    surplus.expect_problem(413, "too_large");
}

#[test]
fn who_tries_many_tokens_is_told_to_wait() {
    let Scene { ada, reader, server: _server, .. } = Scene::new();
    let guesses = (0..400).map(|number| format!("miao_{number:064x}"));
    let answers: Vec<u16> =
        guesses.map(|guess| ada.with_token(&guess).get("/file/meta?path=/").status).collect();
    assert!(answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
    assert!(answers.contains(&429), "400 guesses were let pass");
    reader.get("/file/meta?path=/photos").expect(200);
}
