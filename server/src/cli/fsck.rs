//! `fsck`: checks everything that the server keeps, and mends what it safely can.
//!
//! Exit codes are those of fsck(8): 0 when nothing is wrong, 1 when what was wrong is mended, 4 when
//! something is left, 8 when the check could not be done, 16 when it was asked for in a wrong way.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use super::runtime::beside_server;
use super::{output, size};
use crate::config::Flags;
use crate::service::fsck::{
    Checked, Depth, Event, Finding, FindingStatus, Options, Repair, Report, check,
};

/// The exit code when all that was wrong is mended.
const MENDED: u8 = 1;
/// The exit code when something wrong is left.
const LEFT: u8 = 4;
/// The exit code when the check could not be done.
const FAILED: u8 = 8;
/// The exit code when the command line cannot be understood.
pub(super) const USAGE: u8 = 16;
/// Pause between two lines of progress.
const SHOW: Duration = Duration::from_millis(200);

/// Flags of `fsck`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Read all bytes and compare them with their digests.
    #[arg(long)]
    deep: bool,
    /// Mend what can be mended without loss.
    #[arg(long)]
    repair: bool,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
    /// Seconds for which bytes that belong to nothing are left alone: somebody may be about to use them.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    grace: u64,
    /// Seconds for which parts that were sent to a bucket, and that no transfer knows, are left alone.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    grace_of_parts: u64,
}

impl Args {
    /// Checks, says what was found, and answers with the exit code that says it too.
    pub(super) fn run(&self) -> ExitCode {
        self.check().unwrap_or_else(|error| {
            eprintln!("Error: {error:?}");
            ExitCode::from(FAILED)
        })
    }

    fn check(&self) -> anyhow::Result<ExitCode> {
        let options = Options {
            depth: if self.deep { Depth::Digests } else { Depth::Sizes },
            repair: if self.repair { Repair::Safe } else { Repair::None },
            grace: Duration::from_secs(self.grace),
            grace_of_parts: Duration::from_secs(self.grace_of_parts),
        };
        beside_server(&self.flags, async |backends, policy| {
            let mut screen = Screen::new(self.json);
            let report =
                check(&backends, policy.into(), options, &mut |event| screen.show(&event)).await?;
            screen.clear();
            if self.json {
                let mut value = json!(report);
                value["left"] = json!(report.left());
                output::json(&value)?;
            } else {
                output::line(summary(&report))?;
            }
            Ok(exit_code(&report))
        })
    }
}

fn exit_code(report: &Report) -> ExitCode {
    match (report.found, report.left()) {
        (0, _) => ExitCode::SUCCESS,
        (_, 0) => ExitCode::from(MENDED),
        _ => ExitCode::from(LEFT),
    }
}

fn summary(report: &Report) -> String {
    let Checked { blobs_elsewhere, .. } = report.checked;
    let mut text = format!("checked {}", counts(&report.checked));
    if blobs_elsewhere > 0 {
        text += &format!("; {blobs_elsewhere} are staged on other hosts: run it there too");
    }
    match report.found {
        0 => text + "; nothing is wrong",
        found => {
            format!("{text}; {found} findings, {} mended, {} left", report.mended, report.left())
        }
    }
}

fn counts(checked: &Checked) -> String {
    let Checked { users, nodes, contents, blobs, objects, bytes, .. } = checked;
    let read = if *bytes > 0 { format!(", read {}", size::format(*bytes)) } else { String::new() };
    format!(
        "{users} accounts, {nodes} nodes, {contents} contents, {blobs} blobs, {objects} objects{read}"
    )
}

fn words(finding: &Finding) -> String {
    let Finding { subject, words, affected, status, remedy, .. } = finding;
    let remedy = remedy.unwrap_or_default();
    let end = match status {
        FindingStatus::Mended => format!("mended: {remedy}"),
        FindingStatus::Mendable => format!("--repair: {remedy}"),
        FindingStatus::Left => "left".to_owned(),
    };
    let affected = affected.iter().map(|file| format!("\n    {file}")).collect::<String>();
    format!("{subject}: {words} ({end}){affected}")
}

/// Progress bar of a check.
struct Screen {
    json: bool,
    progress: bool,
    shown_at: Option<Instant>,
}

impl Screen {
    fn new(json: bool) -> Self {
        Self { json, progress: std::io::stderr().is_terminal(), shown_at: None }
    }

    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Found(finding) if !self.json => {
                self.clear();
                // Whoever stops reading is told by the result.
                let _nobody_reads = output::line(words(finding));
            }
            Event::Progress(checked) if self.progress => {
                if self.shown_at.is_none_or(|at| at.elapsed() >= SHOW) {
                    eprint!("\r\x1b[K{}", counts(checked));
                    let _nobody_reads = std::io::stderr().flush();
                    self.shown_at = Some(Instant::now());
                }
            }
            Event::Found(_) | Event::Progress(_) => (),
        }
    }

    fn clear(&mut self) {
        if self.shown_at.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
