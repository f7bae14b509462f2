//! `transfer`: what moves to the stores, what failed for good and why, and how to let it begin anew.

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use super::runtime::beside_server;
use super::{output, size};
use crate::backend::{TransferId, unix_now};
use crate::config::Flags;
use crate::service::transfer::{ListedTransfer, Outbox, TransferCount, TransferState, Which};

/// Flags of `transfer`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// Operations on transfers.
#[derive(Debug, Subcommand)]
enum Action {
    /// List transfers that are not done; with --json one object a line.
    List {
        /// Only those that are pending, published, moved or dead.
        #[arg(long, value_name = "STATE")]
        state: Option<TransferState>,
        #[command(flatten)]
        common: Common,
    },
    /// Let transfers that failed for good begin anew.
    Retry {
        /// Id of the transfer, as `transfer list` says it.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<TransferId>,
        /// All that failed for good.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Count transfers by host and state, and messages by queue.
    Status(Common),
}

/// Flags of every action.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Does what was asked for.
    ///
    /// # Errors
    /// There is no such transfer, or the backends cannot be opened.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.action {
            Action::List { state, common } => {
                common.with_outbox(async |outbox| common.list(&outbox, *state).await)
            }
            Action::Retry { id, common, .. } => {
                let which = id.map_or(Which::AllDead, Which::One);
                common.with_outbox(async |outbox| common.retry(&outbox, which).await)
            }
            Action::Status(common) => {
                common.with_outbox(async |outbox| common.status(&outbox).await)
            }
        }
    }
}

impl Common {
    fn with_outbox<W: Future<Output = anyhow::Result<()>>>(
        &self,
        work: impl FnOnce(Outbox) -> W,
    ) -> anyhow::Result<()> {
        beside_server(&self.flags, async |backends, _policy| work(Outbox::new(&backends)).await)
    }

    async fn list(&self, outbox: &Outbox, state: Option<TransferState>) -> anyhow::Result<()> {
        let mut last = None;
        loop {
            let page = outbox.page(state, last).await?;
            let Some(end) = page.last() else { return Ok(()) };
            if !self.json && last.is_none() {
                output::line(row(["transfer", "host", "state", "tries", "size", "next", "error"]))?;
            }
            last = Some(end.transfer.id);
            for listed in &page {
                self.show(listed)?;
            }
        }
    }

    fn show(&self, listed: &ListedTransfer) -> anyhow::Result<()> {
        let transfer = listed.transfer;
        let (id, tries) = (transfer.id.to_string(), transfer.attempts.to_string());
        let error = listed.error.as_deref();
        if self.json {
            return output::json(&json!({
                "id": id,
                "blob": transfer.blob.to_string(),
                "host": listed.host,
                "state": listed.state.as_str(),
                "attempts": transfer.attempts,
                "size": listed.size,
                "next_at": (listed.state != TransferState::Dead).then_some(listed.next_at),
                "from": transfer.route.map(|route| route.from),
                "to": transfer.route.map(|route| route.to),
                "error": error,
            }));
        }
        let (size, next) = (size::format(listed.size), next_words(listed));
        let state = listed.state.as_str();
        output::line(row([&id, &listed.host, state, &tries, &size, &next, error.unwrap_or("-")]))
    }

    async fn retry(&self, outbox: &Outbox, which: Which) -> anyhow::Result<()> {
        let retried = match which {
            Which::One(id) => outbox.retry(which).await.with_context(|| id.to_string())?,
            Which::AllDead => outbox.retry(which).await?,
        };
        if self.json {
            return output::json(&json!({ "retried": retried }));
        }
        output::line(match retried {
            1 => "1 transfer begins anew".to_owned(),
            _ => format!("{retried} transfers begin anew"),
        })
    }

    async fn status(&self, outbox: &Outbox) -> anyhow::Result<()> {
        let counts = outbox.counts().await?;
        let depths = outbox.depths(&counts).await;
        if self.json {
            let depths = depths?;
            let queue = |depth: &_| {
                let crate::backend::queue::QueueDepth { queue, messages, consumers } = depth;
                json!({ "queue": queue, "messages": messages, "consumers": consumers })
            };
            return output::json(&json!({
                "transfers": counts.iter().map(count_json).collect::<Vec<_>>(),
                "queues": depths.iter().map(queue).collect::<Vec<_>>(),
            }));
        }
        if counts.is_empty() {
            output::line("nothing waits: all blobs are in their stores")?;
        }
        for count in &counts {
            output::line(count_words(count))?;
        }
        for depth in depths.context("the queue does not answer")? {
            let words = "messages that no worker has yet; workers that listen:";
            output::line(format_args!(
                "queue {}: {} {words} {}",
                depth.queue, depth.messages, depth.consumers
            ))?;
        }
        Ok(())
    }
}

fn row([id, host, state, tries, size, next, error]: [&str; 7]) -> String {
    format!("{id:<32} {host:<16} {state:<9} {tries:>5} {size:>11} {next:>8}  {error}")
}

fn next_words(listed: &ListedTransfer) -> String {
    match listed.state {
        TransferState::Dead => "-".to_owned(),
        TransferState::Pending | TransferState::Published | TransferState::Moved => {
            format!("{} s", (listed.next_at - unix_now()).max(0))
        }
    }
}

fn count_words(count: &TransferCount) -> String {
    let age = (unix_now() - count.oldest).max(0);
    format!(
        "host {}: {} {}, {}; the oldest is {age} s old",
        count.host,
        count.transfers,
        count.state.as_str(),
        size::format(count.bytes)
    )
}

fn count_json(count: &TransferCount) -> serde_json::Value {
    json!({
        "host": count.host,
        "state": count.state.as_str(),
        "transfers": count.transfers,
        "bytes": count.bytes,
        "oldest": count.oldest,
    })
}
