//! A file of lines that begins anew when it is full, of which the last ones are kept: `PATH.1` is the newest of these.
//!
//! Several processes may write to one file. Each line is written under a lock of the file, to whichever file has the name
//! by then, and has reached the system when the call returns.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::{Error, run_blocking};

/// Where such a file is, and when it begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RotatingFileSettings {
    /// Path of the file.
    pub path: PathBuf,
    /// Bytes that it has at the most; a longer line stands alone.
    pub max: u64,
    /// Former files that are kept.
    pub keep: u32,
}

/// A file that begins anew when it is full. Cloning it is cheap.
#[derive(Debug, Clone)]
pub(crate) struct RotatingFile(Arc<RotatingFileSettings>);

impl RotatingFile {
    /// The file, which is made when it is absent. A full disk is no reason to fail: it passes.
    ///
    /// # Errors
    /// [`Error::File`].
    pub(crate) fn open(settings: RotatingFileSettings) -> Result<Self, Error> {
        match open(&settings.path).map_err(|error| Error::file(&settings.path, error)) {
            Ok(_) | Err(Error::NoSpace(_)) => Ok(Self(Arc::new(settings))),
            Err(error) => Err(error),
        }
    }

    /// Appends a line, which has no line's end.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::File`].
    pub(crate) async fn append(&self, line: String) -> Result<(), Error> {
        let settings = self.0.clone();
        run_blocking(move || {
            settings.append(&line).map_err(|error| Error::file(&settings.path, error))
        })
        .await
    }
}

impl RotatingFileSettings {
    fn append(&self, line: &str) -> io::Result<()> {
        let mut file = self.lock()?;
        let mut length = file.metadata()?.len();
        if length > 0 && length + line.len() as u64 >= self.max {
            self.rotate()?;
            file = open(&self.path)?;
            length = 0;
        }
        // A disk that was full may have cut the last line off.
        let start = if length > 0 && last_byte(&mut file)? != b'\n' { "\n" } else { "" };
        file.write_all(format!("{start}{line}\n").as_bytes())
    }

    /// The file that has the name, locked.
    fn lock(&self) -> io::Result<File> {
        loop {
            let file = open(&self.path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            // Another process may have begun a new one while this one waited.
            match std::fs::metadata(&self.path) {
                Ok(named) if named.ino() == file.metadata()?.ino() => return Ok(file),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(_) | Err(_) => (),
            }
        }
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            rename_if_there(&self.former(number), &self.former(number + 1))?;
        }
        if self.keep == 0 {
            return std::fs::remove_file(&self.path);
        }
        rename_if_there(&self.path, &self.former(1))
    }

    fn former(&self, number: u32) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(format!(".{number}"));
        path.into()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    file.seek(SeekFrom::End(-1))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_full_file_begins_anew_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let settings = RotatingFileSettings { path: path.clone(), max: 20, keep: 2 };
        for number in 0..9 {
            settings.append(&format!("line {number}")).unwrap();
        }
        assert_eq!(lines(&path), ["line 8"]);
        assert_eq!(lines(&settings.former(1)), ["line 6", "line 7"]);
        assert_eq!(lines(&settings.former(2)), ["line 4", "line 5"]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_spoil_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "whole\ncut o").unwrap();
        let settings = RotatingFileSettings { path: path.clone(), max: 1000, keep: 2 };
        settings.append("next").unwrap();
        assert_eq!(lines(&path), ["whole", "cut o", "next"]);
    }

    #[test]
    fn several_writers_lose_no_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let settings = RotatingFileSettings { path, max: 100, keep: 1000 };
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let settings = &settings;
                scope.spawn(move || {
                    (0..100)
                        .for_each(|number| settings.append(&format!("{writer} {number}")).unwrap());
                });
            }
        });
        let files = std::fs::read_dir(directory.path()).unwrap();
        let mut all: Vec<_> = files.flat_map(|file| lines(&file.unwrap().path())).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 400);
    }
}
