//! Runs a sequence on a file system and on the model, and says where they differ; shrinks what does.

use std::fmt;

use super::answer::{Answer, Expected, Kind};
use super::model::{Model, TOP};
use super::node::Id;
use super::operation::{Access, Creation, Open, Operation, Path};
use super::{FileSystem, bytes::Bytes};

/// The longest that is read at once.
const READ_MAX: u64 = 1 << 20;

/// The first answer that is not the model's.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Number of operations that were right before.
    pub after: usize,
    /// The operation.
    pub operation: Operation,
    /// Answer of the model.
    pub expected: Expected,
    /// Answer that came.
    pub found: Answer,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "after {} operations: {:?}", self.after, self.operation)?;
        writeln!(f, "  expected {:?}", self.expected)?;
        write!(f, "  found    {:?}", self.found)
    }
}

/// Runs a sequence, then looks at everything that is there in the end.
///
/// # Errors
/// The first difference.
pub(crate) fn compare(
    model: &mut Model,
    subject: &mut dyn FileSystem,
    operations: &[Operation],
) -> Result<(), Box<Difference>> {
    for (after, operation) in operations.iter().enumerate() {
        step(model, subject, operation, after)?;
    }
    inspect(model, subject, operations.len())
}

/// Looks at everything that is there.
///
/// # Errors
/// The first difference.
pub(crate) fn inspect(
    model: &mut Model,
    subject: &mut dyn FileSystem,
    after: usize,
) -> Result<(), Box<Difference>> {
    for operation in inspection(model) {
        step(model, subject, &operation, after)?;
    }
    Ok(())
}

fn step(
    model: &mut Model,
    subject: &mut dyn FileSystem,
    operation: &Operation,
    after: usize,
) -> Result<(), Box<Difference>> {
    let expected = model.apply(operation);
    let found = subject.apply(operation);
    if expected.agrees(&found) {
        return Ok(());
    }
    Err(Box::new(Difference { after, operation: operation.clone(), expected, found }))
}

/// Operations that look at all that is there.
fn inspection(model: &Model) -> Vec<Operation> {
    let mut operations = Vec::new();
    look_at(model, TOP, &Path(Vec::new()), &mut operations);
    operations
}

fn look_at(model: &Model, id: Id, path: &Path, operations: &mut Vec<Operation>) {
    let node = &model.nodes[&id];
    let path = || path.clone();
    operations.push(Operation::Stat { path: path() });
    operations.push(Operation::ListXattrs { path: path() });
    for name in node.xattrs.keys() {
        operations.push(Operation::GetXattr { path: path(), name });
    }
    match node.kind {
        Kind::File => read(&node.bytes, path(), operations),
        Kind::Symlink => operations.push(Operation::ReadLink { path: path() }),
        Kind::Fifo => {}
        Kind::Directory => {
            operations.push(Operation::List { path: path() });
            for (name, child) in &node.children {
                look_at(model, *child, &path().join(name), operations);
            }
        }
    }
}

fn read(bytes: &Bytes, path: Path, operations: &mut Vec<Operation>) {
    let how = Open { access: Access::Read, creation: Creation::No, truncate: false };
    operations.push(Operation::Open { handle: 0, path, how });
    for range in bytes.interesting() {
        for offset in range.clone().step_by(READ_MAX as usize) {
            let length = (range.end - offset).min(READ_MAX) as usize;
            operations.push(Operation::Read { handle: 0, offset, length });
        }
    }
    operations.push(Operation::Close { handle: 0 });
}

/// Takes out of a sequence whatever it fails without, in so many tries (Zeller, Hildebrandt 2002, much simplified).
pub(crate) fn shrink(
    mut operations: Vec<Operation>,
    tries_max: usize,
    mut fails: impl FnMut(&[Operation]) -> bool,
) -> Vec<Operation> {
    let (mut size, mut tries) = (operations.len().div_ceil(2), 0);
    while size > 0 && tries < tries_max {
        let (mut at, mut shorter) = (0, false);
        while at < operations.len() && tries < tries_max {
            let mut without = operations.clone();
            without.drain(at..(at + size).min(operations.len()));
            tries += 1;
            if fails(&without) {
                (operations, shorter) = (without, true);
            } else {
                at += size;
            }
        }
        if !shorter || size > 1 {
            size /= 2;
        }
    }
    operations
}

/// A sequence, one operation a line.
pub(crate) fn listing<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> String {
    operations.into_iter().map(|operation| format!("    {operation:?}\n")).collect()
}
