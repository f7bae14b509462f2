//! The table of promises in `daemon/README.md`: each row names the tests that prove it, and these exist.

use std::path::{Path, PathBuf};

/// A row of a table of promises that proves nothing, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unproven {
    /// The row names no test.
    NoTest(String),
    /// The row names a test that is not there.
    MissingTest(String),
}

/// Checks each row of the tables of a text whose last column is headed "proven by"; `read` gives the
/// text of a source file, if there is one.
///
/// A test is written as its path, in backticks: `mount::operations::name` is `fn name` in
/// `tests/mount/operations.rs`, `daemon::vfs::tests::renames::name` is in `daemon/src/vfs/tests/renames.rs`.
pub(crate) fn unproven(
    text: &str,
    read: impl Fn(&Path) -> Option<String>,
) -> (usize, Vec<Unproven>) {
    let mut in_table = false;
    let (mut rows, mut found) = (0, Vec::new());
    for line in text.lines() {
        let Some(cells) = cells(line) else {
            in_table = false;
            continue;
        };
        let last = cells.last().copied().unwrap_or_default();
        if last == "proven by" {
            in_table = true;
        } else if in_table && !last.starts_with("---") {
            rows += 1;
            let tests: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
            if tests.is_empty() {
                found.push(Unproven::NoTest(cells[0].to_owned()));
            }
            let missing = tests.into_iter().filter(|test| !exists(test, &read));
            found.extend(missing.map(|test| Unproven::MissingTest(test.to_owned())));
        }
    }
    (rows, found)
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

fn exists(test: &str, read: impl Fn(&Path) -> Option<String>) -> bool {
    let mut segments: Vec<&str> = test.split("::").collect();
    let name = segments.pop().unwrap_or_default();
    let mut folder = match segments.first() {
        Some(&"daemon") => PathBuf::from("daemon/src"),
        Some(binary) => Path::new("tests").join(binary),
        None => return false,
    };
    folder.extend(&segments[1..]);
    let texts = [folder.with_extension("rs"), folder.join("mod.rs"), folder.join("main.rs")];
    texts.iter().filter_map(|path| read(path)).any(|text| has_test(&text, name))
}

/// True if a text has a function of this name with an attribute that makes it a test.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let head = format!("fn {name}(");
    (0..lines.len()).any(|at| {
        lines[at].trim_start_matches("async ").starts_with(&head)
            && lines[..at]
                .iter()
                .rev()
                .take_while(|line| !line.is_empty() && !line.ends_with('}'))
                .any(|line| line.starts_with("#[") && line.contains("test"))
    })
}
