//! A build with cargo, sources and results in the mount: times, hard links, mappings and locks together.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::Single;
use crate::harness::command::output;
use crate::programs::program;

/// A package of one source file and what it depends on.
fn package(workspace: &Path, name: &str, file: &str, source: &str, dependencies: &str) {
    let directory = workspace.join(name);
    fs::create_dir_all(directory.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[dependencies]\n{dependencies}"
    );
    fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    fs::write(directory.join("src").join(file), source).unwrap();
}

/// A library, and a program that uses it and what its build script made.
fn workspace(directory: &Path) {
    package(directory, "library", "lib.rs", "pub fn word() -> &'static str { \"first\" }\n", "");
    let main = "fn main() { println!(\"{} {}\", library::word(), env!(\"MADE\")) }\n";
    package(directory, "app", "main.rs", main, "library = { path = \"../library\" }\n");
    let script = "fn main() {\n    println!(\"cargo:rerun-if-changed=made\");\n    \
        println!(\"cargo:rustc-env=MADE={}\", std::fs::read_to_string(\"made\").unwrap());\n}\n";
    fs::write(directory.join("app/build.rs"), script).unwrap();
    fs::write(directory.join("app/made"), "once").unwrap();
    fs::write(directory.join("Cargo.toml"), "[workspace]\nmembers = [\"app\", \"library\"]\n")
        .unwrap();
}

fn cargo(directory: &Path) -> Command {
    let mut command = program("cargo", "rustup");
    for (name, _) in std::env::vars() {
        let of_a_build = ["CARGO_", "RUSTC", "RUSTFLAGS"].iter().any(|it| name.starts_with(it));
        if of_a_build && name != "CARGO_HOME" {
            command.env_remove(name);
        }
    }
    command.current_dir(directory).args(["build", "--offline", "--message-format=json"]);
    command
}

/// Builds, and answers which targets were made anew.
fn build(directory: &Path) -> Vec<String> {
    let printed = output(&mut cargo(directory));
    let messages = printed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let made = messages
        .filter(|message| message["reason"] == "compiler-artifact" && message["fresh"] == false);
    let mut names: Vec<String> =
        made.map(|message| message["target"]["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_cargo_build_makes_anew_what_changed_and_nothing_else() {
    let fixture = Single::new();
    let directory = fixture.one.path("workspace");
    workspace(&directory);
    let said = || output(&mut Command::new(directory.join("target/debug/app")));
    assert_eq!(build(&directory), ["app", "build-script-build", "library"]);
    assert_eq!(said(), "first once\n");
    assert_eq!(build(&directory), [""; 0], "nothing had changed");

    fs::write(directory.join("library/src/lib.rs"), "pub fn word() -> &'static str { \"then\" }\n")
        .unwrap();
    assert_eq!(build(&directory), ["app", "library"]);
    fs::write(directory.join("app/made"), "twice").unwrap();
    assert_eq!(build(&directory), ["app"]);
    assert_eq!(said(), "then twice\n");

    fixture.one.umount();
    fixture.one.mount();
    assert_eq!(build(&directory), [""; 0], "mounting again changed something");
    assert_eq!(said(), "then twice\n");
}

#[test]
fn two_builds_at_once_wait_for_each_other() {
    let fixture = Single::new();
    let directory = fixture.one.path("workspace");
    workspace(&directory);
    let start = || {
        let mut command = cargo(&directory);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let builds = [start(), start()];
    for mut build in builds {
        assert!(build.wait().unwrap().success());
    }
    assert_eq!(build(&directory), [""; 0]);
}
