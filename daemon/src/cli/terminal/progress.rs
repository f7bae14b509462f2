//! The progress of an upload, on a terminal; nothing elsewhere.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use super::{output, size};
use crate::sync::{ServerState, Status};

const TEMPLATE: &str = "{bar:30} {percent:>3} %  {msg}";

/// A bar that a person sees while waiting; it goes away when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// That the server is away is said once, terminal or not.
    said_offline: bool,
    /// The most that was pending; grows when more is written meanwhile.
    total: u64,
}

impl Progress {
    /// A bar on stderr, if that is a terminal.
    pub(crate) fn on_a_terminal() -> Self {
        let bar = if stderr().is_terminal() { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
        bar.set_style(style);
        Self { bar, said_offline: false, total: 0 }
    }

    /// Shows how it stands now.
    pub(crate) fn show(&mut self, status: &Status) {
        self.total = self.total.max(status.pending_bytes);
        self.bar.set_length(self.total.max(1));
        self.bar.set_position(self.total - status.pending_bytes);
        self.bar.set_message(describe(status));
        if status.server.state == ServerState::Offline && !self.said_offline {
            let why = status.server.error.as_deref().unwrap_or("it does not answer");
            self.bar.suspend(|| {
                output::complain(format_args!("miaofs: waiting for the server: {why}"))
            });
            self.said_offline = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The progress of looking at so many bytes, on a terminal; it goes away when dropped.
pub(crate) struct CheckProgress(ProgressBar);

impl CheckProgress {
    /// A bar on stderr, if that is a terminal.
    pub(crate) fn on_a_terminal() -> Self {
        let bar = if stderr().is_terminal() { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
        bar.set_style(style);
        Self(bar)
    }

    /// Shows how far it is.
    pub(crate) fn show(&self, done: u64, all: u64) {
        self.0.set_length(all.max(1));
        self.0.set_position(done.min(all));
        self.0.set_message(format!("{} of {}", size::display(done), size::display(all)));
    }
}

impl Drop for CheckProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Describes what is left to send.
pub(crate) fn describe(status: &Status) -> String {
    let (count, bytes) = (status.pending_nodes, size::display(status.pending_bytes));
    let mut text = format!("{count} {}, {bytes} left", if count == 1 { "file" } else { "files" });
    if status.rate_bytes_per_s > 0 {
        text += &format!(", {}/s", size::display(status.rate_bytes_per_s));
    }
    if let Some(seconds) = status.eta_s {
        text += &format!(", {}", size::display_seconds(seconds));
    }
    text
}
