//! The share of one server in the real dependencies (MariaDB, Redis, RabbitMQ, Ceph, OSS): a database, a virtual host, and prefixes of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::bucket::Bucket;
use super::command::output;
use super::services::{service, sql};

/// A database in MariaDB, a virtual host in RabbitMQ, and prefixes in Redis and the stores, of one server of
/// a test; all of it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Dependencies {
    name: String,
    stores: &'static [&'static str],
    reads: Reads,
    configuration: PathBuf,
}

/// Path on which clients get the bytes of a blob that is in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The server passes them on.
    ThroughTheServer,
    /// By a signed URL, from the store itself.
    FromTheStore,
}

/// Removes the keys that match a pattern, in Redis itself: there may be many.
const FORGET: &str = "local cursor = '0' repeat \
    local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000) cursor = page[1] \
    for _, key in ipairs(page[2]) do redis.call('DEL', key) end until cursor == '0'";

impl Dependencies {
    /// Makes them, and writes the configuration that names them to `configuration`. What is uploaded
    /// goes to these `stores`: `ceph`, `oss` or both.
    pub(crate) fn new(configuration: &Path, stores: &'static [&'static str], reads: Reads) -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("random ids");
        let name = format!("miaofs_{}", &id.replace('-', "")[..16]);
        let dependencies = Self { name, stores, reads, configuration: configuration.to_owned() };
        sql(&format!("create database {}", dependencies.name));
        dependencies.broker("PUT", "vhosts", "{}");
        let all = r#"{"configure": ".*", "write": ".*", "read": ".*"}"#;
        dependencies.broker("PUT", "permissions", all);
        std::fs::write(configuration, dependencies.settings()).expect("room for a configuration");
        dependencies
    }

    /// The configuration file of a server on these dependencies.
    pub(crate) fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The sizes of the objects that the server keeps in Ceph.
    pub(crate) fn stored(&self) -> Vec<u64> {
        let objects = Bucket::ceph().list(&self.name);
        objects.into_iter().map(|object| object.size).collect()
    }

    /// Prefix of the keys of its objects.
    pub(crate) fn prefix(&self) -> &str {
        &self.name
    }

    fn settings(&self) -> String {
        let name = &self.name;
        let mut text = format!(
            "database_url = \"{}/{name}\"\nreplica_url = \"{}/{name}\"\n\
             redis_url = \"{}\"\nredis_prefix = \"{name}\"\n\
             amqp_url = \"{}/{name}\"\nstore = {:?}\n",
            service("DATABASE_URL"),
            service("REPLICA_URL"),
            service("REDIS_URL"),
            service("AMQP_URL"),
            self.stores,
        );
        text.push_str(&self.store("ceph"));
        if self.reads == Reads::FromTheStore {
            text.push_str(&format!("public_endpoint = \"{}\"\n", service("CEPH_ENDPOINT")));
        }
        text.push_str(&self.store("oss"));
        text.push_str(&format!("proxy = \"{}\"\n", service("OSS_PROXY")));
        text
    }

    fn store(&self, store: &str) -> String {
        let of = |setting: &str| service(&format!("{}_{setting}", store.to_ascii_uppercase()));
        format!(
            "[stores.{store}]\nendpoint = \"{}\"\nregion = \"{}\"\nbucket = \"{}\"\n\
             prefix = \"{}\"\naccess_key = \"{}\"\nsecret_key = \"{}\"\n",
            of("ENDPOINT"),
            of("REGION"),
            of("BUCKET"),
            self.name,
            of("ACCESS_KEY"),
            of("SECRET_KEY"),
        )
    }

    /// A request about the virtual host to the broker's interface for operators.
    fn broker(&self, method: &str, kind: &str, body: &str) {
        let user = if kind == "permissions" { "/guest" } else { "" };
        let url = format!("{}/api/{kind}/{}{user}", service("AMQP_API"), self.name);
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--request", method]);
        output(command.args(["--header", "content-type: application/json", "--data", body, &url]));
    }
}

impl Drop for Dependencies {
    /// A test that failed leaves everything to be looked at, until the dependencies themselves are wiped.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's dependencies are called {}", self.name);
            return;
        }
        sql(&format!("drop database {}", self.name));
        self.broker("DELETE", "vhosts", "");
        let pattern = format!("{}:*", self.name);
        let mut redis = Command::new("redis-cli");
        output(redis.args(["-u", &service("REDIS_URL"), "eval", FORGET, "0", &pattern]));
        for bucket in [Bucket::ceph(), Bucket::oss()] {
            bucket.empty(&self.name);
        }
        let _it_went_with_the_directory = std::fs::remove_file(&self.configuration);
    }
}
