//! `miaofs config`: shows and changes the settings of a state directory.

use clap::{Args as ClapArgs, Subcommand};
use serde::Serialize;

use super::state::settings::{self, Key, Settings};
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;

/// Arguments of `config`.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long, global = true, env = "MIAOFS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

/// Operation on the settings.
#[derive(Debug, Subcommand)]
enum Action {
    /// Print the value of one setting
    Get {
        /// The setting
        key: Key,
    },
    /// Change one setting; it takes effect at the next mount
    Set {
        /// The setting
        key: Key,
        /// New value
        value: String,
    },
    /// Print all settings (the default)
    List,
}

/// One setting as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    key: &'static str,
    value: String,
    source: Source,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    File,
    Default,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    match &args.action {
        Some(Action::Get { key }) => {
            let shown = show(*key, &Settings::load(state)?);
            if args.json { output::json(&shown) } else { output::line(shown.value) }
        }
        Some(Action::Set { key, value }) => settings::set(state, *key, value)?,
        Some(Action::List) | None => list(args, state)?,
    }
    Ok(())
}

fn list(args: &Args, state: &StateDir) -> Result<(), Error> {
    let settings = Settings::load(state)?;
    let all: Vec<Shown> = Key::ALL.into_iter().map(|key| show(key, &settings)).collect();
    if args.json {
        output::json(&all);
        return Ok(());
    }
    for shown in all {
        output::line(format_args!("{:<16} {:<12} {}", shown.key, shown.value, shown.source.name()));
    }
    output::line(format_args!("# {}", state.config().display()));
    Ok(())
}

fn show(key: Key, settings: &Settings) -> Shown {
    match settings.written(key) {
        Some(value) => Shown { key: key.name(), value, source: Source::File },
        None => Shown { key: key.name(), value: key.default_text(), source: Source::Default },
    }
}
