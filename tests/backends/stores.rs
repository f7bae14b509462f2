//! Stores: copies in Ceph and OSS, reads that outlive one of them, and clients that read from them directly.

use std::path::{Path, PathBuf};
use std::process::Command;

use miaofs::protocol::ids::NodeId;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::api::Api;
use crate::harness::bucket::Bucket;
use crate::harness::command::output;
use crate::harness::content::{Content, upload};
use crate::harness::device::Device;
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::services::service;
use crate::harness::wait::{seconds, wait_until};

const MIB: usize = 1 << 20;
/// Puts in parts that nobody ends: more than a page of a listing.
const STRAY_PUTS: usize = 120;

/// A server whose database and queue are embedded, and whose stores are real.
struct Fixture {
    server: Server,
    prefix: String,
    directory: TempDir,
}

impl Fixture {
    /// `head` begins the configuration; of Ceph clients know an address when `public` is one.
    fn new(head: &str, ceph_endpoint: &str, public: Option<&str>) -> Self {
        let directory = scratch();
        let prefix = format!("miaofs_{:016x}", rand::random::<u64>());
        let configuration = directory.path().join("server.toml");
        std::fs::write(&configuration, settings(head, ceph_endpoint, public, &prefix)).unwrap();
        let server = Server::start_configured(&directory.path().join("data"), &configuration);
        Self { server, prefix, directory }
    }

    /// Starts the server again with another configuration.
    fn reconfigure(&mut self, head: &str, ceph_endpoint: &str) {
        self.server.stop();
        let text = settings(head, ceph_endpoint, None, &self.prefix);
        std::fs::write(self.directory.path().join("server.toml"), text).unwrap();
        self.server.restart();
    }

    /// Uploads a file `film` of so many bytes and waits until it has left the staging disk.
    fn upload(&self, user: &Api, size: usize) -> Content {
        let content = Content::random(Seed::of_this_run(), "film", size);
        upload(user, &content);
        apply(user, &[&Change::file(NodeId::ROOT, "film", &content)]);
        self.wait_until_moved();
        content
    }

    fn wait_until_moved(&self) {
        wait_until("all is in the stores", seconds(60), || self.server.staged().is_empty());
    }

    /// Runs a check; answers its exit code and the sorts of its findings.
    fn fsck(&self, arguments: &[&str]) -> (i32, Vec<String>) {
        let configuration = self.directory.path().join("server.toml");
        let mut command = Command::new(Server::binary());
        command.args(["fsck", "--json"]).args(arguments).arg("--config").arg(configuration);
        let output = command.arg("--data").arg(self.server.data()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_no_json| panic!("no report: {output:?}"));
        let flaw = |finding: &Value| finding["flaw"].as_str().unwrap().to_owned();
        let flaws = report["findings"].as_array().unwrap().iter().map(flaw).collect();
        (output.status.code().unwrap(), flaws)
    }

    /// The only object in the directory that is a store.
    fn local_object(&self) -> PathBuf {
        let only = |directory: &Path| {
            let mut entries = std::fs::read_dir(directory).unwrap();
            let entry = entries.next().unwrap().unwrap().path();
            assert!(entries.next().is_none(), "{} has several", directory.display());
            entry
        };
        only(&only(&self.server.data().join("store")))
    }

    /// The bytes of the only object that a bucket has of this server.
    fn only_object(&self, bucket: &Bucket) -> Vec<u8> {
        let objects = bucket.list(&self.prefix);
        assert_eq!(objects.len(), 1, "{objects:?}");
        let target = self.directory.path().join("object");
        bucket.fetch(&objects[0].key, &target);
        std::fs::read(target).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            Bucket::ceph().empty(&self.prefix);
            Bucket::oss().empty(&self.prefix);
        }
    }
}

