//! Looks at a database before it is opened: whether it is one of this program's, and whole, as far as can be seen.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema::FORMAT;
use crate::store::error::{Error, while_doing};

/// Bytes at the beginning of every database of SQLite.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Length of the header.
const HEADER: usize = 100;
/// Length of the header of a log; a shorter one holds nothing.
const LOG_HEADER: u64 = 32;
/// One query for each table that all formats have, of what this program needs of it.
const TABLES: [&str; 6] = [
    "SELECT ino, id, status, kind, digest, content_dirty, cached, dirty FROM nodes LIMIT 1",
    "SELECT parent, cookie, name, ino, kind FROM entries LIMIT 1",
    "SELECT ino, idx, state FROM chunks LIMIT 1",
    "SELECT digest, size, chunks FROM manifests LIMIT 1",
    "SELECT ino, state FROM bases LIMIT 1",
    "SELECT key, value FROM meta LIMIT 1",
];

/// Pages that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The few that tell of what kind the database is.
    Header,
    /// Each of them: takes as long as reading the file.
    Whole,
    /// Each of them, and that each row is in its indexes: takes longer.
    Indexes,
}

/// Looks at the database of a state directory and answers what is wrong with it, if anything is.
///
/// One of a newer format is not damaged; opening it is refused with a message of its own.
///
/// # Errors
/// When it cannot be looked at.
pub(crate) fn examine(
    database: &Path,
    has_data: bool,
    depth: Depth,
) -> Result<Option<String>, Error> {
    match header(database).map_err(while_doing("reading the header of the database"))? {
        Header::Missing if has_data => return Ok(Some("the database is missing".to_owned())),
        Header::Empty if has_data => return Ok(Some("the database is empty".to_owned())),
        Header::Missing | Header::Empty => return Ok(None),
        Header::Foreign => return Ok(Some("state.db is no database of SQLite".to_owned())),
        Header::Short { found, told } if !has_log(database) => {
            return Ok(Some(format!("the database is cut short: {found} bytes of {told}")));
        }
        Header::Short { .. } | Header::Whole => {}
    }
    let looked = connect_to_read(database).and_then(|db| look(&db, has_data, depth));
    match looked {
        Err(error) if is_damage(&error) => Ok(Some(format!("the database is damaged: {error}"))),
        looked => Ok(looked?),
    }
}

/// True if the database has a log that may hold commits.
pub(crate) fn has_log(database: &Path) -> bool {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|found| found.len() > LOG_HEADER)
}

/// A connection that changes nothing in the files, neither now nor when it is closed.
pub(super) fn connect_to_read(database: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(database, flags)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(db)
}

/// True if an error says that the file is not, or not any more, what this program wrote.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(..) | rusqlite::Error::SqlInputError { .. } => matches!(
            error.sqlite_error_code(),
            // A statement that does not fit the tables is an unknown error.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        ),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => true,
        _ => false,
    }
}

/// State of the first bytes of the file.
enum Header {
    Missing,
    Empty,
    Foreign,
    Short { found: u64, told: u64 },
    Whole,
}

fn header(database: &Path) -> io::Result<Header> {
    let mut file = match File::open(database) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Header::Missing),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?.len();
    if found == 0 {
        return Ok(Header::Empty);
    }
    let mut header = [0; HEADER];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Header::Foreign),
        read => read?,
    }
    if !header.starts_with(MAGIC) {
        return Ok(Header::Foreign);
    }
    let number = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    // The count of pages counts only if it was written with the last change.
    let told = if number(24) == number(92) { u64::from(number(28)) * page } else { 0 };
    Ok(if found < told { Header::Short { found, told } } else { Header::Whole })
}

fn look(db: &Connection, has_data: bool, depth: Depth) -> rusqlite::Result<Option<String>> {
    let format: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let has = |name: &str| {
        db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name LIKE ?1")?
            .exists([name])
    };
    let foreign = || Ok(Some("state.db is a database of another program".to_owned()));
    match format {
        0 if has("%")? => return foreign(),
        0 => return Ok(has_data.then(|| "the database has no tables".to_owned())),
        1..=FORMAT => {}
        _ if has("meta")? => return Ok(None),
        _ => return foreign(),
    }
    for table in ["nodes", "entries", "chunks", "meta"] {
        if !has(table)? {
            return foreign();
        }
    }
    for query in TABLES {
        db.prepare(query)?.exists([])?;
    }
    // It gets one when it is first opened.
    if !db.prepare("SELECT 1 FROM nodes WHERE ino = 1")?.exists([])?
        && (has_data || db.prepare("SELECT 1 FROM meta WHERE key = 'opened_in_boot'")?.exists([])?)
    {
        return Ok(Some("the database has no root directory".to_owned()));
    }
    let check = match depth {
        Depth::Header => None,
        Depth::Whole => Some("PRAGMA quick_check(1)"),
        Depth::Indexes => Some("PRAGMA integrity_check(1)"),
    };
    if let Some(check) = check {
        let found: String = db.query_row(check, [], |row| row.get(0))?;
        if found != "ok" {
            let found = found.replace('\n', " ");
            return Ok(Some(format!("the database is damaged: {}", found.trim())));
        }
    }
    Ok(None)
}
