//! `restore`: makes a server's data of a backup.

use std::path::PathBuf;

use anyhow::Context as _;

use super::runtime::block_on;
use super::{output, size};
use crate::config::{Config, Flags};
use crate::service::backup::{Copied, restore};

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// The directory of the backup.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Copies the backup, and says what comes next.
    ///
    /// # Errors
    /// There is no backup, or there are a server's data already; what cannot be read or written.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let Config { settings, .. } = Config::load(&self.flags)?;
        let copied = block_on("warn", async move {
            let restored = restore(&settings, &self.directory).await;
            restored.with_context(|| format!("cannot restore {}", self.directory.display()))
        })?;
        if self.json {
            return output::json(&copied);
        }
        let Copied { blobs, bytes, .. } = copied;
        output::line(format_args!("copied {blobs} blobs ({})", size::format(bytes)))?;
        output::line("start the server: devices compare what they have, and send what it lacks")
    }
}
