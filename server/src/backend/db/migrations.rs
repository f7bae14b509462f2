//! The tables by version: one list, with the same change for each database.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::backend::Error;

/// Number, name, and the change for SQLite and for MySQL.
type Change = (i64, &'static str, [&'static str; 2]);

/// Takes both files of a change.
macro_rules! change {
    ($number:literal, $name:literal, $file:literal) => {
        (
            $number,
            $name,
            [
                include_str!(concat!("../../../migrations/sqlite/", $file)),
                include_str!(concat!("../../../migrations/mysql/", $file)),
            ],
        )
    };
}

const CHANGES: &[Change] = &[
    change!(1, "initial", "0001_initial.sql"),
    change!(2, "hosts", "0002_hosts.sql"),
    change!(3, "copies", "0003_copies.sql"),
    change!(4, "sessions", "0004_sessions.sql"),
    change!(5, "removals", "0005_removals.sql"),
    change!(6, "relocations", "0006_relocations.sql"),
    change!(7, "puts", "0007_puts.sql"),
    change!(8, "commits", "0008_commits.sql"),
    change!(9, "accounts", "0009_accounts.sql"),
    change!(10, "metadata", "0010_metadata.sql"),
    change!(11, "scoped tokens", "0011_scoped_tokens.sql"),
    change!(12, "probes", "0012_probes.sql"),
    change!(13, "forgotten deletions", "0013_forgotten.sql"),
];

/// Asks for the number of the last change that was made.
pub(super) const APPLIED: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";

pub(super) fn for_sqlite() -> Migrator {
    migrator(|[sqlite, _]| sqlite)
}

/// Whoever runs it holds a lock: the one that the crate takes waits for nobody on MariaDB.
pub(super) fn for_mysql() -> Migrator {
    let mut migrator = migrator(|[_, mysql]| mysql);
    migrator.set_locking(false);
    migrator
}

fn migrator(pick: impl Fn([&'static str; 2]) -> &'static str) -> Migrator {
    let migration = |&(version, name, changes): &Change| {
        let change = pick(changes).into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, change, false)
    };
    Migrator::with_migrations(CHANGES.iter().map(migration).collect())
}

/// Makes sure that the last change that was made is the last one of this program.
///
/// # Errors
/// [`Error::OtherVersion`].
pub(super) fn expect(applied: Option<i64>) -> Result<(), Error> {
    if applied == CHANGES.last().map(|(version, ..)| *version) {
        Ok(())
    } else {
        Err(Error::OtherVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_has_the_highest_number() {
        let numbers: Vec<i64> = CHANGES.iter().map(|(version, ..)| *version).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    }
}
