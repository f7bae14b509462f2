//! Reads the sources of the workspace and fails where they leave the architecture.
//!
//! Layers and the floors in them import downwards only, no files use each other, an outside crate stays in the
//! folder that owns it, no two types of a crate have one name, and files and functions stay short enough to read.
//! The rules themselves are tried on small samples, so that each is known to fail when it should. So is the check
//! that every promise of the mount names a test.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "architecture/code.rs"]
mod code;
#[path = "architecture/house.rs"]
mod house;
#[path = "architecture/promises.rs"]
mod promises;
#[path = "architecture/rules.rs"]
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use house::check_crates;
use promises::{Unproven, unproven};
use rules::{Fault, Purpose, Source, Violation, check, test_files};

const FOLDERS: [&str; 4] = ["src", "server/src", "daemon/src", "tests"];

#[test]
fn the_sources_keep_every_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = FOLDERS.iter().flat_map(|folder| rust_files(&root.join(folder)));
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        (file.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text)
    };
    let files: Vec<(String, String)> = files.map(read).collect();
    assert!(files.len() > 20, "only {} files were found", files.len());
    let list: Vec<String> = violations(&files).iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} violations:\n{}", list.len(), list.join("\n"));
}

/// Checks files, given as paths and texts, each for what it is compiled for.
fn violations(files: &[(String, String)]) -> Vec<Violation> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source { path, text }).collect();
    let mut for_tests: Vec<String> = sources.iter().flat_map(test_files).collect();
    for_tests.push("tests/".to_owned());
    let purpose = |source: &Source| match for_tests.iter().any(|it| source.path.starts_with(it)) {
        true => Purpose::Tests,
        false => Purpose::Production,
    };
    let mut found: Vec<Violation> =
        sources.iter().flat_map(|source| check(source, purpose(source))).collect();
    let production: Vec<Source> =
        sources.into_iter().filter(|it| purpose(it) == Purpose::Production).collect();
    found.extend(check_crates(&production));
    found
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The faults that the rules find in a file that has a header and this code below it.
fn faults(path: &str, code: &str) -> Vec<Fault> {
    let text = format!("//! A sample of code.\n{code}");
    let found = check(&Source { path, text: &text }, Purpose::Production);
    found.into_iter().map(|violation| violation.fault).collect()
}

#[test]
fn an_upward_import_is_found_however_it_is_written() {
    let samples = [
        ("daemon/src/store/tree.rs", "use crate::sync::Engine;"),
        ("daemon/src/store/tree.rs", "use super::super::sync::Engine;"),
        ("daemon/src/store/mod.rs", "use super::vfs::Vfs;"),
        ("daemon/src/sync/push/plan.rs", "use crate::{store::Store, vfs::{Vfs, Open}};"),
        ("daemon/src/vfs/read.rs", "fn f() -> crate::fuse::Reply { g() }"),
        ("daemon/src/fuse/mod.rs", "use crate::cli as commands;"),
        ("server/src/backend/db/files.rs", "use crate::service::Error;"),
        ("server/src/service/files.rs", "use crate::http;"),
        ("server/src/service/files.rs", "use crate::config::Config;"),
        ("server/src/http/files.rs", "use crate::config::Config;"),
        ("server/src/config/flags.rs", "use crate::cli::Cli;"),
        ("src/content/chunk.rs", "impl From<crate::protocol::ids::NodeId> for X {}"),
        ("src/protocol/ids.rs", "use crate::client::Api;"),
    ];
    for (path, code) in samples {
        let found = faults(path, code);
        assert!(matches!(found[..], [Fault::Upward(_), ..]), "{path}: {code}: {found:?}");
    }
}

#[test]
fn imports_that_lead_down_or_stay_are_allowed() {
    let samples = [
        ("daemon/src/vfs/read.rs", "use crate::store::Store; use crate::sync::{Engine, plan};"),
        ("daemon/src/vfs/read.rs", "use super::write::Write; use crate::vfs::open;"),
        ("daemon/src/main.rs", "use crate::cli::run;"),
        ("server/src/cli/serve.rs", "use crate::{config::Config, http::router};"),
        ("server/src/http/files.rs", "use crate::service::Files; use super::problem::Answer;"),
        ("src/client/mod.rs", "use crate::protocol::routes; use crate::content::Digest;"),
        ("src/content/mod.rs", "// see crate::protocol\nconst A: &str = \"crate::client::x\";"),
    ];
    for (path, code) in samples {
        assert_eq!(faults(path, code), [], "{path}: {code}");
    }
}

#[test]
fn a_type_that_would_print_a_secret_is_found() {
    let shown =
        "#[derive(Debug, Clone)]\npub struct A { pub name: String, pub refresh_token: String }";
    let found = faults("src/protocol/accounts.rs", shown);
    assert_eq!(found, [Fault::ShownSecret("A".to_owned(), "refresh_token".to_owned())]);
    for code in [
        "#[derive(Clone)] struct A { token: Option<String> }",
        "#[derive(Debug)] struct A { secret: SecretString, tokens: u8, name: String }",
        "#[derive(Debug)] struct B; #[derive(Clone)] struct A { password: String }",
        "#[derive(Debug)] enum A { Revoke { token: String } }",
    ] {
        assert_eq!(faults("src/protocol/accounts.rs", code), [], "{code}");
    }
}

