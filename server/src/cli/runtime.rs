//! The surroundings of a command: its runtime, its log, and the backends of a server that may be running.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;

use crate::backend::Backends;
use crate::config::{Config, Flags, LogFormat};
use crate::service::Policy;

/// Runs a command that waits, with its log on stderr: what is at least of this level, for people.
pub(super) fn block_on<T>(
    level: &str,
    command: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    block_on_logging(level, LogFormat::Text, command)
}

/// The same with the log in a form.
pub(super) fn block_on_logging<T>(
    level: &str,
    format: LogFormat,
    command: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    log_to_stderr(level, format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(command);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Runs a command on the backends of a server that may be running beside.
pub(super) fn beside_server<T, W: Future<Output = anyhow::Result<T>>>(
    flags: &Flags,
    work: impl FnOnce(Backends, Policy) -> W,
) -> anyhow::Result<T> {
    let Config { settings, policy } = Config::load(flags)?;
    block_on("warn", async move {
        let backends = Backends::open_shared(&settings)
            .await
            .with_context(|| format!("cannot open the data in {}", settings.data.display()))?;
        let done = work(backends.clone(), policy).await;
        backends.close().await;
        done
    })
}

fn log_to_stderr(level: &str, format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MIAOFS_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new(format!("{level},sqlx=warn")));
    let log = tracing_subscriber::fmt()
        // A line that a full disk does not take is no reason to fail: complaining of it would panic.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        // The request stands once in a line, as an object of its own.
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
}
