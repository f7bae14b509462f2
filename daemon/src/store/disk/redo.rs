//! The redo log: what operations have done since the database's last commit, statement by statement.
//!
//! A commit of SQLite writes each page that it touched, which is most of what a small operation costs. So many operations share
//! one transaction of the database ([`Database`](super::database::Database)), and what each of them did is appended here in one
//! write, before it is acknowledged. A process that is killed loses nothing: the next one does the statements again. They depend
//! on nothing but the database, so they lead to the same rows.
//!
//! Records are numbered. The number of the last one is committed with what it tells, so none is done twice, and the file is
//! written from its beginning again. What stands behind the last record is of an earlier time: its number tells.
//!
//! ```text
//! record      length: u32, CRC-32 of the rest: u32, number: u64, statements
//! statement   number of its text: u16 | 0: u16, length: u32, text; then count of values: u8, values
//! value       0 | 1, integer: i64 | 2, float: f64 | 3, length: u32, text | 4, length: u32, bytes
//! ```
//! A text is written once: those of the file are numbered from 1 on as they come. Numbers are little-endian.
//!
//! The idea is that of a logical redo log (Gray and Reuter, *Transaction Processing*, 10.3).

#[cfg(any(test, fuzzing))]
pub(in crate::store) mod fuzzing;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params_from_iter};
use rustix::fs::{FallocateFlags, fallocate};

use super::seal::sync_folder;
use crate::store::error::{Error, while_doing};

/// Name of the file.
pub(crate) const NAME: &str = "state.redo";
/// Key of the number of the last record that is in the database.
pub(super) const REDONE: &str = "redone";
/// Room that the file has from the beginning, so that a full disk keeps nobody from removing something.
const CAPACITY: u64 = 4 << 20;
/// Length from which on the database is to be committed.
const LONG: u64 = 2 << 20;
/// The longest record. An operation that did more is committed by the database at once.
const RECORD_MAX: usize = 1 << 20;
/// Bytes before the statements of a record, and of these the ones before what the checksum covers.
const HEADER: usize = 16;
const UNCHECKED: usize = 8;

/// Stands for the number of a text that comes for the first time.
const NEW_TEXT: u16 = 0;

/// The log of one database, open.
#[derive(Debug)]
pub(super) struct RedoLog {
    file: File,
    /// End of the records that count.
    end: u64,
    /// Number of the last record,
    last: u64,
    /// and of the last one that the database has committed.
    committed: u64,
    /// The record of the operation in progress, if there is one.
    record: Option<Vec<u8>>,
    /// The operation in progress did more than a record holds.
    is_too_long: bool,
    /// A statement of it has failed, and may have done something all the same.
    has_failed: bool,
    texts: Texts,
    /// Somebody knows that there is something to commit.
    is_announced: bool,
    /// The file was gone when it was opened.
    was_lost: bool,
    /// The database lacks operations that it had committed before those that are in the file.
    has_gap: bool,
}

/// Place of what an operation has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appended {
    /// The operation is in the log, or changed nothing.
    Logged,
    /// The operation is too large for the log.
    TooLong,
}

/// A statement with its values.
pub(super) type Statement = (String, Vec<Value>);

