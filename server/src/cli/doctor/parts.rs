//! The parts of the server: a round trip through each, their versions and their clocks.

use std::path::Path;

use super::checkups::Checkups;
use crate::backend::blobs::{StoreName, Stores};
use crate::backend::db::Db;
use crate::backend::queue::Queue;
use crate::backend::tracker::Tracker;
use crate::backend::{
    Database, Error, Schema, Settings, StagingUse, TRIAL_LIMIT, Trial, try_directory, unix_now,
    within_limit,
};

/// Seconds by which two clocks may differ: far less than anything lasts that is measured by two.
const CLOCKS_APART: u64 = 5;

/// Checks all parts that the settings name, one after the other.
pub(super) async fn check(checkups: &mut Checkups, settings: &Settings) {
    let mut parts = Parts { checkups, settings, clocks: Vec::new() };
    parts.database().await;
    parts.replica().await;
    parts.tracker().await;
    parts.queue().await;
    parts.staging().await;
    for name in &settings.stores.policy {
        parts.store(*name).await;
    }
    parts.compare_clocks();
}

struct Parts<'a> {
    checkups: &'a mut Checkups,
    settings: &'a Settings,
    /// The seconds by which the clocks of parts are off.
    clocks: Vec<(String, u64)>,
}

impl Parts<'_> {
    /// Makes a trial within its time, and notes the clock of the part.
    async fn tried(
        &mut self,
        name: &str,
        what: &'static str,
        trial: impl Future<Output = Result<Trial, Error>>,
    ) -> Result<Trial, Error> {
        let begun = unix_now();
        let trial = within_limit(what, trial).await?;
        let ended = unix_now();
        if let Some(clock) = trial.clock {
            self.clocks.push((name.to_owned(), seconds_off(clock, begun, ended)));
        }
        Ok(trial)
    }

    async fn database(&mut self) {
        const NAME: &str = "database";
        const WHAT: &str = "the database";
        const ADVICE: &str =
            "look at database_url, at whether the database runs, and at the rights of its user";
        let settings = self.settings;
        let is_embedded = matches!(settings.database, Database::Embedded);
        if is_embedded && !settings.database_file().exists() {
            let missing = format!("there is none in {}", settings.data.display());
            let advice = "name the directory with --data, or start the server once";
            return self.checkups.fail(NAME, missing, advice);
        }
        let looked = self.tried(NAME, WHAT, Db::look(settings)).await;
        let advice =
            if is_embedded { "look at the file and at its disk, and run `fsck`" } else { ADVICE };
        let version = match looked {
            Ok(trial) => trial.version.unwrap_or_default(),
            Err(error) => return self.checkups.fail(NAME, error.to_string(), advice),
        };
        match within_limit(WHAT, change_database(settings)).await {
            Ok(()) => self.checkups.ok(NAME, format!("{version} takes changes")),
            Err(error @ Error::OtherVersion) => self.checkups.fail(
                NAME,
                format!("{version}: {error}"),
                "run `miaofs-server migrate-db` of the newer program, or use that one",
            ),
            Err(error) => self.checkups.fail(NAME, format!("{version}: {error}"), advice),
        }
    }

    async fn replica(&mut self) {
        const NAME: &str = "replica";
        let looked = within_limit("the replica", Db::look_at_replica(self.settings));
        match looked.await {
            Ok(None) => (),
            Ok(Some(trial)) => {
                let version = trial.version.unwrap_or_default();
                self.checkups.ok(NAME, format!("{version} answers"));
            }
            // The primary serves meanwhile.
            Err(error) => self.checkups.warn(
                NAME,
                error.to_string(),
                "look at replica_url, and at whether the replica runs; until then the primary does its work",
            ),
        }
    }

    async fn tracker(&mut self) {
        const NAME: &str = "tracker";
        let settings = self.settings;
        if settings.redis.is_none() && !settings.tracker_file().exists() {
            return self
                .checkups
                .ok(NAME, "embedded, and made by the server when it starts".to_owned());
        }
        match self.tried(NAME, "the tracker", Tracker::try_out(settings)).await {
            Ok(Trial { version: Some(version), .. }) => {
                self.checkups.ok(NAME, format!("{version} gave back a key"));
            }
            Ok(_) => self.checkups.ok(NAME, "embedded, takes changes".to_owned()),
            Err(error) => {
                let advice = match settings.redis {
                    Some(_) => {
                        "look at redis_url, at whether Redis runs, and at what it lets this user do"
                    }
                    None => {
                        "look at tracker.db and its disk; without it clients sign in anew by themselves"
                    }
                };
                self.checkups.fail(NAME, error.to_string(), advice);
            }
        }
    }

    async fn queue(&mut self) {
        const NAME: &str = "queue";
        match self.tried(NAME, "RabbitMQ", Queue::try_out(&self.settings.queue)).await {
            Ok(Trial { version: Some(version), .. }) => {
                self.checkups.ok(NAME, format!("{version} gave back a message"));
            }
            Ok(_) => self.checkups.ok(NAME, "embedded".to_owned()),
            Err(error) => self.checkups.fail(
                NAME,
                error.to_string(),
                "look at amqp_url, at whether RabbitMQ runs, and at the rights of its user in the virtual host",
            ),
        }
    }

    async fn staging(&mut self) {
        let directory = self.settings.staging_directory();
        if self.settings.staging != StagingUse::Nothing && directory.exists() {
            self.directory("staging", &directory).await;
        }
    }

    async fn directory(&mut self, name: &str, directory: &Path) {
        match self.tried(name, "the disk", try_directory(directory)).await {
            Ok(_) => self.checkups.ok(name, "gave back a file".to_owned()),
            Err(error) => {
                let advice =
                    "let the user of the server write there, and look at the disk and its mount";
                self.checkups.fail(name, error.to_string(), advice);
            }
        }
    }

    async fn store(&mut self, name: StoreName) {
        let title = format!("store {name}");
        if name == StoreName::Local {
            return self.directory(&title, &self.settings.stores.local).await;
        }
        // It has its own limits, so that the object is removed after one that was missed.
        let begun = unix_now();
        let tried = Stores::try_out(&self.settings.stores, name).await;
        let ended = unix_now();
        match tried {
            Ok(trial) => {
                if let Some(clock) = trial.clock {
                    self.clocks.push((title.clone(), seconds_off(clock, begun, ended)));
                }
                self.checkups.ok(&title, "gave back an object".to_owned());
            }
            Err(error) => self.checkups.fail(
                &title,
                error.to_string(),
                "look at its settings, at whether it runs, at the rights of the key, and at the clocks if it says so",
            ),
        }
    }

    /// Compares the clocks of the parts with this machine's.
    fn compare_clocks(self) {
        let (off, right): (Vec<_>, Vec<_>) =
            self.clocks.into_iter().partition(|(_, seconds)| *seconds > CLOCKS_APART);
        for (name, seconds) in off {
            let detail = format!("that of the {name} is {seconds} seconds off this machine's");
            self.checkups.warn("clock", detail, "let NTP set the clocks of all machines");
        }
        if !right.is_empty() {
            let names: Vec<String> = right.into_iter().map(|(name, _)| name).collect();
            let detail = format!("within {CLOCKS_APART} seconds of: {}", names.join(", "));
            self.checkups.ok("clock", detail);
        }
    }
}

/// Changes a row, and takes that back.
async fn change_database(settings: &Settings) -> Result<(), Error> {
    let db = Db::open(settings, Schema::Expect).await?;
    let changed = db.try_change().await;
    let _in_time_or_not = tokio::time::timeout(TRIAL_LIMIT, db.close()).await;
    changed
}

/// Seconds by which a clock that was looked at between two moments is off; none if it was between them.
fn seconds_off(clock: i64, begun: i64, ended: i64) -> u64 {
    let off = clock.saturating_sub(ended).max(begun.saturating_sub(clock));
    off.max(0).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_it_is_before_or_after_the_look() {
        let off = |clock| seconds_off(clock, 100, 103);
        assert_eq!([off(100), off(102), off(103)], [0, 0, 0]);
        assert_eq!([off(90), off(110)], [10, 7]);
    }
}
