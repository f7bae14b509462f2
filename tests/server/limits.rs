//! What is not content has limits as well: names, attributes and nodes, and the answers that tell of them.

use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::harness::drive::{Change, apply, commit_of};

const ROOT: NodeId = NodeId::ROOT;

#[test]
fn an_xattr_that_no_file_can_have_is_refused_with_a_word() {
    let fixture = Fixture::new();
    let file =
        |name: &str, xattrs: Value| Change::create("fifo", ROOT, name).with("xattrs", xattrs);
    let long = "x".repeat(256);
    for (xattrs, word) in [
        (json!({ "": "v" }), "1 to 255 bytes"),
        (json!({ "user.\u{0}": "v" }), "no NUL"),
        (json!({ long: "v" }), "1 to 255 bytes"),
        (json!({ "user.a": "x".repeat(65_537) }), "65536"),
    ] {
        let commit = commit_of(&[&file("a", xattrs)]);
        let problem = fixture.ada.post("/fs/commit", &commit).expect_problem(400, "invalid_value");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    let longest = format!("user.{}", "x".repeat(250));
    apply(&fixture.ada, &[&file("a", json!({ longest: "x".repeat(65_536) }))]);
}
