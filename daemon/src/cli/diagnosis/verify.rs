//! Compares all cached content with its digests: by the running daemon, or in the store that nobody has open.

use std::time::{Duration, Instant};

use super::report::Diagnosis;
use crate::cli::control::client::{self, Received};
use crate::cli::control::{Request, Response};
use crate::cli::state::settings::{self, Settings};
use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::Error;
use crate::cli::terminal::progress::CheckProgress;
use crate::cli::terminal::size;
use crate::store::{ChunkPosition, Store, StoreOptions};
use crate::sync::{Verification, verify_step, with_causes};

/// Longest wait for the next chunk.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// Damaged files that are named.
const NAMED_MAX: usize = 10;

/// Compares, and adds the result to the report.
pub(crate) fn verify(state: &StateDir, found: &mut Diagnosis) {
    let is_damaged = found.store.as_ref().is_none_or(|store| store.damage.is_some());
    if is_damaged {
        found.verified = Some("nothing: there is no store that can be read".to_owned());
        return;
    }
    let result = match (&found.status, &found.daemon) {
        (Some(_), _) => by_daemon(state),
        (None, None) => in_store(state),
        (None, Some(_)) => {
            found.verified =
                Some("nothing: the daemon has the store and does not answer".to_owned());
            return;
        }
    };
    match result {
        Ok(result) => judge(found, &result),
        Err(error) => {
            let why = with_causes(&error);
            found.problem(format!("cached content was not compared: {why}"), "try again");
        }
    }
}

fn judge(found: &mut Diagnosis, result: &Verification) {
    found.verified = Some(format!(
        "{} chunks, {} of cached content are right; {} chunks were given up, to be fetched again; of {} the digest is not known",
        result.chunks - result.given_up - result.unknown,
        size::display(result.bytes),
        result.given_up,
        result.unknown
    ));
    for path in result.damaged.iter().take(NAMED_MAX) {
        found.problem(
            format!("{path}: cached bytes were damaged and given up"),
            "nothing: they are fetched again; if there are more and more, look at the disk with: smartctl -a",
        );
    }
    let left_out = result.damaged.len().saturating_sub(NAMED_MAX);
    if left_out > 0 {
        found.problem(format!("{left_out} more files had damaged bytes"), "look at the disk");
    }
}

fn by_daemon(state: &StateDir) -> Result<Verification, Error> {
    let mut connection = client::ask(state, &Request::Verify)?;
    let progress = CheckProgress::on_a_terminal();
    loop {
        match connection.receive(Some(Instant::now() + STEP_LIMIT))? {
            Received::Answer(Response::Verifying(so_far)) => show(&progress, &so_far),
            Received::Answer(Response::Verified(result)) => return Ok(*result),
            Received::Answer(_) => return Err(connection.unexpected_answer()),
            Received::Nothing => {
                return Err(Error::TimedOut {
                    what: "the daemon says nothing".into(),
                    seconds: STEP_LIMIT.as_secs(),
                });
            }
        }
    }
}

fn in_store(state: &StateDir) -> Result<Verification, Error> {
    let settings = Settings::load(state)?;
    let options = StoreOptions {
        cache_limit: settings.cache_size.map_or(settings::DEFAULT_CACHE_SIZE, |size| size.0),
        free_floor: settings.free_floor.map_or(settings::DEFAULT_FREE_FLOOR, |size| size.0),
    };
    let store = Store::open(state.path(), options).map_err(Error::Store)?;
    let progress = CheckProgress::on_a_terminal();
    let mut found = Verification::default();
    let mut from = ChunkPosition::default();
    while let Some(next) = verify_step(&store, from, &mut found).map_err(Error::Store)? {
        from = next;
        show(&progress, &found);
    }
    Ok(found)
}

fn show(progress: &CheckProgress, found: &Verification) {
    progress.show(found.bytes, found.bytes_in_all);
}
