//! The binary `miaofs-server`: puts configuration, services and HTTP together and runs them until told to stop.

mod backend;
mod config;
mod http;
mod service;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Cli, Command, Config};
use crate::service::Services;

/// How long requests and workers may take to finish after the signal to stop.
const DRAIN: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let Command::Serve(flags) = Cli::parse().command;
    let config = Config::load(flags)?;
    log_to_stderr();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let metrics = http::metrics::Metrics::install()?;
    let services = Services::open(&config.data, config.policy, stop.clone())
        .await
        .with_context(|| format!("cannot open the data in {}", config.data.display()))?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let workers = TaskTracker::new();
    services.start_workers(&config.roles, &workers);
    announce(&listener)?;

    let app = http::App { services: services.clone(), metrics, lists: http::ListRoom::new() };
    let serving = http::serve(listener, http::router(app, &config.roles), stop.clone());
    let drained = drain(serving, &stop).await;
    stop.cancel();
    workers.close();
    if tokio::time::timeout(DRAIN, workers.wait()).await.is_err() {
        tracing::warn!("workers did not end in time");
    }
    services.close().await;
    drained
}

/// Runs the server; once told to stop, gives requests in flight a limited time.
async fn drain(
    serving: impl Future<Output = std::io::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let deadline = async {
        stop.cancelled().await;
        tracing::info!("stopping");
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serving => Ok(served?),
        () = deadline => {
            tracing::warn!("requests in flight did not end in time");
            Ok(())
        }
    }
}

/// Tells whoever started the server where it is: the port may have been left to the system.
fn announce(listener: &TcpListener) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    Ok(out.flush()?)
}

fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        stop.cancel();
    });
    Ok(())
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MIAOFS_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info,sqlx=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
