//! Files, disks and limits of this machine.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access};

use super::checkups::Checkups;
use crate::backend::{StagingUse, TokenKeys, free_space, within_limit};
use crate::cli::{descriptors, size};
use crate::config::ServingConfig;
use crate::service::min_free;

/// Files that a process should be able to have open.
const DESCRIPTORS: u64 = 4096;
/// Rights on a directory that nobody but its user and group is to have.
const OF_OTHERS: u32 = 0o007;
/// The same on a file with a secret; its group may read it, but not change it.
const ON_SECRETS: u32 = 0o027;

/// Checks this machine.
pub(super) async fn check(checkups: &mut Checkups, serving: &ServingConfig) {
    let settings = &serving.config.settings;
    if settings.has_data() {
        check_user(checkups, &settings.data);
        check_directory(checkups, "data", &settings.data, OF_OTHERS);
    }
    // Of a directory that is not there it is said once.
    if settings.staging != StagingUse::Nothing && settings.data.exists() {
        // Others do not come past the directory around it.
        check_directory(checkups, "staging", &settings.staging_directory(), 0);
    }
    if settings.token_key_file.is_some() || settings.data.exists() {
        check_token_key(checkups, &settings.token_key_file());
    }
    if let Some(tls) = &serving.tls {
        check_secret_file(checkups, "TLS key", &tls.key);
    }
    check_room(checkups, serving).await;
    check_descriptors(checkups);
}

/// Says if this is the user that the server is: another one is allowed other things.
fn check_user(checkups: &mut Checkups, data: &Path) {
    let Ok(found) = std::fs::metadata(data) else { return };
    let user = rustix::process::geteuid().as_raw();
    if found.uid() == user {
        checkups.ok("user", format!("{user}, who owns the data"));
    } else {
        checkups.warn(
            "user",
            format!("this runs as user {user}, and the data belongs to user {}", found.uid()),
            "run it as the user of the server (sudo -u): another one is allowed other things",
        );
    }
}

/// Looks at a directory, on which nobody is to have the rights of `refused`.
fn check_directory(checkups: &mut Checkups, name: &str, directory: &Path, refused: u32) {
    let shown = directory.display();
    let found = match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => {
            let advice = "put it away, and start the server: it makes the directory";
            return checkups.fail(name, format!("{shown} is no directory"), advice);
        }
        Err(error) => return absent(checkups, name, directory, &error),
    };
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let (mode, detail) = mode_of(&found, directory);
    if let Err(error) = access(directory, all) {
        let advice = "give the directory to the user of the server (chown, chmod 700), and mount its disk to be written to";
        checkups.fail(name, format!("{detail} cannot be written to: {error}"), advice);
    } else if mode & refused != 0 {
        let advice = "run `chmod o=` on it: it has what users keep here";
        checkups.warn(name, format!("{detail} is open to others"), advice);
    } else {
        checkups.ok(name, detail);
    }
}

fn absent(checkups: &mut Checkups, name: &str, path: &Path, error: &std::io::Error) {
    let advice =
        "name the directory with --data, and start the server once: it makes what is missing";
    checkups.fail(name, format!("{}: {error}", path.display()), advice);
}

fn mode_of(found: &Metadata, path: &Path) -> (u32, String) {
    let mode = found.mode() & 0o777;
    (mode, format!("{} (mode {mode:03o})", path.display()))
}

fn check_token_key(checkups: &mut Checkups, file: &Path) {
    // One that is not there would be made by reading it.
    if let Err(error) = std::fs::metadata(file) {
        return absent(checkups, "token key", file, &error);
    }
    if let Err(error) = TokenKeys::load(file) {
        let advice = "run this as the user of the server, or restore the file from where the other processes have it";
        return checkups.fail("token key", error.to_string(), advice);
    }
    check_secret_file(checkups, "token key", file);
}

/// Looks at who may read a file with a secret.
pub(super) fn check_secret_file(checkups: &mut Checkups, name: &str, file: &Path) {
    match std::fs::metadata(file) {
        Ok(found) => match mode_of(&found, file) {
            (mode, detail) if mode & ON_SECRETS != 0 => checkups.warn(
                name,
                format!("{detail} is open to others"),
                "run `chmod g-w,o=` on it: there may be a secret in it",
            ),
            (_, detail) => checkups.ok(name, detail),
        },
        Err(error) => checkups.fail(
            name,
            format!("{}: {error}", file.display()),
            "restore the file, or let the user of the server read it",
        ),
    }
}

/// Compares what is free on the disks that uploads fill with what has to stay free.
async fn check_room(checkups: &mut Checkups, serving: &ServingConfig) {
    let settings = &serving.config.settings;
    let staging = settings.staging_directory();
    let disks = [
        ("data disk", settings.is_embedded(), &settings.data),
        ("staging disk", settings.staging != StagingUse::Nothing, &staging),
    ];
    for (name, is_used, directory) in disks {
        if !is_used || !directory.exists() {
            continue;
        }
        let space = match within_limit("the disk", free_space::measure(directory)).await {
            Ok(space) => space,
            Err(error) => {
                checkups.fail(name, error.to_string(), "look at the disk, and at its mount");
                continue;
            }
        };
        let kept = min_free(serving.config.policy.min_free, space);
        let detail =
            format!("{} free, min_free is {}", size::format(space.free), size::format(kept));
        if space.free < kept {
            let advice = "make room, or lower min_free: uploads are refused until then";
            checkups.fail(name, detail, advice);
        } else {
            checkups.ok(name, detail);
        }
    }
}

fn check_descriptors(checkups: &mut Checkups) {
    match descriptors::allow_all() {
        few if few < DESCRIPTORS => checkups.warn(
            "open files",
            format!("{few} at once at the most"),
            "raise the limit (LimitNOFILE= of systemd, ulimit -Hn)",
        ),
        enough => checkups.ok("open files", format!("{enough} at once")),
    }
}