/// Does a statement of the log again.
pub(super) fn do_again(db: &Connection, text: &str, values: &[Value]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(text)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Number of the last record that a database has committed, unless it never had a log.
pub(super) fn committed(db: &Connection) -> rusqlite::Result<Option<u64>> {
    let number = "SELECT value FROM meta WHERE key = ?1";
    let number = db.query_row(number, [REDONE], |row| row.get::<_, i64>(0)).optional()?;
    Ok(number.map(i64::cast_unsigned))
}

impl RedoLog {
    /// Opens the log in a state directory, of which the database has the records up to the one of this number.
    pub(super) fn open(dir: &Path, committed: Option<u64>) -> Result<Self, Error> {
        let path = dir.join(NAME);
        let is_new = !path.exists();
        let open = || -> io::Result<File> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            if file.metadata()?.len() < CAPACITY {
                // Without room for it, or on a file system that cannot, it grows.
                let _grown = fallocate(&file, FallocateFlags::empty(), 0, CAPACITY);
            }
            if is_new {
                sync_folder(dir)?;
            }
            Ok(file)
        };
        let file = open().map_err(while_doing("opening the redo log"))?;
        let was_lost = is_new && committed.is_some();
        let committed = committed.unwrap_or(0);
        Ok(Self {
            file,
            end: 0,
            last: committed,
            committed,
            record: None,
            is_too_long: false,
            has_failed: false,
            texts: Texts::default(),
            is_announced: false,
            was_lost,
            has_gap: false,
        })
    }

    /// True if the file was gone when it was opened, and with it what the database had not committed.
    pub(super) fn was_lost(&self) -> bool {
        self.was_lost
    }

    /// True if the database lacks operations that it had committed before those that are in the file.
    pub(super) fn has_gap(&self) -> bool {
        self.has_gap
    }

    /// Number of the last record.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// End of the records that count.
    #[cfg(any(test, fuzzing))]
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// True if it has records that the database has not committed.
    pub(super) fn is_ahead(&self) -> bool {
        self.last != self.committed
    }

    /// True once after it got its first record that the database has not committed.
    pub(super) fn announce(&mut self) -> bool {
        self.is_ahead() && !std::mem::replace(&mut self.is_announced, true)
    }

    /// True if the database is to be committed at once.
    pub(super) fn is_long(&self) -> bool {
        self.end >= LONG
    }

    /// True if there is no room for another record.
    pub(super) fn is_full(&self) -> bool {
        self.end + RECORD_MAX as u64 > CAPACITY
    }

    /// True while an operation is in progress.
    pub(super) fn is_in_operation(&self) -> bool {
        self.record.is_some()
    }

    /// An operation begins.
    pub(super) fn begin(&mut self) {
        self.record = Some(vec![0; HEADER]);
        self.is_too_long = false;
        self.has_failed = false;
    }

    /// The operation in progress has come to nothing. True if it may have written something that is to be undone.
    pub(super) fn forget(&mut self) -> bool {
        self.texts.forget_new();
        let has_written = self.record.take().is_some_and(|record| record.len() > HEADER);
        has_written || self.is_too_long || self.has_failed
    }

    /// A statement of the operation in progress has failed.
    pub(super) fn note_failure(&mut self) {
        self.has_failed = true;
    }

    /// The operation in progress has done this.
    pub(super) fn note(
        &mut self,
        statement: &'static str,
        values: &[&dyn ToSql],
    ) -> rusqlite::Result<()> {
        let Some(record) = &mut self.record else { return Ok(()) };
        if self.is_too_long {
            return Ok(());
        }
        match self.texts.number(statement) {
            Some(number) => record.extend_from_slice(&number.to_le_bytes()),
            None => {
                record.extend_from_slice(&NEW_TEXT.to_le_bytes());
                put_bytes(record, statement.as_bytes());
            }
        }
        record.push(values.len() as u8);
        for value in values {
            match value.to_sql()? {
                ToSqlOutput::Borrowed(value) => put_value(record, value),
                ToSqlOutput::Owned(value) => put_value(record, ValueRef::from(&value)),
                other => {
                    return Err(rusqlite::Error::ToSqlConversionFailure(
                        format!("{other:?}").into(),
                    ));
                }
            }
        }
        if record.len() > RECORD_MAX {
            self.is_too_long = true;
            record.clear();
        }
        Ok(())
    }

    /// Appends what the operation in progress has done. It ends when [`Self::forget`] is called, or with this if it is logged.
    pub(super) fn append(&mut self) -> Result<Appended, Error> {
        if self.is_too_long {
            return Ok(Appended::TooLong);
        }
        let Some(record) = &mut self.record else { return Ok(Appended::Logged) };
        if record.len() > HEADER {
            let length = (record.len() - HEADER) as u32;
            record[..4].copy_from_slice(&length.to_le_bytes());
            record[UNCHECKED..HEADER].copy_from_slice(&(self.last + 1).to_le_bytes());
            let checksum = crc32fast::hash(&record[UNCHECKED..]);
            record[4..UNCHECKED].copy_from_slice(&checksum.to_le_bytes());
            self.file
                .write_all_at(record, self.end)
                .map_err(while_doing("writing the redo log"))?;
            self.end += record.len() as u64;
            self.last += 1;
            self.texts.keep_new();
        }
        self.record = None;
        Ok(Appended::Logged)
    }

    /// The database has all that is in the log.
    pub(super) fn begin_anew(&mut self) {
        self.end = 0;
        self.committed = self.last;
        self.is_announced = false;
        self.texts = Texts::default();
    }

    /// Has the statements done that the database has not committed, in order; answers of how many operations. The next record
    /// comes behind them.
    pub(super) fn replay(
        &mut self,
        mut redo: impl FnMut(Statement) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let mut records = Records::of(&self.file);
        let (mut end, mut last) = (0, self.committed);
        self.texts = Texts::default();
        while let Some(record) = records.next()? {
            if record.number <= self.committed {
                continue;
            }
            if !follows(record.number, last) {
                self.has_gap = true;
                break;
            }
            record.statements.into_iter().try_for_each(&mut redo)?;
            (last, end) = (record.number, records.at);
            self.texts.count = records.texts.len() as u16;
        }
        (self.last, self.end) = (last, end);
        Ok(last - self.committed)
    }
}

/// The statements in the log of a state directory, as far as they can be read, that a database which has committed the operations
/// up to a number may not have.
pub(super) fn statements_after(dir: &Path, committed: Option<u64>) -> Vec<Statement> {
    let Ok(file) = File::open(dir.join(NAME)) else { return Vec::new() };
    let (mut records, mut found) = (Records::of(&file), Vec::new());
    while let Ok(Some(record)) = records.next() {
        if committed.is_none_or(|committed| record.number > committed) {
            found.extend(record.statements);
        }
    }
    found
}

