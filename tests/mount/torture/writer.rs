//! A program that works in a directory of its own and knows, by a model, what must be there; also when the daemon was killed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::Torture;
use crate::filesystem::FileSystem as _;
use crate::filesystem::answer::{Answer, Expected, Value};
use crate::filesystem::compare::{Difference, inspect, listing};
use crate::filesystem::disk::Disk;
use crate::filesystem::generate::{Habits, Rights, continued};
use crate::filesystem::model::Model;
use crate::filesystem::operation::{Allocation, NewTime, Operation};
use crate::filesystem::random::Random;

/// Operations after which a program closes all that it has open, and begins others.
const OPERATIONS_MAX: usize = 4000;
/// Operations before a wrong answer that are told.
const TOLD: usize = 100;
/// Pages by which a write may have been cut short.
const PAGE: usize = 4096;
/// An offset that is far away.
const FAR: u64 = 32 << 20;

/// A program, its directory, and what must be there.
pub(crate) struct Writer {
    name: String,
    model: Model,
    random: Random,
    /// The last operations that were answered, the oldest first. A daemon that was killed stands among them.
    done: VecDeque<Operation>,
}

/// An operation that was not answered, and the model as it was before that.
pub(crate) type Unanswered = (Operation, Box<Model>);

/// End of a writer's work.
#[derive(Default)]
pub(crate) struct Worked {
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Times that they took.
    pub waits: Vec<Duration>,
    /// The operation that was not answered, if the daemon was gone.
    pub unanswered: Option<Unanswered>,
}

/// Programs with directories of these names, which are made below the mount point.
pub(crate) fn writers(
    torture: &mut Torture,
    mount: &Path,
    names: impl IntoIterator<Item = String>,
) -> Vec<Writer> {
    let writer = |name: String| {
        std::fs::create_dir(mount.join(&name)).unwrap();
        Writer::new(name, Random::new(torture.random.below(u64::MAX)))
    };
    names.into_iter().map(writer).collect()
}

impl Writer {
    /// A program with an empty directory of this name.
    fn new(name: String, random: Random) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let model = Model::new(uid.as_raw(), gid.as_raw());
        Self { name, model, random, done: VecDeque::new() }
    }

    /// Name of the directory.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The last operations that were answered, one a line.
    pub(crate) fn done(&self) -> String {
        format!("the last operations before:\n{}", listing(self.done.iter()))
    }

    fn note(&mut self, operation: Operation) {
        if self.done.len() == TOLD {
            self.done.pop_front();
        }
        self.done.push_back(operation);
    }

    /// Works below the mount point until `until` says so or the daemon is gone.
    ///
    /// # Errors
    /// The first wrong answer.
    pub(crate) fn work(
        &mut self,
        mount: &Path,
        until: impl Fn() -> bool,
    ) -> Result<Worked, Box<Difference>> {
        let mut worked = Worked::default();
        while worked.unanswered.is_none() && !until() {
            self.work_on(&mut worked, mount, &until)?;
        }
        Ok(worked)
    }

    fn work_on(
        &mut self,
        worked: &mut Worked,
        mount: &Path,
        until: &impl Fn() -> bool,
    ) -> Result<(), Box<Difference>> {
        // Whatever it had open before is closed.
        self.model.apply(&Operation::Remount);
        let mut disk = self.disk(mount);
        for operation in continued(&mut self.random, self.model.clone(), habits()) {
            if until() {
                break;
            }
            let before = self.model.clone();
            let expected = self.model.apply(&operation);
            let asked = Instant::now();
            let found = disk.apply(&operation);
            if expected.agrees(&found) {
                worked.acknowledged += 1;
                worked.waits.push(asked.elapsed());
                self.note(operation);
            } else if is_gone(&found) {
                worked.unanswered = Some((operation, Box::new(before)));
                break;
            } else {
                let after = worked.acknowledged as usize;
                return Err(Box::new(Difference { after, operation, expected, found }));
            }
        }
        Ok(())
    }

    /// Looks for everything below the mount point after the daemon was killed; the operation that was not answered may
    /// have been done or not, or a write in part.
    ///
    /// # Errors
    /// The first difference from each of these states, that in which it had been done first.
    pub(crate) fn recover(
        &mut self,
        mount: &Path,
        unanswered: Option<Unanswered>,
    ) -> Result<(), String> {
        self.note(Operation::Kill);
        let mut states = vec![self.model.clone()];
        if let Some((operation, before)) = unanswered {
            states.extend(in_part(&operation, &before));
            states.push(*before);
        }
        let mut differences = String::new();
        for mut state in states {
            state.apply(&Operation::Kill);
            match self.matches(mount, &state) {
                Ok(()) => {
                    self.model = state;
                    return Ok(());
                }
                Err(difference) => differences.push_str(&format!("{difference}\n")),
            }
        }
        Err(differences)
    }

    /// Looks for everything below a mount point.
    ///
    /// # Errors
    /// The first difference.
    pub(crate) fn check(&self, mount: &Path) -> Result<(), Box<Difference>> {
        let mut state = self.model.clone();
        state.apply(&Operation::Kill);
        self.matches(mount, &state)
    }

    fn matches(&self, mount: &Path, state: &Model) -> Result<(), Box<Difference>> {
        inspect(&mut state.clone(), &mut self.disk(mount), 0)
    }

    fn disk(&self, mount: &Path) -> Disk<'static> {
        let path: PathBuf = mount.join(&self.name);
        Disk::new(path, |_end| panic!("the daemon is ended by somebody else"))
    }
}

