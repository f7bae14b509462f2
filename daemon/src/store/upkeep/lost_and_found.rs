//! The folder `lost+found` of a state directory: data files that may be nowhere else, under their names where known.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use miaofs::protocol::files::Kind;

use crate::store::disk::salvage::UnsentNode;
use crate::store::error::{Error, while_doing};
use crate::store::node::Ino;

/// Name of the folder.
pub(crate) const NAME: &str = "lost+found";

/// Place for something in the folder, by its path in the drive if that is known, else by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptAs {
    ino: String,
    names: Vec<Vec<u8>>,
}

impl KeptAs {
    /// A place by number.
    pub(crate) fn numbered(ino: &str) -> Self {
        Self { ino: ino.to_owned(), names: Vec::new() }
    }

    /// A place by names, the first of them in the directory of this number if that is not the root.
    pub(crate) fn named(ino: &str, directory: Option<Ino>, names: Vec<Vec<u8>>) -> Self {
        let directory = directory.map(|ino| format!("directory {ino}").into_bytes());
        Self { ino: ino.to_owned(), names: directory.into_iter().chain(names).collect() }
    }

    /// The path in the folder, whatever is there.
    fn path(&self, dir: &Path) -> PathBuf {
        self.names.iter().fold(dir.join(NAME), |at, name| at.join(OsStr::from_bytes(name)))
    }

    /// A path in the folder where nothing is, with the directories that it is in.
    fn prepare(&self, dir: &Path) -> io::Result<PathBuf> {
        let folder = dir.join(NAME);
        fs::create_dir_all(&folder)?;
        let numbered = || free(folder.join(&self.ino));
        let path = self.path(dir);
        Ok(match path.parent() {
            Some(parent) if !self.names.is_empty() => match fs::create_dir_all(parent) {
                Ok(()) => free(path),
                // A file has the name of a directory, or the path is too long.
                Err(_in_the_way) => numbered(),
            },
            _ => numbered(),
        })
    }
}

/// Moves a data file to its place, and answers where that is.
pub(crate) fn keep(dir: &Path, file: &Path, place: &KeptAs) -> Result<PathBuf, Error> {
    let doing = while_doing("moving a data file to lost+found");
    let path = place.prepare(dir).map_err(&doing)?;
    let path = match fs::rename(file, &path) {
        Ok(()) => path,
        // A path that is too long; the number is not.
        Err(_refused) => {
            let path = KeptAs::numbered(&place.ino).prepare(dir).map_err(&doing)?;
            fs::rename(file, &path).map_err(&doing)?;
            path
        }
    };
    tracing::warn!(file = %path.display(), "a data file was put aside");
    Ok(path)
}

/// Makes anew what has no data file: a symlink, a directory, an empty file.
pub(crate) fn make(dir: &Path, node: &UnsentNode, place: &KeptAs) -> Result<(), Error> {
    let doing = while_doing("making a file in lost+found");
    let path = match node.kind {
        Kind::Directory => place.path(dir),
        _ => place.prepare(dir).map_err(&doing)?,
    };
    let made = match (node.kind, &node.target) {
        (Kind::Directory, _) => fs::create_dir_all(&path),
        (Kind::Symlink, Some(target)) => {
            std::os::unix::fs::symlink(OsStr::from_bytes(target), &path)
        }
        (Kind::File, _) => fs::File::create_new(&path).map(drop),
        _ => Ok(()),
    };
    if let Err(error) = made {
        tracing::warn!(file = %path.display(), %error, "cannot be made");
    }
    Ok(())
}

/// The path itself, or with a number behind it that is free.
fn free(path: PathBuf) -> PathBuf {
    let numbered = |count: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{count}"));
        PathBuf::from(name)
    };
    if path.symlink_metadata().is_err() {
        return path;
    }
    (1..).map(numbered).find(|path| path.symlink_metadata().is_err()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_twice_or_in_the_way_of_a_directory_gets_a_number() {
        let dir = tempfile::tempdir().unwrap();
        let kept = |place: &KeptAs, text: &str| {
            let file = dir.path().join("data");
            fs::write(&file, text).unwrap();
            let path = keep(dir.path(), &file, place).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            path.strip_prefix(dir.path().join(NAME)).unwrap().to_owned()
        };
        let named = |names: &[&str]| {
            let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            KeptAs::named("7", None, names)
        };
        assert_eq!(kept(&named(&["a", "b"]), "first"), Path::new("a/b"));
        assert_eq!(kept(&named(&["a", "b"]), "second"), Path::new("a/b.1"));
        assert_eq!(kept(&named(&["a", "b", "c"]), "third"), Path::new("7"));
        let long = "x".repeat(255);
        assert_eq!(kept(&named(&[&long]), "fourth"), Path::new(&long));
        assert_eq!(kept(&named(&[&long]), "fifth"), Path::new("7.1"));
        let elsewhere = KeptAs::named("9", Some(Ino(5)), vec![b"d".to_vec()]);
        assert_eq!(kept(&elsewhere, "sixth"), Path::new("directory 5/d"));
    }
}
