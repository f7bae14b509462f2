//! `migrate-db`: brings the database to this program's version, before the processes that use it start.

use anyhow::Context as _;

use super::output;
use super::runtime::block_on;
use crate::backend::Schema;
use crate::backend::db::Db;
use crate::config::{Config, Flags};

/// Flags of `migrate-db`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

impl Args {
    /// Makes the tables, or changes what an older program has made. Another that does so is waited for.
    ///
    /// # Errors
    /// The database cannot be opened or is of a newer program, or a change fails.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let Config { settings, .. } = Config::load(&self.flags)?;
        block_on("warn", async move {
            let db = Db::open(&settings, Schema::Migrate).await;
            db.context("cannot bring the database to this version")?.close().await;
            output::line(format_args!("the database is of this program's version"))
        })
    }
}