fn settings(head: &str, ceph_endpoint: &str, public: Option<&str>, prefix: &str) -> String {
    let public = public.map(|url| format!("public_endpoint = \"{url}\"\n")).unwrap_or_default();
    let table = |name: &str, endpoint: &str| {
        let of = |setting: &str| service(&format!("{}_{setting}", name.to_uppercase()));
        format!(
            "[stores.{name}]\nendpoint = \"{endpoint}\"\nregion = \"{}\"\nbucket = \"{}\"\n\
             access_key = \"{}\"\nsecret_key = \"{}\"\nprefix = \"{prefix}\"\n",
            of("REGION"),
            of("BUCKET"),
            of("ACCESS_KEY"),
            of("SECRET_KEY"),
        )
    };
    let (ceph, oss) = (table("ceph", ceph_endpoint), table("oss", &service("OSS_ENDPOINT")));
    format!("{head}\n{ceph}{public}{oss}proxy = \"{}\"\n", service("OSS_PROXY"))
}

/// Answer to curl, which is none of ours, for a URL with these arguments.
fn curl(directory: &Path, url: &str, arguments: &[&str]) -> Vec<u8> {
    let target = directory.join("fetched");
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "60"]);
    output(command.arg("--output").arg(&target).args(arguments).arg(url));
    std::fs::read(target).unwrap()
}

