//! The settings of a state directory: `config.toml`, a flat table that a person may edit.
//!
//! A flag or its environment variable beats the file, the file beats the default. Unknown keys are
//! refused, so that a misspelt one is not silently without effect.

use std::fs;
use std::io;

use serde::Deserialize;

use super::replace_file::replace;
use super::state_dir::StateDir;
use crate::cli::terminal::error::Error;
use crate::cli::terminal::size;

/// Contents of the file; a setting that is not in it is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Bytes of clean content to keep here at the most.
    pub cache_size: Option<Size>,
    /// Bytes of the disk to leave free.
    pub free_floor: Option<Size>,
    /// Bytes per second to send at the most.
    pub bwlimit: Option<Rate>,
    /// Deletions to send at once without asking.
    pub deletions_limit: Option<u64>,
}

/// A number of bytes, written as a number or with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawValue")]
pub(crate) struct Size(pub u64);

/// A number of bytes per second, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawValue")]
pub(crate) struct Rate(pub Option<u64>);

#[derive(Deserialize)]
#[serde(untagged)]
enum RawValue {
    Number(u64),
    Text(String),
}

impl RawValue {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl TryFrom<RawValue> for Size {
    type Error = size::ParseError;

    fn try_from(raw: RawValue) -> Result<Self, Self::Error> {
        size::parse(&raw.text()).map(Self)
    }
}

impl TryFrom<RawValue> for Rate {
    type Error = size::ParseError;

    fn try_from(raw: RawValue) -> Result<Self, Self::Error> {
        size::parse_rate(&raw.text()).map(Self)
    }
}

/// A setting by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Key {
    /// Content to keep on this machine at the most, such as 20GiB; what is not yet on the server is never dropped
    CacheSize,
    /// Free space to leave on the disk of the state directory
    FreeFloor,
    /// Bytes per second to send at the most, such as 2MiB/s, or off
    Bwlimit,
    /// Deletions that are sent at once without asking; more wait for `miaofs sync --allow-deletions`
    DeletionsLimit,
}

impl Key {
    /// All of them, in the order in which they are listed.
    pub(crate) const ALL: [Self; 4] =
        [Self::CacheSize, Self::FreeFloor, Self::Bwlimit, Self::DeletionsLimit];

    /// Name in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CacheSize => "cache_size",
            Self::FreeFloor => "free_floor",
            Self::Bwlimit => "bwlimit",
            Self::DeletionsLimit => "deletions_limit",
        }
    }

    /// The value when nobody says anything, as it would be written.
    pub(crate) fn default_text(self) -> String {
        match self {
            Self::CacheSize => size::display(DEFAULT_CACHE_SIZE),
            Self::FreeFloor => size::display(DEFAULT_FREE_FLOOR),
            Self::Bwlimit => "off".into(),
            Self::DeletionsLimit => DEFAULT_DELETIONS_LIMIT.to_string(),
        }
    }
}

/// Content kept here when nobody says how much.
pub(crate) const DEFAULT_CACHE_SIZE: u64 = 20 << 30;
/// Free space left on the disk when nobody says how much.
pub(crate) const DEFAULT_FREE_FLOOR: u64 = 512 << 20;
/// Deletions sent without asking when nobody says how many.
pub(crate) const DEFAULT_DELETIONS_LIMIT: u64 = 1000;

impl Settings {
    /// Reads the file; one that is not there says nothing.
    pub(crate) fn load(state: &StateDir) -> Result<Self, Error> {
        parse(state, &text(state)?)
    }

    /// The value of one setting as written in the file, if it is there.
    pub(crate) fn written(&self, key: Key) -> Option<String> {
        match key {
            Key::CacheSize => self.cache_size.map(|size| size::display(size.0)),
            Key::FreeFloor => self.free_floor.map(|size| size::display(size.0)),
            Key::Bwlimit => self.bwlimit.map(|rate| match rate.0 {
                Some(rate) => format!("{}/s", size::display(rate)),
                None => "off".into(),
            }),
            Key::DeletionsLimit => self.deletions_limit.map(|limit| limit.to_string()),
        }
    }
}

/// Writes one setting into the file and keeps all else in it, comments included.
pub(crate) fn set(state: &StateDir, key: Key, value: &str) -> Result<(), Error> {
    let before = text(state)?;
    parse(state, &before)?;
    let line = assignment(key, value);
    let wrong = |why: String| Error::Value { name: key.name().into(), why };
    toml::from_str::<Settings>(&line).map_err(|error| wrong(error.message().to_owned()))?;
    let after = with_line(&before, key.name(), &line);
    parse(state, &after)?;
    state.create()?;
    let path = state.config();
    replace(&path, after.as_bytes()).map_err(Error::file("write", &path))
}

fn text(state: &StateDir) -> Result<String, Error> {
    let path = state.config();
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::file("read", &path)(error)),
    }
}

fn parse(state: &StateDir, text: &str) -> Result<Settings, Error> {
    toml::from_str(text)
        .map_err(|source| Error::Malformed { path: state.config(), source: source.into() })
}

fn assignment(key: Key, value: &str) -> String {
    match value.parse::<u64>() {
        Ok(number) => format!("{} = {number}", key.name()),
        Err(_) => format!("{} = {}", key.name(), toml::Value::from(value)),
    }
}

/// The text with the key's line replaced, or appended. A flat table has one line for each key.
fn with_line(text: &str, name: &str, line: &str) -> String {
    let is_it = |old: &str| old.split('=').next().is_some_and(|key| key.trim() == name);
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|old| is_it(old)) {
        Some(at) => lines[at] = line,
        None => lines.push(line),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn state(dir: &Path) -> StateDir {
        StateDir::at(dir).unwrap()
    }

    #[test]
    fn a_setting_that_is_set_is_read_and_comments_stay() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        fs::write(state.config(), "# mine\ncache_size = 1 # small\nbwlimit = \"off\"\n").unwrap();
        set(&state, Key::CacheSize, "20GiB").unwrap();
        set(&state, Key::DeletionsLimit, "7").unwrap();
        let text = fs::read_to_string(state.config()).unwrap();
        assert_eq!(
            text,
            "# mine\ncache_size = \"20GiB\"\nbwlimit = \"off\"\ndeletions_limit = 7\n"
        );
        let settings = Settings::load(&state).unwrap();
        assert_eq!(settings.cache_size, Some(Size(20 << 30)));
        assert_eq!(settings.bwlimit, Some(Rate(None)));
        assert_eq!(settings.written(Key::CacheSize).unwrap(), "20.0 GiB");
        assert_eq!(settings.written(Key::FreeFloor), None);
    }

    #[test]
    fn a_wrong_value_or_key_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(dir.path());
        let error = set(&state, Key::CacheSize, "huge").unwrap_err().report();
        assert!(error.message.contains("`huge` is not a size"), "{}", error.message);
        assert!(set(&state, Key::DeletionsLimit, "-1").is_err());
        assert!(!state.config().exists());
        fs::write(state.config(), "cahce_size = 1\n").unwrap();
        let message = Settings::load(&state).unwrap_err().report().message;
        assert!(message.contains("cahce_size"), "{message}");
    }
}
