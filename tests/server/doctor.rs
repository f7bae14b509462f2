//! `miaofs-server doctor`: it says which part is not fit to serve, and what to do, and leaves nothing behind.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::Value;

use crate::commands::run_with;
use crate::harness::bucket::Bucket;
use crate::harness::command::output;
use crate::harness::dependencies::Reads;
use crate::harness::redis::Redis;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::services::{service, sql};
use crate::harness::wait::seconds;

/// Part of every wrong password and key here.
const HUSH: &str = "hush-hush";

/// The checks of one run, and if all is well.
struct Diagnosis {
    checks: Vec<Value>,
    is_well: bool,
}

impl Diagnosis {
    /// Reads what `doctor --json` printed; what it says and how it ends have to fit.
    #[track_caller]
    fn of(output: &Output) -> Self {
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let is_well = output.status.code() == Some(0);
        assert!(is_well || output.status.code() == Some(1), "{output:?}");
        assert_eq!(report["well"], is_well, "{report}");
        let checks = report["checks"].as_array().unwrap().clone();
        for check in &checks {
            assert_eq!(check["status"] == "ok", check["advice"] == "", "{check}");
        }
        let all = format!("{output:?}");
        assert!(!all.contains(HUSH), "a secret was printed: {all}");
        Self { checks, is_well }
    }

    /// The words of the only check of this name that has this status.
    #[track_caller]
    fn detail(&self, name: &str, status: &str) -> &str {
        let mut named =
            self.checks.iter().filter(|it| it["name"] == name && it["status"] == status);
        let check =
            named.next().unwrap_or_else(|| panic!("no {status} {name}: {:#?}", self.checks));
        assert!(named.next().is_none(), "several of {name}: {:#?}", self.checks);
        check["detail"].as_str().unwrap()
    }

    #[track_caller]
    fn expect_failed(&self, names: &[&str]) {
        let failed: Vec<&str> = self
            .checks
            .iter()
            .filter(|check| check["status"] == "failure")
            .map(|check| check["name"].as_str().unwrap())
            .collect();
        assert_eq!(failed, names, "{:#?}", self.checks);
        assert_eq!(self.is_well, names.is_empty());
    }
}

/// Diagnoses the server that has its data here, whose disk may be as full as it is.
#[track_caller]
fn diagnose(data: &Path, arguments: &[&str]) -> Diagnosis {
    let begun = Instant::now();
    let all = [&["doctor", "--json"], arguments].concat();
    let output = run_with(data, &all, "");
    assert!(begun.elapsed() < seconds(30), "{:?}", begun.elapsed());
    Diagnosis::of(&output)
}

/// All files below a directory, with their modes and lengths.
fn files(directory: &Path) -> BTreeMap<PathBuf, (u32, u64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(files(&path));
        }
        let length = if metadata.is_dir() { 0 } else { metadata.len() };
        found.insert(path, (metadata.permissions().mode(), length));
    }
    found
}

/// A server that was started once and has ended.
fn stopped(data: &Path) {
    Server::start_embedded(data, &[]).stop();
}

#[test]
fn an_embedded_server_is_well_while_it_runs_and_when_it_is_stopped() {
    let directory = scratch();
    let data = directory.path().join("data");
    let mut server = Server::start_embedded(&data, &[]);
    let running = diagnose(&data, &["--min-free", "0"]);
    running.expect_failed(&[]);
    assert!(running.detail("database", "ok").starts_with("SQLite 3."));
    server.api().get("/readyz").expect(200);
    server.stop();
    let before = files(&data);
    let stopped = diagnose(&data, &["--min-free", "0"]);
    stopped.expect_failed(&[]);
    assert_eq!(stopped.detail("store local", "ok"), "gave back a file");
    assert_eq!(stopped.detail("tracker", "ok"), "embedded, takes changes");
    assert!(stopped.detail("clock", "ok").contains("store local"));
    let lines = run_with(&data, &["doctor", "--min-free", "0"], "");
    assert!(lines.status.success(), "{lines:?}");
    let lines = String::from_utf8(lines.stdout).unwrap();
    assert!(lines.lines().any(|line| line.starts_with("ok       database")), "{lines}");
    assert_eq!(files(&data), before, "it has left or changed something");
}

