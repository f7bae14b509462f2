//! The rules that keep the workspace readable, each a function from a file to what breaks it.

use std::fmt;

use crate::code::{self, Path, Token};

/// The most lines that a file may have.
const FILE_LINES_MAX: usize = 500;
/// The most lines that a function may have.
const FUNCTION_LINES_MAX: usize = 60;

/// A crate of the workspace, its layers and what is on their floors, each the lowest first.
pub(crate) struct Crate {
    /// Folder, with `/` at the end.
    pub folder: &'static str,
    layers: &'static [&'static str],
    /// For a layer, the files and folders on each floor. What shares a floor may use each other.
    pub floors: &'static [(&'static str, Floors)],
}

/// The crates of the workspace.
pub(crate) const CRATES: [Crate; 3] = [
    Crate { folder: "src/", layers: &["content", "protocol", "client"], floors: &[] },
    Crate {
        folder: "server/src/",
        layers: &["backend", "service", "http", "config", "cli"],
        floors: &[("service", &SERVICE)],
    },
    Crate {
        folder: "daemon/src/",
        layers: &["store", "sync", "vfs", "fuse", "cli"],
        floors: &[("store", &STORE), ("sync", &SYNC), ("cli", &COMMANDS)],
    },
];

/// The floors of a layer, the lowest first, each with the files and folders on it.
type Floors = &'static [&'static [&'static str]];

const STORE: [&[&str]; 10] = [
    &["blocking", "lock_waits", "node"],
    &["invalidation", "untold"],
    &["error"],
    &["disk"],
    &["inodes"],
    &["tree"],
    &["core"],
    &["upkeep"],
    &["bytes"],
    &["exchange", "open"],
];
const SYNC: [&[&str]; 8] = [
    &["error", "mutex", "status"],
    &["link", "metrics"],
    &["first_pull", "hash"],
    &["core"],
    &["download", "pull", "verify"],
    &["upload"],
    &["push"],
    &["engine"],
];
const COMMANDS: [&[&str]; 7] = [
    &["terminal"],
    &["state", "mounting"],
    &["control"],
    &["diagnosis"],
    &["daemon"],
    &[
        "account",
        "completions",
        "config",
        "devices",
        "doctor",
        "login",
        "logout",
        "mount",
        "passwd",
        "signup",
        "status",
        "sync",
        "token",
        "umount",
        "upgrade",
    ],
    &["mount_helper"],
];
const SERVICE: [&[&str]; 8] = [
    &["audit", "caller", "error", "fresh", "policy", "subnet"],
    &["disk_room", "readiness", "room"],
    &["gathering"],
    &["accounts", "files", "hosts"],
    &["context"],
    &["downloads"],
    &["fsck", "transfer", "uploads"],
    &["gc", "backup"],
];

/// Words with which a doc comment asks instead of telling.
const QUESTIONS: [&str; 6] = ["What", "How", "Whether", "Which", "It", "Its"];

/// Crates from outside (or from `miaofs`), and the only places that may use it.
const OWNERS: [(&[&str], &[&str]); 16] = [
    (&["fuser"], &["daemon/src/fuse/"]),
    (&["axum"], &["server/src/http/", "server/src/main.rs"]),
    (&["hyper"], &["server/src/http/connections/", "src/client/"]),
    (&["hyper_util"], &["server/src/http/connections/"]),
    (&["tower_http"], &["server/src/http/", "server/src/main.rs"]),
    (&["sqlx"], &["server/src/backend/"]),
    (&["object_store"], &["server/src/backend/"]),
    (&["quick_xml"], &["server/src/backend/blobs/"]),
    (&["redis"], &["server/src/backend/tracker/"]),
    (&["lapin"], &["server/src/backend/queue/"]),
    (&["rusqlite"], &["daemon/src/store/disk/", "daemon/src/store/tests/"]),
    (&["reqwest"], &["src/client/", "server/src/backend/peers.rs"]),
    (&["rustls"], &["src/client/", "server/src/http/tls/"]),
    (&["tokio_rustls"], &["server/src/http/tls/"]),
    (
        &["clap"],
        &[
            "daemon/src/cli/",
            "daemon/src/main.rs",
            "server/src/main.rs",
            "server/src/cli/",
            "server/src/config/",
        ],
    ),
    (&["miaofs", "client"], &["daemon/src/sync/", "daemon/src/cli/"]),
];

/// One file of the workspace.
pub(crate) struct Source<'a> {
    /// Path from the root of the repository, with `/`.
    pub path: &'a str,
    /// The text.
    pub text: &'a str,
}

/// A rule that a file breaks, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Where: path and line.
    pub place: String,
    /// The rule that is broken.
    pub fault: Fault,
}

