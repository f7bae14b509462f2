//! PostgreSQL with its data in the mount: made, loaded, stopped, killed, and opened on another device.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::fixture::Single;
use crate::harness::command::output;
use crate::harness::wait::{seconds, wait_until};
use crate::programs::{program, second_device, text};

/// Where Debian has the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// User of Debian's package, who owns nothing else of the test.
const USER: &str = "postgres";
/// Rows of the accounts that `pgbench -i` makes.
const ACCOUNTS: u64 = 100_000;

/// A server of PostgreSQL; killed when dropped.
struct Database {
    /// First process of the server, while it runs.
    server: Option<Child>,
    programs: PathBuf,
    data: PathBuf,
    /// Directory of the socket and the log, on the local disk.
    beside: PathBuf,
    /// User and group that it runs as.
    user: (u32, u32),
}

impl Database {
    /// The one with its data in this directory.
    fn at(fixture: &Single, data: PathBuf) -> Self {
        let beside = fixture.directory.path().join("beside");
        Self { server: None, programs: programs(), data, beside, user: user() }
    }

    /// A new one with its data in this directory.
    fn new(fixture: &Single, data: PathBuf) -> Self {
        let this = Self::at(fixture, data);
        for directory in [&this.data, &this.beside] {
            fs::create_dir(directory).unwrap();
            chown(directory, Some(this.user.0), Some(this.user.1)).unwrap();
        }
        let settings = ["--auth=trust", "--data-checksums", "--locale=C", "--encoding=UTF8"];
        output(this.command("initdb").arg("-D").arg(&this.data).args(settings));
        this
    }

    /// A command of PostgreSQL, as a user who is not root: it refuses to run as that.
    fn command(&self, name: &str) -> Command {
        let mut command = program("setpriv", "util-linux");
        let (user, group) =
            (format!("--reuid={}", self.user.0), format!("--regid={}", self.user.1));
        command.args([&user, &group, "--clear-groups"]).arg(self.programs.join(name));
        command.env("PGHOST", &self.beside).env("PGUSER", USER).env("PGDATABASE", USER);
        command.current_dir(&self.beside);
        command
    }

    fn start(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(&self.data).args(["-c", "listen_addresses="]);
        command.arg(format!("--unix_socket_directories={}", text(&self.beside)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::options().append(true).create(true).open(self.log()).unwrap());
        self.server = Some(command.spawn().unwrap());
        wait_until("PostgreSQL answers", seconds(60), || {
            let ended = self.server.as_mut().unwrap().try_wait().unwrap();
            assert_eq!(ended, None, "PostgreSQL does not start");
            self.command("pg_isready").arg("--quiet").status().unwrap().success()
        });
    }

    fn log(&self) -> PathBuf {
        self.beside.join("log")
    }

    /// Ends it in good order, and checks every page.
    fn stop(&mut self) {
        let mut server = self.server.take().expect("it runs");
        let pid = Pid::from_child(&server);
        rustix::process::kill_process(pid, Signal::INT).unwrap();
        assert!(server.wait().unwrap().success(), "PostgreSQL did not stop in good order");
        output(self.command("pg_checksums").args(["--check", "-D"]).arg(&self.data));
    }

    /// Answer to a query.
    fn ask(&self, question: &str) -> String {
        let mut psql = self.command("psql");
        output(psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", question])).trim().to_owned()
    }

    /// `kill -9` of the first process; the others end when they see that, and are waited for.
    fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.kill().unwrap();
        server.wait().unwrap();
        wait_until("the processes of PostgreSQL end", seconds(30), || self.processes() == 0);
    }

    /// Number of processes that work in the data directory.
    fn processes(&self) -> usize {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let places = processes.flat_map(|process| fs::read_link(process.path().join("cwd")));
        places.filter(|place| *place == self.data).count()
    }

    /// The sums that pgbench keeps equal, and how many transactions made them.
    fn balance(&self) -> (u64, Vec<String>) {
        let count = self.ask("SELECT count(*) FROM pgbench_history").parse().unwrap();
        let tables = ["accounts", "tellers", "branches"];
        let mut sums: Vec<String> = tables
            .map(|it| self.ask(&format!("SELECT sum({}balance) FROM pgbench_{it}", &it[..1])))
            .into();
        sums.push(self.ask("SELECT coalesce(sum(delta), 0) FROM pgbench_history"));
        sums.dedup();
        (count, sums)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            eprintln!("--- log of PostgreSQL\n{log}");
        }
        if let Some(server) = &mut self.server {
            let _it_may_have_ended = server.kill();
            let _it_may_have_been_waited_for = server.wait();
        }
    }
}

