//! What is not content has limits as well: names, attributes and nodes, and the answers that tell of them.

use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::harness::drive::{Change, apply, commit, commit_of, head, refuse};
use crate::harness::server::Server;

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

/// Nodes with many bytes of xattrs each.
fn heavy(count: usize, label: &str) -> Vec<Change> {
    let value = "x".repeat(65_000);
    let heavy = |at| {
        let xattrs = json!({ "user.a": value.clone(), "user.b": value.clone() });
        Change::create("fifo", ROOT, &format!("{label} {at}")).with("xattrs", xattrs)
    };
    (0..count).map(heavy).collect()
}

#[test]
fn attributes_of_hundreds_of_megabytes_do_not_fit_into_a_quota_of_a_thousand_bytes() {
    let server = Server::with(&["--quota", "1000"]);
    let ada = server.sign_up("ada");
    let directories: Vec<Change> =
        (0..1000).map(|at| Change::directory(ROOT, &format!("{at}"))).collect();
    apply(&ada, &directories.iter().collect::<Vec<_>>());
    let mut applied = 0;
    for part in 0..3 {
        let nodes = heavy(80, &part.to_string());
        let committed = commit(&ada, &nodes.iter().collect::<Vec<_>>());
        applied += committed["applied"].as_array().unwrap().len();
        let conflicts = committed["conflicts"].as_array().unwrap();
        assert!(conflicts.iter().all(|conflict| conflict["reason"] == "over_quota"));
    }
    assert!((1..=8).contains(&applied), "{applied} of 240 nodes fit");
    let account = ada.get("/user/info").expect(200).json();
    assert!(account["used"].as_u64().unwrap() <= 1000, "{account}");
    assert!(account["metadata"].as_u64().unwrap() <= 1_048_576 + 1000, "{account}");
}

#[test]
fn a_drive_that_is_full_of_nodes_says_so_by_each_way() {
    let server = Server::with(&["--max-nodes", "2"]);
    let ada = server.sign_up("ada");
    let made = Change::directory(ROOT, "made");
    apply(&ada, &[&made]);
    let put = |path: &str| {
        let path = format!("/file/upload?path={path}");
        ada.send(Method::POST, &path, &[], b"content".to_vec())
    };
    put("/a/b").expect_problem(413, "too_many_nodes");
    put("/a").expect(200);
    refuse(&ada, &Change::directory(ROOT, "more"), "too_many_nodes");
    ada.post("/file/delete", &json!({ "path": "/made" })).expect(204);
    apply(&ada, &[&Change::directory(ROOT, "more")]);
    let account = ada.get("/user/info").expect(200).json();
    assert_eq!((&account["nodes"], &account["max_nodes"]), (&json!(2), &json!(2)));
}

