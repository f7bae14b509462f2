//! Where the log goes: stderr, as much as `MIAOFS_LOG` asks for.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use super::output;

/// Default amount of logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// A command says only what is wrong.
    Command,
    /// A daemon also says what it does.
    Daemon,
}

/// Starts logging; `filter` as `tracing_subscriber` reads it, such as `debug` or `miaofs=trace`.
pub(crate) fn start(filter: Option<&str>, level: Level) {
    let default = match level {
        Level::Command => "warn",
        Level::Daemon => "info,fuser=error",
    };
    let filter = EnvFilter::try_new(filter.unwrap_or(default)).unwrap_or_else(|error| {
        output::complain(format_args!("miaofs: ignoring MIAOFS_LOG: {error}"));
        EnvFilter::new(default)
    });
    let to_terminal = stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // A line that a full disk does not take is no reason to fail: complaining of it would panic.
    let log = log.log_internal_errors(false);
    // A log that is set already, by a command that becomes the daemon, stays.
    let _ = log.with_ansi(to_terminal).try_init();
}
