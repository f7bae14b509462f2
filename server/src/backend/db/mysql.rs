//! MySQL or MariaDB: how this program connects, and how it brings the tables to its version.
//!
//! Changes run at READ COMMITTED, several at a time: whoever decides by what it read has locked it.
//! A read is one snapshot (REPEATABLE READ). Nothing depends on how the server is set up: mode, isolation
//! and character set are those of the session.

use std::io::ErrorKind;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, MySqlPool};

use super::connection::{Driver, Transaction};
use super::error::mysql_number;
use super::migrations;
use super::pool_meter::PoolMeter;
use crate::backend::settings::Schema;
use crate::backend::{Error, Trial};

/// Connections that change at once.
const WRITERS: u32 = 24;
/// Connections that read at once, of the primary and of a replica each.
const READERS: u32 = 16;
/// Time a request waits for a primary that restarts before it fails as unavailable.
const PRIMARY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time a request waits for the replica before it asks the primary.
const REPLICA_TIMEOUT: Duration = Duration::from_millis(500);
/// Time in which a connection that is given back has answered what it was asked last.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 128;
/// Seconds for which a program waits while another one migrates.
const MIGRATION_WAIT: i64 = 600;
/// Pause before a server that is just starting is tried again.
const RECONNECT: Duration = Duration::from_millis(200);
/// Takes the lock for migrating this database, among all programs on the server.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('miaofs:', MD5(DATABASE())), ?)";
const UNLOCK: &str = "DO RELEASE_LOCK(CONCAT('miaofs:', MD5(DATABASE())))";

/// Asks for version and clock.
const LOOK: &str = "SELECT CAST(VERSION() AS CHAR), CAST(UNIX_TIMESTAMP() AS SIGNED)";

/// Settings of every session that writes.
const WRITER_SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
     SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = 10";
/// Settings of every session that only reads.
const READER_SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ";
/// The server's error that there is no such database.
const UNKNOWN_DATABASE: u16 = 1049;
/// The server's error that there is no such table.
const UNKNOWN_TABLE: u16 = 1146;

/// The connections to the primary.
#[derive(Debug, Clone)]
pub(super) struct MysqlPools {
    writers: MySqlPool,
    readers: MySqlPool,
    /// Of the writers, and of the readers.
    meters: [PoolMeter; 2],
}

impl MysqlPools {
    /// Connects to the database, which is made when absent if it may be migrated.
    ///
    /// # Errors
    /// As [`super::Db::open`].
    pub(super) async fn open(url: &SecretString, schema: Schema) -> Result<Self, Error> {
        let options = options(url)?;
        prepare(&options, schema).await?;
        let pools = Self {
            writers: pool(WRITERS, WRITER_SESSION).connect_lazy_with(options.clone()),
            readers: pool(READERS, READER_SESSION).connect_lazy_with(options),
            meters: [PoolMeter::new("writer", WRITERS), PoolMeter::new("reader", READERS)],
        };
        Ok(pools)
    }

    pub(super) async fn write(&self) -> Result<Transaction, Error> {
        let begin = self.meters[0].time(self.writers.begin());
        Ok(Transaction::new(Driver::MySql(begin.await?)))
    }

    pub(super) async fn read(&self) -> Result<Transaction, Error> {
        self.meters[1].time(begin_read_only(&self.readers)).await
    }

