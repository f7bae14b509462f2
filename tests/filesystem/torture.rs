//! Rough treatment for as long as is asked for, and the figures of it: what `scripts/torture` asks for and puts into a table.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::random::{Random, seed_of_this_run};

/// Time of a kind unless it is said.
const SHORT: Duration = Duration::from_secs(8);
/// The longest that anything may wait that does not wait for the network.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Figures of one kind.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// Name of the kind.
    pub kind: &'static str,
    /// The seed that it began with.
    pub seed: u64,
    /// Seconds that it took.
    pub seconds: u64,
    /// Rounds of work.
    pub rounds: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged things that were nowhere afterwards.
    pub lost: u64,
    /// Things that were neither as they had been before an operation nor as after it.
    pub corrupted: u64,
    /// Rounds after which the devices were not equal.
    pub unequal: u64,
    /// Milliseconds that the longest operation took that did not wait for the network.
    pub longest_wait_ms: u64,
    /// Microseconds that all of them took but one in a thousand.
    pub p999_us: u32,
}

/// One kind at work: its time, its random numbers and its figures. The figures are written down when it ends, in
/// whichever way.
pub(crate) struct Torture {
    pub(crate) report: Report,
    pub(crate) random: Random,
    began: Instant,
    length: Duration,
    /// Microseconds that operations took.
    waits: Vec<u32>,
}

impl Torture {
    /// Begins a kind.
    pub(crate) fn begin(kind: &'static str) -> Self {
        let seed = seed_of_this_run();
        println!("MIAOFS_TEST_SEED={seed}");
        let asked = std::env::var("MIAOFS_TORTURE_SECONDS").ok();
        let length =
            asked.map_or(SHORT, |it| Duration::from_secs(it.parse().expect("a number of seconds")));
        let report = Report { kind, seed, ..Report::default() };
        let (random, waits) = (Random::new(seed), Vec::new());
        Self { report, random, began: Instant::now(), length, waits }
    }

    /// Time of the kind.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// True while there is time for another round.
    pub(crate) fn goes_on(&self) -> bool {
        self.began.elapsed() < self.length
    }

    /// True if more time was asked for than every run of the tests takes.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.length != SHORT
    }

    /// Notes how long an operation took.
    pub(crate) fn waited(&mut self, wait: Duration) {
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.report.longest_wait_ms = self.report.longest_wait_ms.max(milliseconds);
        self.waits.push(u32::try_from(wait.as_micros()).unwrap_or(u32::MAX));
    }

    /// Ends the kind.
    ///
    /// # Panics
    /// When anything was lost, corrupted or unequal, or took too long.
    pub(crate) fn end(self) {
        let Report { lost, corrupted, unequal, longest_wait_ms, .. } = self.report;
        assert_eq!((lost, corrupted, unequal), (0, 0, 0), "{:?}", self.report);
        assert!(Duration::from_millis(longest_wait_ms) <= WAIT_MAX, "{:?}", self.report);
    }
}

impl Drop for Torture {
    fn drop(&mut self) {
        self.report.seconds = self.began.elapsed().as_secs();
        self.waits.sort_unstable();
        let fast = self.waits.len() - self.waits.len() / 1000;
        self.report.p999_us = self.waits[..fast].last().copied().unwrap_or(0);
        let line = serde_json::to_string(&self.report).expect("figures are JSON");
        println!("{line}");
        if let Ok(path) = std::env::var("MIAOFS_TORTURE_REPORT") {
            let file = OpenOptions::new().create(true).append(true).open(path);
            writeln!(file.expect("a report can be written"), "{line}").expect("room for a line");
        }
    }
}
