//! Answers the requests that come to the daemon over its control socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use miaofs::client::Trust;
use rustix::process::{Pid, getppid};

use super::server::{Afterwards, Answers};
use super::{DaemonStatus, Deletions, Request, Response};
use crate::cli::mounting::plan::MountPlan;
use crate::cli::state::account::Account;
use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::{Error, Exit, Report};
use crate::fuse::{Mount, Passthrough, RequestCounts};
use crate::store::{self, ChunkPosition, Ino, run_blocking};
use crate::sync::{
    Engine, FlushError, Refusal, Scope, ServerState, Status, Verification, with_causes,
};
use crate::vfs::SessionState;

/// Time between two reports of progress to a command that waits.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);
/// Times of a status that fit between two at the least.
const PROGRESS_SHARE: u32 = 20;
/// Exit code of a daemon that hands over.
pub(crate) const HANDED_OVER: i32 = 64;
/// Refused nodes that a message names.
const REFUSED_MAX: usize = 5;
/// Longest wait of a sign-in for the engine to use its new session,
const SIGN_IN_LIMIT: Duration = Duration::from_secs(5);
/// and the pause between two looks.
const SIGN_IN_STEP: Duration = Duration::from_millis(10);

/// Answers requests for one daemon.
#[derive(Clone)]
pub(crate) struct RequestHandler {
    engine: Engine,
    mountpoint: PathBuf,
    state: StateDir,
    session: SessionState,
    requests: Arc<RequestCounts>,
    passthrough: Arc<Passthrough>,
    /// The process that started this one.
    parent: Option<Pid>,
}

impl RequestHandler {
    /// Handles requests for the daemon that carries out this plan.
    pub(crate) fn new(
        engine: &Engine,
        plan: &MountPlan,
        (session, mount): (SessionState, &Mount),
    ) -> Self {
        Self {
            session,
            requests: mount.requests(),
            passthrough: mount.passthrough(),
            parent: getppid(),
            engine: engine.clone(),
            mountpoint: plan.mountpoint.clone(),
            state: plan.state.clone(),
        }
    }

    /// Answers one request, the last answer last.
    pub(crate) async fn handle(self, request: Request, answers: Answers) -> Afterwards {
        let last = match request {
            Request::Status => self.status().await,
            Request::Node { ino } => self.node(Ino(ino)).await,
            Request::Flush { ino, deletions } => {
                if deletions == Deletions::Allow {
                    self.engine.allow_deletions();
                }
                self.flush(ino.map_or(Scope::All, |ino| Scope::Tree(Ino(ino))), &answers).await
            }
            Request::SignedIn => self.sign_in_again().await,
            Request::HandOver if self.is_supervised() => {
                // A command that does not wait for its answer has what it wants.
                let _ = answers.send(Response::Done).await;
                return Some(Box::new(hand_over));
            }
            Request::HandOver => Response::Failed(nobody_to_hand_over_to()),
            Request::Verify => self.verify(&answers).await,
        };
        // So has this one.
        let _ = answers.send(last).await;
        None
    }

    async fn status(&self) -> Response {
        match self.engine_status().await {
            Ok(engine) => Response::Status(Box::new(DaemonStatus {
                running: true,
                pid: std::process::id(),
                mountpoint: self.mountpoint.clone(),
                state_dir: self.state.path().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                supervised: self.is_supervised(),
                passthrough: self.passthrough.is_on(),
                kernel_requests: self.requests.by_name(),
                engine,
            })),
            Err(error) => Response::Failed(Error::Store(error).report()),
        }
    }

    async fn engine_status(&self) -> Result<Status, store::Error> {
        self.engine.status().await
    }

    async fn node(&self, ino: Ino) -> Response {
        let engine = self.engine.clone();
        Response::Node(run_blocking(move || engine.node_state(ino)).await)
    }

    async fn flush(&self, scope: Scope, answers: &Answers) -> Response {
        let progress = async {
            let mut pause = PROGRESS_PERIOD;
            loop {
                tokio::time::sleep(pause).await;
                let asked = Instant::now();
                let status = self.engine_status().await;
                // Where very much waits, counting it takes a while.
                pause = PROGRESS_PERIOD.max(asked.elapsed() * PROGRESS_SHARE);
                if let Ok(status) = status {
                    // A command that reads slowly misses a step of its bar, nothing else.
                    let _ = answers.try_send(Response::Progress(Box::new(status)));
                }
            }
        };
        let result: Result<(), FlushError> = tokio::select! {
            result = self.engine.flush(scope) => result,
            never = progress => never,
        };
        result.map_or_else(|error| Response::Failed(report(&error)), |()| Response::Done)
    }

