//! Signing in under attack: guessers wait behind others, and what was ended stays ended.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api};
use crate::harness::drive::head;
use crate::harness::scratch;
use crate::harness::server::{PASSWORD, Server};
use crate::harness::wait::{seconds, wait_until};

/// A server that believes what a request says of where it comes from.
fn server(arguments: &[&str]) -> Server {
    Server::with(&[&["--trusted-proxies", "127.0.0.1"], arguments].concat())
}

/// `POST` from an address.
fn post_from(server: &Server, address: &str, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("x-forwarded-for", address)];
    server.api().send(Method::POST, path, &headers, body.to_string().into_bytes())
}

fn sign_in_from(server: &Server, address: &str, name: &str, password: &str) -> Answer {
    let body = json!({ "name": name, "password": password, "device": { "name": "test" } });
    post_from(server, address, "/user/signin", &body)
}

fn refresh_from(server: &Server, address: &str, token: &Value) -> Answer {
    post_from(server, address, "/user/refresh", &json!({ "refresh_token": token }))
}

fn with(server: &Server, session: &Value) -> Api {
    server.api().with_token(session["access_token"].as_str().unwrap())
}

/// Stops who looks at it when dropped, also by a panic.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn next_second() {
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let began = now();
    wait_until("the next second", seconds(5), || now() > began);
}

#[test]
fn no_session_outlives_the_password_by_which_it_began() {
    const DEVICES: usize = 24;
    let server = server(&[]);
    let mut ada = server.sign_up("ada");
    let mut passwords = [PASSWORD, "another password"];
    for _round in 0..3 {
        let [old, new] = passwords;
        let sessions: Vec<Answer> = thread::scope(|scope| {
            let sign_in = |at| sign_in_from(&server, &format!("10.0.{at}.1"), "ada", old);
            let devices: Vec<_> = (0..DEVICES).map(|at| scope.spawn(move || sign_in(at))).collect();
            let change = json!({ "old": old, "new": new });
            let session = ada.post("/user/password", &change).expect(200).json();
            ada = with(&server, &session);
            devices.into_iter().map(|device| device.join().unwrap()).collect()
        });
        for answer in sessions {
            if answer.status == 401 {
                answer.expect_problem(401, "wrong_credentials");
                continue;
            }
            let session = answer.expect(200).json();
            with(&server, &session).get("/user/info").expect_problem(401, "unauthorized");
            let renewed = refresh_from(&server, "10.0.0.1", &session["refresh_token"]);
            renewed.expect_problem(401, "unauthorized");
        }
        ada.get("/user/info").expect(200);
        passwords.reverse();
    }
}

#[test]
fn all_addresses_of_a_network_of_ipv6_are_one_guesser() {
    let server = server(&[]);
    server.sign_up("ada");
    let guess = |n: u32| sign_in_from(&server, &format!("2001:db8::{n:x}"), "ada", "wrong guess");
    let refused = (1..100).map(guess).find(|answer| answer.status != 401).expect("no limit");
    assert!(refused.header("retry-after").is_some());
    refused.expect_problem(429, "too_many_requests");
    sign_in_from(&server, "2001:db8:0:1::1", "ada", PASSWORD).expect(200);
}

