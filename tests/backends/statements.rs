//! Promises about the number of statements that a request costs the database, counted between the server and MariaDB.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use miaofs::protocol::ids::NodeId;
use serde_json::json;

use crate::database::Database;
use crate::harness::api::Api;
use crate::harness::content::{Content, batch_of, send_batch};
use crate::harness::drive::{Change, apply};
use crate::harness::random::Seed;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// Nodes of a commit.
const NODES: usize = 1000;
/// Statements that such a commit may take.
const STATEMENTS_MAX: u64 = 30;
/// Statements that a commit of one node may take.
const STATEMENTS_MAX_OF_ONE: u64 = 16;

/// The statements of each connection so far.
type Counts = Arc<Mutex<Vec<Arc<AtomicU64>>>>;

/// Passes a server's statements on to MariaDB and counts them. Its threads end with the test's process.
struct Counter {
    address: String,
    statements: Counts,
}

impl Counter {
    fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let statements = Counts::default();
        let (target, all) = (target.to_owned(), Arc::clone(&statements));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, count) = (target.clone(), Arc::new(AtomicU64::new(0)));
                all.lock().unwrap().push(Arc::clone(&count));
                thread::spawn(move || serve(&client, &TcpStream::connect(target).unwrap(), &count));
            }
        });
        Self { address, statements }
    }

    /// A server whose statements are counted.
    fn serve(database: &Database, data: &Path) -> (Self, Server) {
        let url = database.url();
        let (user, address) = url.trim_start_matches("mysql://").split_once('@').unwrap();
        let (target, name) = address.split_once('/').unwrap();
        let counter = Self::start(target);
        let url = format!("mysql://{user}@{}/{name}", counter.address);
        let server = Server::start_embedded(data, &["--database-url", &url]);
        (counter, server)
    }

    /// The number of statements of the busiest connection while something was done: a change is one transaction, and what the
    /// server does by itself meanwhile is on others.
    fn during(&self, work: impl FnOnce()) -> u64 {
        let before = self.counts();
        work();
        let before = before.into_iter().chain(std::iter::repeat(0));
        let grown = self.counts().into_iter().zip(before).map(|(after, before)| after - before);
        grown.max().expect("the server has connections")
    }

    fn counts(&self) -> Vec<u64> {
        let all = self.statements.lock().unwrap();
        all.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

fn serve(client: &TcpStream, server: &TcpStream, count: &AtomicU64) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (server, client);
            let _it_may_break_off = std::io::copy(&mut from, &mut to);
            let _it_may_have_ended = client.shutdown(Shutdown::Both);
        });
        let (mut from, mut to) = (client, server);
        let mut step = || -> std::io::Result<()> {
            let mut packet = vec![0; 4];
            from.read_exact(&mut packet)?;
            let length = u32::from_le_bytes([packet[0], packet[1], packet[2], 0]) as usize;
            packet.resize(4 + length, 0);
            from.read_exact(&mut packet[4..])?;
            // COM_QUERY and COM_STMT_EXECUTE; a command begins with packet 0.
            if packet[3] == 0 && matches!(packet.get(4), Some(0x03 | 0x17)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            to.write_all(&packet)
        };
        while step().is_ok() {}
        let _it_may_have_ended = server.shutdown(Shutdown::Both);
    });
}

/// A directory with files, each with a content of its own that the user owns.
fn new_files(user: &Api, label: &str, count: usize) -> Vec<Change> {
    let seed = Seed::of_this_run();
    let content = |index| Content::random(seed, &format!("{label} {index}"), 100);
    let contents: Vec<Content> = (1..count).map(content).collect();
    send_batch(user, batch_of(&contents.iter().collect::<Vec<_>>())).expect(200);
    let directory = Change::directory(NodeId::ROOT, label);
    let parent = directory.id();
    let files = contents.iter().enumerate();
    let files = files.map(|(at, content)| Change::file(parent, &format!("file {at}"), content));
    std::iter::once(directory).chain(files).collect()
}

#[test]
#[ignore = "needs scripts/services up"]
fn a_commit_of_a_thousand_nodes_takes_few_statements() {
    let (directory, database) = (scratch(), Database::new());
    let data = directory.path().join("data");
    let (counter, mut server) = Counter::serve(&database, &data);
    let ada = server.sign_up("ada");
    let made = new_files(&ada, "many", NODES);
    let single = new_files(&ada, "one", 2);
    wait_until("what was uploaded is in its store", seconds(60), || {
        server.staged().iter().sum::<u64>() == 0
    });
    let commit = |what: &str, changes: &[Change], most: u64| {
        let mut seq = 0;
        let changes: Vec<&Change> = changes.iter().collect();
        let statements = counter.during(|| seq = apply(&ada, &changes));
        eprintln!("{what}: {statements} statements");
        assert!((5..=most).contains(&statements), "{what}: {statements} statements");
        seq
    };
    let version = commit("make", &made, STATEMENTS_MAX);
    let touch = |change: &Change| change.clone().based_on(version).with("mtime", json!(5));
    let touched: Vec<Change> = made.iter().map(touch).collect();
    let version = commit("touch", &touched, STATEMENTS_MAX);
    let rename = |(at, change): (usize, &Change)| {
        let parent = if at == 0 { NodeId::ROOT } else { made[0].id() };
        change.clone().based_on(version).named(&[(parent, &format!("renamed {at}"))])
    };
    let renamed: Vec<Change> = touched.iter().enumerate().map(rename).collect();
    let version = commit("rename", &renamed, STATEMENTS_MAX);
    let listing = ada.get(&format!("/fs/list/{}", made[0].id())).expect(200).json();
    assert_eq!(listing["nodes"].as_array().unwrap().len(), NODES - 1);
    let delete = |change: &Change| Change::delete(change.id(), version);
    let deleted: Vec<Change> = renamed.iter().map(delete).collect();
    commit("delete", &deleted, STATEMENTS_MAX);
    commit("one directory", &single[..1], STATEMENTS_MAX_OF_ONE);
    commit("one file", &single[1..], STATEMENTS_MAX_OF_ONE);
    server.stop();
    database.check(&data);
}