/// The ways to break a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file does not begin with `//!` and a sentence.
    NoHeader,
    /// The file has too many lines.
    LongFile(usize),
    /// A function has too many lines.
    LongFunction(String, usize),
    /// `unwrap()` outside of tests.
    Unwrap,
    /// `use …::*` outside of tests.
    Glob(String),
    /// A layer uses a higher one, or the files that put the layers together.
    Upward(String),
    /// A folder that is no layer of its crate.
    NoLayer(String),
    /// An outside crate is used where another folder owns it.
    Owned(String),
    /// A doc comment begins with one of [`QUESTIONS`].
    Question(String),
    /// A type that prints a secret: type and field.
    ShownSecret(String, String),
    /// Files that use each other.
    Circle(Vec<String>),
    /// A file or folder of a layer that stands on no floor of it.
    NoFloor(String),
    /// A file uses one on a higher floor of its layer.
    AboveFloor(String),
    /// A public type has a name that another one in the crate has: name and other file.
    Twin(String, String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match &self.fault {
            Fault::NoHeader => write!(f, "the file does not begin with `//!` and a sentence"),
            Fault::LongFile(lines) => {
                write!(f, "{lines} lines, more than {FILE_LINES_MAX} for a file")
            }
            Fault::LongFunction(name, lines) => {
                write!(f, "`{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}")
            }
            Fault::Unwrap => write!(f, "`unwrap()` outside of tests"),
            Fault::Glob(path) => write!(f, "glob import `{path}`"),
            Fault::Upward(path) => write!(f, "`{path}` is above this layer"),
            Fault::NoLayer(folder) => write!(f, "folder `{folder}` is no layer of its crate"),
            Fault::Owned(path) => write!(f, "`{path}` belongs to another folder"),
            Fault::Question(word) => {
                write!(f, "a doc comment begins with `{word}`: say what it is")
            }
            Fault::ShownSecret(name, field) => {
                write!(f, "`{name}` derives Debug, which prints `{field}`: leave it out")
            }
            Fault::Circle(files) => write!(f, "files use each other: {}", files.join(", ")),
            Fault::NoFloor(room) => write!(f, "`{room}` stands on no floor of its layer"),
            Fault::AboveFloor(file) => write!(f, "{file} is on a higher floor"),
            Fault::Twin(name, other) => write!(f, "the name `{name}` stands in {other}, too"),
        }
    }
}

/// Builds that a file is compiled for: all builds or for tests only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For all builds.
    Production,
    /// For tests only.
    Tests,
}

/// The beginnings of the paths of files that `source` declares for tests only.
pub(crate) fn test_files(source: &Source) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let folder = ["/mod", "/main", "/lib"].iter().find_map(|name| stem.strip_suffix(name));
    let folder = folder.unwrap_or(stem);
    let modules = code::test_modules(&code::tokens(source.text));
    let by_name =
        modules.iter().flat_map(|name| ["/", ".rs"].map(|end| format!("{folder}/{name}{end}")));
    by_name.chain(test_files_by_path(source)).collect()
}

/// The same for those that are declared with `#[path = "…"]`, relative to the folder of `source`.
fn test_files_by_path(source: &Source) -> Vec<String> {
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _file)| folder);
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let named = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    let files = named.filter_map(|pair| pair[1].strip_prefix("#[path = \"")?.strip_suffix("\"]"));
    files.map(|file| format!("{folder}/{file}")).collect()
}

/// Everything that is wrong with a file.
pub(crate) fn check(source: &Source, purpose: Purpose) -> Vec<Violation> {
    let all = code::tokens(source.text);
    let production = match purpose {
        Purpose::Tests => Vec::new(),
        Purpose::Production => code::without_tests(&all),
    };
    let paths = code::paths(&production);
    let mut faults = size_and_header(source, &all);
    faults.extend(questions(source.text));
    faults.extend(unwraps(&production));
    faults.extend(globs(&paths));
    faults.extend(shown_secrets(&production));
    faults.extend(layers(source.path, &paths));
    faults.extend(owners(source.path, &paths));
    let place = |line| format!("{}:{line}", source.path);
    faults.into_iter().map(|(line, fault)| Violation { place: place(line), fault }).collect()
}

fn size_and_header(source: &Source, tokens: &[Token]) -> Vec<(usize, Fault)> {
    let mut faults = Vec::new();
    let first = source.text.lines().next().unwrap_or("");
    let sentence = first.strip_prefix("//! ").unwrap_or("").trim();
    if sentence.split_whitespace().count() < 2 {
        faults.push((1, Fault::NoHeader));
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push((lines, Fault::LongFile(lines)));
    }
    let long = code::functions(tokens).into_iter().filter(|it| it.length > FUNCTION_LINES_MAX);
    faults.extend(long.map(|it| (it.line, Fault::LongFunction(it.name, it.length))));
    faults
}

/// Doc comments of items that begin with a question.
fn questions(text: &str) -> impl Iterator<Item = (usize, Fault)> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let is_first = |at: usize| at == 0 || text_of_doc(lines[at - 1]).is_none();
    let found = (0..lines.len()).filter(|at| is_first(*at)).filter_map(|at| {
        let word = text_of_doc(lines[at])?.split_whitespace().next()?;
        QUESTIONS.contains(&word).then(|| (at + 1, Fault::Question(word.to_owned())))
    });
    found.collect::<Vec<_>>().into_iter()
}