/// A node with so many names in the root.
fn with_names(label: &str, count: usize) -> Change {
    let names: Vec<String> = (0..count).map(|at| format!("{label} {at}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (ROOT, name.as_str())).collect();
    Change::create("fifo", ROOT, label).named(&entries)
}

#[test]
fn a_commit_gives_and_takes_no_more_names_than_others_wait_for() {
    let fixture = Fixture::new();
    let nodes: Vec<Change> = (0..9).map(|at| with_names(&format!("{at}"), 1000)).collect();
    let nodes: Vec<&Change> = nodes.iter().collect();
    let too_large = |changes: &[&Change]| {
        fixture.ada.post("/fs/commit", &commit_of(changes)).expect_problem(413, "too_large");
    };
    too_large(&nodes);
    let version = apply(&fixture.ada, &nodes[..8]);
    apply(&fixture.ada, &nodes[8..]);
    // What nodes have counts as well as what they get.
    let renamed = |at: usize| {
        Change(nodes[at].0.clone())
            .based_on(version)
            .with("entries", with_names("new", 1000).0["state"]["entries"].clone())
    };
    let few = |at: usize| {
        Change(nodes[at].0.clone()).based_on(version).named(&[(ROOT, &format!("few {at}"))])
    };
    let few: Vec<Change> = (0..8).map(few).collect();
    too_large(&few.iter().collect::<Vec<_>>());
    apply(&fixture.ada, &[&renamed(0)]);
    let rest: Vec<&Change> = few[1..].iter().collect();
    let version = apply(&fixture.ada, &rest);
    let delete: Vec<Change> = (1..8).map(|at| Change::delete(nodes[at].id(), version)).collect();
    apply(&fixture.ada, &delete.iter().collect::<Vec<_>>());
}

#[test]
fn a_refused_commit_is_answered_briefly() {
    let fixture = Fixture::new();
    let nodes: Vec<Change> = (0..2).flat_map(|part| heavy(100, &part.to_string())).collect();
    let mut version = 0;
    for some in nodes.chunks(100) {
        version = apply(&fixture.ada, &some.iter().collect::<Vec<_>>());
    }
    // What stands in the way is not loaded for the commit, and is told as far as there is room.
    let rival = |at: usize| Change::create("fifo", ROOT, &format!("{} {}", at / 100, at % 100));
    let rivals: Vec<Change> = (0..200).map(rival).collect();
    let answer = fixture.ada.post("/fs/commit", &commit_of(&rivals.iter().collect::<Vec<_>>()));
    let length = answer.body.len();
    let committed = answer.expect(200).json();
    let conflicts = committed["conflicts"].as_array().unwrap();
    assert!(conflicts.iter().all(|conflict| conflict["reason"] == "name_taken"));
    let shown = conflicts.iter().filter(|conflict| !conflict["current"].is_null()).count();
    assert_eq!((conflicts.len(), length < 2 << 20), (200, true), "{length} bytes");
    assert!((4..100).contains(&shown), "{shown} of 200 nodes are told");
    // What would be loaded for it is refused before.
    let stale: Vec<Change> = nodes.iter().map(|it| Change::delete(it.id(), version + 1)).collect();
    let stale: Vec<&Change> = stale.iter().collect();
    fixture.ada.post("/fs/commit", &commit_of(&stale)).expect_problem(413, "too_large");
    let committed = commit(&fixture.ada, &stale[..100]);
    assert_eq!(committed["conflicts"].as_array().unwrap().len(), 100);
}

#[test]
fn large_answers_at_once_have_little_memory() {
    let fixture = Fixture::new();
    for part in 0..2 {
        let nodes = heavy(100, &part.to_string());
        apply(&fixture.ada, &nodes.iter().collect::<Vec<_>>());
    }
    let before = fixture.server.peak_memory();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (mut cursor, mut seen) = (0, 0);
                loop {
                    let path = format!("/fs/changes?since={cursor}&limit=10000");
                    let page = fixture.ada.get(&path).expect(200).json();
                    cursor = page["cursor"].as_u64().unwrap();
                    seen += page["nodes"].as_array().unwrap().len();
                    if page["cursor"] == page["head"] {
                        break;
                    }
                }
                assert_eq!(seen, 201);
                let listing = fixture.ada.get(&format!("/fs/list/{ROOT}")).expect(200).json();
                assert_eq!(listing["nodes"].as_array().unwrap().len(), 200);
            });
        }
    });
    let grown = fixture.server.peak_memory().saturating_sub(before) / 1024;
    assert!(grown < 300, "eight readers of 26 MB each took {grown} MiB");
}

#[test]
fn a_large_tree_is_deleted_in_commits_that_nobody_waits_for() {
    let fixture = Fixture::new();
    let top = Change::directory(ROOT, "top");
    apply(&fixture.ada, &[&top, &Change::directory(ROOT, "beside")]);
    let mut parent = top.id();
    for level in 0..50 {
        let directory = Change::directory(parent, &format!("m {level}"));
        let file = |at| Change::create("fifo", directory.id(), &format!("{at}"));
        let files: Vec<Change> = (0..50).map(file).collect();
        // One has names in two directories of the tree, and one has a name outside of it.
        let [first, second] = ["first", "second"].map(|name| format!("{name} {level}"));
        let twice = Change::create("fifo", parent, &first)
            .named(&[(parent, &first), (directory.id(), &second)]);
        let kept = format!("kept {level}");
        let kept = Change::create("fifo", parent, "kept").named(&[(parent, "kept"), (ROOT, &kept)]);
        let all: Vec<&Change> = [&directory, &twice, &kept].into_iter().chain(&files).collect();
        apply(&fixture.ada, &all);
        parent = directory.id();
    }
    let before = head(&fixture.ada);
    let path = json!({ "path": "/top", "recursive": true });
    fixture.ada.post("/file/delete", &path).expect(204);
    let feed = fixture.ada.get(&format!("/fs/changes?since={before}&limit=10000"));
    let feed = feed.expect(200).json();
    let nodes = feed["nodes"].as_array().unwrap();
    let mut by_version = std::collections::HashMap::<u64, usize>::new();
    for node in nodes {
        *by_version.entry(node["version"].as_u64().unwrap()).or_default() += 1;
    }
    assert!(by_version.len() >= 3 && by_version.values().all(|count| *count <= 1000));
    let deleted = nodes.iter().filter(|node| node["state"].is_null()).count();
    assert_eq!((deleted, nodes.len()), (50 * 52 + 1, 50 * 53 + 1));
    let listing = fixture.ada.get("/file/query?path=/").expect(200).json();
    assert_eq!(listing["nodes"].as_array().unwrap().len(), 51);
    fixture.ada.post("/file/delete", &path).expect_problem(404, "not_found");
}
