//! The signals that ask for the end: of the daemon, and of the supervisor, which hands them on.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use rustix::process::{Signal as Number, pidfd_send_signal};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::terminal::error::Error;

/// Streams of the signals, listened to from the start so that none is missed.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// A signal that asks for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndSignal {
    Terminate,
    Interrupt,
    Hangup,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::System { action: "listen for signals", source })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) -> EndSignal {
        tokio::select! {
            _ = self.terminate.recv() => EndSignal::Terminate,
            _ = self.interrupt.recv() => EndSignal::Interrupt,
            _ = self.hangup.recv() => EndSignal::Hangup,
        }
    }
}

impl EndSignal {
    /// The one of this number, if it asks for the end.
    pub(super) fn of(number: i32) -> Option<Self> {
        let all = [Self::Terminate, Self::Interrupt, Self::Hangup];
        all.into_iter().find(|it| it.number().as_raw() == number)
    }

    const fn number(self) -> Number {
        match self {
            Self::Terminate => Number::TERM,
            Self::Interrupt => Number::INT,
            Self::Hangup => Number::HUP,
        }
    }

    /// Sends it to a process.
    pub(super) fn hand_on(self, process: impl AsFd) -> io::Result<()> {
        Ok(pidfd_send_signal(process, self.number())?)
    }

    /// Ends this process as the signal ends one that does not listen for it.
    pub(super) fn end(self) -> ! {
        let number = self.number().as_raw();
        // SAFETY: the default action is no function of this program, and nothing here counts on being called any more.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
            libc::raise(number);
        }
        // The first process of a container outlives it.
        std::process::exit(128 + number)
    }
}

impl fmt::Display for EndSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Hangup => "SIGHUP",
        })
    }
}
