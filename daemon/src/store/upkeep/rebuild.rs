//! A damaged database is put aside, so that a new one can be made: names come from the server again, and what may not be
//! there is kept in `lost+found`.
//!
//! A marker in the state directory says that this is going on. It goes last, so what a crash cut short is done again.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::lost_and_found::{self, KeptAs};
use super::orphans::Orphans;
use super::recovery::CLOCK_LAG;
use crate::store::core::Store;
use crate::store::disk::data_files::{DataFiles, UNFINISHED, modified};
use crate::store::disk::database::take_damage_met;
use crate::store::disk::examine::{self, Depth};
use crate::store::disk::redo;
use crate::store::disk::salvage::Salvage;
use crate::store::disk::seal::{Seal, sync_folder};
use crate::store::error::{Error, while_doing};
use crate::store::node::Ino;

/// Name of the marker: its text says what was found.
const MARKER: &str = "damaged";
/// Begins the names of the folders with databases that were put aside.
const FOLDER: &str = "damaged-";
/// Name of the file in such a folder that says why.
const REASON: &str = "reason";
/// List of the files in `lost+found` of which parts are only on the server, and zeros here.
const INCOMPLETE: &str = "incomplete";
/// Files in `lost+found` that are counted at the most.
const COUNTED_MAX: usize = 1000;
/// Files of a database.
const DATABASE: [&str; 4] = ["state.db", "state.db-wal", "state.db-shm", redo::NAME];

/// Something about damage that a person should know until what it left behind is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DamageFound {
    /// The damage.
    pub what: String,
    /// Where what is left of it is.
    pub path: Option<PathBuf>,
}

impl Store {
    /// True if the database was found damaged while it was in use.
    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// The damage that there is, and what earlier damage left behind.
    pub(crate) fn damage(&self) -> Vec<DamageFound> {
        left_behind(&self.dir)
    }

    /// Looks at the whole database if an error said that it is damaged; if so, it is made anew when it is next opened.
    pub(crate) fn look_for_damage(&self) {
        if !take_damage_met() || self.is_damaged() {
            return;
        }
        let marked =
            examine::examine(&self.dir.join(DATABASE[0]), true, Depth::Indexes).and_then(|found| {
                let Some(why) = found else {
                    tracing::warn!(
                        "the database failed as if it were damaged, but nothing is wrong with it"
                    );
                    return Ok(());
                };
                tracing::error!("{why}: it is made anew when the drive is mounted next");
                self.is_damaged.store(true, Ordering::Relaxed);
                mark(&self.dir, &why)
            });
        if let Err(error) = marked {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the database failed, and cannot be looked at");
        }
    }
}

/// Looks at the database of a state directory; puts a damaged one aside.
///
/// A whole check takes long, so it is made only of a database that was not closed in order. A daemon that takes over makes
/// none: programs wait for it, and a daemon that dies tears no page.
///
/// # Errors
/// [`Error::Damaged`] to a daemon that takes over: in a new database all nodes would have other numbers than the kernel knows.
pub(crate) fn examine(
    dir: &Path,
    data: &DataFiles,
    (seal, orphans): (Seal, Orphans),
) -> Result<(), Error> {
    let (database, has_data) = (dir.join(DATABASE[0]), data.has_any()?);
    let marked = fs::read_to_string(dir.join(MARKER)).ok();
    if marked.is_some() && !database.exists() && !has_data {
        // All of it was done but for this.
        return remove_marker(dir);
    }
    let depth = match (seal, orphans) {
        (Seal::Intact, _) | (_, Orphans::Keep) => Depth::Header,
        (Seal::Broken, Orphans::Reap) => Depth::Whole,
    };
    let found = match marked {
        Some(why) => Some(why),
        None => examine::examine(&database, has_data, depth)?,
    };
    match found {
        Some(_) if orphans == Orphans::Keep => {
            Err(Error::Damaged("the database: it is made anew when the drive is mounted next"))
        }
        Some(why) => rebuild(dir, data, &why, seal),
        None => Ok(()),
    }
}

/// Has the next opening of the state directory make a new database, for this reason.
pub(crate) fn mark(dir: &Path, why: &str) -> Result<(), Error> {
    let doing = while_doing("marking the store as damaged");
    fs::write(dir.join(MARKER), why).map_err(&doing)?;
    sync_folder(dir).map_err(&doing)
}