/// Numbers of the texts that stand in the file.
#[derive(Debug, Default)]
struct Texts {
    /// By where each is in memory.
    numbers: HashMap<(usize, usize), u16>,
    /// Texts in the file,
    count: u16,
    /// and those that the record of the operation in progress has besides.
    new: Vec<(usize, usize)>,
}

impl Texts {
    /// The number of a text; none the first time, when it is to be written.
    fn number(&mut self, text: &'static str) -> Option<u16> {
        let place = (text.as_ptr().addr(), text.len());
        let known = self.numbers.get(&place).copied();
        if known.is_none() {
            self.new.push(place);
            self.numbers.insert(place, self.count + self.new.len() as u16);
        }
        known
    }

    fn keep_new(&mut self) {
        self.count += self.new.len() as u16;
        self.new.clear();
    }

    fn forget_new(&mut self) {
        for place in self.new.drain(..) {
            self.numbers.remove(&place);
        }
    }
}

/// True if a number is the next one after another. A damaged log may have any.
fn follows(number: u64, last: u64) -> bool {
    last.checked_add(1) == Some(number)
}

/// Reads the records of a log from its beginning.
struct Records<'f> {
    file: &'f File,
    /// End of those that have been read,
    at: u64,
    /// and number of the last one.
    last: Option<u64>,
    /// Texts of their statements, by number.
    texts: Vec<String>,
}

/// A record that is whole.
struct LoggedOperation {
    number: u64,
    statements: Vec<Statement>,
}

impl<'f> Records<'f> {
    fn of(file: &'f File) -> Self {
        Self { file, at: 0, last: None, texts: Vec::new() }
    }

    /// The next record, unless what stands there is none, or of an earlier time.
    fn next(&mut self) -> Result<Option<LoggedOperation>, Error> {
        let record = self.bytes().map_err(while_doing("reading the redo log"))?;
        let Some(record) = record else { return Ok(None) };
        let (number, mut bytes) = record[UNCHECKED..].split_at(HEADER - UNCHECKED);
        let number = u64::from_le_bytes(number.try_into().unwrap_or_default());
        if self.last.is_some_and(|last| !follows(number, last)) {
            return Ok(None);
        }
        let mut statements = Vec::new();
        while !bytes.is_empty() {
            let statement = statement(&mut bytes, &mut self.texts);
            statements.push(statement.ok_or(Error::Damaged("the redo log"))?);
        }
        self.at += record.len() as u64;
        self.last = Some(number);
        Ok(Some(LoggedOperation { number, statements }))
    }

    fn bytes(&self) -> io::Result<Option<Vec<u8>>> {
        let mut header = [0; HEADER];
        match self.file.read_exact_at(&mut header, self.at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let number = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (length, checksum) = (number(0) as usize, number(4));
        if length == 0 || HEADER + length > RECORD_MAX {
            return Ok(None);
        }
        let mut record = vec![0; HEADER + length];
        match self.file.read_exact_at(&mut record, self.at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        Ok((crc32fast::hash(&record[UNCHECKED..]) == checksum).then_some(record))
    }
}

fn put_bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    record.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    record.extend_from_slice(bytes);
}

fn put_value(record: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => record.push(0),
        ValueRef::Integer(number) => {
            record.push(1);
            record.extend_from_slice(&number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            record.push(2);
            record.extend_from_slice(&number.to_le_bytes());
        }
        ValueRef::Text(text) => {
            record.push(3);
            put_bytes(record, text);
        }
        ValueRef::Blob(bytes) => {
            record.push(4);
            put_bytes(record, bytes);
        }
    }
}

/// Takes the statement from the beginning of `bytes`.
fn statement(bytes: &mut &[u8], texts: &mut Vec<String>) -> Option<Statement> {
    let text = match u16::from_le_bytes(take(bytes)?) {
        NEW_TEXT => {
            texts.push(take_text(bytes)?);
            texts.last()?.clone()
        }
        number => texts.get(usize::from(number) - 1)?.clone(),
    };
    let count = take::<1>(bytes)?[0];
    let values = (0..count).map(|_| value(bytes)).collect::<Option<Vec<_>>>()?;
    Some((text, values))
}

fn value(bytes: &mut &[u8]) -> Option<Value> {
    Some(match take::<1>(bytes)?[0] {
        0 => Value::Null,
        1 => Value::Integer(i64::from_le_bytes(take(bytes)?)),
        2 => Value::Real(f64::from_le_bytes(take(bytes)?)),
        3 => Value::Text(take_text(bytes)?),
        4 => Value::Blob(take_bytes(bytes)?.to_vec()),
        _ => return None,
    })
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    String::from_utf8(take_bytes(bytes)?.to_vec()).ok()
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    bytes.split_off(..length)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    bytes.split_off(..N)?.try_into().ok()
}
