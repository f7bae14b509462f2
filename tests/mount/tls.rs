//! A drive over TLS: who is believed to be the server, and what is never sent without.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::certificates::{Authority, Issued, Validity, self_signed};
use crate::harness::device::{Device, Finished};
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::wait::{seconds, wait_until};

/// A device beside a server with TLS. It ends before the server does.
struct Safe {
    one: Device,
    server: Server,
    authority: Authority,
    directory: TempDir,
}

impl Safe {
    /// A server whose certificate is made so.
    fn with(issue: impl FnOnce(&Authority) -> Issued) -> Self {
        let directory = scratch();
        let authority = Authority::new(directory.path(), "ca");
        let server = issue(&authority).serve(directory.path());
        let one = Device::new(directory.path(), "one");
        Self { one, server, authority, directory }
    }

    fn sign_up(&self, authority: &Authority) -> Finished {
        let ca = ["--ca", authority.argument()];
        self.one.sign_as(&[&["signup", &self.server.url(), "--user", "ada"], &ca[..]].concat())
    }
}

/// The server as the daemon of a device sees it.
fn seen(device: &Device) -> (String, String) {
    let status = device.try_status().unwrap_or_default();
    let text = |key: &str| status["server"][key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("error"))
}

#[test]
fn a_drive_is_mounted_over_tls_with_a_private_ca() {
    let safe = Safe::with(Authority::issue_local);
    safe.sign_up(&safe.authority).expect_success();
    // What was said at the sign-in is remembered, not where it stood.
    let ca = fs::read_to_string(safe.authority.file()).unwrap();
    fs::remove_file(safe.authority.file()).unwrap();
    safe.one.mount();
    fs::write(safe.one.path("small"), "small").unwrap();
    let large: Vec<u8> = (0..9_000_000_u32).map(|at| (at / 7) as u8).collect();
    fs::write(safe.one.path("large"), &large).unwrap();
    safe.one.sync();
    safe.one.kill_daemon();
    fs::write(safe.one.path("small"), "another").unwrap();
    safe.one.sync();
    assert_eq!(seen(&safe.one).0, "online");

    fs::write(safe.authority.file(), ca).unwrap();
    let two = Device::new(safe.directory.path(), "two");
    let mut command = two.command(&["login", &safe.server.url(), "--user", "ada"]);
    command.args(["--password-stdin"]).env("MIAOFS_CA", safe.authority.file());
    let password = safe.directory.path().join("password");
    fs::write(&password, format!("{}\n", crate::harness::server::PASSWORD)).unwrap();
    command.stdin(fs::File::open(&password).unwrap());
    crate::harness::command::output(&mut command);
    two.mount();
    assert_eq!(fs::read_to_string(two.path("small")).unwrap(), "another");
    assert!(fs::read(two.path("large")).unwrap() == large);
}

#[test]
fn a_certificate_that_proves_nothing_is_refused_in_clear_words() {
    let expired = Safe::with(|ca| ca.issue(&["127.0.0.1"], Validity::Over));
    expired.sign_up(&expired.authority).expect_failure(&["certificate", "expired", "renew"]);

    let wrong = Safe::with(|ca| ca.issue(&["drive.example.org"], Validity::Now));
    let words = ["not for the name in its url", "drive.example.org"];
    wrong.sign_up(&wrong.authority).expect_failure(&words);

    let unknown = Safe::with(Authority::issue_local);
    let other = Authority::new(unknown.directory.path(), "other");
    unknown.sign_up(&other).expect_failure(&["unknown issuer", "--ca"]);
    let by_system = ["signup", &unknown.server.url(), "--user", "ada"];
    unknown.one.sign_as(&by_system).expect_failure(&["unknown issuer", "--ca"]);
    // Of the same name, as one that was made anew.
    let again = scratch();
    let renamed = Authority::new(again.path(), "ca");
    unknown.sign_up(&renamed).expect_failure(&["unknown issuer"]);

    let alone = Safe::with(|_| self_signed());
    alone.one.sign_as(&["signup", &alone.server.url(), "--user", "ada"]).expect_failure(&["ca"]);
    let own = alone.directory.path().join("cert.pem");
    let (url, own) = (alone.server.url(), own.to_str().unwrap());
    alone
        .one
        .sign_as(&["signup", &url, "--user", "ada", "--ca", own])
        .expect_failure(&["self-signed", "--ca"]);
    assert!(!alone.one.state().join("account.json").exists());
}

#[test]
fn a_ca_that_is_none_is_refused() {
    let safe = Safe::with(Authority::issue_local);
    let key = safe.directory.path().join("key.pem");
    for (file, word) in [(key.to_str().unwrap(), "no certificate"), ("/no/such/file", "no such")] {
        let arguments = ["signup", &safe.server.url(), "--user", "ada", "--ca", file];
        safe.one.sign_as(&arguments).expect_failure(&[word]);
    }
}

