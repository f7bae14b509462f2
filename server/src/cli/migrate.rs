//! `migrate`: moves everything in one store to another one, and shows how far it is.

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};

use super::bandwidth::Allowance;
use super::runtime::beside_server;
use super::{output, size};
use crate::backend::blobs::StoreName;
use crate::config::Flags;
use crate::service::transfer::{Fed, Migration, Progress};

/// Pause between two looks at the progress.
const LOOK: Duration = Duration::from_millis(500);
/// When nothing has changed for so long, it is said that nobody seems to be at work.
const STUCK: Duration = Duration::from_secs(60);
const TEMPLATE: &str = "{bar:30} {percent:>3} %  {msg}";

/// Flags of `migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Store to be emptied: local, ceph or oss.
    #[arg(long, value_name = "STORE")]
    from: StoreName,
    /// Store to be filled.
    #[arg(long, value_name = "STORE")]
    to: StoreName,
    /// Bytes a second, on average, that may begin to move; a number, or one with KiB, MiB or GiB.
    #[arg(long, value_name = "BYTES", value_parser = at_least_one)]
    bwlimit: Option<u64>,
    /// Print how far it is as JSON, one object a line.
    #[arg(long)]
    json: bool,
}

fn at_least_one(text: &str) -> Result<u64, String> {
    size::parse(text)
        .and_then(|bytes| if bytes > 0 { Ok(bytes) } else { Err("0 moves nothing".into()) })
}

impl Args {
    /// Writes down what has to move, and waits until the server's processes have moved it. It may be
    /// ended at any time: what has not begun waits until it is given again.
    ///
    /// # Errors
    /// The stores cannot be meant, a part does not answer, something failed for good, or objects are left.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        beside_server(&self.flags, async |backends, _policy| {
            let migration = Migration::begin(&backends, self.from, self.to).await?;
            if migration.is_refilled() {
                let from = self.from;
                eprintln!(
                    "miaofs-server: the setting 'store' still names {from}, so new uploads go there, too; \
                     change it and start the server's processes anew"
                );
            }
            self.follow(&migration).await?;
            self.expect_nothing_left(&migration).await
        })
    }

    async fn follow(&self, migration: &Migration) -> anyhow::Result<()> {
        let (mut allowance, mut since) = (Allowance::new(self.bwlimit), Instant::now());
        let mut shown = Shown::new(self.json);
        loop {
            allowance.earn(since.elapsed());
            since = Instant::now();
            let all_begun = feed(&mut allowance, migration).await?;
            let progress = migration.progress().await?;
            shown.show(progress)?;
            if progress.is_done() {
                return Ok(());
            }
            if all_begun && progress.failed > 0 && progress.moving + progress.leaving == 0 {
                let error = migration.any_error().await?.unwrap_or_default();
                bail!(
                    "{} blobs could not be moved and are where they were; mend this and give \
                     the command again: {error}",
                    progress.failed
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn expect_nothing_left(&self, migration: &Migration) -> anyhow::Result<()> {
        let (from, to) = (self.from, self.to);
        match migration.objects_left().await? {
            0 if self.json => Ok(()),
            0 => output::line(format_args!("everything is in {to}, and {from} is empty")),
            left => bail!(
                "every copy is in {to}, but {left} objects that are no copies are left in {from}; \
                 an upload may just have begun there, otherwise 'fsck' says what they are"
            ),
        }
    }
}

/// Lets begin what may; answers whether there is nothing that has not begun.
async fn feed(allowance: &mut Allowance, migration: &Migration) -> anyhow::Result<bool> {
    while let Some(bytes) = allowance.left() {
        match migration.feed(bytes).await? {
            Fed::Bytes(fed) => allowance.spend(fed),
            Fed::Enough => return Ok(false),
            Fed::AllHasBegun => return Ok(true),
        }
    }
    Ok(false)
}

/// Report to a person, or to a program as JSON.
struct Shown {
    bar: ProgressBar,
    json: bool,
    last: Option<Progress>,
    changed: Instant,
    /// The most bytes that were to be moved.
    total: u64,
}

impl Shown {
    fn new(json: bool) -> Self {
        let seen = stderr().is_terminal() && !json;
        let bar = if seen { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
        bar.set_style(style);
        Self { bar, json, last: None, changed: Instant::now(), total: 0 }
    }

    fn show(&mut self, progress: Progress) -> anyhow::Result<()> {
        if self.last == Some(progress) {
            if self.changed.elapsed() > STUCK && progress.moving > 0 {
                self.changed = Instant::now();
                self.bar.suspend(|| {
                    eprintln!(
                        "miaofs-server: nothing has moved for a while; is a process with the role transfer running?"
                    );
                });
            }
            return Ok(());
        }
        (self.last, self.changed) = (Some(progress), Instant::now());
        self.total = self.total.max(progress.bytes);
        self.bar.set_length(self.total.max(1));
        self.bar.set_position(self.total - progress.bytes);
        self.bar.set_message(words(&progress));
        if self.json { output::json(&progress) } else { Ok(()) }
    }
}

fn words(progress: &Progress) -> String {
    let mut words = format!("{} in {} blobs to go", size::format(progress.bytes), progress.blobs);
    if progress.leaving > 0 {
        words += &format!(", {} old copies still read", progress.leaving);
    }
    if progress.failed > 0 {
        words += &format!(", {} failed", progress.failed);
    }
    words
}