#[test]
fn permissions_room_and_files_that_are_wrong_are_said_with_the_next_step() {
    let directory = scratch();
    let data = directory.path().join("data");
    stopped(&data);
    let configuration = directory.path().join("server.toml");
    fs::write(&configuration, "quota = 1\n").unwrap();
    for (path, mode) in
        [(data.join("token.key"), 0o644), (data.clone(), 0o755), (configuration.clone(), 0o666)]
    {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let configuration = configuration.to_str().unwrap();
    let open = diagnose(&data, &["--min-free", "0", "--config", configuration]);
    open.expect_failed(&[]);
    for name in ["token key", "data", "settings file"] {
        assert!(open.detail(name, "warning").contains("open to others"), "{name}");
    }
    diagnose(&data, &["--min-free", "1000000000000000"])
        .expect_failed(&["data disk", "staging disk"]);
    fs::write(data.join("token.key"), "short").unwrap();
    diagnose(&data, &["--min-free", "0"]).expect_failed(&["token key"]);
    fs::remove_file(data.join("token.key")).unwrap();
    diagnose(&data, &["--min-free", "0"]).expect_failed(&["token key"]);
    assert!(!data.join("token.key").exists(), "it has made a key");
    let nothing = directory.path().join("nothing");
    let nowhere = diagnose(&nothing, &["--min-free", "0"]);
    nowhere.expect_failed(&["data", "database", "store local"]);
    assert!(!nothing.exists(), "it has made a directory");
}

#[test]
fn a_configuration_that_cannot_be_read_is_said_without_what_stands_in_it() {
    let directory = scratch();
    let data = directory.path().join("data");
    let configuration = directory.path().join("server.toml");
    let named = ["--config", configuration.to_str().unwrap()];
    fs::write(&configuration, format!("quota = 1\nredis_url = \"redis://:{HUSH}@host\n")).unwrap();
    let broken = diagnose(&data, &named);
    broken.expect_failed(&["configuration"]);
    assert!(broken.detail("configuration", "failure").contains("line 2"));
    let bucket = format!(
        "bucket = \"b\"\nendpoint = \"nowhere\"\naccess_key = \"a\"\nsecret_key = \"{HUSH}\""
    );
    fs::write(&configuration, format!("[stores.ceph]\n{bucket}\n")).unwrap();
    let wrong = diagnose(&data, &named);
    assert!(wrong.detail("configuration", "failure").contains("no endpoint"));
}

/// Gives a directory and all below to a user who is nobody, if this is root, which may write anywhere.
fn give_to_nobody(directory: &Path) -> Option<u32> {
    const NOBODY: u32 = 65534;
    let owner = format!("{NOBODY}:{NOBODY}");
    rustix::process::geteuid().is_root().then(|| {
        output(Command::new("chown").args(["--recursive", &owner]).arg(directory));
        NOBODY
    })
}

#[test]
fn a_staging_directory_that_is_read_only_is_a_failure() {
    let directory = scratch();
    let data = directory.path().join("data");
    stopped(&data);
    let user = give_to_nobody(directory.path());
    let diagnose = || {
        let mut command = Server::command(&data, &["doctor", "--json", "--min-free", "0"]);
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        Diagnosis::of(&command.output().unwrap())
    };
    diagnose().expect_failed(&[]);
    let staging = data.join("staging");
    fs::set_permissions(&staging, Permissions::from_mode(0o500)).unwrap();
    let found = diagnose();
    found.expect_failed(&["staging", "staging"]);
    fs::set_permissions(&staging, Permissions::from_mode(0o700)).unwrap();
    fs::remove_dir_all(&staging).unwrap();
    fs::write(&staging, "").unwrap();
    let found = diagnose();
    let words = found.checks.iter().find(|check| check["name"] == "staging").unwrap();
    assert!(words["detail"].as_str().unwrap().ends_with("is no directory"), "{words}");
}

fn redis_cli(redis: &Redis, password: &[&str], command: &[&str]) -> String {
    let mut cli = Command::new("redis-cli");
    output(cli.args(["-u", &redis.url()]).args(password).args(command)).trim().to_owned()
}

#[test]
fn redis_is_tried_and_one_that_is_away_or_refuses_the_password_is_a_failure() {
    let directory = scratch();
    let data = directory.path().join("data");
    stopped(&data);
    let mut redis = Redis::start();
    let asked = |url: &str| diagnose(&data, &["--min-free", "0", "--redis-url", url]);
    let well = asked(&redis.url());
    well.expect_failed(&[]);
    let version = well.detail("tracker", "ok");
    assert!(version.starts_with("Redis ") || version.starts_with("Valkey "), "{version}");
    assert!(well.detail("clock", "ok").contains("tracker"));
    assert_eq!(redis_cli(&redis, &[], &["dbsize"]), "0", "it has left a key");

    redis_cli(&redis, &[], &["config", "set", "requirepass", "right"]);
    let wrong = asked(&redis.url().replace("//", &format!("//:{HUSH}@")));
    wrong.expect_failed(&["tracker"]);
    assert!(wrong.detail("tracker", "failure").contains("Redis refuses this user"));
    let none = asked(&redis.url());
    none.expect_failed(&["tracker"]);
    asked(&redis.url().replace("//", "//:right@")).expect_failed(&[]);

    redis.kill();
    let away = asked(&redis.url());
    away.expect_failed(&["tracker"]);
    assert!(away.detail("tracker", "failure").contains("Redis does not answer"));
}

#[test]
fn parts_that_are_away_are_all_said_and_in_time() {
    let directory = scratch();
    let data = directory.path().join("data");
    stopped(&data);
    let configuration = directory.path().join("away.toml");
    let text = format!(
        "database_url = \"mysql://me:{HUSH}@127.0.0.1:1/miaofs\"\n\
         replica_url = \"mysql://me:{HUSH}@127.0.0.1:1/miaofs\"\n\
         redis_url = \"redis://:{HUSH}@127.0.0.1:1\"\n\
         amqp_url = \"amqp://me:{HUSH}@127.0.0.1:1\"\n\
         store = \"ceph\"\n[stores.ceph]\nendpoint = \"http://127.0.0.1:1\"\n\
         bucket = \"b\"\naccess_key = \"a\"\nsecret_key = \"{HUSH}\"\n"
    );
    fs::write(&configuration, text).unwrap();
    let away = diagnose(&data, &["--min-free", "0", "--config", configuration.to_str().unwrap()]);
    away.expect_failed(&["database", "tracker", "queue", "store ceph"]);
    away.detail("replica", "warning");
}

/// Names of all queues and exchanges in the virtual host of a server.
fn broker_has(virtual_host: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
    let url =
        |kind: &str| format!("{}/api/{kind}/{virtual_host}?columns=name", service("AMQP_API"));
    output(curl.args([url("queues"), url("exchanges")]))
}

#[test]
#[ignore = "needs scripts/services up"]
fn real_parts_are_tried_and_nothing_stays_in_them() {
    let directory = scratch();
    let data = directory.path().join("data");
    let server = Server::start_on_real(&data, &["ceph", "oss"], Reads::ThroughTheServer);
    let prefix = server.dependencies().prefix().to_owned();
    let keys = || {
        let mut cli = Command::new("redis-cli");
        output(cli.args(["-u", &service("REDIS_URL"), "keys", &format!("{prefix}:doctor*")]))
    };
    let writes = || sql(&format!("select writes from {prefix}.probes"));
    let before = writes();
    let found = diagnose(&data, &["--min-free", "0"]);
    found.expect_failed(&[]);
    assert!(found.detail("database", "ok").contains("MariaDB"));
    assert!(found.detail("replica", "ok").contains("MariaDB"));
    assert!(found.detail("tracker", "ok").ends_with("gave back a key"));
    assert_eq!(found.detail("queue", "ok"), "RabbitMQ gave back a message");
    let clocks = found.detail("clock", "ok");
    for name in ["database", "tracker", "store ceph", "store oss"] {
        assert!(clocks.contains(name), "{name}: {clocks}");
    }
    assert_eq!(writes(), before, "the database was changed");
    assert_eq!(keys().trim(), "");
    assert!(Bucket::ceph().list(&prefix).is_empty() && Bucket::oss().list(&prefix).is_empty());
    let broker = broker_has(&prefix);
    assert!(broker.contains("transfer") && !broker.contains("doctor"), "{broker}");
}

#[test]
#[ignore = "needs scripts/services up"]
fn wrong_passwords_and_keys_are_told_from_parts_that_are_away() {
    let directory = scratch();
    let data = directory.path().join("data");
    let server = Server::start_on_real(&data, &["ceph"], Reads::ThroughTheServer);
    let configuration = server.dependencies().configuration();
    let right = fs::read_to_string(configuration).unwrap();
    let with = |setting: &str, from: &str, to: &str| {
        let line = |line: &str| match line.starts_with(setting) {
            true => line.replace(from, to) + "\n",
            false => line.to_owned() + "\n",
        };
        fs::write(configuration, right.lines().map(line).collect::<String>()).unwrap();
        diagnose(&data, &["--min-free", "0"])
    };
    let url = service("DATABASE_URL");
    let password = url.rsplit_once('@').and_then(|(user, _)| user.rsplit_once(':')).unwrap().1;
    let found = with("database_url", password, HUSH);
    found.expect_failed(&["database"]);
    assert!(found.detail("database", "failure").contains("Access denied"));
    let found = with("amqp_url", "guest:guest", &format!("guest:{HUSH}"));
    found.expect_failed(&["queue"]);
    assert!(found.detail("queue", "failure").contains("ACCESS_REFUSED"));
    let found = with("secret_key", &service("CEPH_SECRET_KEY"), HUSH);
    found.expect_failed(&["store ceph"]);
    assert!(found.detail("store ceph", "failure").contains("the keys are wrong"));
    let found = with("bucket", &service("CEPH_BUCKET"), "no-such-bucket");
    found.expect_failed(&["store ceph"]);
    with("nothing", "", "").expect_failed(&[]);
}
