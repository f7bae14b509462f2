//! `gc`: collects once what nothing names.

use super::runtime::beside_server;
use super::{output, size};
use crate::config::Flags;
use crate::service::gc::{GcScope, collect_once};

/// Flags of `gc`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Collect at once what is still in its grace period: whoever was about to name it sends it again.
    #[arg(long)]
    now: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Collects, and says what was freed.
    ///
    /// # Errors
    /// What cannot be opened or removed; what was freed before stays freed.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let scope = if self.now { GcScope::All } else { GcScope::Expired };
        beside_server(&self.flags, async |backends, policy| {
            let freed = collect_once(&backends, policy, scope).await?;
            if self.json {
                return output::json(&freed);
            }
            output::line(format_args!(
                "removed {} contents and {} blobs: {} are free again; forgot {} deletions",
                freed.contents,
                freed.blobs,
                size::format(freed.bytes),
                freed.deletions
            ))
        })
    }
}
