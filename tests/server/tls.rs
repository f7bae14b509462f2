//! TLS of the server: both versions of HTTP, certificates renewed without a failed request, and who is slow or wrong.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, ClientBuilder, Version};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::harness::api::Api;
use crate::harness::certificates::{Authority, Issued};
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::wait::{seconds, wait_until};

/// A server with TLS, and the CA that has signed its certificate.
struct Safe {
    server: Server,
    authority: Authority,
    directory: TempDir,
}

impl Safe {
    fn new() -> Self {
        let directory = scratch();
        let authority = Authority::new(directory.path(), "ca");
        let server = authority.issue_local().serve(directory.path());
        Self { server, authority, directory }
    }

    fn client(&self) -> ClientBuilder {
        let builder = Client::builder().no_proxy().timeout(seconds(60));
        builder.tls_certs_only([self.authority.certificate()])
    }

    /// Address without a scheme.
    fn address(&self) -> String {
        self.server.url().trim_start_matches("https://").to_owned()
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    /// The text of `/metrics`.
    fn metrics(&self) -> String {
        let (client, url) = (self.client().build().unwrap(), self.server.url());
        Runtime::new().unwrap().block_on(async move {
            client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap()
        })
    }
}

#[test]
fn both_versions_of_http_are_spoken_over_tls() {
    let safe = Safe::new();
    let url = safe.server.url();
    assert!(url.starts_with("https://"), "{url}");
    let clients = [
        (safe.client().build().unwrap(), Version::HTTP_2, "ada"),
        (safe.client().http1_only().build().unwrap(), Version::HTTP_11, "eve"),
    ];
    let bytes = vec![7; 9_000_000];
    Runtime::new().unwrap().block_on(async {
        for (client, version, name) in clients {
            let body = json!({ "name": name, "password": PASSWORD, "device": { "name": "test" } });
            let request = client.post(format!("{url}/user/signup")).json(&body);
            let answer = request.send().await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
            let session: serde_json::Value = answer.json().await.unwrap();
            let token = session["access_token"].as_str().unwrap();
            let upload = client.post(format!("{url}/file/upload?path=/film")).bearer_auth(token);
            let upload = upload.header("content-type", "application/octet-stream");
            let answer = upload.body(bytes.clone()).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 200);
            let film = client.get(format!("{url}/file/download?path=/film")).bearer_auth(token);
            assert!(film.send().await.unwrap().bytes().await.unwrap() == bytes);
        }
    });
}

/// Asks for `path` again and again until told to stop; the number of answers.
async fn ask_on(client: Client, url: String, (keep, stop): (bool, Arc<AtomicBool>)) -> u64 {
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut request = client.get(&url);
        if !keep {
            request = request.header("connection", "close");
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{error:?}"));
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.bytes().await.unwrap();
        answers += 1;
    }
    answers
}

/// The certificate that a new connection gets.
fn presented(safe: &Safe) -> Vec<u8> {
    let client = safe.client().tls_info(true).pool_max_idle_per_host(0).build().unwrap();
    let url = format!("{}/healthz", safe.server.url());
    let answer = Runtime::new().unwrap().block_on(async { client.get(url).send().await.unwrap() });
    let info: &reqwest::tls::TlsInfo = answer.extensions().get().unwrap();
    info.peer_certificate().unwrap().to_vec()
}

/// Leaves broken files behind for a moment, as a program does that is killed or writes in place.
fn break_files(directory: &Path, next: &Issued) {
    let half = &next.certificate[..next.certificate.len() / 2];
    fs::write(directory.join("cert.pem"), half).unwrap();
}

#[test]
fn certificates_are_renewed_under_load_without_a_failed_request() {
    let safe = Safe::new();
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = Runtime::new().unwrap();
    let url = format!("{}/healthz", safe.server.url());
    let clients = [
        // Connections that are kept, of both kinds, and new ones all the time.
        (safe.client().build().unwrap(), true),
        (safe.client().http1_only().build().unwrap(), true),
        (safe.client().http1_only().pool_max_idle_per_host(0).build().unwrap(), false),
        (safe.client().http1_only().pool_max_idle_per_host(0).build().unwrap(), false),
    ];
    let load: Vec<_> = clients
        .into_iter()
        .map(|(client, keep)| runtime.spawn(ask_on(client, url.clone(), (keep, stop.clone()))))
        .collect();
    let mut before = presented(&safe);
    for round in 0..20 {
        let next = safe.authority.issue_local();
        if round % 2 == 0 {
            break_files(safe.directory.path(), &next);
            safe.server.hang_up();
            assert_eq!(presented(&safe), before, "half of a certificate counts");
        }
        next.replace(safe.directory.path());
        if round % 3 > 0 {
            safe.server.hang_up();
        }
        wait_until("the new certificate counts", seconds(20), || presented(&safe) != before);
        before = presented(&safe);
    }
    stop.store(true, Ordering::Relaxed);
    let answers: Vec<u64> =
        load.into_iter().map(|load| runtime.block_on(load).expect("no request failed")).collect();
    println!("{answers:?} answers during 20 renewals");
    assert!(answers.iter().all(|answers| *answers > 20), "{answers:?}");
    let log = safe.server.log();
    assert!(log.contains("the TLS certificate stays the old one"), "nobody was warned:\n{log}");
}