fn habits() -> Habits {
    let rights = if rustix::process::geteuid().is_root() { Rights::Root } else { Rights::User };
    let never = u64::MAX;
    let length = OPERATIONS_MAX;
    Habits { length, rights, kill: never, remount: never, send: never, far: FAR }
}

/// True if nobody serves the mount any more.
fn is_gone(answer: &Answer) -> bool {
    matches!(answer, Err(Errno::NOTCONN | Errno::CONNABORTED))
}

/// States that an operation leaves when it was begun only.
fn in_part(operation: &Operation, before: &Model) -> Vec<Model> {
    match *operation {
        Operation::Write { handle, offset, length, fill } => {
            write_in_part(before, handle, (offset, length, fill))
        }
        Operation::Allocate { handle, what: Allocation::Punch | Allocation::Zero, .. } => {
            zeros_in_part(operation, before, handle)
        }
        Operation::Resize { handle, .. } => vec![touched(before, handle)],
        Operation::Truncate { ref path, .. } => {
            let (path, atime, mtime) = (path.clone(), NewTime::Omit, NewTime::Now);
            vec![after(before, [Operation::SetTimes { path, atime, mtime }])]
        }
        _ => Vec::new(),
    }
}

/// The kernel cuts a write at the ends of pages.
fn write_in_part(
    before: &Model,
    handle: usize,
    (offset, length, fill): (u64, usize, u8),
) -> Vec<Model> {
    let size = size_of(before, handle);
    // One that appends begins at the end, wherever the operation says.
    let cuts = [offset, size].into_iter().flat_map(|start| {
        let first = PAGE - (start as usize) % PAGE;
        (first..length).step_by(PAGE)
    });
    let state = |length| after(before, [Operation::Write { handle, offset, length, fill }]);
    cuts.map(state).collect()
}

/// Times change before bytes become zeros, and these before a file grows.
fn zeros_in_part(operation: &Operation, before: &Model, handle: usize) -> Vec<Model> {
    let size = size_of(before, handle);
    let zeros = after(before, [operation.clone(), Operation::Resize { handle, size }]);
    vec![touched(before, handle), zeros]
}

/// Times of a content change before anything else of it.
fn touched(before: &Model, handle: usize) -> Model {
    let (offset, length, what) = (0, 1, Allocation::ReserveKeepingSize);
    after(before, [Operation::Allocate { handle, offset, length, what }])
}

fn size_of(model: &Model, handle: usize) -> u64 {
    match model.clone().apply(&Operation::StatHandle { handle }) {
        Expected::Exactly(Ok(Value::Stat(stat))) => stat.size,
        _ => 0,
    }
}

fn after<const N: usize>(before: &Model, operations: [Operation; N]) -> Model {
    let mut state = before.clone();
    operations.iter().for_each(|operation| drop(state.apply(operation)));
    state
}