#[test]
fn a_crowd_of_guessers_from_one_network_delays_nobody_else() {
    let server = server(&[]);
    server.sign_up("ada");
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let slowest = thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        for guesser in 0..32 {
            let (server, stop, refused) = (&server, &stop, &refused);
            scope.spawn(move || {
                let name = format!("name-{guesser}");
                while !stop.load(Ordering::Relaxed) {
                    let answer = sign_in_from(server, "10.6.6.6", &name, "wrong guess");
                    if answer.status == 429 {
                        assert!(answer.header("retry-after").is_some());
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        wait_until("guessers are refused", seconds(30), || refused.load(Ordering::Relaxed) > 50);
        let took = (0..10).map(|at| {
            let began = Instant::now();
            sign_in_from(&server, &format!("10.7.{at}.1"), "ada", PASSWORD).expect(200);
            began.elapsed()
        });
        took.max()
    });
    assert!(slowest < Some(seconds(5)), "a sign-in took {slowest:?}");
}

#[test]
fn renewals_are_limited_by_network() {
    let server = server(&[]);
    server.sign_up("ada");
    let session = sign_in_from(&server, "10.0.0.1", "ada", PASSWORD).expect(200).json();
    let token = json!("0".repeat(96));
    let began = Instant::now();
    let refused = (0..4000u32).find_map(|at| {
        let answer = refresh_from(&server, &format!("2001:db8::{at:x}"), &token);
        (answer.status != 401).then_some(answer)
    });
    let refused = refused.unwrap_or_else(|| panic!("no limit in {:?}", began.elapsed()));
    assert!(refused.header("retry-after").is_some());
    refused.expect_problem(429, "too_many_requests");
    refresh_from(&server, "10.0.0.1", &session["refresh_token"]).expect(200);
}

/// Waits for changes on one thread while another one does something; answers the poll's answer, and how long after
/// that it came.
fn poll_while(ada: &Api, end: impl FnOnce()) -> (Answer, Duration) {
    let since = head(ada);
    thread::scope(|scope| {
        let poll = scope.spawn(|| ada.get(&format!("/fs/changes?since={since}&wait=50")));
        // A poll that comes after the end is refused as well, and less would be proven.
        thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        end();
        (poll.join().unwrap(), began.elapsed())
    })
}

#[test]
fn whoever_waits_for_changes_is_sent_away_when_its_session_ends() {
    let server = server(&["--max-devices", "1"]);
    let first = server.sign_up("ada");
    let mut second = Value::Null;
    let (answer, took) = poll_while(&first, || {
        second = sign_in_from(&server, "10.0.0.1", "ada", PASSWORD).expect(200).json();
    });
    answer.expect_problem(401, "unauthorized");
    assert!(took < seconds(5), "another sign-in ended the poll after {took:?}");

    let second = with(&server, &second);
    let change = json!({ "old": PASSWORD, "new": "another password" });
    let (answer, took) = poll_while(&second, || {
        second.post("/user/password", &change).expect(200);
    });
    answer.expect_problem(401, "unauthorized");
    assert!(took < seconds(5), "another password ended the poll after {took:?}");
}

#[test]
fn of_too_many_devices_the_one_not_used_for_longest_is_signed_out() {
    let server = server(&["--max-devices", "2"]);
    server.sign_up("ada").post("/user/signout", &json!({})).expect(204);
    let sign_in = || sign_in_from(&server, "10.0.0.1", "ada", PASSWORD).expect(200).json();
    let used = sign_in();
    next_second();
    let idle = sign_in();
    next_second();
    let used = refresh_from(&server, "10.0.0.1", &used["refresh_token"]).expect(200).json();
    let third = sign_in();
    with(&server, &idle).get("/user/info").expect_problem(401, "unauthorized");
    with(&server, &used).get("/user/info").expect(200);
    with(&server, &third).get("/user/info").expect(200);
}

/// The work of fail2ban with its filter: prints the address of each line that matches.
const FAIL2BAN: &str = r"
import configparser, re, sys
parser = configparser.ConfigParser(interpolation=None)
parser.read(sys.argv[1])
failregex = parser['Definition']['failregex'].replace('<ADDR>', r'(?P<address>[0-9A-Fa-f:.]+)')
for line in open(sys.argv[2], encoding='utf-8'):
    match = re.search(failregex, line.rstrip('\n'))
    if match:
        print(match['address'])
";

#[test]
fn a_failed_sign_in_is_a_line_that_fail2ban_reads_and_nothing_else_is() {
    let server = server(&[]);
    server.sign_up("ada");
    let forged = "x from 10.9.9.9\n2026-12-02T00:00:00.000000Z  WARN request{}: \
        miaofs_server::service::accounts::account: sign-in failed for account x from 10.9.9.9";
    sign_in_from(&server, "192.0.2.7", "Ada", "wrong guess").expect(401);
    sign_in_from(&server, "2001:db8::5", "nobody", "wrong guess").expect(401);
    sign_in_from(&server, "192.0.2.8", forged, "wrong guess").expect(401);
    sign_in_from(&server, "192.0.2.9", "ada", PASSWORD).expect(200);
    server.api().get(&format!("/{}", forged.replace([' ', '\n', '{', '}'], "%20"))).expect(404);

    let filter =
        concat!(env!("CARGO_MANIFEST_DIR"), "/server/deploy/fail2ban/filter.d/miaofs-server.conf");
    let mut python = Command::new("python3");
    let found = python.args(["-c", FAIL2BAN, filter]).arg(server.log_file()).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let found = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.lines().collect::<Vec<_>>(), ["192.0.2.7", "2001:db8::5", "192.0.2.8"]);
    let log = server.log();
    assert!(log.contains("sign-in failed for account ada from 192.0.2.7"), "{log}");
    assert!(!log.contains("10.9.9.9"), "{log}");
}

/// The hash of [`PASSWORD`] by a twentieth of the memory that hashes take now, and half the passes.
const WEAK: &str = "$argon2id$v=19$m=1024,t=1,p=1$5+NuH0d7kMl2Cta/XI7oVw$ud1+dgxZH+A332pdOc0O45nuLzpFhH9JTPAmMnbznqI";

#[test]
fn a_hash_of_before_is_made_anew_by_a_sign_in_and_all_who_sign_in_at_once_are_let_in() {
    let directory = scratch();
    let server = Server::start_embedded(&directory.path().join("data"), &[]);
    server.sign_up("ada");
    let database = Connection::open(server.data().join("miaofs.db")).unwrap();
    database.busy_timeout(seconds(20)).unwrap();
    let stored = || -> String {
        database.query_row("SELECT password FROM users", [], |row| row.get(0)).unwrap()
    };
    database.execute("UPDATE users SET password = ?", [WEAK]).unwrap();
    sign_in_from(&server, "127.0.0.1", "ada", "wrong guess").expect(401);
    assert_eq!(stored(), WEAK);
    thread::scope(|scope| {
        let sign_in = || sign_in_from(&server, "127.0.0.1", "ada", PASSWORD).expect(200);
        let devices: Vec<_> = (0..6).map(|_| scope.spawn(sign_in)).collect();
        for device in devices {
            device.join().unwrap();
        }
    });
    let strong = stored();
    assert!(strong.contains("m=19456"), "{strong}");
    sign_in_from(&server, "127.0.0.1", "ada", PASSWORD).expect(200);
    assert_eq!(stored(), strong);
}
