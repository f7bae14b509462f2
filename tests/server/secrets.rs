//! No token, password or signed URL stands in the log of a server, however much it logs.

use reqwest::Method;
use serde_json::json;

use crate::harness::secrets::secret_in;
use crate::harness::server::{PASSWORD, Server};

#[test]
fn what_is_looked_for_in_logs_would_be_found() {
    let jwt = format!("token eyJ{}.eyJ{}.{}", "a".repeat(20), "b".repeat(20), "c".repeat(20));
    for line in [
        jwt,
        format!("password: {PASSWORD}"),
        format!("authorization: \"Bearer {}\"", "a1".repeat(20)),
        format!("url=http://store/key?X-Amz-Signature={}&x=1", "0f".repeat(32)),
        format!("token=miao_{}", "0f".repeat(32)),
        format!("refresh_token: \"{}\"", "0f".repeat(48)),
    ] {
        assert!(secret_in(&line).is_some(), "{line}");
    }
    for line in ["Bearer of news", &format!("digest={}", "0f".repeat(32)), "Signature= was wrong"] {
        assert_eq!(secret_in(line), None, "{line}");
    }
}

/// The log is looked through when the server ends.
#[test]
fn a_server_that_logs_everything_logs_no_secret() {
    let server = Server::with_log("trace");
    let device = json!({ "name": "test" });
    let account = json!({ "name": "ada", "password": PASSWORD, "device": device });
    let session = server.api().post("/user/signup", &account).expect(200).json();
    let token = |field: &str| session[field].as_str().unwrap().to_owned();
    let ada = server.api().with_token(&token("access_token"));

    let wrong = json!({ "name": "ada", "password": "wrong horse battery", "device": device });
    server.api().post("/user/signin", &wrong).expect(401);
    server
        .api()
        .post("/user/signin", &json!({ "password": PASSWORD, "no": "such field" }))
        .expect(400);
    server
        .api()
        .send_json("/user/signin", format!("{{\"password\":\"{PASSWORD}").into_bytes())
        .expect(400);
    let renewed = json!({ "refresh_token": token("refresh_token") });
    let session = server.api().post("/user/refresh", &renewed).expect(200).json();
    let ada = ada.with_token(session["access_token"].as_str().unwrap());
    // Where no token belongs.
    ada.get(&format!("/file/meta?path=/{}", token("refresh_token"))).expect(404);
    ada.get(&format!("/file/meta?token={}", ada.token())).expect(400);
    ada.get(&format!("/none/{}", ada.token())).expect(404);
    let twice = [("authorization", ada.token())];
    ada.send(Method::GET, "/user/info", &twice, Vec::new());

    let upload = ada.send(Method::POST, "/file/upload?path=/a", &[], b"bytes".to_vec());
    upload.expect(200);
    let made = json!({ "name": "a", "path": "/a", "operations": "read" });
    let made = ada.post("/user/tokens", &made).expect(200).json();
    let scoped = ada.with_token(made["token"].as_str().unwrap());
    scoped.get("/file/download?path=/a").expect(200);
    scoped.get("/user/info").expect(403);
    ada.with_token(&format!("miao_{}", "0f".repeat(32))).get("/file/meta?path=/a").expect(401);
    let change = json!({ "old": PASSWORD, "new": "other horse battery" });
    ada.post("/user/password", &change).expect(200);
}
