//! The surroundings of a command: its runtime, its log, and the backends of a server that may be running.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;

use crate::backend::Backends;
use crate::config::{Config, Flags};
use crate::service::Policy;

/// Runs a command that waits, with its log on stderr: what is at least of this level.
pub(super) fn block_on<T>(
    level: &str,
    command: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    log_to_stderr(level);
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

fn log_to_stderr(level: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MIAOFS_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new(format!("{level},sqlx=warn")));
    tracing_subscriber::fmt()
        // A line that a full disk does not take is no reason to fail: complaining of it would panic.
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
