//! The commit: a set of changes, checked as the state that it ends in, applied together.

use miaofs::protocol::ids::NodeId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::harness::content::{Content, batch_of, send_batch, upload};
use crate::harness::drive::{Change, apply, commit, commit_of, head, refuse};
use crate::harness::scratch;
use crate::harness::server::Server;

const ROOT: NodeId = NodeId::ROOT;

impl Fixture {
    /// A content that `ada` owns.
    fn content(&self, text: &str) -> Content {
        let content = Content::new(text.as_bytes().to_vec());
        send_batch(&self.ada, batch_of(&[&content])).expect(200);
        content
    }

    fn names(&self, directory: NodeId) -> Vec<String> {
        let listing = self.ada.get(&format!("/fs/list/{directory}")).expect(200).json();
        let in_it = |entry: &&Value| entry["parent"] == json!(directory);
        let mut names: Vec<String> = listing["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|node| node["state"]["entries"].as_array().unwrap())
            .filter(in_it)
            .map(|entry| entry["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_tree_is_made_in_one_commit_in_any_order() {
    let fixture = Fixture::new();
    let content = fixture.content("hello");
    let directory = Change::directory(ROOT, "documents");
    let file = Change::file(directory.id(), "hello.txt", &content);
    let link = Change::create("symlink", directory.id(), "link").with("target", json!("hello.txt"));
    apply(&fixture.ada, &[&link, &file, &directory]);
    assert_eq!(fixture.names(ROOT), ["documents"]);
    assert_eq!(fixture.names(directory.id()), ["hello.txt", "link"]);
    let node = fixture.ada.get("/file/meta?path=/documents/hello.txt").expect(200).json();
    assert_eq!(node["state"], file.0["state"]);
    let node = fixture.ada.get("/file/meta?path=/documents/link").expect(200).json();
    assert_eq!(node["state"]["target"], "hello.txt");
}

#[test]
fn a_large_directory_is_listed_whole_and_in_order_in_little_memory() {
    let fixture = Fixture::new();
    let directory = Change::directory(ROOT, "large");
    apply(&fixture.ada, &[&directory]);
    let (parent, xattrs) = (directory.id(), json!({ "user.large": "x".repeat(8000) }));
    let name = |number: usize| format!("{number:06}");
    for part in 0..5 {
        let file = |number| {
            let link = Change::create("fifo", parent, &name(number)).with("xattrs", xattrs.clone());
            // Every other one has a second name in the directory, far from the first.
            let second = name(number + 500_000);
            match number % 2 {
                0 => link,
                _ => link.named(&[(parent, second.as_str()), (parent, name(number).as_str())]),
            }
        };
        let files: Vec<Change> = (part * 1000..(part + 1) * 1000).map(file).collect();
        apply(&fixture.ada, &files.iter().collect::<Vec<_>>());
    }
    let before = fixture.server.peak_memory();
    let listing = fixture.ada.get(&format!("/fs/list/{parent}")).expect(200).json();
    // The kernel counts by and by, so a peak may seem to be lower than one before.
    let grown = fixture.server.peak_memory().saturating_sub(before);
    let nodes = listing["nodes"].as_array().unwrap();
    let least = |node: &Value| {
        let entries = node["state"]["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["name"].as_str().unwrap().to_owned()).min().unwrap()
    };
    let names: Vec<String> = nodes.iter().map(least).collect();
    assert_eq!(names, (0..5000).map(name).collect::<Vec<_>>());
    assert!(grown < 32 * 1024, "listing {} bytes took {grown} KiB", listing.to_string().len());
}

#[test]
fn every_attribute_comes_back_as_it_was_sent() {
    let fixture = Fixture::new();
    let content = fixture.content("hello");
    let device = Change::create("char_device", ROOT, "null").with("rdev", json!(259));
    let file = Change::file(ROOT, "秒 \u{1f600}", &content)
        .with("mode", json!(0o4755))
        .with("uid", json!(1000))
        .with("gid", json!(u32::MAX - 1))
        .with("mtime", json!(-1_234_567_890_123_456_789_i64))
        .with("xattrs", json!({ "user.a": "b", "user.bin": { "base64": "//4=" } }));
    let bytes = json!([{ "parent": ROOT, "name": { "base64": "/w==" } }]);
    let odd = Change::create("fifo", ROOT, "x").with("entries", bytes);
    apply(&fixture.ada, &[&device, &file, &odd]);
    let changes = fixture.ada.get("/fs/changes?since=0").expect(200).json();
    for change in [&device, &file, &odd] {
        let nodes = changes["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["id"] == change.0["id"]).unwrap();
        assert_eq!(node["state"], change.0["state"]);
        assert_eq!(node["revision"], change.0["revision"]);
    }
}

#[test]
fn a_rename_over_a_file_is_one_commit() {
    let fixture = Fixture::new();
    let (old, new) = (fixture.content("old"), fixture.content("new"));
    let target = Change::file(ROOT, "a", &old);
    let source = Change::file(ROOT, "a.tmp", &new);
    let version = apply(&fixture.ada, &[&target, &source]);
    let moved = source.clone().based_on(version).named(&[(ROOT, "a")]);
    let gone = Change::delete(target.id(), version);
    apply(&fixture.ada, &[&moved, &gone]);
    assert_eq!(fixture.names(ROOT), ["a"]);
    assert_eq!(fixture.ada.get("/file/download?path=/a").expect(200).body, b"new");
}

#[test]
fn two_files_swap_their_names_in_one_commit() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.content("one"), fixture.content("two"));
    let (a, b) = (Change::file(ROOT, "a", &one), Change::file(ROOT, "b", &two));
    let version = apply(&fixture.ada, &[&a, &b]);
    let to_b = a.clone().based_on(version).named(&[(ROOT, "b")]);
    let to_a = b.clone().based_on(version).named(&[(ROOT, "a")]);
    apply(&fixture.ada, &[&to_b, &to_a]);
    assert_eq!(fixture.ada.get("/file/download?path=/a").expect(200).body, b"two");
    assert_eq!(fixture.ada.get("/file/download?path=/b").expect(200).body, b"one");
}

#[test]
fn a_hard_link_is_a_second_name_of_the_node() {
    let fixture = Fixture::new();
    let file = Change::file(ROOT, "a", &fixture.content("hello"));
    let version = apply(&fixture.ada, &[&file]);
    let both = file.clone().based_on(version).named(&[(ROOT, "a"), (ROOT, "b")]);
    let version = apply(&fixture.ada, &[&both]);
    let node = |name| fixture.ada.get(&format!("/file/meta?path=/{name}")).expect(200).json();
    assert_eq!(node("a")["id"], node("b")["id"]);
    apply(&fixture.ada, &[&file.clone().based_on(version).named(&[(ROOT, "b")])]);
    assert_eq!(fixture.names(ROOT), ["b"]);
}

#[test]
fn a_change_sent_again_is_acknowledged_and_not_applied_twice() {
    let fixture = Fixture::new();
    let file = Change::file(ROOT, "a", &fixture.content("hello"));
    let seq = apply(&fixture.ada, &[&file]);
    for _ in 0..2 {
        let again = commit(&fixture.ada, &[&file]);
        assert_eq!(again["applied"], json!([{ "id": file.id(), "version": seq }]), "{again}");
    }
    assert_eq!(head(&fixture.ada), seq);
    let gone = Change::delete(file.id(), seq);
    let after = apply(&fixture.ada, &[&gone]);
    let again = commit(&fixture.ada, &[&gone]);
    assert_eq!(again["applied"], json!([{ "id": file.id(), "version": after }]), "{again}");
}

#[test]
fn a_stale_change_is_a_conflict_that_shows_the_servers_state() {
    let fixture = Fixture::new();
    let file = Change::file(ROOT, "a", &fixture.content("first"));
    let first = apply(&fixture.ada, &[&file]);
    let second = fixture.content("second").reference();
    let winner = file.clone().based_on(first).with("content", second.clone());
    let version = apply(&fixture.ada, &[&winner]);
    let loser = file.clone().based_on(first).with("mode", json!(0o600));
    let conflict = refuse(&fixture.ada, &loser, "stale");
    assert_eq!(conflict["current"]["version"], version);
    assert_eq!(conflict["current"]["state"]["content"], second);
    let conflict = refuse(&fixture.ada, &Change::delete(file.id(), first), "stale");
    assert_eq!(conflict["current"]["id"], json!(file.id()));
}

#[test]
fn what_does_not_depend_on_a_conflict_is_applied() {
    let fixture = Fixture::new();
    let content = fixture.content("hello");
    apply(&fixture.ada, &[&Change::file(ROOT, "taken", &content)]);
    let taken = Change::directory(ROOT, "taken");
    let inside = Change::file(taken.id(), "inside", &content);
    let free = Change::file(ROOT, "free", &content);
    let committed = commit(&fixture.ada, &[&taken, &inside, &free]);
    let applied = committed["applied"].as_array().unwrap();
    assert_eq!(applied.len(), 1, "{committed}");
    assert_eq!(applied[0]["id"], json!(free.id()));
    let reason = |change: &Change| {
        let conflicts = committed["conflicts"].as_array().unwrap();
        let of_it = conflicts.iter().find(|conflict| conflict["id"] == json!(change.id()));
        of_it.unwrap()["reason"].clone()
    };
    assert_eq!(reason(&taken), "name_taken");
    assert!(["dependent", "no_parent"].contains(&reason(&inside).as_str().unwrap()));
    assert_eq!(fixture.names(ROOT), ["free", "taken"]);
}

#[test]
fn a_drive_stays_a_tree() {
    let fixture = Fixture::new();
    let outer = Change::directory(ROOT, "outer");
    let inner = Change::directory(outer.id(), "inner");
    let version = apply(&fixture.ada, &[&outer, &inner]);
    let into_itself = outer.clone().based_on(version).named(&[(inner.id(), "outer")]);
    refuse(&fixture.ada, &into_itself, "cycle");
    let conflict = refuse(&fixture.ada, &Change::delete(outer.id(), version), "not_empty");
    assert_eq!(conflict["current"]["id"], json!(inner.id()));
    refuse(&fixture.ada, &Change::directory(NodeId::random(), "lost"), "no_parent");
    let file = Change::file(ROOT, "file", &fixture.content("x"));
    apply(&fixture.ada, &[&file]);
    refuse(&fixture.ada, &Change::directory(file.id(), "below a file"), "no_parent");
    let conflict = refuse(&fixture.ada, &Change::directory(ROOT, "file"), "name_taken");
    assert_eq!(conflict["current"]["id"], json!(file.id()));
}

#[test]
fn a_directory_is_deleted_together_with_what_is_in_it() {
    let fixture = Fixture::new();
    let directory = Change::directory(ROOT, "d");
    let file = Change::file(directory.id(), "f", &fixture.content("x"));
    let version = apply(&fixture.ada, &[&directory, &file]);
    let deletions = [Change::delete(directory.id(), version), Change::delete(file.id(), version)];
    apply(&fixture.ada, &[&deletions[0], &deletions[1]]);
    assert_eq!(fixture.names(ROOT), Vec::<String>::new());
    refuse(&fixture.ada, &Change::directory(directory.id(), "in a deleted one"), "no_parent");
}

#[test]
fn a_content_must_be_owned() {
    let fixture = Fixture::new();
    let bob = fixture.server.sign_up("bob");
    let of_ada = fixture.content("hers");
    refuse(&bob, &Change::file(ROOT, "a", &of_ada), "no_content");
    apply(&fixture.ada, &[&Change::file(ROOT, "a", &of_ada)]);
    refuse(&bob, &Change::file(ROOT, "a", &of_ada), "no_content");
}

#[test]
fn drives_are_apart() {
    let fixture = Fixture::new();
    let bob = fixture.server.sign_up("bob");
    let directory = Change::directory(ROOT, "d");
    let version = apply(&fixture.ada, &[&directory]);
    bob.get(&format!("/fs/list/{}", directory.id())).expect_problem(404, "not_found");
    let foreign = directory.clone().based_on(version).with("mode", json!(0o700));
    let committed = commit(&bob, &[&foreign]);
    assert_eq!(committed["applied"], json!([]), "{committed}");
    let mine = Change::directory(directory.id(), "x");
    refuse(&bob, &mine, "no_parent");
    assert_eq!(
        bob.get("/fs/list/00000000000000000000000000000000").expect(200).json()["nodes"],
        json!([])
    );
}

#[test]
fn the_quota_is_kept() {
    let directory = scratch();
    let arguments = ["--quota", "1000"];
    let server = Server::start_with(&directory.path().join("data"), &arguments);
    let ada = server.sign_up("ada");
    let contents = [Content::new(vec![1; 600]), Content::new(vec![2; 500])];
    for content in &contents {
        send_batch(&ada, batch_of(&[content])).expect(200);
    }
    let fits = Change::file(ROOT, "fits", &contents[0]);
    let version = apply(&ada, &[&fits]);
    let account = ada.get("/user/info").expect(200).json();
    assert_eq!((&account["quota"], &account["used"]), (&json!(1000), &json!(600)));
    refuse(&ada, &Change::file(ROOT, "too much", &contents[1]), "over_quota");
    let gone = Change::delete(fits.id(), version);
    apply(&ada, &[&gone, &Change::file(ROOT, "instead", &contents[1])]);
    assert_eq!(ada.get("/user/info").expect(200).json()["used"], 500);
}

#[test]
fn a_file_of_a_full_drive_can_be_replaced_however_its_content_comes() {
    let server = Server::with(&["--quota", "1000"]);
    let ada = server.sign_up("ada");
    let content = |byte| Content::new(vec![byte; 1000]);
    let put = |bytes: Vec<u8>| ada.send(Method::POST, "/file/upload?path=/full", &[], bytes);
    put(content(1).bytes).expect(200);
    let node = put(content(2).bytes).expect(200).json();
    let replaced = |content: &Content| {
        let mut file = Change::file(ROOT, "full", content).based_on(head(&ada));
        file.0["id"] = node["id"].clone();
        apply(&ada, &[&file]);
    };
    upload(&ada, &content(3));
    replaced(&content(3));
    send_batch(&ada, batch_of(&[&content(4)])).expect(200);
    replaced(&content(4));
    assert_eq!(ada.get("/user/info").expect(200).json()["used"], 1000);
    let larger_than_any_drive = Content::new(vec![5; 1001]);
    put(larger_than_any_drive.bytes.clone()).expect_problem(413, "over_quota");
    let begun = ada.post("/file/multipart/init", &larger_than_any_drive.init());
    begun.expect_problem(413, "over_quota");
    let batch = send_batch(&ada, batch_of(&[&larger_than_any_drive]));
    batch.expect_problem(413, "over_quota");
}

#[test]
fn the_same_node_twice_or_too_many_are_refused_whole() {
    let fixture = Fixture::new();
    let directory = Change::directory(ROOT, "d");
    let twice = commit_of(&[&directory, &directory]);
    assert!((400..500).contains(&fixture.ada.post("/fs/commit", &twice).status));
    let many: Vec<Change> = (0..2001).map(|n| Change::directory(ROOT, &format!("d{n}"))).collect();
    let many = commit_of(&many.iter().collect::<Vec<_>>());
    assert!((400..500).contains(&fixture.ada.post("/fs/commit", &many).status));
    assert_eq!(fixture.names(ROOT), Vec::<String>::new());
}
