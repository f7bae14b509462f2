//! `rotate-key`: replaces the key of tokens, a step at a time, without anybody signing in again.

use clap::Subcommand;

use super::output;
use crate::backend::TokenKeys;
use crate::config::{Config, Flags};

/// Flags of `rotate-key`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    step: Step,
}

/// Steps, in their order. After each, all processes start anew.
#[derive(Debug, Subcommand)]
enum Step {
    /// Make another key, which is known from then on and does not sign yet.
    Add(Common),
    /// Let the other key sign; what the former one has signed counts still.
    Switch(Common),
    /// Drop the former key: what it has signed is worth nothing any more.
    Drop(Common),
}

/// Flags of every step.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    flags: Flags,
}

impl Args {
    /// Does one step.
    ///
    /// # Errors
    /// It is not its turn, or the file cannot be written.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (common, step): (_, fn(&std::path::Path) -> _) = match &self.step {
            Step::Add(common) => (common, TokenKeys::add),
            Step::Switch(common) => (common, TokenKeys::switch),
            Step::Drop(common) => (common, TokenKeys::drop_former),
        };
        let path = Config::load(&common.flags)?.settings.token_key_file();
        step(&path)?;
        let next = match &self.step {
            Step::Add(_) => "then: rotate-key switch",
            Step::Switch(_) => "then, when access_ttl is over: rotate-key drop",
            Step::Drop(_) => "then the former key is forgotten",
        };
        output::line(format_args!("{}: restart all processes, {next}", path.display()))
    }
}
