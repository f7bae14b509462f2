//! `backup`: copies everything that an embedded server keeps.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::runtime::beside_server;
use super::{output, size};
use crate::config::Flags;
use crate::service::backup::{Copied, back_up};

/// Flags of `backup`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// The directory of the backup: a new one, or one of an earlier backup, to which what is new is added.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Copies, and says how much.
    ///
    /// # Errors
    /// What cannot be read or written; bytes that the database names and that are nowhere.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let directory = self.directory.display();
        let is_watched = !self.json && std::io::stderr().is_terminal();
        let copied = beside_server(&self.flags, async |backends, _policy| {
            let mut show = |copied: &Copied| {
                if is_watched {
                    eprint!("\r\x1b[K{}", words(copied));
                    let _nobody_looks = std::io::stderr().flush();
                }
            };
            let copied = back_up(&backends, &self.directory, &mut show).await;
            if is_watched {
                eprint!("\r\x1b[K");
            }
            copied.with_context(|| format!("cannot back up to {directory}"))
        })?;
        if self.json {
            output::json(&copied)?;
        } else {
            let state = if copied.lost == 0 { "whole" } else { "not whole" };
            output::line(format_args!("{}; the backup in {directory} is {state}", words(&copied)))?;
        }
        if copied.in_buckets > 0 && !self.json {
            let blobs = copied.in_buckets;
            output::line(format_args!("not a part of it: {blobs} blobs that are in buckets"))?;
        }
        if copied.lost > 0 {
            bail!("the bytes of {} blobs are nowhere: run fsck", copied.lost);
        }
        Ok(())
    }
}

fn words(copied: &Copied) -> String {
    let Copied { blobs, bytes, kept, removed, .. } = copied;
    let bytes = size::format(*bytes);
    format!("copied {blobs} blobs ({bytes}), kept {kept}, removed {removed}")
}