    /// Compares chunk by chunk, so that it ends with the command that asked.
    async fn verify(&self, answers: &Answers) -> Response {
        let (mut found, mut from) = (Verification::default(), ChunkPosition::default());
        loop {
            let engine = self.engine.clone();
            let step = run_blocking(move || {
                let next = engine.verify_step(from, &mut found);
                (next, found)
            });
            let (next, so_far) = step.await;
            found = so_far;
            match next {
                Ok(Some(next)) => from = next,
                Ok(None) => return Response::Verified(Box::new(found)),
                Err(error) => return Response::Failed(Error::Store(error).report()),
            }
            // A command that reads slowly misses a step of its bar, nothing else.
            let _ = answers.try_send(Response::Verifying(Box::new(found.clone())));
        }
    }

    /// Waits a moment until the engine has used its new session, so that what is asked next finds it signed in.
    async fn until_signed_in(&self) {
        let signed_in = async {
            while self.engine.server().state == ServerState::SignedOut {
                tokio::time::sleep(SIGN_IN_STEP).await;
            }
        };
        // The server may be away; the session is remembered all the same.
        let _ = tokio::time::timeout(SIGN_IN_LIMIT, signed_in).await;
    }

    /// True if the process that started this daemon still keeps its mount.
    fn is_supervised(&self) -> bool {
        self.session != SessionState::Alone && getppid() == self.parent
    }

    async fn sign_in_again(&self) -> Response {
        match Account::signed_in(&self.state) {
            Ok((account, refresh_token)) => {
                let trust = Trust::from(&account.trust);
                match self.engine.sign_in_again(refresh_token, trust).await {
                    Ok(()) => self.until_signed_in().await,
                    Err(error) => return Response::Failed(Error::Server(error).report()),
                }
                Response::Done
            }
            Err(error) => Response::Failed(error.report()),
        }
    }
}

/// Ends the daemon. The kernel sends what is not answered then to the next one.
fn hand_over() {
    tracing::info!("handing over to the program that is installed now");
    std::process::exit(HANDED_OVER);
}

fn nobody_to_hand_over_to() -> Report {
    let why = "its supervisor has been killed, or the kernel is older than Linux 6.9";
    Report {
        exit: Exit::Failed,
        message: format!("nobody keeps the mount of this daemon: {why}"),
        next: Some("unmount the drive and mount it again".into()),
    }
}

fn report(error: &FlushError) -> Report {
    let failed = |next: Option<&str>| (Exit::Failed, with_causes(error), next.map(str::to_owned));
    let (exit, message, next) = match error {
        FlushError::SignedOut(why) => {
            (Exit::NotSignedIn, why.clone(), Some("sign in with: miaofs login".into()))
        }
        FlushError::Refused(list) => {
            let next = Some("see what is wrong with: miaofs status".to_owned());
            (Exit::Failed, refused(list), next)
        }
        FlushError::Store(_) | FlushError::Ended => failed(None),
    };
    Report { exit, message, next }
}

/// Names what was refused: the first few, each once.
fn refused(list: &[Refusal]) -> String {
    let mut lines: Vec<String> = list.iter().map(Refusal::to_string).collect();
    lines.dedup();
    let left_out = lines.len().saturating_sub(REFUSED_MAX);
    lines.truncate(REFUSED_MAX);
    if left_out > 0 {
        lines.push(format!("and {left_out} more"));
    }
    format!("not on the server: {}", lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::SyncError;

    #[test]
    fn of_very_much_that_is_refused_the_first_is_named() {
        let held = Refusal { path: "/(deleted)".into(), error: SyncError::DeletionsHeld.into() };
        let mut list = vec![held; 40];
        list.extend((0..20).map(|n| {
            let path = format!("/{n}");
            Refusal { path, error: SyncError::TooLarge { limit: 9 }.into() }
        }));
        let Report { message, exit, .. } = report(&FlushError::Refused(list));
        let first = "very many deletions wait for your word: miaofs sync --allow-deletions";
        let start = format!("not on the server: /(deleted): {first}; /0: stays local: ");
        assert!(message.starts_with(&start), "{message}");
        assert!(message.ends_with("of up to 9 bytes; and 16 more"), "{message}");
        assert_eq!(exit, Exit::Failed);
    }
}