/// The text of a line of a doc comment.
fn text_of_doc(line: &str) -> Option<&str> {
    line.strip_prefix("///").filter(|rest| !rest.starts_with('/'))
}

fn unwraps(tokens: &[Token]) -> impl Iterator<Item = (usize, Fault)> {
    let is_call = |four: &&[Token]| {
        four.iter().map(|token| token.text.as_str()).eq([".", "unwrap", "(", ")"])
    };
    tokens.windows(4).filter(is_call).map(|four| (four[0].line, Fault::Unwrap))
}

fn globs(paths: &[Path]) -> impl Iterator<Item = (usize, Fault)> {
    let is_glob = |path: &&Path| path.words.last().is_some_and(|word| word == "*");
    paths.iter().filter(is_glob).map(|path| (path.line, Fault::Glob(path.words.join("::"))))
}

/// Fields of text that are named like secrets, of types that derive `Debug`: a line of the log would print them.
fn shown_secrets(tokens: &[Token]) -> Vec<(usize, Fault)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::new();
    for at in (0..tokens.len()).filter(|at| text(*at) == "struct" && text(at + 2) == "{") {
        let attributes = (0..at).rev().take_while(|before| !matches!(text(*before), ";" | "}"));
        if !attributes.into_iter().any(|before| text(before) == "Debug") {
            continue;
        }
        let end = (at + 3..tokens.len()).find(|end| text(*end) == "}").unwrap_or(tokens.len());
        let fields = tokens[at + 3..end].split(|token| token.text == ",");
        for field in fields {
            let Some(colon) = field.iter().position(|token| token.text == ":") else { continue };
            let (name, kind) = field.split_at(colon);
            let Some(name) = name.last() else { continue };
            if is_secret(&name.text) && kind.iter().any(|token| token.text == "String") {
                let (owner, name_text) = (text(at + 1).to_owned(), name.text.clone());
                found.push((name.line, Fault::ShownSecret(owner, name_text)));
            }
        }
    }
    found
}

fn is_secret(field: &str) -> bool {
    let last = field.rsplit('_').next().unwrap_or(field);
    matches!(last, "password" | "token" | "secret" | "pass")
}

/// Every path that leads out of the file's layer must lead down.
fn layers(file: &str, paths: &[Path]) -> Vec<(usize, Fault)> {
    let Some(home) = CRATES.iter().find(|it| file.starts_with(it.folder)) else {
        return Vec::new();
    };
    let modules = modules(&file[home.folder.len()..]);
    let Some(folder) = modules.first() else {
        return Vec::new();
    };
    let level = |name: &str| home.layers.iter().position(|layer| *layer == name);
    let Some(own) = level(folder) else {
        let composes = !file[home.folder.len()..].contains('/');
        return if composes { Vec::new() } else { vec![(1, Fault::NoLayer((*folder).to_owned()))] };
    };
    let leads_up = |path: &&Path| {
        from_root(&modules, &path.words)
            .and_then(|rest| rest.first())
            .is_some_and(|word| level(word).is_none_or(|other| other > own) && is_module(word))
    };
    let upward = paths.iter().filter(leads_up);
    upward.map(|path| (path.line, Fault::Upward(path.words.join("::")))).collect()
}

/// Place of a file in the tree of modules: `fuse/mod.rs` is `fuse`, `main.rs` the root.
pub(crate) fn modules(file: &str) -> Vec<&str> {
    let stem = file.trim_end_matches(".rs");
    let words = stem.split('/').filter(|word| !matches!(*word, "mod" | "main" | "lib"));
    words.collect()
}

/// The rest of a path behind the root of the crate, when the path leads there.
fn from_root<'a>(modules: &[&str], words: &'a [String]) -> Option<&'a [String]> {
    let supers = words.iter().take_while(|word| *word == "super").count();
    match words.first()?.as_str() {
        "crate" => Some(&words[1..]),
        "super" if supers >= modules.len() => Some(&words[supers..]),
        _ => None,
    }
}

/// Macros at the root of a crate are types' and macros' names, modules are in lower case.
fn is_module(word: &str) -> bool {
    word.chars().all(|character| character.is_lowercase() || matches!(character, '_' | '0'..='9'))
}

fn owners(file: &str, paths: &[Path]) -> Vec<(usize, Fault)> {
    let sources = CRATES.iter().any(|it| file.starts_with(it.folder));
    let strays = |path: &&Path| {
        let uses = |name: &[&str]| {
            path.words.len() >= name.len() && path.words.iter().zip(name).all(|(a, b)| a == b)
        };
        let elsewhere = |places: &[&str]| !places.iter().any(|place| file.starts_with(place));
        sources && OWNERS.iter().any(|(name, places)| uses(name) && elsewhere(places))
    };
    let owned = paths.iter().filter(strays);
    owned.map(|path| (path.line, Fault::Owned(path.words.join("::")))).collect()
}
