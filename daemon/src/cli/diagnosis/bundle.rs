//! A bundle for those who help: the report, the end of the log and the settings in one archive, without any secret.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::report::Diagnosis;
use super::secrets::without_secrets;
use crate::cli::state::account::Account;
use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::Error;

/// Bytes of the log that are taken from its end.
const LOG_MAX: u64 = 1 << 20;
/// Name of the directory in the archive.
const NAME: &str = "miaofs-doctor";

/// Writes the archive, for its owner only.
pub(crate) fn write(file: &Path, state: &StateDir, found: &Diagnosis) -> Result<(), Error> {
    let folder = Folder::new().map_err(Error::file("make a folder for", file))?;
    fill(&folder.0.join(NAME), state, found).map_err(Error::file("collect", file))?;
    let mut options = OpenOptions::new();
    let archive = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    let archive = archive.map_err(Error::file("write", file))?;
    let packed = Command::new("tar")
        .args(["-c", "-z", "-C"])
        .arg(&folder.0)
        .arg(NAME)
        .stdout(archive)
        .status()
        .map_err(|source| Error::System { action: "run tar", source })?;
    match packed.success() {
        true => Ok(()),
        false => Err(Error::file("pack", file)(io::Error::other("tar failed"))),
    }
}

fn fill(folder: &Path, state: &StateDir, found: &Diagnosis) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    let account = Account::load(state).ok().flatten();
    let known: Vec<String> = account.and_then(|it| it.refresh_token).into_iter().collect();
    let write =
        |name: &str, text: String| fs::write(folder.join(name), without_secrets(&text, &known));
    write("report.txt", found.lines().join("\n") + "\n")?;
    write("report.json", serde_json::to_string_pretty(found)?)?;
    for (name, path) in [("daemon.log", state.log()), ("config.toml", state.config())] {
        match end_of(&path) {
            Ok(text) => write(name, text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => write(name, format!("cannot be read: {error}\n"))?,
        }
    }
    Ok(())
}

/// The end of a file, from the beginning of a line on.
fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(LOG_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(LOG_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // A part of a line could be a part of a secret.
    let whole = if start > 0 { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    Ok(whole.to_owned())
}

/// A folder for what goes into the archive; it goes away when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("{NAME}-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, folder = %self.0.display(), "a folder was left behind");
        }
    }
}
