//! Data files that are lent, against a kernel in memory that opens them after it was told and closes them after it tells, while
//! daemons die and others go on with the session.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use super::super::{Loan, Mapping, Others};
use super::random::{Random, seeded};
use super::*;

/// Operations of a history.
const STEPS: usize = 400;
const HISTORIES: usize = 15;
/// Openings at once: so few that there are often none.
const OPENINGS_MAX: usize = 2;

/// An opening of the only file, as the daemon and the kernel know it.
struct Opening {
    /// Kept by the daemon, unless one before it was asked.
    lent: Option<(Content, Loan)>,
    mapping: Mapping,
    /// The data file, once the kernel has opened it for this.
    data: Option<File>,
}

/// One file, the openings of it that the kernel lets write by themselves, and what is in it.
struct Kernel {
    store: Arc<Store>,
    directory: TempDir,
    ino: Ino,
    openings: Vec<Opening>,
    /// Kept by the daemon for the openings of those before it, until the kernel forgets the file.
    before: Option<(Content, Loan)>,
    /// Data files that the kernel has not closed though the opening has ended: the last reference to one, or a mapping.
    remains: Vec<File>,
    bytes: Vec<u8>,
    version: u64,
}

impl Kernel {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        let ino = write_file(&store, "file", b"new");
        let (openings, remains) = (Vec::new(), Vec::new());
        let (bytes, version, before) = (b"new".to_vec(), 0, None);
        Self { store, directory, ino, openings, before, remains, bytes, version }
    }

    /// A descriptor of the data file, which nobody here knows.
    fn data_file(&self) -> File {
        let path = self.store.data.path(self.ino);
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    }

    /// True if it has the file open by its data file, and so would have any other one by the same.
    fn uses(&self) -> bool {
        self.before.is_some() || !self.openings.is_empty()
    }

    /// The daemon is killed, and the next one goes on with the session. It has a copy of all.
    fn take_over(&mut self) {
        let has_lent = self.uses();
        let (copy, store) = taken_over(self.directory.path());
        let dead_store = std::mem::replace(&mut self.store, store);
        // Before the next daemon looks who writes: nothing that the kernel has is ever closed.
        self.remains = (0..self.remains.len()).map(|_| self.data_file()).collect();
        for at in 0..self.openings.len() {
            self.openings[at].data = self.openings[at].data.take().map(|_| self.data_file());
        }
        let of_all = if has_lent { self.store.lend_as_before(self.ino).unwrap() } else { None };
        let of_dead = std::mem::replace(&mut self.before, of_all);
        let of_openings: Vec<_> = self.openings.iter_mut().map(|it| it.lent.take()).collect();
        drop((of_dead, of_openings, dead_store));
        self.directory = copy;
    }

    /// The kernel forgets the file, if it has no opening of it.
    fn forget(&mut self) {
        if self.openings.is_empty()
            && let Some((content, loan)) = self.before.take()
        {
            loan.end().unwrap();
            drop(content);
        }
    }

    fn open(&mut self, random: &mut Random) {
        if self.openings.len() == OPENINGS_MAX {
            return;
        }
        let content = self.store.open_content(self.ino, Access::Write).unwrap();
        let mapping = if random.below(3) == 0 { Mapping::ReadOnly } else { Mapping::Writable };
        let is_used = self.uses();
        let others = if is_used || random.below(2) == 0 { Others::Lent } else { Others::None };
        if let Some(loan) = content.lend(others, mapping).unwrap() {
            self.openings.push(Opening { lent: Some((content, loan)), mapping, data: None });
        }
    }

    /// The kernel does the next thing for an opening that it was told of: opens the data file for it, writes, or closes it.
    fn go_on(&mut self, random: &mut Random) {
        if self.openings.is_empty() {
            return;
        }
        let at = random.below(self.openings.len() as u64) as usize;
        let Some(data) = &self.openings[at].data else {
            self.openings[at].data = Some(self.data_file());
            return;
        };
        if random.below(3) > 0 {
            write(data, &mut self.bytes, random);
            return;
        }
        let Opening { lent, mapping, data } = self.openings.swap_remove(at);
        self.remains.extend(data.filter(|_| mapping == Mapping::Writable && random.below(2) == 0));
        if let Some((content, loan)) = lent {
            loan.end().unwrap();
            drop(content);
        }
    }

    /// A mapping is written through, or ends.
    fn outlive(&mut self, random: &mut Random) {
        match self.remains.pop() {
            Some(remaining) if random.below(2) == 0 => {
                write(&remaining, &mut self.bytes, random);
                self.remains.push(remaining);
            }
            _ => {}
        }
    }

    /// Hands the file to the server, if it is dirty.
    fn push(&mut self) {
        let Some(dirty) = self.dirty() else { return };
        self.version += 1;
        if dirty.content_dirty {
            let snapshot = self.store.snapshot(self.ino).unwrap();
            self.store.mark_uploaded(&snapshot, manifest_of(&self.bytes)).unwrap();
        }
        if self.dirty().is_some_and(|dirty| !dirty.content_dirty) {
            push(&self.store, self.ino, self.version);
        }
    }

    /// The file as the engine sees it, if it is dirty.
    fn dirty(&self) -> Option<DirtyNode> {
        self.store.dirty_nodes(Ino(0), 10).unwrap().into_iter().find(|node| node.ino == self.ino)
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(size(&self.store, self.ino), self.bytes.len() as u64, "size");
        assert!(read_all(&self.store, self.ino) == self.bytes, "other bytes");
    }

    /// The server has what is in the file, or the engine knows that it has not.
    #[track_caller]
    fn check_known(&self) {
        let is_pushed = self.dirty().is_none_or(|dirty| !dirty.content_dirty);
        let content = self.store.content_of(self.ino).unwrap();
        let right = manifest_of(&self.bytes).digest();
        assert!(!is_pushed || content.is_some_and(|content| content.digest == right), "forgotten");
    }
}

/// Writes within the file or behind its end, as the kernel does: nobody is told.
fn write(file: &File, bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() as u64 + 5_000) as usize;
    let written = super::bytes(random.below(1 << 40), 1 + random.below(3_000));
    file.write_all_at(&written, at as u64).unwrap();
    bytes.resize(bytes.len().max(at + written.len()), 0);
    bytes[at..at + written.len()].copy_from_slice(&written);
}

#[test]
fn nothing_that_is_written_to_a_lent_file_is_overlooked() {
    let mut random = seeded("lent");
    for _history in 0..HISTORIES {
        let mut kernel = Kernel::new();
        for _step in 0..STEPS {
            match random.below(11) {
                10 if random.below(3) == 0 => kernel.take_over(),
                10 => kernel.forget(),
                0..=2 => kernel.open(&mut random),
                3..=6 => kernel.go_on(&mut random),
                7 => kernel.outlive(&mut random),
                8 => kernel.store.take_in_unseen().unwrap(),
                9 if random.below(2) == 0 => kernel.check_known(),
                _ => kernel.push(),
            }
            kernel.check();
        }
    }
}
