//! The key that signs tokens: a file of 32 random bytes, which all processes of one server share.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Error;

const BYTES: usize = 32;

/// The key. It is never shown.
#[derive(Clone)]
pub(crate) struct TokenKey([u8; BYTES]);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey")
    }
}

impl TokenKey {
    /// Reads the key, which is made when absent.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::Damaged`] when it has not 32 bytes.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        match read(path)? {
            Some(key) => Ok(key),
            None => {
                make(path).map_err(|error| Error::file(path, error))?;
                read(path)?.ok_or_else(|| Error::damaged("token key", "it went away again"))
            }
        }
    }

    /// The bytes of the key.
    pub(crate) const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Another key for another purpose, made from this one.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; BYTES] {
        blake3::derive_key(purpose, &self.0)
    }
}

fn read(path: &Path) -> Result<Option<TokenKey>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let key = bytes.try_into();
            // The conversion gives the bytes back as its error, and they are a secret.
            let key = key.map_err(|_secret: Vec<u8>| {
                Error::damaged("token key", format!("it has not {BYTES} bytes"))
            })?;
            Ok(Some(TokenKey(key)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file(path, error)),
    }
}

/// Writes a key under another name first: a crash leaves a whole key or none, and of several processes
/// that make it at once the first one does.
fn make(path: &Path) -> io::Result<()> {
    let key: [u8; BYTES] = rand::random();
    let unfinished = path.with_extension(format!("key.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let named = std::fs::hard_link(&unfinished, path);
    std::fs::remove_file(&unfinished)?;
    match named {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _somebody_made_it => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_for_its_owner_only_and_a_damaged_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token.key");
        let key = TokenKey::load(&path).unwrap();
        assert_eq!(TokenKey::load(&path).unwrap().0, key.0);
        make(&path).unwrap();
        assert_eq!(TokenKey::load(&path).unwrap().0, key.0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_ne!(key.derive("one"), key.derive("another"));
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(TokenKey::load(&path), Err(Error::Damaged { .. })));
    }
}