#[test]
#[ignore = "needs scripts/services up"]
fn both_stores_keep_a_copy_and_one_that_fails_is_not_missed() {
    let both = "store = [\"ceph\", \"oss\"]";
    let mut fixture = Fixture::new(both, &service("CEPH_ENDPOINT"), None);
    let ada = fixture.server.sign_up("ada");
    let content = fixture.upload(&ada, 17 * MIB + 5);
    for bucket in [Bucket::ceph(), Bucket::oss()] {
        assert!(fixture.only_object(&bucket) == content.bytes, "{bucket:?} has other bytes");
    }

    // The copy in Ceph is lost, and then Ceph is away altogether: nobody listens on port 9.
    Bucket::ceph().empty(&fixture.prefix);
    let path = "/file/download?path=/film";
    assert!(ada.get(path).expect(200).body == content.bytes, "the other copy is not read");
    fixture.reconfigure(both, "http://127.0.0.1:9");
    let ada = fixture.server.sign_in("ada");
    for _twice in 0..2 {
        assert!(ada.get(path).expect(200).body == content.bytes, "the other copy is not read");
    }
    assert_eq!(fixture.server.metric("miaofs_store_read_failures_total"), 1, "it is asked again");
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_lost_or_damaged_copy_is_found_by_itself_and_made_anew_from_the_other() {
    let fixture = Fixture::new("store = [\"ceph\", \"local\"]", &service("CEPH_ENDPOINT"), None);
    let content = fixture.upload(&fixture.server.sign_up("ada"), 9 * MIB + 5);
    assert_eq!(fixture.fsck(&["--deep"]), (0, vec![]));

    let local = fixture.local_object();
    let mut damaged = content.bytes.clone();
    damaged[5 * MIB] ^= 1;
    std::fs::write(&local, &damaged).unwrap();
    assert_eq!(fixture.fsck(&[]), (0, vec![]), "lengths say nothing of bytes");
    let wrong_copy = || vec!["wrong_copy".to_owned()];
    assert_eq!(fixture.fsck(&["--deep"]), (4, wrong_copy()));
    assert_eq!(fixture.fsck(&["--deep", "--repair"]), (1, wrong_copy()));
    assert!(std::fs::read(&local).unwrap() == content.bytes, "it is not made anew");

    Bucket::ceph().empty(&fixture.prefix);
    assert_eq!(fixture.fsck(&[]), (4, wrong_copy()));
    assert_eq!(fixture.fsck(&["--repair"]), (1, wrong_copy()));
    assert!(fixture.only_object(&Bucket::ceph()) == content.bytes, "it is not made anew");
    assert_eq!(fixture.fsck(&["--deep"]), (0, vec![]));

    Bucket::ceph().empty(&fixture.prefix);
    std::fs::write(&local, &damaged).unwrap();
    assert_eq!(fixture.fsck(&["--repair"]), (4, wrong_copy()), "wrong bytes are copied");
    assert_eq!(fixture.fsck(&["--deep", "--repair"]), (4, vec!["wrong_bytes".to_owned()]));
    assert!(std::fs::read(&local).unwrap() == damaged, "the last copy is touched");
}

#[test]
#[ignore = "needs scripts/services up"]
fn an_object_that_no_copy_names_is_removed_and_the_copy_stays() {
    let fixture = Fixture::new("store = \"ceph\"", &service("CEPH_ENDPOINT"), None);
    let content = fixture.upload(&fixture.server.sign_up("ada"), MIB);
    let key = Bucket::ceph().list(&fixture.prefix).remove(0).key;
    let key = key.strip_prefix(&format!("{}/", fixture.prefix)).unwrap();
    let stray = fixture.server.data().join("store").join(key);
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(&stray, &content.bytes).unwrap();

    assert_eq!(fixture.fsck(&["--repair"]), (0, vec![]), "it is young");
    let found = vec!["stray_object".to_owned()];
    assert_eq!(fixture.fsck(&["--grace", "0"]), (4, found.clone()));
    assert_eq!(fixture.fsck(&["--grace", "0", "--repair"]), (1, found));
    assert!(!stray.exists());
    assert!(fixture.only_object(&Bucket::ceph()) == content.bytes);
    assert_eq!(fixture.fsck(&["--grace", "0", "--deep"]), (0, vec![]));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_store_that_is_away_is_an_answer_that_says_to_come_again() {
    let ceph = "store = \"ceph\"";
    let mut fixture = Fixture::new(ceph, &service("CEPH_ENDPOINT"), None);
    let ada = fixture.server.sign_up("ada");
    let content = fixture.upload(&ada, MIB);
    fixture.reconfigure(ceph, "http://127.0.0.1:9");
    let ada = fixture.server.sign_in("ada");
    let path = "/file/download?path=/film";
    let answer = ada.get(path).expect_problem(503, "unavailable");
    assert!(
        !format!("{answer:?}").contains("127.0.0.1"),
        "where the store is, is nobody's business"
    );
    fixture.reconfigure(ceph, &service("CEPH_ENDPOINT"));
    assert!(fixture.server.sign_in("ada").get(path).expect(200).body == content.bytes);
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_client_is_sent_to_the_store_and_needs_no_token_there() {
    let endpoint = service("CEPH_ENDPOINT");
    let fixture = Fixture::new("store = \"ceph\"", &endpoint, Some(&endpoint));
    let ada = fixture.server.sign_up("ada");
    let content = fixture.upload(&ada, 9 * MIB);
    let place = json!({ "digest": content.digest, "first": 1, "count": 9 });
    let located = ada.post("/file/locate", &place).expect(200).json();
    assert_eq!(located["urls"].as_array().unwrap().len(), 1, "one blob has one URL");
    let second = &located["chunks"][0]["place"]["url"];
    assert_eq!(second, &json!({ "url": 0, "offset": 4 * MIB }));
    let url = located["urls"][0].as_str().unwrap();
    let directory = fixture.directory.path();
    let range = format!("{}-{}", 4 * MIB, 8 * MIB - 1);
    assert!(curl(directory, url, &["--range", &range]) == content.bytes[4 * MIB..8 * MIB]);

    let token = format!("authorization: Bearer {}", ada.token());
    let download = format!("{}/file/download?path=/film", fixture.server.url());
    let follow = ["--location", "--header", &token, "--range", "1000-1999"];
    assert!(curl(directory, &download, &follow) == content.bytes[1000..2000]);
    assert_eq!(fixture.server.metric_where("miaofs_download_bytes_total", "").unwrap_or(0), 0);

    let through = ada.get("/file/download?path=/film&through=server").expect(200);
    assert!(through.body == content.bytes, "other bytes came through the server");
    assert_eq!(fixture.server.metric("miaofs_download_bytes_total"), content.size());
    let bob = fixture.server.sign_up("bob");
    bob.post("/file/locate", &place).expect_problem(404, "not_found");
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_second_device_reads_from_the_store_and_not_through_the_server() {
    let endpoint = service("CEPH_ENDPOINT");
    let fixture = Fixture::new("store = \"ceph\"", &endpoint, Some(&endpoint));
    let one = Device::signed_up(fixture.directory.path(), "one", &fixture.server, "ada");
    let source = fixture.directory.path().join("film");
    let size = 100 * MIB as u64 + 1;
    Seed::of_this_run().write_file(&source, "film", size);
    std::fs::copy(&source, one.path("film")).unwrap();
    one.sync();
    fixture.wait_until_moved();
    let two = Device::signed_in(fixture.directory.path(), "two", &fixture.server, "ada");
    output(Command::new("cmp").arg(&source).arg(two.path("film")));
    // The reader has a piece before it is counted.
    wait_until("all bytes are counted as the store's", seconds(10), || {
        two.status()["counters"]["content_bytes_from_stores"] == size
    });
    assert_eq!(fixture.server.metric_where("miaofs_download_bytes_total", "").unwrap_or(0), 0);
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_device_goes_on_when_urls_expire_and_when_the_store_is_not_reached() {
    let endpoint = service("CEPH_ENDPOINT");
    // Nobody listens on port 9: the server reaches the store, and its clients do not.
    for (ttl, public) in [(1, endpoint.as_str()), (3600, "http://127.0.0.1:9")] {
        let head = format!("store = \"ceph\"\nsigned_url_ttl = {ttl}");
        let fixture = Fixture::new(&head, &endpoint, Some(public));
        let one = Device::signed_up(fixture.directory.path(), "one", &fixture.server, "ada");
        let source = fixture.directory.path().join("film");
        Seed::of_this_run().write_file(&source, "film", 40 * MIB as u64);
        std::fs::copy(&source, one.path("film")).unwrap();
        one.sync();
        fixture.wait_until_moved();
        let two = Device::signed_in(fixture.directory.path(), "two", &fixture.server, "ada");
        let read = |skip: &str, count: &str| {
            let mut dd = Command::new("dd");
            let input = format!("if={}", two.path("film").display());
            dd.args([&input, "of=/dev/null", "bs=1M", "status=none"]);
            output(dd.args([format!("skip={skip}"), format!("count={count}")]));
        };
        read("0", "1");
        // Longer than the URLs of the first round hold.
        std::thread::sleep(seconds(2));
        read("30", "2");
        output(Command::new("cmp").arg(&source).arg(two.path("film")));
    }
}

#[test]
#[ignore = "needs scripts/services up"]
fn parts_in_a_bucket_that_no_transfer_knows_are_found_and_removed() {
    let fixture = Fixture::new("store = \"ceph\"", &service("CEPH_ENDPOINT"), None);
    let bucket = Bucket::ceph();
    let keys = (0..STRAY_PUTS).map(|number| format!("{}/00/{number:032x}", fixture.prefix));
    let urls: Vec<String> = keys.map(|key| format!("{}?uploads=", bucket.url(&key))).collect();
    let mut arguments = vec!["--request", "POST"];
    arguments.extend(urls.iter().map(String::as_str));
    bucket.curl(&arguments);
    let found = vec!["stray_parts".to_owned(); STRAY_PUTS];
    assert_eq!(fixture.fsck(&["--repair"]), (0, vec![]), "what is young is somebody's");
    assert_eq!(fixture.fsck(&["--grace-of-parts", "0"]), (4, found.clone()));
    assert!(bucket.has_unfinished(&fixture.prefix), "nothing is mended unasked");
    assert_eq!(fixture.fsck(&["--grace-of-parts", "0", "--repair"]), (1, found));
    assert!(!bucket.has_unfinished(&fixture.prefix));
}
