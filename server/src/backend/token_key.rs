//! The keys of tokens: a file of 32 random bytes each, which all processes of one server share.
//!
//! There is one, but for the time in which it is replaced: then the first one signs, and both prove.
//!
//! ```text
//!          add                  switch                 drop
//! [former] ───▶ [former, next] ────────▶ [next, former] ───▶ [next]
//! ```
//!
//! A process reads the file when it starts. Between two steps all of them start anew, so that none is shown a token of a key that
//! it does not know.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Error;

const BYTES: usize = 32;

/// A key. It is never shown.
#[derive(Clone)]
pub(crate) struct TokenKey([u8; BYTES]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

impl TokenKey {
    /// The bytes of the key.
    pub(crate) const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Another key for another purpose, made from this one.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; BYTES] {
        blake3::derive_key(purpose, &self.0)
    }
}

/// The keys that count, one or two; the first one signs.
#[derive(Debug, Clone)]
pub(crate) struct TokenKeys {
    first: TokenKey,
    other: Option<TokenKey>,
}

impl TokenKeys {
    /// Reads the keys. When there is no file, one is made.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Damaged`] when it has neither 32 nor 64 bytes.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        match read(path)? {
            Some(keys) => Ok(keys),
            None => {
                make(path).map_err(|error| Error::file(path, error))?;
                read(path)?.ok_or_else(|| Error::damaged("token key", "it went away again"))
            }
        }
    }

    /// The one that signs.
    pub(crate) const fn first(&self) -> &TokenKey {
        &self.first
    }

    /// All of them, each of which proves what it has signed.
    pub(crate) fn all(&self) -> impl Iterator<Item = &TokenKey> {
        std::iter::once(&self.first).chain(&self.other)
    }

    /// Adds a new key, which proves and does not sign yet.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Setup`] when there are two already.
    pub(crate) fn add(path: &Path) -> Result<(), Error> {
        let keys = Self::load(path)?;
        if keys.other.is_some() {
            return Err(Error::Setup(
                "there are two keys already: drop the former one first".into(),
            ));
        }
        let other = Some(TokenKey(rand::random()));
        Self { other, ..keys }.replace(path)
    }

    /// Lets the other key sign from now on; the one so far only proves.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Setup`] when there is no other.
    pub(crate) fn switch(path: &Path) -> Result<(), Error> {
        let Self { first, other } = Self::load(path)?;
        let other =
            other.ok_or_else(|| Error::Setup("there is one key: add another first".into()))?;
        Self { first: other, other: Some(first) }.replace(path)
    }

    /// Drops the key that does not sign: what it has signed is worth nothing any more.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Setup`] when there is no other.
    pub(crate) fn drop_former(path: &Path) -> Result<(), Error> {
        let keys = Self::load(path)?;
        if keys.other.is_none() {
            return Err(Error::Setup("there is one key, which signs".into()));
        }
        Self { other: None, ..keys }.replace(path)
    }

    /// Writes the keys in place of those that are there; a crash leaves the ones or the others.
    fn replace(&self, path: &Path) -> Result<(), Error> {
        let bytes: Vec<u8> = self.all().flat_map(|key| key.0).collect();
        let replace = || {
            let written = write_beside(path, &bytes)?;
            std::fs::rename(&written, path)?;
            sync_directory(path)
        };
        replace().map_err(|error| Error::file(path, error))
    }
}

fn read(path: &Path) -> Result<Option<TokenKeys>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file(path, error)),
    };
    // The bytes are a secret, so no error holds them.
    let wrong =
        || Error::damaged("token key", format!("it has not {BYTES} bytes, nor twice as many"));
    let (first, rest) = bytes.split_first_chunk().ok_or_else(wrong)?;
    let other = match rest {
        [] => None,
        rest => Some(TokenKey(rest.try_into().map_err(|_length| wrong())?)),
    };
    Ok(Some(TokenKeys { first: TokenKey(*first), other }))
}

/// Writes a key under another name first: a crash leaves a whole key or none, and of several processes
/// that make it at once the first one does.
fn make(path: &Path) -> io::Result<()> {
    let key: [u8; BYTES] = rand::random();
    let unfinished = write_beside(path, &key)?;
    let named = std::fs::hard_link(&unfinished, path);
    std::fs::remove_file(&unfinished)?;
    match named {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _somebody_made_it => sync_directory(path),
    }
}

/// Writes a file for its owner only beside another one, and answers where.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let unfinished = path.with_extension(format!("key.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(unfinished)
}

/// Makes the name of a file outlive a loss of power.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_for_its_owner_only_and_a_damaged_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.key");
        let bytes = |keys: &TokenKeys| keys.all().map(|key| key.0).collect::<Vec<_>>();
        let keys = TokenKeys::load(&path).unwrap();
        assert_eq!(bytes(&TokenKeys::load(&path).unwrap()), bytes(&keys));
        make(&path).unwrap();
        assert_eq!(bytes(&TokenKeys::load(&path).unwrap()), bytes(&keys));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_ne!(keys.first().derive("one"), keys.first().derive("another"));

        assert!(TokenKeys::switch(&path).is_err() && TokenKeys::drop_former(&path).is_err());
        TokenKeys::add(&path).unwrap();
        assert!(TokenKeys::add(&path).is_err());
        let both = bytes(&TokenKeys::load(&path).unwrap());
        assert_eq!((both.len(), both[0]), (2, bytes(&keys)[0]));
        TokenKeys::switch(&path).unwrap();
        assert_eq!(bytes(&TokenKeys::load(&path).unwrap()), [both[1], both[0]]);
        TokenKeys::drop_former(&path).unwrap();
        assert_eq!(bytes(&TokenKeys::load(&path).unwrap()), [both[1]]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(TokenKeys::load(&path), Err(Error::Damaged { .. })));
    }
}
