//! `serve`: answers requests and moves blobs until told to stop.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backends;
use crate::config::{Flags, ServingConfig, ServingFlags};
use crate::http;
use crate::service::Services;

/// How long requests and workers may take to finish after the signal to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    serving: ServingFlags,
}

impl Args {
    /// Serves until SIGTERM or ctrl-c.
    ///
    /// # Errors
    /// What cannot be opened, or on what cannot be listened.
    pub fn run(&self) -> anyhow::Result<()> {
        let config = ServingConfig::load(&self.flags, &self.serving)?;
        super::block_on("info", serve(config))
    }
}

async fn serve(serving: ServingConfig) -> anyhow::Result<()> {
    let ServingConfig { config, listen, roles } = serving;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let metrics = http::metrics::Metrics::install()?;
    let backends = Backends::open(&config.settings)
        .await
        .with_context(|| format!("cannot open the data in {}", config.settings.data.display()))?;
    let services = Services::open(backends, config.policy, stop.clone())
        .await
        .with_context(|| format!("cannot use the data in {}", config.settings.data.display()))?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let workers = TaskTracker::new();
    services.start_workers(&roles, &workers);
    announce(&listener)?;

    let app = http::App { services: services.clone(), metrics, lists: http::ListRoom::new() };
    let serving = http::serve(listener, http::router(app, &roles), stop.clone());
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