#[test]
fn who_is_slow_with_a_handshake_holds_up_nobody_and_is_left() {
    let safe = Safe::new();
    let mut slow: Vec<TcpStream> = (0..40).map(|_| safe.connect()).collect();
    for stream in &mut slow {
        stream.write_all(&[22, 3, 1]).unwrap();
    }
    let began = Instant::now();
    presented(&safe);
    assert!(began.elapsed() < seconds(5), "it took {:?}", began.elapsed());
    for mut stream in slow {
        stream.set_read_timeout(Some(seconds(20))).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it ends in time");
    }
    let took = began.elapsed();
    assert!(took < seconds(20), "they were left after {took:?}");
}

#[test]
fn who_speaks_plain_http_to_tls_is_told_so() {
    let safe = Safe::new();
    let plain = Api::new(&format!("http://{}", safe.address()));
    let answer = plain.try_get("/healthz").unwrap();
    assert_eq!(answer.status, 426);
    assert!(String::from_utf8_lossy(&answer.body).contains("https://"));
    // Neither a letter nor a handshake.
    let mut stream = safe.connect();
    stream.write_all(&[0; 64]).unwrap();
    stream.set_read_timeout(Some(seconds(20))).unwrap();
    let _closed = stream.read_to_end(&mut Vec::new());
    presented(&safe);
}

#[test]
fn the_end_of_a_certificate_is_told_to_machines_and_when_near_to_people() {
    let safe = Safe::new();
    let expires = || {
        let text = safe.metrics();
        let line =
            text.lines().find(|it| it.starts_with("miaofs_tls_certificate_expires_seconds "));
        line.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64)
    };
    // The first day of 2200.
    assert_eq!(expires(), Some(7_258_118_400));
    assert!(!safe.server.log().contains("expire"), "{}", safe.server.log());
    let over = safe.authority.issue(&["127.0.0.1"], crate::harness::certificates::Validity::Over);
    over.replace(safe.directory.path());
    wait_until("the log tells of it", seconds(20), || {
        safe.server.log().contains("has expired: clients refuse it")
    });
}

#[test]
fn a_server_does_not_start_with_half_of_what_tls_needs() {
    let directory = scratch();
    let authority = Authority::new(directory.path(), "ca");
    authority.issue_local().replace(directory.path());
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let check = |arguments: &[&str]| {
        let mut command = Server::command(&directory.path().join("data"), &["serve", "--check"]);
        let output = command.args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(check(&["--tls-cert", &certificate, "--tls-key", &key]).0);
    let (started, said) = check(&["--tls-cert", &certificate]);
    assert!(!started && said.contains("tls_key"), "{said}");
    let (started, said) = check(&["--tls-cert", authority.argument(), "--tls-key", &key]);
    assert!(!started && said.contains("ca.pem is not the certificate of the key"), "{said}");
    let (started, said) = check(&["--tls-cert", &path("none.pem"), "--tls-key", &key]);
    assert!(!started && said.contains("none.pem"), "{said}");
}

/// Not a promise, but a figure: seconds that chunks take over one HTTP/2 connection and over several of HTTP/1.1.
#[test]
#[ignore = "measures, and proves nothing"]
fn chunks_over_one_connection_and_over_several() {
    let safe = Safe::new();
    let url = safe.server.url();
    let runtime = Runtime::new().unwrap();
    let clients = [
        ("http/1.1", safe.client().http1_only().build().unwrap()),
        ("http/2", safe.client().build().unwrap()),
        ("http/2 adaptive", safe.client().http2_adaptive_window(true).build().unwrap()),
        (
            "http/2 large windows",
            safe.client()
                .http2_initial_stream_window_size(8 << 20)
                .http2_initial_connection_window_size(64 << 20)
                .build()
                .unwrap(),
        ),
    ];
    for (round, (name, client)) in clients.into_iter().cycle().take(8).enumerate() {
        let user = format!("user{round}");
        let (up, down) = runtime.block_on(transfer(client, &url, &user));
        println!("{name}: {up:?} up, {down:?} down");
    }
}

/// Uploads and downloads 64 bodies of 4 MiB, eight at once.
async fn transfer(client: Client, url: &str, user: &str) -> (Duration, Duration) {
    let body = json!({ "name": user, "password": PASSWORD, "device": { "name": "test" } });
    let session = client.post(format!("{url}/user/signup")).json(&body).send().await.unwrap();
    let session: serde_json::Value = session.json().await.unwrap();
    let token = session["access_token"].as_str().unwrap().to_owned();
    let next = Arc::new(AtomicU64::new(0));
    let work = |is_upload: bool| {
        next.store(0, Ordering::Relaxed);
        (0..8).map(move |_| is_upload).collect::<Vec<_>>()
    };
    let mut took = [Duration::ZERO; 2];
    for (index, is_upload) in [true, false].into_iter().enumerate() {
        let began = Instant::now();
        let mut tasks = Vec::new();
        for _ in work(is_upload) {
            let (client, token, next) = (client.clone(), token.clone(), next.clone());
            let url = url.to_owned();
            tasks.push(tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 64 {
                        return;
                    }
                    let answer = if is_upload {
                        let body = vec![number as u8; 4 << 20];
                        let request = client.post(format!("{url}/file/upload?path=/{number}"));
                        let request = request.header("content-type", "application/octet-stream");
                        request.bearer_auth(&token).body(body).send().await.unwrap()
                    } else {
                        let request = client.get(format!("{url}/file/download?path=/{number}"));
                        request.bearer_auth(&token).send().await.unwrap()
                    };
                    assert!(answer.status().is_success(), "{}", answer.status());
                    answer.bytes().await.unwrap();
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        took[index] = began.elapsed();
    }
    (took[0], took[1])
}
