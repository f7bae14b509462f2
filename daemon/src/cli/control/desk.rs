//! What the daemon does with the requests that come over its control socket.

use std::path::PathBuf;
use std::time::Duration;

use super::server::Answers;
use super::{Answer, DaemonStatus, Deletions, Request};
use crate::cli::account::Account;
use crate::cli::error::{Error, Exit, Report, with_causes};
use crate::cli::mount::Plan;
use crate::cli::state_dir::StateDir;
use crate::store::{self, Ino};
use crate::sync::{Engine, FlushError, Scope, Status};

/// How often a command that waits is told how it stands.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);

/// Answers requests for one daemon.
#[derive(Clone)]
pub struct Desk {
    engine: Engine,
    mountpoint: PathBuf,
    state: StateDir,
}

impl Desk {
    /// A desk for the daemon that does this plan.
    pub fn new(engine: &Engine, plan: &Plan) -> Self {
        Self {
            engine: engine.clone(),
            mountpoint: plan.mountpoint.clone(),
            state: plan.state.clone(),
        }
    }

    /// Answers one request, the last answer last.
    pub async fn handle(self, request: Request, answers: Answers) {
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
        };
        // A command that does not wait for its answer has what it wants.
        let _ = answers.send(last).await;
    }

    async fn status(&self) -> Answer {
        match self.engine_status().await {
            Ok(engine) => Answer::Status(Box::new(DaemonStatus {
                running: true,
                pid: std::process::id(),
                mountpoint: self.mountpoint.clone(),
                state_dir: self.state.path().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                engine,
            })),
            Err(error) => Answer::Failed(Error::Store(error).report()),
        }
    }

    async fn engine_status(&self) -> Result<Status, store::Error> {
        let engine = self.engine.clone();
        off_the_loop(move || engine.status()).await
    }

    async fn node(&self, ino: Ino) -> Answer {
        let engine = self.engine.clone();
        Answer::Node(off_the_loop(move || engine.node_state(ino)).await)
    }

    async fn flush(&self, scope: Scope, answers: &Answers) -> Answer {
        let progress = async {
            loop {
                tokio::time::sleep(PROGRESS_PERIOD).await;
                if let Ok(status) = self.engine_status().await {
                    // A command that reads slowly misses a step of its bar, nothing else.
                    let _ = answers.try_send(Answer::Progress(Box::new(status)));
                }
            }
        };
        let result: Result<(), FlushError> = tokio::select! {
            result = self.engine.flush(scope) => result,
            never = progress => never,
        };
        result.map_or_else(|error| Answer::Failed(report(&error)), |()| Answer::Done)
    }

    async fn sign_in_again(&self) -> Answer {
        match Account::signed_in(&self.state) {
            Ok((_, refresh_token)) => {
                self.engine.sign_in_again(refresh_token).await;
                Answer::Done
            }
            Err(error) => Answer::Failed(error.report()),
        }
    }
}

/// Runs what reads the store on a thread that may wait for the disk.
async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("reading the store does not panic")
}

fn report(error: &FlushError) -> Report {
    let (exit, next) = match error {
        FlushError::SignedOut => (Exit::NotSignedIn, Some("sign in with: miaofs login".to_owned())),
        FlushError::Refused(_) => (Exit::Failed, Some("see all with: miaofs status".to_owned())),
        FlushError::Store(_) | FlushError::Ended => (Exit::Failed, None),
    };
    Report { exit, message: with_causes(error), next }
}
