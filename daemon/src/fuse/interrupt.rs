//! Ends waits for the network when the program that waits is asked to end, by Ctrl-C for instance.
//!
//! The kernel would tell of a signal by a request of its own (`FUSE_INTERRUPT`), which the library that speaks to it answers
//! itself. So the thread that waits is looked at in `/proc` from time to time (proc_pid_status(5)).
//!
//! Only signals that ask a program to end count. No other one ends a read of a file on a disk, so few programs expect it. A thread
//! that has gone wants nothing any more: the kernel read ahead in its name, and others would wait for those pages.

use std::fs;
use std::future::Future;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, test_kill_process};

/// Pause between two looks at a thread.
const PERIOD: Duration = Duration::from_millis(100);
/// Signals that ask to end. The kernel turns most of them into `SIGKILL` for a program that does not handle them.
const ASKING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];
/// Flag of a thread that is about to end, in the ninth field of `/proc/PID/stat` (`PF_EXITING`).
const EXITING: u64 = 4;

/// The thread that waits for the answer to a request; `None` when it cannot be seen from here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter(Option<u32>);

impl Waiter {
    /// The thread with this number, which is 0 for one that cannot be seen.
    pub(super) fn new(thread: u32) -> Self {
        Self(Some(thread).filter(|thread| *thread != 0))
    }

    /// Result of a task; none when the thread is asked to end before.
    ///
    /// Dropping the task where it waits must leave nothing half done.
    pub(super) async fn unless_ended<T>(self, task: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            result = task => Some(result),
            () = self.asked_to_end() => None,
        }
    }

    async fn asked_to_end(self) {
        let Some(thread) = self.0 else { return std::future::pending().await };
        loop {
            tokio::time::sleep(PERIOD).await;
            if is_asked_to_end(thread) {
                return;
            }
        }
    }
}

fn is_asked_to_end(thread: u32) -> bool {
    if is_gone(thread) {
        return true;
    }
    let read = |name: &str| fs::read_to_string(format!("/proc/{thread}/{name}"));
    read("status").is_ok_and(|status| has_signal_to_end(&status).unwrap_or(false))
        || read("stat").is_ok_and(|stat| is_exiting(&stat).unwrap_or(false))
}

/// `/proc` may hide threads of others that are there.
fn is_gone(thread: u32) -> bool {
    let number = i32::try_from(thread).ok().and_then(Pid::from_raw);
    number.is_none_or(|number| test_kill_process(number) == Err(Errno::SRCH))
}

/// True if a signal that asks to end, and will be taken, is in a text as of `/proc/PID/status`.
fn has_signal_to_end(status: &str) -> Option<bool> {
    let set = |name: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(text.trim(), 16).ok()
    };
    let bit = |signal: Signal| 1_u64 << (signal.as_raw() - 1);
    let asking = ASKING.into_iter().map(bit).sum::<u64>();
    let taken = asking & !set("SigBlk:")? & !set("SigIgn:")?;
    let pending = set("SigPnd:")? | set("ShdPnd:")?;
    Some(pending & (taken | bit(Signal::KILL)) != 0)
}

/// True if a text as of `/proc/PID/stat` is of a thread that is about to end. The second field, a name in parentheses, may have
/// anything in it.
fn is_exiting(stat: &str) -> Option<bool> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let flags: u64 = behind_name.split_whitespace().nth(6)?.parse().ok()?;
    Some(flags & EXITING != 0)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn status([thread, process, blocked, ignored]: [u64; 4]) -> String {
        format!(
            "Name:\tx\nSigQ:\t1/2\nSigPnd:\t{thread:016x}\nShdPnd:\t{process:016x}\nSigBlk:\t{blocked:016x}\n\
             SigIgn:\t{ignored:016x}\nSigCgt:\t0000000000000000\n"
        )
    }

    #[test]
    fn only_a_signal_that_asks_to_end_and_will_be_taken_counts() {
        const INT: u64 = 1 << 1;
        const KILL: u64 = 1 << 8;
        const CHILD: u64 = 1 << 16;
        for (sets, expected) in [
            ([0, 0, 0, 0], false),
            ([0, INT, 0, 0], true),
            ([INT, 0, 0, 0], true),
            ([0, INT, INT, 0], false),
            ([0, INT, 0, INT], false),
            ([0, CHILD, 0, 0], false),
            ([KILL, 0, u64::MAX, u64::MAX], true),
        ] {
            assert_eq!(has_signal_to_end(&status(sets)), Some(expected), "{sets:x?}");
        }
        assert_eq!(has_signal_to_end("SigPnd:\tzz"), None);
    }

    #[test]
    fn a_thread_that_has_gone_is_told_from_one_that_is_there() {
        let mut child = Command::new("true").spawn().unwrap();
        let number = child.id();
        assert!(!is_gone(number), "there until somebody has waited for it");
        child.wait().unwrap();
        assert!(is_gone(number));
        let mine = std::process::id();
        assert!(!is_gone(mine) && !is_asked_to_end(mine));
        assert!(!is_gone(1), "there, though it is another's");
        assert!(is_gone(u32::MAX));
    }

    #[test]
    fn a_thread_that_is_about_to_end_is_known_by_its_flags() {
        let stat = |flags| format!("7 (a) b) D 1 7 7 0 -1 {flags} 92 0 0");
        assert_eq!(is_exiting(&stat("4194308")), Some(true));
        assert_eq!(is_exiting(&stat("4194304")), Some(false));
        assert_eq!(is_exiting("7"), None);
    }
}