#[test]
fn an_outside_crate_off_its_folder_is_found() {
    let samples = [
        ("daemon/src/vfs/read.rs", "use fuser::Errno;"),
        ("daemon/src/sync/mod.rs", "type A = rusqlite::Connection;"),
        ("server/src/service/files.rs", "use axum::{body::Body, Json};"),
        ("server/src/http/files.rs", "use sqlx;"),
        ("server/src/service/transfer.rs", "use object_store::ObjectStore;"),
        ("server/src/service/session.rs", "use redis::Cmd;"),
        ("daemon/src/sync/mod.rs", "use reqwest::Client;"),
        ("daemon/src/sync/mod.rs", "#[derive(clap::Args)] struct A;"),
        ("daemon/src/vfs/mod.rs", "use miaofs::{client::Api, content::Digest};"),
    ];
    for (path, code) in samples {
        let found = faults(path, code);
        assert!(matches!(found[..], [Fault::Owned(_), ..]), "{path}: {code}: {found:?}");
    }
    assert_eq!(faults("daemon/src/fuse/mod.rs", "use fuser::Errno;"), []);
    assert_eq!(faults("server/src/backend/blobs.rs", "use object_store::ObjectStore;"), []);
    assert_eq!(faults("daemon/src/sync/mod.rs", "use miaofs::client::Api;"), []);
}

#[test]
fn unwraps_and_globs_are_found_outside_of_tests_only() {
    let path = "server/src/service/files.rs";
    assert_eq!(faults(path, "fn f() { g().unwrap() }"), [Fault::Unwrap]);
    assert_eq!(faults(path, "use super::a::*;"), [Fault::Glob("super::a::*".to_owned())]);
    let in_tests = "#[cfg(test)]\nmod tests { use super::*; fn f() { g().unwrap() } }";
    assert_eq!(faults(path, in_tests), []);
    let after = format!("{in_tests}\nfn f() {{ g().unwrap() }}");
    assert_eq!(faults(path, &after), [Fault::Unwrap]);
    let harmless =
        "fn f() { g().unwrap_or(1 * 2); let c = '\"'; h(r#\".unwrap() \"#, \".unwrap()\") }";
    assert_eq!(faults(path, harmless), []);
}

#[test]
fn a_file_is_for_tests_only_when_its_parent_says_so() {
    let file = |path: &str, code: &str| (path.to_owned(), format!("//! A sample.\n{code}"));
    let parent = "#[cfg(test)]\nmod fixture;\nmod real;\n#[cfg(test)]\nmod inside { fn f() {} }\n\
                  #[cfg(test)]\n#[path = \"real_tests.rs\"]\nmod tests;";
    let unwrap = "fn f() { g().unwrap() }";
    let files = [
        file("daemon/src/vfs/mod.rs", parent),
        file("daemon/src/vfs/fixture.rs", unwrap),
        file("daemon/src/vfs/fixture/more.rs", unwrap),
        file("daemon/src/vfs/real_tests.rs", unwrap),
        file("daemon/src/vfs/real.rs", unwrap),
        file("daemon/src/vfs/inside.rs", unwrap),
    ];
    let places: Vec<String> = violations(&files).into_iter().map(|it| it.place).collect();
    assert_eq!(places, ["daemon/src/vfs/real.rs:2", "daemon/src/vfs/inside.rs:2"]);
}

#[test]
fn what_is_too_long_or_has_no_header_is_found() {
    let path = "daemon/src/vfs/read.rs";
    let function = |lines: usize| format!("fn long() {{\n{}}}\n", "g();\n".repeat(lines - 2));
    assert_eq!(faults(path, &function(60)), []);
    assert_eq!(faults(path, &function(61)), [Fault::LongFunction("long".to_owned(), 61)]);
    assert_eq!(faults(path, &"\n".repeat(499)), []);
    assert_eq!(faults(path, &"\n".repeat(500)), [Fault::LongFile(501)]);
    for text in ["", "use std::fs;\n", "// a comment\n", "//!\n", "//! t\n"] {
        let found = check(&Source { path, text }, Purpose::Production);
        assert!(found.iter().any(|it| it.fault == Fault::NoHeader), "{text:?}: {found:?}");
    }
}

#[test]
fn a_folder_that_is_no_layer_is_found() {
    let found = faults("daemon/src/util/mod.rs", "fn f() {}");
    assert_eq!(found, [Fault::NoLayer("util".to_owned())]);
}

/// The faults that the rules for whole crates find in files, given as paths and code.
fn faults_of_crates(files: &[(&str, &str)]) -> Vec<(String, Fault)> {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source { path, text }).collect();
    check_crates(&sources).into_iter().map(|it| (it.place, it.fault)).collect()
}

