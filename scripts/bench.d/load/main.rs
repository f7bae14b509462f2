//! Load on a running server: commits, uploads, downloads and waiting clients, each measure as a line of JSON.
//!
//! `load URL SETTINGS` signs new accounts up at the server and measures what the settings, an object of JSON, ask for. Bodies are
//! made before the clock runs, so that this process takes little of the machine that it may share with the server.

mod account;
mod commits;
mod downloads;
mod figures;
mod polls;
mod uploads;

use std::error::Error;

use serde::Deserialize;

use account::Server;

/// Anything that ends a measure early: it is shown, and nothing is left to be mended.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Sizes of the load.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Clients at once, for each measure one after the other. Each has a drive of its own.
    clients: Vec<usize>,
    /// Commits of each client.
    commits: usize,
    /// Nodes in each of them.
    nodes: usize,
    /// Contents that each client gets by an instant upload.
    instant_uploads: usize,
    /// Chunks of 4 MiB that each client uploads, and then reads.
    chunks: u64,
    /// Clients that wait for one drive.
    waiters: usize,
    /// Commits that each of them is told.
    told: usize,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(settings), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: load URL SETTINGS".into());
    };
    let settings: Settings = serde_json::from_str(&settings)?;
    let server = Server::new(&url)?;
    for clients in &settings.clients {
        let clients = *clients;
        if settings.commits > 0 {
            commits::measure(&server, clients, settings.commits, settings.nodes).await?;
        }
        if settings.instant_uploads > 0 {
            uploads::measure_instant(&server, clients, settings.instant_uploads).await?;
        }
        if settings.chunks > 0 {
            let uploaded = uploads::measure_chunked(&server, clients, settings.chunks).await?;
            downloads::measure(uploaded).await?;
        }
    }
    if settings.waiters > 0 {
        polls::measure(&server, settings.waiters, settings.told).await?;
    }
    Ok(())
}
