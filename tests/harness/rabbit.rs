//! A RabbitMQ of the test's own, to be killed and to come back.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::output;

/// A running node, ended when dropped.
pub(crate) struct Rabbit {
    directory: PathBuf,
}

impl Rabbit {
    /// Starts one that keeps everything in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        let rabbit = Self { directory: directory.to_owned() };
        rabbit.start_again();
        rabbit
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        let settings = std::fs::read_to_string(self.directory.join("services.env"));
        let settings = settings.expect("scripts/services says where its services are");
        let url = settings.lines().find_map(|line| line.strip_prefix("MIAOFS_TEST_AMQP_URL="));
        url.expect("RabbitMQ is one of the services").trim_matches(['\'', '"']).to_owned()
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.services(&["kill", "rabbitmq"]);
    }

    /// Starts it again where it was, after [`Self::kill`], with what it had confirmed.
    pub(crate) fn start_again(&self) {
        self.services(&["start", "rabbitmq"]);
    }

    fn services(&self, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
        output(Command::new(script).args(arguments).arg(&self.directory));
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would hide the first.
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services");
            let _it_was_tried = Command::new(script).arg("down").arg(&self.directory).status();
            return;
        }
        self.services(&["down"]);
    }
}