#[test]
fn files_that_use_each_other_are_found_also_through_others_and_re_exports() {
    let door = ("daemon/src/vfs/mod.rs", "mod a; mod b; mod c; pub(crate) use a::A;");
    let c = ("daemon/src/vfs/c.rs", "use super::A; struct C(A);");
    for a in ["use super::b::B; pub(crate) struct A(B);", "pub(crate) struct A(super::b::B);"] {
        let files = [
            door,
            ("daemon/src/vfs/a.rs", a),
            ("daemon/src/vfs/b.rs", "use super::c; pub(crate) struct B; fn f() { c::g() }"),
            c,
        ];
        let circle = ["a.rs", "b.rs", "c.rs"].map(|file| format!("daemon/src/vfs/{file}"));
        let expected = ("daemon/src/vfs/a.rs:1".to_owned(), Fault::Circle(circle.to_vec()));
        assert_eq!(faults_of_crates(&files), [expected], "{a}");
    }
    let tests_only = "#[cfg(test)]\nmod tests { use super::super::b::B; } pub(crate) struct A;";
    let straight = [door, ("daemon/src/vfs/a.rs", tests_only), c];
    assert_eq!(faults_of_crates(&straight), []);
}

#[test]
fn who_uses_a_higher_floor_or_stands_on_none_is_found() {
    let door = ("daemon/src/store/mod.rs", "mod disk; mod tree; pub(crate) use tree::view::View;");
    let view =
        ("daemon/src/store/tree/view.rs", "use crate::store::disk::rows; pub(crate) struct View;");
    let wing = ("daemon/src/store/tree/mod.rs", "pub(super) mod view;");
    let rows = |code| ("daemon/src/store/disk/rows.rs", code);
    let above = Fault::AboveFloor("daemon/src/store/tree/view.rs".to_owned());
    let found = faults_of_crates(&[door, wing, view, rows("\nuse crate::store::View;")]);
    assert_eq!(found, [("daemon/src/store/disk/rows.rs:2".to_owned(), above)]);
    assert_eq!(faults_of_crates(&[door, wing, view, rows("pub(crate) fn load() {}")]), []);
    let nowhere = Fault::NoFloor("attic".to_owned());
    let found = faults_of_crates(&[door, ("daemon/src/store/attic/box.rs", "struct Old;")]);
    assert_eq!(found, [("daemon/src/store/attic/box.rs:1".to_owned(), nowhere)]);
}

#[test]
fn a_public_type_name_that_stands_twice_in_a_crate_is_found() {
    let a = ("daemon/src/vfs/a.rs", "pub(crate) struct Place; pub(crate) enum Error {}");
    let twin = Fault::Twin("Place".to_owned(), "daemon/src/vfs/a.rs".to_owned());
    let code = "pub enum Error {}\npub(super) enum Place {}";
    let found = faults_of_crates(&[a, ("daemon/src/vfs/b.rs", code)]);
    assert_eq!(found, [("daemon/src/vfs/b.rs:2".to_owned(), twin)]);
    let harmless = "struct Place; impl T for U { type Place = u8; } fn f(place: Place) {}";
    assert_eq!(faults_of_crates(&[a, ("daemon/src/vfs/b.rs", harmless)]), []);
    assert_eq!(faults_of_crates(&[a, ("server/src/http/b.rs", "pub struct Place;")]), []);
}

#[test]
fn a_doc_comment_that_asks_is_found() {
    let path = "daemon/src/vfs/read.rs";
    let question = |word: &str| Fault::Question(word.to_owned());
    assert_eq!(faults(path, "/// How many there are.\nfn f() {}"), [question("How")]);
    assert_eq!(
        faults(path, "struct A {\n    /// Whether it is.\n    a: B }"),
        [question("Whether")]
    );
    let harmless =
        "/// Number of bytes.\n/// What follows is more.\nfn f() {}\n// What a day\n//// It";
    assert_eq!(faults(path, harmless), []);
}

#[test]
fn every_promise_of_the_mount_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| fs::read_to_string(root.join(path)).ok();
    let text = read(Path::new("daemon/README.md")).unwrap();
    let (rows, found) = unproven(&text, read);
    assert!(rows > 20, "only {rows} promises were found");
    assert_eq!(found, []);
}

#[test]
fn a_promise_without_a_test_that_exists_is_found() {
    let read = |path: &Path| match path.to_str() {
        Some("tests/mount/reads.rs") => {
            Some("#[test]\nfn whole() {}\n\nfn helper() {}\n".to_owned())
        }
        Some("daemon/src/vfs/tests/names.rs") => {
            Some("#[tokio::test]\nasync fn long() {}\n".to_owned())
        }
        _ => None,
    };
    let table = |cell: &str| format!("| promise | proven by |\n|---|---|\n| it reads | {cell} |\n");
    let found = |cell: &str| unproven(&table(cell), read).1;
    assert_eq!(found("`mount::reads::whole`, `daemon::vfs::tests::names::long`"), []);
    assert_eq!(found("of course"), [Unproven::NoTest("it reads".to_owned())]);
    for missing in ["mount::reads::gone", "mount::reads::helper", "mount::none::whole", "whole"] {
        assert_eq!(found(&format!("`{missing}`")), [Unproven::MissingTest(missing.to_owned())]);
    }
}
