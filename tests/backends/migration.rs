//! Migration: everything in one store moves to another one, during reads, and with kills in between.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use miaofs::protocol::ids::NodeId;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::api::Api;
use crate::harness::bucket::{Bucket, Object};
use crate::harness::command::output;
use crate::harness::content::{Content, batch_of, send_batch, upload};
use crate::harness::dependencies::Reads;
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

const KIB: usize = 1024;

/// A server on the real dependencies, whose contents are in Ceph, each in an object of its own.
struct Fixture {
    server: Server,
    ada: Api,
    contents: Vec<Content>,
    _directory: TempDir,
}

impl Fixture {
    /// Contents of a few KiB, and `large` ones, which are put in several parts.
    fn new(small: usize, large: usize) -> Self {
        let directory = scratch();
        let data = directory.path().join("data");
        let server = Server::start_on_real(&data, &["ceph"], Reads::ThroughTheServer);
        let ada = server.sign_up("ada");
        let seed = Seed::of_this_run();
        let mut contents = Vec::new();
        for index in 0..large {
            let content = Content::random(seed, &format!("large {index}"), 9000 * KIB + index);
            upload(&ada, &content);
            contents.push(content);
        }
        for index in 0..small {
            let content = Content::random(seed, &format!("small {index}"), KIB + 31 * index);
            send_batch(&ada, batch_of(&[&content])).expect(200);
            contents.push(content);
        }
        for (index, content) in contents.iter().enumerate() {
            apply(&ada, &[&Change::file(NodeId::ROOT, &format!("file {index}"), content)]);
        }
        let staged = || server.staged().iter().sum::<u64>();
        wait_until("all is in Ceph", seconds(120), || staged() == 0);
        let fixture = Self { server, ada, contents, _directory: directory };
        assert_eq!(fixture.objects(&Bucket::ceph()).len(), fixture.contents.len());
        fixture
    }

    fn objects(&self, bucket: &Bucket) -> Vec<Object> {
        bucket.list(self.server.dependencies().prefix())
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Server::command(self.server.data(), &["migrate", "--json"]);
        command.args(["--from", "ceph", "--to", "oss"]).args(more);
        command
    }

    fn read(&self, index: usize) -> bool {
        let content = &self.contents[index];
        let path = format!("/file/download?digest={}", content.digest);
        self.ada.get(&path).expect(200).body == content.bytes
    }

    /// All is in OSS, byte for byte, and nothing in Ceph; and the server agrees.
    fn expect_moved(&self) {
        assert_eq!(self.objects(&Bucket::ceph()), [], "objects are left in Ceph");
        let mut sizes: Vec<u64> = self.contents.iter().map(Content::size).collect();
        let objects = self.objects(&Bucket::oss());
        let mut found: Vec<u64> = objects.iter().map(|object| object.size).collect();
        sizes.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, sizes, "other objects are in OSS");
        for index in 0..self.contents.len() {
            assert!(self.read(index), "other bytes came back");
        }
        output(&mut Server::command(self.server.data(), &["fsck", "--deep"]));
    }
}

/// Last line of progress that the command has printed.
fn last(printed: &str) -> Value {
    serde_json::from_str(printed.lines().last().expect("it says how far it is")).unwrap()
}

/// Kills a command, as a person who loses patience does.
fn kill(mut child: Child) {
    child.kill().expect("a child can be killed");
    child.wait().expect("a child can be waited for");
}

#[test]
#[ignore = "needs scripts/services up"]
fn two_hundred_objects_move_to_another_store_while_all_of_them_are_read() {
    let fixture = Fixture::new(198, 2);
    let stop = AtomicBool::new(false);
    let (printed, reads) = thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|first| {
                let (fixture, stop) = (&fixture, &stop);
                scope.spawn(move || {
                    let mut reads = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let index = (first + 7 * reads) % fixture.contents.len();
                        assert!(fixture.read(index), "a read during the migration failed");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let printed = output(&mut fixture.command(&[]));
        stop.store(true, Ordering::Relaxed);
        let reads: Vec<usize> = readers.into_iter().map(|it| it.join().unwrap()).collect();
        (printed, reads)
    });
    assert!(reads.iter().all(|reads| *reads > 10), "too few reads: {reads:?}");
    assert_eq!(last(&printed)["blobs"], 0, "{printed}");
    fixture.expect_moved();
    output(&mut fixture.command(&[]));
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_migration_whose_command_and_process_are_killed_goes_on_and_loses_nothing() {
    let mut fixture = Fixture::new(60, 0);
    let all = fixture.contents.len();
    for round in 1..=3 {
        // Slow enough that each kill comes in the middle.
        let mut command = fixture.command(&["--bwlimit", "40KiB"]);
        let child = command.stdout(Stdio::null()).spawn().expect("the program is there");
        let some = all * round / 8;
        wait_until("some have moved", seconds(60), || fixture.objects(&Bucket::oss()).len() > some);
        if round % 2 == 1 {
            fixture.server.kill();
            fixture.server.restart();
            thread::sleep(Duration::from_millis(200));
        }
        kill(child);
    }
    assert!(!fixture.objects(&Bucket::ceph()).is_empty(), "nothing was left to be done");
    let printed = output(&mut fixture.command(&[]));
    assert_eq!(last(&printed)["failed"], 0, "{printed}");
    fixture.expect_moved();
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_migration_that_cannot_be_meant_is_refused() {
    let directory = scratch();
    let data = directory.path().join("data");
    let _server = Server::start_embedded(&data, &[]);
    for (from, to, said) in [
        ("local", "local", "everything in local is in local already"),
        ("local", "oss", "the store oss is not set up; add [stores.oss]"),
        ("moon", "local", "\"moon\" is no store"),
    ] {
        let mut command = Server::command(&data, &["migrate", "--from", from, "--to", to]);
        let output = command.output().expect("the program is there");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.contains(said), "{words}");
    }
}
