//! `serve`: answers requests and moves blobs until told to stop.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::runtime::block_on_logging;
use super::{descriptors, memory, output};
use crate::backend::Backends;
use crate::backend::blobs;
use crate::config::{Drain, Flags, ServingConfig, ServingFlags};
use crate::http;
use crate::service::Services;

/// Time for ending the connections to backends, which do not depend on that: a process that was told to end, ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    serving: ServingFlags,
    /// Only say whether flags, environment and configuration file are right; open and start nothing.
    #[arg(long)]
    check: bool,
}

impl Args {
    /// Serves until SIGTERM or ctrl-c.
    ///
    /// # Errors
    /// What cannot be opened, or on what cannot be listened.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let config = ServingConfig::load(&self.flags, &self.serving)?;
        if self.check {
            // A store's settings are read when it is opened, which connects to nothing.
            blobs::check(&config.config.settings.stores)?;
            config.tls.map(http::Tls::load).transpose()?;
            return output::line("the configuration is right");
        }
        block_on_logging("info", config.logging.format, serve(config))
    }
}

async fn serve(serving: ServingConfig) -> anyhow::Result<()> {
    let metrics_listen = serving.metrics_listen;
    let ServingConfig {
        config, listen, tls, roles, trusted_proxies, limits, logging, drain, ..
    } = serving;
    let descriptors = descriptors::allow_all();
    let draining = CancellationToken::new();
    cancel_on_signal(draining.clone())?;
    let metrics = http::metrics::Metrics::install()?;
    let (tls, renewal) = tls.map(http::Tls::load).transpose()?.unzip();
    let backends = Backends::open(&config.settings)
        .await
        .with_context(|| format!("cannot open the data in {}", config.settings.data.display()))?;
    let services = Services::open(backends, config.policy, &roles, draining.clone());
    let recovered = services.recover(&roles).await;
    recovered.context("cannot find again what a former run has received")?;
    let listener = bind(listen, "listen").await?;
    let watched = listen_apart(metrics_listen).await?;
    let (workers, stop) = (TaskTracker::new(), CancellationToken::new());
    workers.spawn(memory::give_back_forever(services.clone(), stop.clone()));
    services.start_workers(&roles, &workers, &stop);
    if let Some(renewal) = renewal {
        workers.spawn(renewal.run(stop.clone()));
    }
    announce(&listener, if tls.is_some() { "https" } else { "http" })?;

    let door = http::Door {
        limits: limits.connections(descriptors),
        times: limits.times,
        trusted_proxies: trusted_proxies.clone(),
        tls,
    };
    let (lists, pace) = (http::ListRoom::new(), limits.pace);
    let access_log = logging.access;
    let services_of_app = services.clone();
    let app = http::App {
        services: services_of_app,
        metrics,
        metrics_apart: watched.is_some(),
        lists,
        trusted_proxies,
        pace,
        strangers: http::Strangers::new(limits.refusals),
        access_log,
    };
    if let Some(watched) = watched {
        let router = http::watching_router(app.clone());
        workers.spawn(http::serve_watching(watched, router, stop.clone()));
    }
    let closing = CancellationToken::new();
    let serving = http::serve(listener, http::router(app, &roles), door, closing.clone());
    serve_until_drained(serving, drain, [&draining, &closing]).await;
    stop.cancel();
    end(&services, &workers, drain.limit).await;
    Ok(())
}

/// Waits for workers and backends to end, but not for ever.
async fn end(services: &Services, workers: &TaskTracker, limit: Duration) {
    workers.close();
    if tokio::time::timeout(limit, workers.wait()).await.is_err() {
        tracing::warn!("workers did not end in time");
    }
    if tokio::time::timeout(CLOSE_TIMEOUT, services.close()).await.is_err() {
        tracing::warn!("connections to backends did not end in time");
    }
}

/// Listens where the figures are to be served, if apart from all else, and says where that is.
async fn listen_apart(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = bind(address, "metrics_listen").await?;
    tracing::info!("serving /metrics on http://{}", listener.local_addr()?);
    Ok(Some(listener))
}

async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}, as {setting} says"))
}

/// Runs the server. Once told to drain, it goes on taking requests for a while, in which a balancer sees
/// that it is not ready; then it closes its door, and requests in flight have a limited time.
async fn serve_until_drained(
    serving: impl Future<Output = ()>,
    drain: Drain,
    [draining, closing]: [&CancellationToken; 2],
) {
    let deadline = async {
        draining.cancelled().await;
        tracing::info!("stopping");
        tokio::time::sleep(drain.delay).await;
        closing.cancel();
        tokio::time::sleep(drain.limit).await;
    };
    tokio::select! {
        () = serving => (),
        () = deadline => tracing::warn!("requests in flight did not end in time"),
    }
}

/// Tells whoever started the server where it is: the port may have been left to the system.
fn announce(listener: &TcpListener, scheme: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "listening on {scheme}://{}", listener.local_addr()?)?;
    Ok(out.flush()?)
}

fn cancel_on_signal(draining: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        draining.cancel();
    });
    Ok(())
}
