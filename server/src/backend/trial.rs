//! Trials of parts: one round trip through each, of which nothing stays, and what the part says of itself.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::blocking::run_blocking;
use super::{BlobId, Error};

/// The longest that one trial takes.
pub(crate) const TRIAL_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that a part is given, and asked for.
pub(super) const TRIED: &[u8] = b"miaofs-server doctor";

/// A part that has passed its trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Name and version of its program, when it says so.
    pub version: Option<String>,
    /// The time by its clock in seconds since 1970, when it shows it.
    pub clock: Option<i64>,
}

/// Waits for a part, but not for ever.
///
/// # Errors
/// Those of the part; [`Error::Trial`] when it takes too long.
pub(crate) async fn within_limit<T>(
    what: &'static str,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    within(TRIAL_LIMIT, what, asked).await
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_elapsed| {
        let said = format!("gave no answer within {} seconds", limit.as_secs());
        Err(Error::Trial { what, said })
    })
}

/// Makes sure that a part gave back the bytes that it was given.
///
/// # Errors
/// [`Error::Trial`].
pub(super) fn expect_tried(what: &'static str, back: Option<&[u8]>) -> Result<(), Error> {
    let said = match back {
        Some(TRIED) => return Ok(()),
        Some(_) => "gave back other bytes than it was given",
        None => "does not have any more what it was given a moment ago",
    };
    Err(Error::Trial { what, said: said.to_owned() })
}

/// Writes a file in a directory to its disk, reads it and removes it. The clock is that of the disk, which may be another
/// machine's.
///
/// # Errors
/// [`Error::File`], [`Error::NoSpace`], [`Error::Trial`].
pub(crate) async fn try_directory(directory: &Path) -> Result<Trial, Error> {
    // No name that blobs, uploads or objects have.
    let path = directory.join(format!(".doctor-{}", BlobId::random()));
    run_blocking(move || {
        let written = write_and_read(&path);
        let removed = std::fs::remove_file(&path);
        let failed = |error| Error::file(path.clone(), error);
        let (back, clock) = written.map_err(failed)?;
        removed.map_err(|error| Error::file(path, error))?;
        expect_tried("the disk", Some(&back))?;
        Ok(Trial { version: None, clock: Some(clock) })
    })
    .await
}

fn write_and_read(path: &PathBuf) -> io::Result<(Vec<u8>, i64)> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(TRIED)?;
    file.sync_all()?;
    Ok((std::fs::read(path)?, file.metadata()?.mtime()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_is_tried_and_nothing_stays_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let trial = try_directory(directory.path()).await.unwrap();
        assert!(trial.clock.unwrap().abs_diff(crate::backend::unix_now()) < 60, "{trial:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let nowhere = try_directory(&directory.path().join("nowhere")).await;
        assert!(matches!(nowhere, Err(Error::File { .. })), "{nowhere:?}");
    }

    #[test]
    fn other_bytes_are_no_answer() {
        assert!(expect_tried("it", Some(TRIED)).is_ok());
        for back in [None, Some(&b"miaofs-server doctoR"[..]), Some(b"")] {
            assert!(matches!(expect_tried("it", back), Err(Error::Trial { .. })), "{back:?}");
        }
    }

    #[tokio::test]
    async fn a_part_that_says_nothing_has_failed_in_time() {
        let never = std::future::pending::<Result<(), Error>>();
        let said = within(Duration::ZERO, "the part", never).await.unwrap_err().to_string();
        assert_eq!(said, "the part gave no answer within 0 seconds");
    }
}