/// The folder of the newest version that is installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let newest = folders.filter(|folder| folder.join("initdb").exists()).max();
    newest.expect("PostgreSQL is missing: install the package postgresql, as scripts/test does")
}

/// User and group that the package makes.
fn user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let ours = users.lines().find_map(|line| line.strip_prefix(&format!("{USER}:x:")));
    let mut numbers = ours.expect("the user that the package postgresql makes").split(':');
    let mut next = || numbers.next().unwrap().parse().unwrap();
    (next(), next())
}

/// Lets others than root pass through the directories above the mount.
fn open_the_way(fixture: &Single) {
    let directory = fixture.directory.path();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o711)).unwrap();
    for above in directory.ancestors() {
        let mode = fs::metadata(above).unwrap().permissions().mode();
        assert!(mode & 1 == 1, "others cannot pass {}: chmod o+x", above.display());
    }
}

/// A client that inserts the numbers from 1 on, each in a transaction, and prints each when it is committed.
fn count_up(database: &Database, printed: &Path) -> Child {
    let script: String =
        (1..=20_000).map(|n| format!("INSERT INTO numbers VALUES ({n}) RETURNING n;\n")).collect();
    let input = database.beside.join("script");
    fs::write(&input, script).unwrap();
    let mut psql = database.command("psql");
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1"]).stdin(File::open(input).unwrap());
    psql.stdout(File::create(printed).unwrap()).stderr(Stdio::null()).spawn().unwrap()
}

/// The last number that a client printed wholly.
fn last_number(printed: &Path) -> u64 {
    let text = fs::read_to_string(printed).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().last().map_or(0, |line| line.parse().unwrap())
}

#[test]
fn postgresql_works_recovers_from_a_kill_and_travels() {
    let fixture = Single::new();
    open_the_way(&fixture);
    let mut database = Database::new(&fixture, fixture.one.path("database"));
    database.start();
    output(database.command("pgbench").args(["--initialize", "--quiet"]));
    output(database.command("pgbench").args(["--client=4", "--jobs=2", "--transactions=100"]));
    let (count, sums) = database.balance();
    assert_eq!((count, sums.len()), (400, 1), "{sums:?}");
    database.stop();
    database.start();
    assert_eq!(database.balance(), (count, sums.clone()), "after a restart");

    database.ask("CREATE TABLE numbers (n int PRIMARY KEY)");
    let printed = database.beside.join("printed");
    let mut client = count_up(&database, &printed);
    wait_until("some numbers are committed", seconds(60), || last_number(&printed) >= 300);
    database.kill();
    client.wait().unwrap();
    let acknowledged = last_number(&printed);
    database.start();
    let found: u64 = database.ask("SELECT max(n) FROM numbers").parse().unwrap();
    assert!(found >= acknowledged, "{acknowledged} was committed, {found} is there");
    assert_eq!(database.ask("SELECT count(*) FROM numbers"), found.to_string());
    assert_eq!(database.balance(), (count, sums.clone()), "after a kill");
    database.stop();

    let two = second_device(&fixture, "database/PG_VERSION");
    let mut moved = Database::at(&fixture, two.path("database"));
    moved.start();
    assert_eq!(moved.balance(), (count, sums), "on the other device");
    assert_eq!(moved.ask("SELECT count(*) FROM pgbench_accounts"), ACCOUNTS.to_string());
    assert_eq!(moved.ask("SELECT max(n) FROM numbers"), found.to_string());
    moved.stop();
}
