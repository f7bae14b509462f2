//! `doctor`: tries each part that the server stands on, and says what is wrong and what to do.

mod checkups;
mod machine;
mod parts;
mod secrets;

use std::process::ExitCode;

use super::output;
use super::runtime::block_on;
use crate::backend::blobs;
use crate::config::{Flags, ServingConfig, ServingFlags};
use crate::http::Tls;
use checkups::Checkups;
use secrets::Secrets;

/// Flags of `doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Give it the flags, the environment and the user of `serve`. It may run beside servers: what it makes in a part \
    has a name of its own and goes at once. What does not answer within 10 seconds has failed. Exit codes: 0 when nothing has \
    failed (warnings may be left), 1 when something has, 2 for a flag that is not known."
)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    serving: ServingFlags,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Makes all checks and prints them.
    ///
    /// # Errors
    /// Nobody reads it.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        // The table has all that there is to say, without secrets; a log might have more.
        let checkups = block_on("off", async { Ok(self.examine().await) })?;
        let well = checkups.are_well();
        if self.json {
            output::json(&serde_json::json!({ "well": well, "checks": checkups.all() }))?;
        } else {
            checkups.lines().into_iter().try_for_each(output::line)?;
        }
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn examine(&self) -> Checkups {
        let mut checkups = Checkups::default();
        checkups.ok("program", format!("miaofs-server {}", env!("CARGO_PKG_VERSION")));
        let serving = match ServingConfig::load(&self.flags, &self.serving) {
            Ok(serving) => serving,
            Err(error) => {
                let advice = "correct the file, flag or variable that it names";
                checkups.fail("configuration", format!("{error:#}"), advice);
                return checkups;
            }
        };
        self.check_configuration(&mut checkups, &serving);
        machine::check(&mut checkups, &serving).await;
        parts::check(&mut checkups, &serving.config.settings).await;
        checkups.hide(&Secrets::of(&serving.config.settings));
        checkups
    }

    /// Looks at the settings as `serve --check` does, and at who may read their file.
    fn check_configuration(&self, checkups: &mut Checkups, serving: &ServingConfig) {
        let stores = blobs::check(&serving.config.settings.stores);
        let tls = serving.tls.clone().map(Tls::load).transpose();
        match stores.map_err(anyhow::Error::from).and(tls.map_err(anyhow::Error::from)) {
            Ok(_loaded) => checkups.ok("configuration", "is right".to_owned()),
            Err(error) => checkups.fail(
                "configuration",
                format!("{error:#}"),
                "correct the setting or file that it names; `serve --check` says the same",
            ),
        }
        if let Some(file) = self.flags.config_file() {
            machine::check_secret_file(checkups, "settings file", file);
        }
    }
}