/// All there is to know about damage: found while the store is open, or left behind by a rebuild.
pub(crate) fn left_behind(dir: &Path) -> Vec<DamageFound> {
    let mut list = Vec::new();
    if let Ok(why) = fs::read_to_string(dir.join(MARKER)) {
        let what = format!("{why}; unmount and mount again, and it is made anew from the server");
        list.push(DamageFound { what, path: None });
    }
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(FOLDER))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    list.extend(folders.into_iter().map(|folder| {
        let why = fs::read_to_string(folder.join(REASON)).unwrap_or_default();
        let mut what = format!("{}; it was put aside and made anew from the server", why.trim());
        if folder.join(INCOMPLETE).exists() {
            what += "; files that have only a part of their content here stand in its list `incomplete`";
        }
        DamageFound { what, path: Some(folder) }
    }));
    let kept = dir.join(lost_and_found::NAME);
    let count = fs::read_dir(&kept).into_iter().flatten().take(COUNTED_MAX).count();
    if count > 0 {
        let what = format!(
            "{count}{} {} that may not be on the server; look, and remove what you do not need",
            if count == COUNTED_MAX { " or more" } else { "" },
            if count == 1 { "file or directory" } else { "files and directories" }
        );
        list.push(DamageFound { what, path: Some(kept) });
    }
    list
}

fn rebuild(dir: &Path, data: &DataFiles, why: &str, seal: Seal) -> Result<(), Error> {
    tracing::error!("{why}: the database is made anew from the server");
    mark(dir, why)?;
    let salvage = Salvage::open(&dir.join(DATABASE[0]));
    // Of a database that was not closed in order the last changes may be missing.
    let certain = match (seal, salvage.committed_at()) {
        (Seal::Intact, _) => i64::MAX,
        (Seal::Broken, committed) => committed.map_or(i64::MIN, |at| at - CLOCK_LAG),
    };
    let mut clearing = Clearing { dir, salvage, certain };
    let mut with_data = HashSet::new();
    data.each_file(|path, name| {
        with_data.extend(name.parse().map(Ino));
        clearing.clear(path, name)
    })?;
    clearing.make_empty_ones(&with_data)?;
    drop(clearing);
    put_aside(dir, why).map_err(while_doing("putting the damaged database aside"))?;
    remove_marker(dir)
}

/// The clearing of the data files.
struct Clearing<'a> {
    dir: &'a Path,
    salvage: Salvage,
    /// Data files that were changed later are kept.
    certain: i64,
}

impl Clearing<'_> {
    /// Keeps a data file, unless what is in it is on the server beyond doubt.
    fn clear(&mut self, path: &Path, name: &str) -> Result<(), Error> {
        let doing = while_doing("clearing the data files");
        let found = fs::metadata(path).map_err(&doing)?;
        let ino = name.parse().map(Ino).ok();
        let is_old = modified(&found) <= self.certain;
        let is_cache = is_old && ino.is_some_and(|ino| self.salvage.is_on_server(ino));
        if is_cache || name.ends_with(UNFINISHED) {
            return fs::remove_file(path).map_err(&doing);
        }
        let place = match ino.and_then(|ino| self.salvage.path(ino)) {
            Some((directory, names)) => KeptAs::named(name, directory, names),
            None => KeptAs::numbered(name),
        };
        let kept = lost_and_found::keep(self.dir, path, &place)?;
        if ino.is_some_and(|ino| self.salvage.is_incomplete(ino)) {
            self.note_incomplete(&kept).map_err(while_doing("noting an incomplete file"))?;
        }
        Ok(())
    }

    /// Writes down that what is not here of a file, as the server has it, is zeros in what was kept.
    fn note_incomplete(&self, kept: &Path) -> io::Result<()> {
        let list = self.dir.join(INCOMPLETE);
        let mut list = fs::OpenOptions::new().create(true).append(true).open(list)?;
        list.write_all(kept.as_os_str().as_bytes())?;
        list.write_all(b"\n")
    }

    /// Makes what has no data file and is not on the server.
    fn make_empty_ones(&mut self, with_data: &HashSet<Ino>) -> Result<(), Error> {
        let unsent = self.salvage.unsent().into_iter();
        for node in unsent.filter(|node| !with_data.contains(&node.ino)) {
            if let Some((directory, names)) = self.salvage.path(node.ino) {
                let place = KeptAs::named(&node.ino.to_string(), directory, names);
                lost_and_found::make(self.dir, &node, &place)?;
            }
        }
        Ok(())
    }
}

/// Moves the files of the database to a folder of their own, with the reason beside them.
fn put_aside(dir: &Path, why: &str) -> io::Result<()> {
    let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H-%M-%S").to_string();
    let name = |count: u32| match count {
        0 => format!("{FOLDER}{now}"),
        _ => format!("{FOLDER}{now}.{count}"),
    };
    let folder = (0..)
        .map(|count| dir.join(name(count)))
        .find(|folder| !folder.exists())
        .ok_or(io::ErrorKind::AlreadyExists)?;
    fs::create_dir(&folder)?;
    fs::write(folder.join(REASON), format!("{why}\n"))?;
    for file in DATABASE.into_iter().chain([INCOMPLETE]) {
        match fs::rename(dir.join(file), folder.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_folder(&folder)?;
    tracing::warn!(folder = %folder.display(), "the damaged database is here");
    sync_folder(dir)
}

fn remove_marker(dir: &Path) -> Result<(), Error> {
    let doing = while_doing("ending the rebuilding of the store");
    fs::remove_file(dir.join(MARKER)).map_err(&doing)?;
    sync_folder(dir).map_err(&doing)
}
