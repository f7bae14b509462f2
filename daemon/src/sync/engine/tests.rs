//! Two devices, each a store and an engine, against a real server.
//!
//! Ignored unless asked for, because they need the other binary:
//! `MIAOFS_SERVER=target/debug/miaofs-server cargo test -p miaofs-daemon -- --ignored engine`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use miaofs::protocol::accounts::{Device, SignIn, SignUp};
use miaofs::protocol::files::Kind;

use super::*;
use crate::store::{Access, Availability, NewNode, StoreOptions};

const LIMIT: Duration = Duration::from_secs(60);
const MIB: usize = 1024 * 1024;

struct RunningServer {
    process: Child,
    url: String,
}

impl RunningServer {
    fn start(data: &Path, listen: &str) -> Self {
        let binary = std::env::var("MIAOFS_SERVER").expect("MIAOFS_SERVER names the binary");
        let mut process = Command::new(binary)
            .args(["serve", "--listen", listen, "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { process, url }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

struct TestDevice {
    store: Arc<Store>,
    engine: Engine,
    _invalidations: UnboundedReceiver<Invalidation>,
}

impl TestDevice {
    async fn sign_in(server: &str, directory: &Path, name: &str) -> Self {
        let public = Client::new(server).unwrap();
        let device = Device { id: None, name: name.to_owned() };
        let (user, password) = ("mia".to_owned(), "a long password".to_owned());
        let sign_up = SignUp {
            name: user.clone(),
            password: password.clone(),
            device: device.clone(),
            invitation: None,
        };
        let session = match public.sign_up(&sign_up).await {
            Ok(session) => session,
            Err(_exists) => public.sign_in(&SignIn { name: user, password, device }).await.unwrap(),
        };
        let options = StoreOptions { cache_limit: 1 << 40, free_floor: 0 };
        let store = Store::open(&directory.join(name), options).unwrap();
        let client = public.with_session(&session, Arc::new(|_session| Ok(())));
        let settings = EngineSettings {
            account: "mia".to_owned(),
            device: name.to_owned(),
            bwlimit: None,
            deletions_limit: 1000,
        };
        let (engine, invalidations) = Engine::start(Arc::clone(&store), client, settings);
        Self { store, engine, _invalidations: invalidations }
    }

    fn make(&self, parent: Ino, name: &str, kind: Kind) -> Ino {
        self.store
            .change::<_, store::Error>(|change| {
                let new =
                    NewNode { kind, mode: 0o755, uid: 0, gid: 0, rdev: 0, target: None, now: 1 };
                let ino = change.insert(new)?;
                change.link(parent, name.as_bytes(), ino)?;
                Ok(ino)
            })
            .unwrap()
    }

    async fn write(&self, ino: Ino, offset: u64, bytes: &[u8]) {
        let content = self.store.open_content(ino, Access::Write).unwrap();
        let now = jiff::Timestamp::now().as_nanosecond() as i64;
        while let Availability::Missing(range) = content.write_at(offset, bytes, now).unwrap() {
            self.engine.fetch(&content, range).await.unwrap();
        }
    }

    fn remove(&self, parent: Ino, name: &str) {
        self.store
            .change::<_, store::Error>(|change| change.unlink(parent, name.as_bytes()).map(drop))
            .unwrap();
    }

    fn entry(&self, parent: Ino, name: &str) -> Option<Ino> {
        self.store.view::<_, store::Error>(|view| view.entry(parent, name.as_bytes())).unwrap()
    }

    fn names(&self, parent: Ino) -> Vec<String> {
        let children = self.store.view(|view| view.children(parent, 0, 100_000)).unwrap();
        let text = |child: crate::store::Child| String::from_utf8(child.name).unwrap();
        children.into_iter().map(text).collect()
    }

    async fn read(&self, ino: Ino, range: Range<u64>) -> Vec<u8> {
        let content = self.store.open_content(ino, Access::Read).unwrap();
        let mut buffer = vec![0; (range.end - range.start) as usize];
        loop {
            match content.read_at(range.start, &mut buffer).unwrap() {
                Availability::Ready(length) => {
                    buffer.truncate(length);
                    return buffer;
                }
                Availability::Missing(range) => self.engine.fetch(&content, range).await.unwrap(),
            }
        }
    }

    async fn flush(&self) {
        let flush = self.engine.flush(Scope::All);
        tokio::time::timeout(LIMIT, flush).await.expect("in time").unwrap();
    }

    fn counters(&self) -> super::super::Counters {
        self.engine.core.metrics.counters(self.engine.core.client.traffic())
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn noise(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the server's binary"]
async fn engine_brings_small_and_large_files_to_another_device() {
    let directory = tempfile::tempdir().unwrap();
    let server = RunningServer::start(&directory.path().join("server"), "127.0.0.1:0");
    let one = TestDevice::sign_in(&server.url, directory.path(), "one").await;
    let two = TestDevice::sign_in(&server.url, directory.path(), "two").await;

    let folder = one.make(Ino::ROOT, "folder", Kind::Directory);
    for number in 0..2000 {
        let ino = one.make(folder, &format!("f{number}"), Kind::File);
        one.write(ino, 0, &noise(4096, number as u8)).await;
    }
    let big = one.make(Ino::ROOT, "big", Kind::File);
    one.write(big, 0, &noise(40 * MIB, 1)).await;
    let started = Instant::now();
    one.flush().await;
    println!("flushed in {:?}, {:?}", started.elapsed(), one.counters());
    assert!(one.counters().requests < 100, "{:?}", one.counters());

    until("the folder is there", || two.entry(Ino::ROOT, "folder").is_some()).await;
    let there = two.entry(Ino::ROOT, "folder").unwrap();
    until("all files are there", || two.names(there).len() == 2000).await;
    until("the big file is there", || two.entry(Ino::ROOT, "big").is_some()).await;
    let small = two.entry(there, "f7").unwrap();
    assert_eq!(two.read(small, 0..5000).await, noise(4096, 7));

    let big_there = two.entry(Ino::ROOT, "big").unwrap();
    let before = two.counters().bytes_received;
    let middle = 20 * MIB as u64 + 5;
    let read = two.read(big_there, middle..middle + 65_536).await;
    let expected = noise(40 * MIB, 1);
    assert!(read == expected[middle as usize..middle as usize + 65_536]);
    assert!(two.counters().bytes_received - before < MIB as u64);
    for start in (0..40 * MIB).step_by(MIB / 8) {
        let read = two.read(big_there, start as u64..(start + MIB / 8) as u64).await;
        assert!(read == expected[start..start + MIB / 8], "at {start}");
    }
    println!("read all: {:?}", two.counters());
    assert!(two.counters().ranges_in_flight_max >= 4);

    let chunks = one.counters().chunk_bytes_sent;
    one.write(big, middle, b"edited").await;
    one.flush().await;
    assert_eq!(one.counters().chunk_bytes_sent - chunks, 4 * MIB as u64);
    let mut edited = Vec::new();
    for _ in 0..100 {
        edited = two.read(big_there, middle..middle + 6).await;
        if edited == b"edited" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(edited, b"edited");
    one.engine.stop().await;
    two.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the server's binary"]
async fn engine_fetches_the_next_files_of_a_directory_that_is_read_file_by_file() {
    let directory = tempfile::tempdir().unwrap();
    let server = RunningServer::start(&directory.path().join("server"), "127.0.0.1:0");
    let one = TestDevice::sign_in(&server.url, directory.path(), "one").await;
    for number in 0..40 {
        let ino = one.make(Ino::ROOT, &format!("f{number:02}"), Kind::File);
        one.write(ino, 0, &noise(20_000, number)).await;
    }
    let large = one.make(Ino::ROOT, "large", Kind::File);
    one.write(large, 0, &noise(MIB, 41)).await;
    one.flush().await;
    let two = TestDevice::sign_in(&server.url, directory.path(), "two").await;
    until("all files are there", || two.names(Ino::ROOT).len() == 41).await;
    let there: Vec<Ino> =
        (0..40).map(|number| two.entry(Ino::ROOT, &format!("f{number:02}")).unwrap()).collect();
    let here = |ino: &Ino| two.engine.node_state(*ino) == SyncState::Synced;
    for (seed, ino) in (0..).zip(&there).take(2) {
        assert_eq!(two.read(*ino, 0..20_000).await, noise(20_000, seed));
    }
    assert_eq!(there.iter().filter(|ino| here(ino)).count(), 2, "two files are no habit");
    assert_eq!(two.read(there[20], 0..20_000).await, noise(20_000, 20));
    until("the others are here", || there.iter().all(here)).await;
    assert!(!here(&two.entry(Ino::ROOT, "large").unwrap()), "a large file is not fetched ahead");
    for (seed, ino) in (0..).zip(&there) {
        assert_eq!(two.read(*ino, 0..20_000).await, noise(20_000, seed));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the server's binary"]
async fn engine_reconciles_what_happened_while_the_server_was_away() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("server");
    let server = RunningServer::start(&data, "127.0.0.1:0");
    let listen = server.url.strip_prefix("http://").unwrap().to_owned();
    let one = TestDevice::sign_in(&server.url, directory.path(), "one").await;
    let two = TestDevice::sign_in(&server.url, directory.path(), "two").await;
    for name in ["both", "deleted", "kept"] {
        let ino = one.make(Ino::ROOT, name, Kind::File);
        one.write(ino, 0, name.as_bytes()).await;
    }
    one.flush().await;
    until("all are there", || two.names(Ino::ROOT).len() == 3).await;
    let both_there = two.entry(Ino::ROOT, "both").unwrap();
    assert_eq!(two.read(both_there, 0..100).await, b"both");

    drop(server);
    let both = one.entry(Ino::ROOT, "both").unwrap();
    one.write(both, 0, b"one edits").await;
    two.write(both_there, 0, b"two edits").await;
    one.remove(Ino::ROOT, "deleted");
    let kept_there = two.entry(Ino::ROOT, "kept").unwrap();
    one.remove(Ino::ROOT, "kept");
    two.write(kept_there, 0, b"changed").await;
    let _new = two.make(Ino::ROOT, "directory", Kind::Directory);
    let state = || one.engine.server().state;
    until("it is noticed", || state() == ServerState::Offline).await;

    let _server = RunningServer::start(&data, &listen);
    one.flush().await;
    two.flush().await;
    one.flush().await;
    let sorted = |device: &TestDevice| {
        let mut names = device.names(Ino::ROOT);
        names.sort();
        names
    };
    until("both are equal", || sorted(&one) == sorted(&two) && sorted(&one).len() == 4).await;
    println!("{:?}", sorted(&one));
    let mut texts = Vec::new();
    for name in sorted(&one).iter().filter(|name| name.starts_with("both")) {
        texts.push(one.read(one.entry(Ino::ROOT, name).unwrap(), 0..100).await);
    }
    texts.sort();
    assert_eq!(texts, [b"one edits".to_vec(), b"two edits".to_vec()]);
    assert_eq!(one.read(one.entry(Ino::ROOT, "kept").unwrap(), 0..100).await, b"changed");
    assert!(one.entry(Ino::ROOT, "directory").is_some());
}
