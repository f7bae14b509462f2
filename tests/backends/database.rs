//! A database of a test's own in MariaDB, for servers of which everything else is embedded.

use std::path::Path;
use std::process::Command;

use crate::harness::server::Server;
use crate::harness::services::{service, sql};

/// A database that goes when this is dropped; the first server that opens it makes it.
pub(crate) struct Database {
    name: String,
}

impl Database {
    /// A name that nobody else has.
    pub(crate) fn new() -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
        Self { name: format!("miaofs_{}", &id.replace('-', "")[..16]) }
    }

    /// URL of the database on the primary.
    pub(crate) fn url(&self) -> String {
        format!("{}/{}", service("DATABASE_URL"), self.name)
    }

    /// URL of the database on the replica.
    pub(crate) fn replica_url(&self) -> String {
        format!("{}/{}", service("REPLICA_URL"), self.name)
    }

    /// A server on it, with more arguments to `serve`.
    pub(crate) fn serve(&self, data: &Path, arguments: &[&str]) -> Server {
        Server::start_embedded(data, &[&["--database-url", &self.url()], arguments].concat())
    }

    /// The numbers in the row that a query answers.
    pub(crate) fn numbers(&self, query: &str) -> Vec<i64> {
        let row = sql(&format!("USE {}; {query}", self.name));
        row.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }

    /// Panics unless all that the server keeps is right, to the last byte. The server has ended.
    pub(crate) fn check(&self, data: &Path) {
        let mut fsck = Command::new(Server::binary());
        fsck.args(["fsck", "--deep", "--json", "--grace", "0", "--data"]).arg(data);
        fsck.args(["--database-url", &self.url()]);
        let output = fsck.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {printed}{complaint}", output.status);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the database is called {}", self.name);
        } else {
            sql(&format!("DROP DATABASE {}", self.name));
        }
    }
}
