//! The share of one server in the real parts: a database, a virtual host and a prefix of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::services::{run, service};

/// What a server of a test has to itself in MariaDB, Redis and RabbitMQ; all of it goes when this
/// is dropped.
#[derive(Debug)]
pub struct Parts {
    name: String,
    configuration: PathBuf,
}

/// Removes the keys that match a pattern, in Redis itself: there may be many.
const FORGET: &str = "local cursor = '0' repeat \
    local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000) cursor = page[1] \
    for _, key in ipairs(page[2]) do redis.call('DEL', key) end until cursor == '0'";

impl Parts {
    /// Makes them, and writes the configuration that names them to `configuration`.
    pub fn new(configuration: &Path) -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("random ids");
        let name = format!("miaofs_{}", &id.replace('-', "")[..16]);
        let parts = Self { name, configuration: configuration.to_owned() };
        parts.sql(&format!("create database {}", parts.name));
        parts.broker("PUT", "vhosts", "{}");
        let all = r#"{"configure": ".*", "write": ".*", "read": ".*"}"#;
        parts.broker("PUT", "permissions", all);
        std::fs::write(configuration, parts.settings()).expect("room for a configuration");
        parts
    }

    /// The configuration file of a server on these parts.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    fn settings(&self) -> String {
        let name = &self.name;
        format!(
            "database_url = \"{}/{name}\"\nreplica_url = \"{}/{name}\"\n\
             redis_url = \"{}\"\nredis_prefix = \"{name}\"\namqp_url = \"{}/{name}\"\n",
            service("DATABASE_URL"),
            service("REPLICA_URL"),
            service("REDIS_URL"),
            service("AMQP_URL"),
        )
    }

    fn sql(&self, statement: &str) {
        let url = service("DATABASE_URL");
        let (user, rest) = url.trim_start_matches("mysql://").split_once(':').expect("a user");
        let (password, address) = rest.split_once('@').expect("a password");
        let (host, port) = address.split_once(':').expect("a port");
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--protocol=tcp", "--host", host, "--port", port]);
        // On the command line others could read it.
        command.args(["--user", user, "--execute", statement]).env("MYSQL_PWD", password);
        run(&mut command);
    }

    /// A request about the virtual host to the broker's interface for operators.
    fn broker(&self, method: &str, kind: &str, body: &str) {
        let user = if kind == "permissions" { "/guest" } else { "" };
        let url = format!("{}/api/{kind}/{}{user}", service("AMQP_API"), self.name);
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--request", method]);
        run(command.args(["--header", "content-type: application/json", "--data", body, &url]));
    }
}

impl Drop for Parts {
    /// What a test that failed leaves is there to be looked at, until the parts themselves are wiped.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's parts are called {}", self.name);
            return;
        }
        self.sql(&format!("drop database {}", self.name));
        self.broker("DELETE", "vhosts", "");
        let pattern = format!("{}:*", self.name);
        let mut redis = Command::new("redis-cli");
        run(redis.args(["-u", &service("REDIS_URL"), "eval", FORGET, "0", &pattern]));
        let _it_went_with_the_directory = std::fs::remove_file(&self.configuration);
    }
}