#[test]
fn the_wrong_scheme_at_a_port_is_told() {
    let safe = Safe::with(Authority::issue_local);
    let plain = Server::start_embedded(&safe.directory.path().join("plain"), &[]);
    let https = plain.url().replace("http://", "https://");
    safe.one.sign("signup", &https, "ada").expect_failure(&["plain http"]);
    let http = safe.server.url().replace("https://", "http://");
    safe.one.sign("signup", &http, "ada").expect_failure(&["tls", "https://"]);
    // Somebody else's server says nothing that a client of HTTP understands.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _from) = listener.accept().unwrap();
        let _request = stream.read(&mut [0; 1024]).unwrap();
        // The alert of a handshake that failed.
        stream.write_all(&[21, 3, 3, 0, 2, 2, 10]).unwrap();
    });
    safe.one.sign("signup", &url, "ada").expect_failure(&["tls", "https://"]);
}

/// Changes what a device remembers of its account.
fn edit_account(device: &Device, change: impl FnOnce(&mut Value)) {
    let path = device.state().join("account.json");
    let mut account: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut account);
    fs::write(&path, account.to_string()).unwrap();
}

#[test]
fn plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let directory = scratch();
    let one = Device::new(directory.path(), "one");
    for url in ["http://192.0.2.1:8710", "http://drive.example.org", "http://[2001:db8::1]:1"] {
        for verb in ["signup", "login"] {
            let refused =
                one.sign(verb, url, "ada").expect_failure(&["not encrypted", "--insecure"]);
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        }
    }
    // Not loopback by its name, and this machine all the same.
    let server = Server::start_embedded(&directory.path().join("data"), &[]);
    let url = server.url().replace("127.0.0.1", "0.0.0.0");
    one.sign("signup", &url, "ada").expect_failure(&["not encrypted"]);
    one.sign_as(&["signup", &url, "--user", "ada", "--insecure"]).expect_success();
    one.mount();
    fs::write(one.path("file"), "x").unwrap();
    one.sync();
    one.umount();
    // As a program left it that did not ask.
    edit_account(&one, |account| drop(account.as_object_mut().unwrap().remove("trust")));
    one.mount_with(&[]).expect_failure(&["not encrypted", "--insecure"]);
    assert!(!one.is_mounted());
    one.sign_as(&["login", "--insecure"]).expect_success();
    one.mount();
    assert_eq!(fs::read_to_string(one.path("file")).unwrap(), "x");
}

#[test]
fn a_daemon_says_why_it_does_not_believe_its_server_and_goes_on_after_a_sign_in() {
    let mut safe = Safe::with(Authority::issue_local);
    safe.sign_up(&safe.authority).expect_success();
    safe.one.mount();
    let others = scratch();
    let other = Authority::new(others.path(), "other");
    safe.server.stop();
    other.issue_local().replace(safe.directory.path());
    safe.server.restart();
    fs::write(safe.one.path("file"), "unsent").unwrap();
    wait_until("the daemon says why", seconds(60), || {
        let (state, error) = seen(&safe.one);
        state == "offline" && error.contains("unknown issuer") && error.contains("--ca")
    });
    let doctor = safe.one.run(&["doctor"]);
    assert!(doctor.stdout.contains("unknown issuer"), "{}", doctor.stdout);
    safe.one.sign_as(&["login", "--ca", other.argument()]).expect_success();
    safe.one.sync();
    assert_eq!(seen(&safe.one).0, "online");
}

#[test]
fn a_server_that_gets_tls_keeps_its_devices_files() {
    let directory = scratch();
    let authority = Authority::new(directory.path(), "ca");
    let one = Device::new(directory.path(), "one");
    let mut before = Server::start_embedded(&directory.path().join("data"), &[]);
    one.sign("signup", &before.url(), "ada").expect_success();
    one.mount();
    fs::write(one.path("file"), "x").unwrap();
    before.stop();
    let server = authority.issue_local().serve(directory.path());
    let login = ["login", &server.url(), "--user", "ada", "--ca", authority.argument()];
    one.sign_as(&login).expect_failure(&["unmount it first"]);
    one.umount();
    one.sign_as(&login).expect_success();
    one.mount();
    one.sync();
    assert_eq!(seen(&one).0, "online");
}

#[test]
fn nothing_follows_a_server_that_sends_to_another_place() {
    let directory = scratch();
    let one = Device::new(directory.path(), "one");
    let (first, second) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}", first.local_addr().unwrap());
    let elsewhere = format!("http://{}", second.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}/steal?x=1\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    thread::spawn(move || {
        for mut stream in first.incoming().flatten() {
            let _request = stream.read(&mut [0; 65536]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let refused = one.sign("signup", &url, "ada").expect_failure(&["another place", &elsewhere]);
    assert!(!refused.stderr.contains("steal"), "{}", refused.stderr);
    second.set_nonblocking(true).unwrap();
    assert!(second.accept().is_err(), "somebody came to the other place");
}
