//! SQLite with two processes that write and read at once: its locks, its shared memory, its order of syncs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::fixture::Single;
use crate::harness::command::output;
use crate::harness::device::Device;
use crate::programs::{program, second_device, text};

/// Transactions of each process.
const TRANSACTIONS: usize = 150;

fn sql(database: &Path, statements: &str) -> String {
    let mut command = program("sqlite3", "sqlite3");
    output(command.args(["-bail", "-cmd", ".timeout 60000", text(database), statements]))
}

/// Moves money between two accounts time after time, looks at the sum after each, and notes each in a table.
fn transfers(process: usize) -> String {
    let mut script = ".timeout 60000\n".to_owned();
    for number in 0..TRANSACTIONS {
        let amount = (number * 7 + process) % 50;
        writeln!(
            script,
            "BEGIN IMMEDIATE;
             UPDATE accounts SET balance = balance - {amount} WHERE name = {process};
             UPDATE accounts SET balance = balance + {amount} WHERE name = 1 - {process};
             INSERT INTO transfers VALUES ({process}, {number}, randomblob(300));
             COMMIT;
             SELECT sum(balance) FROM accounts;"
        )
        .unwrap();
    }
    script
}

/// Has two processes use one database in this journal mode, and a second device read it.
fn is_shared_safely(mode: &str) {
    let fixture = Single::new();
    let database = fixture.one.path("bank");
    sql(
        &database,
        &format!(
            "PRAGMA journal_mode = {mode};
             CREATE TABLE accounts (name INTEGER PRIMARY KEY, balance INTEGER);
             CREATE TABLE transfers (process, number, note, PRIMARY KEY (process, number));
             INSERT INTO accounts VALUES (0, 500), (1, 500);"
        ),
    );
    let processes = [0, 1].map(|process| {
        let script = fixture.directory.path().join(format!("script {process}"));
        fs::write(&script, transfers(process)).unwrap();
        let mut command = program("sqlite3", "sqlite3");
        command.args(["-bail", text(&database)]).stdin(fs::File::open(script).unwrap());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for process in processes {
        let finished = process.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&finished.stderr);
        assert!(finished.status.success(), "{mode}: {complaint}");
        let sums = String::from_utf8(finished.stdout).unwrap();
        assert_eq!(sums, "1000\n".repeat(TRANSACTIONS), "half a transaction was seen");
    }
    is_whole(&database, mode);
    let two = second_device(&fixture, "bank");
    is_whole(&two.path("bank"), mode);
    goes_on(&two);
}

fn is_whole(database: &Path, mode: &str) {
    let questions = "PRAGMA integrity_check; PRAGMA journal_mode;
        SELECT count(*) FROM transfers; SELECT sum(balance) FROM accounts;";
    let expected = format!("ok\n{mode}\n{}\n1000\n", 2 * TRANSACTIONS);
    assert_eq!(sql(database, questions), expected, "{}", database.display());
}

/// A database that came from elsewhere is written to as well.
fn goes_on(device: &Device) {
    let statements = "INSERT INTO transfers VALUES (2, 0, ''); SELECT count(*) FROM transfers;
        PRAGMA integrity_check;";
    let expected = format!("{}\nok\n", 2 * TRANSACTIONS + 1);
    assert_eq!(sql(&device.path("bank"), statements), expected);
}

#[test]
fn sqlite_with_a_write_ahead_log_is_shared_by_processes_and_travels() {
    is_shared_safely("wal");
}

#[test]
fn sqlite_with_a_rollback_journal_is_shared_by_processes_and_travels() {
    is_shared_safely("delete");
}