    /// Tells how many connections there are.
    pub(super) fn measure(&self) {
        let [writer, reader] = &self.meters;
        writer.tell(&self.writers);
        reader.tell(&self.readers);
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

/// The figures of the connections to a replica.
pub(super) fn replica_meter() -> PoolMeter {
    PoolMeter::new("replica", READERS)
}

/// Connections to a replica: none is made before it is needed, and none is waited for for long.
pub(super) fn replica(url: &SecretString) -> Result<MySqlPool, Error> {
    let pool = pool(READERS, READER_SESSION).acquire_timeout(REPLICA_TIMEOUT);
    Ok(pool.connect_lazy_with(options(url)?))
}

/// Begins a transaction that can only read.
pub(super) async fn begin_read_only(pool: &MySqlPool) -> Result<Transaction, Error> {
    Ok(Transaction::new(Driver::MySql(pool.begin_with("START TRANSACTION READ ONLY").await?)))
}

fn pool(connections: u32, session: &'static str) -> MySqlPoolOptions {
    MySqlPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PRIMARY_TIMEOUT)
        .after_connect(move |connection, _| {
            Box::pin(async move { sqlx::raw_sql(session).execute(connection).await.map(drop) })
        })
        .after_release(|connection, _| Box::pin(is_usable(connection)))
}

/// False for a connection on which a statement was given up, by a client that went away amid its request, if it was just
/// being prepared: sqlx then waits for the result of what was never sent, and the connection would be taken for ever.
async fn is_usable(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(RELEASE_TIMEOUT, connection.ping())
        .await
        .map_or(Ok(false), |answered| answered.map(|()| true))
}

/// The URL is shown to nobody: it has the password.
fn options(url: &SecretString) -> Result<MySqlConnectOptions, Error> {
    let url = url.expose_secret();
    if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
        return Err(Error::DatabaseUrl("begin with mysql://"));
    }
    let options = MySqlConnectOptions::from_str(url)
        .map_err(|_may_quote_it| Error::DatabaseUrl("be mysql://user:password@host:port/name"))?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(Error::DatabaseUrl("name a database: mysql://user:password@host:port/name"));
    }
    Ok(options
        .charset("utf8mb4")
        .collation("utf8mb4_bin")
        .pipes_as_concat(false)
        .statement_cache_capacity(STATEMENTS))
}

/// Brings the tables to this program's version, or makes sure that they are.
async fn prepare(options: &MySqlConnectOptions, schema: Schema) -> Result<(), Error> {
    let mut connection = match connect(options).await {
        Err(error)
            if schema == Schema::Migrate && mysql_number(&error) == Some(UNKNOWN_DATABASE) =>
        {
            make_database(options).await?;
            connect(options).await?
        }
        connected => connected?,
    };
    match schema {
        Schema::Migrate => migrate_alone(&mut connection).await?,
        Schema::Expect => {
            match sqlx::query_scalar(migrations::APPLIED).fetch_one(&mut connection).await {
                Err(error) if mysql_number(&error) == Some(UNKNOWN_TABLE) => {
                    migrations::expect(None)?
                }
                applied => migrations::expect(applied?)?,
            }
        }
    }
    Ok(connection.close().await?)
}

/// Connects once, and asks for version and clock.
///
/// # Errors
/// [`Error::DatabaseUrl`], [`Error::Unavailable`], [`Error::Database`].
pub(super) async fn look(url: &SecretString) -> Result<Trial, Error> {
    let mut connection = MySqlConnection::connect_with(&options(url)?).await?;
    let (version, clock): (String, i64) = sqlx::query_as(LOOK).fetch_one(&mut connection).await?;
    connection.close().await?;
    let name = if version.contains("MariaDB") { "" } else { "MySQL " };
    Ok(Trial { version: Some(format!("{name}{version}")), clock: Some(clock) })
}

/// Connects once, waiting for a server that is just starting.
async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let began = Instant::now();
    loop {
        match MySqlConnection::connect_with(options).await {
            Err(sqlx::Error::Io(error))
                if error.kind() == ErrorKind::ConnectionRefused
                    && began.elapsed() < PRIMARY_TIMEOUT =>
            {
                tokio::time::sleep(RECONNECT).await;
            }
            connected => return connected,
        }
    }
}

async fn make_database(options: &MySqlConnectOptions) -> Result<(), Error> {
    let name = options.get_database().unwrap_or_default().replace('`', "``");
    let mut connection = connect(&options.clone().database("")).await?;
    let statement =
        format!("CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Migrates while no other program does so with the same database.
async fn migrate_alone(connection: &mut MySqlConnection) -> Result<(), Error> {
    sqlx::raw_sql(WRITER_SESSION).execute(&mut *connection).await?;
    let locked: Option<i64> =
        sqlx::query_scalar(LOCK).bind(MIGRATION_WAIT).fetch_one(&mut *connection).await?;
    if locked != Some(1) {
        return Err(Error::Migrating);
    }
    let migrated = migrations::for_mysql().run(&mut *connection).await;
    sqlx::query(UNLOCK).execute(connection).await?;
    Ok(migrated?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_names_no_database_is_refused_and_never_shown() {
        for url in [
            "mysql://a:secret@h:1",
            "mysql://a:secret@h:1/",
            "postgres://a:secret@h/b",
            "mysql://a:secret@h:x/b",
        ] {
            let error = options(&SecretString::from(url)).map(drop).unwrap_err().to_string();
            assert!(error.contains("must") && !error.contains("secret"), "{url}: {error}");
        }
        assert!(options(&SecretString::from("mysql://a:b@h:1/c")).is_ok());
    }
}
