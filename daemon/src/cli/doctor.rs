//! `miaofs doctor`: what is wrong and what to do about it, also when the mount hangs or the daemon is dead.

use std::path::PathBuf;

use super::diagnosis::{bundle, examination, verify};
use super::state::state_dir::StateDir;
use super::terminal::error::{Error, Exit};
use super::terminal::output;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long, env = "MIAOFS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
    /// Compare all cached content with its digests; what does not match is given up, to be fetched again
    #[arg(long, env = "MIAOFS_VERIFY", value_parser = clap::builder::FalseyValueParser::new())]
    verify: bool,
    /// Write the report, the end of the log and the settings, without any secret, to this .tar.gz
    #[arg(long, value_name = "FILE", env = "MIAOFS_BUNDLE")]
    bundle: Option<PathBuf>,
}

/// Runs the command: its exit code says if all is well.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<Option<Exit>, Error> {
    let mut found = examination::examine(state);
    if args.verify {
        verify::verify(state, &mut found);
    }
    if args.json {
        output::json(&found);
    } else {
        found.lines().into_iter().for_each(output::line);
    }
    if let Some(file) = &args.bundle {
        bundle::write(file, state, &found)?;
        output::complain(format_args!("wrote {}", file.display()));
    }
    Ok((!found.well).then_some(Exit::Failed))
}
