//! Statements with `?` for each value, and their rows: the same ones for every database.
//!
//! A [`Statement`] is text and values until it is run on a [`Connection`], which knows its driver. Text comes
//! from this program only; whatever comes from outside is a value.

use std::borrow::Cow;

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, MySql, Row as _, Sqlite, Type};

use super::Connection;
use super::connection::Driver;
use crate::backend::Error;

/// Rows that one statement names at the most; more are done in several. SQLite takes so many terms of a `UNION` and no more.
pub(crate) const ROWS_A_STATEMENT: usize = 500;

/// Large bytes in a statement, more or less: a MySQL server refuses one of `max_allowed_packet`, 16 MiB unless set otherwise.
const BYTES_A_STATEMENT: usize = 4 * 1024 * 1024;

/// Cuts rows of which some may be large into those that one statement writes.
pub(super) fn portions<T>(rows: &[T], size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut room = BYTES_A_STATEMENT;
        let fits = |row: &&T| {
            let (size, fits) = (size(row), room > 0);
            room = room.saturating_sub(size);
            fits
        };
        let count = rest.iter().take(ROWS_A_STATEMENT).take_while(fits).count();
        let (some, left) = rest.split_at(count);
        rest = left;
        (!some.is_empty()).then_some(some)
    })
}

/// A value of a statement, of the few types that tables hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// No value.
    Null,
    /// A number, a time among them.
    Integer(i64),
    /// An id, a digest, a name.
    Bytes(Vec<u8>),
    /// Words.
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Begins a statement with this text.
pub(crate) fn query(sql: &'static str) -> Statement {
    Statement { sql: Cow::Borrowed(sql), values: Vec::new(), lock: None }
}

/// Mode of a row lock, which is held until the transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Nobody changes or removes them; others may hold them so, too.
    Shared,
    /// Nobody else holds or changes them.
    Exclusive,
}

/// A statement: text with a `?` for each value, and the values.
#[derive(Debug, Clone)]
#[must_use = "a statement does nothing until it is run"]
pub(crate) struct Statement {
    sql: Cow<'static, str>,
    values: Vec<Value>,
    lock: Option<Lock>,
}

impl Statement {
    /// Locks the rows that it finds, waiting for other transactions. A change of SQLite is alone anyway.
    pub(crate) const fn lock(mut self, lock: Lock) -> Self {
        self.lock = Some(lock);
        self
    }

    /// The value of the next `?`.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Goes on with this text.
    pub(crate) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.sql.to_mut().push_str(sql);
        self
    }

    /// Goes on with a value.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.push("?")
    }

    /// Goes on with a list in parentheses, which has at least one value.
    pub(crate) fn push_list<V: Into<Value>>(
        &mut self,
        values: impl IntoIterator<Item = V>,
    ) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            self.push(if index == 0 { "(" } else { ", " }).push_bind(value);
        }
        self.push(")")
    }

    /// Goes on with `VALUES` and one row for each item, of which there is at least one.
    pub(crate) fn push_rows<const WIDTH: usize, T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        row: impl Fn(T) -> [Value; WIDTH],
    ) -> &mut Self {
        for (index, item) in items.into_iter().enumerate() {
            self.push(if index == 0 { " VALUES " } else { ", " }).push_list(row(item));
        }
        self
    }

    /// Runs a change. Returns the number of rows that it matched, be they changed or the same as before.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Duplicate`].
    pub(crate) async fn execute(self, db: &mut Connection) -> Result<u64, Error> {
        match db.driver() {
            Driver::Sqlite(db) => Ok(self.for_sqlite().execute(&mut **db).await?.rows_affected()),
            Driver::MySql(db) => Ok(self.for_mysql().execute(&mut **db).await?.rows_affected()),
        }
    }

    /// Runs the insertion of one row. Returns the key that the database gave it.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Duplicate`].
    pub(crate) async fn insert(self, db: &mut Connection) -> Result<i64, Error> {
        match db.driver() {
            Driver::Sqlite(db) => {
                Ok(self.for_sqlite().execute(&mut **db).await?.last_insert_rowid())
            }
            Driver::MySql(db) => {
                let inserted = self.for_mysql().execute(&mut **db).await?;
                Ok(inserted.last_insert_id().cast_signed())
            }
        }
    }

    /// The rows that it answers.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn fetch_all(self, db: &mut Connection) -> Result<Vec<Row>, Error> {
        match db.driver() {
            Driver::Sqlite(db) => {
                let rows = self.for_sqlite().fetch_all(&mut **db).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Driver::MySql(db) => {
                let rows = self.for_mysql().fetch_all(&mut **db).await?;
                Ok(rows.into_iter().map(Row::MySql).collect())
            }
        }
    }

    /// The first row that it answers, if any.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn fetch_optional(self, db: &mut Connection) -> Result<Option<Row>, Error> {
        match db.driver() {
            Driver::Sqlite(db) => {
                Ok(self.for_sqlite().fetch_optional(&mut **db).await?.map(Row::Sqlite))
            }
            Driver::MySql(db) => {
                Ok(self.for_mysql().fetch_optional(&mut **db).await?.map(Row::MySql))
            }
        }
    }

    fn for_sqlite(self) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
        let query = match self.sql {
            Cow::Borrowed(sql) => sqlx::query(sql),
            Cow::Owned(sql) => sqlx::query(AssertSqlSafe(sql)),
        };
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Null => query.bind(None::<i64>),
            Value::Integer(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
        })
    }

    fn for_mysql(mut self) -> sqlx::query::Query<'static, MySql, MySqlArguments> {
        match self.lock {
            None => (),
            Some(Lock::Shared) => self.sql.to_mut().push_str(" LOCK IN SHARE MODE"),
            Some(Lock::Exclusive) => self.sql.to_mut().push_str(" FOR UPDATE"),
        }
        let query = match self.sql {
            Cow::Borrowed(sql) => sqlx::query(sql),
            Cow::Owned(sql) => sqlx::query(AssertSqlSafe(sql)),
        };
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Null => query.bind(None::<i64>),
            Value::Integer(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
        })
    }
}

/// A row of a result.
#[derive(Debug)]
pub(crate) enum Row {
    /// Of SQLite.
    Sqlite(SqliteRow),
    /// Of MySQL or MariaDB.
    MySql(MySqlRow),
}

impl Row {
    /// The value of a column, by its index from 0 or its name.
    ///
    /// # Errors
    /// [`Error::Database`] when there is no such column or its value has another type.
    pub(crate) fn try_get<'r, T: FromColumn<'r>, C: Column>(
        &'r self,
        column: C,
    ) -> Result<T, Error> {
        match self {
            Self::Sqlite(row) => Ok(row.try_get(column)?),
            Self::MySql(row) => Ok(row.try_get(column)?),
        }
    }
}

/// A type that columns are read as.
pub(crate) trait FromColumn<'r>:
    Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, MySql> + Type<MySql>
{
}

impl<'r, T> FromColumn<'r> for T where
    T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, MySql> + Type<MySql>
{
}

/// A column, by its index from 0 or its name.
pub(crate) trait Column: ColumnIndex<SqliteRow> + ColumnIndex<MySqlRow> {}

impl<T: ColumnIndex<SqliteRow> + ColumnIndex<MySqlRow>> Column for T {}
