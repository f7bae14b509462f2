//! A damaged local store: the drive is mounted all the same, names come from the server again, and every byte that is
//! not there is kept.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::Connection;

use crate::fixture::{MIB, Single, names};
use crate::harness::random::Seed;
use crate::harness::wait::{seconds, wait_until};

/// Bytes of a page of the database.
const PAGE: u64 = 4096;
/// Bytes of a file that takes several chunks.
const LARGE: usize = 9 << 20;

/// Files of a device: some of it is on the server, and some is not.
struct Contents {
    /// Path in the drive and content of what the server has.
    synced: Vec<(String, Vec<u8>)>,
    /// Path in the drive and content of what only the device has.
    unsynced: Vec<(String, Vec<u8>)>,
}

/// A device with files on the server and, made while the server is away, files that are not there.
fn filled() -> (Single, Contents) {
    let mut fixture = Single::new();
    let seed = Seed::of_this_run();
    let file = |name: &str, size| (name.to_owned(), seed.bytes(name, size));
    let mut synced = vec![file("large", LARGE), file("directory/small", 5000)];
    synced.extend((0..300).map(|number| file(&format!("many/{number:03}"), 100)));
    let unsynced = vec![
        file("new", 300_000),
        file("directory/new large", LARGE),
        file("another directory/in it/new", 70_000),
    ];
    for directory in ["directory", "many"] {
        fs::create_dir(fixture.one.path(directory)).unwrap();
    }
    write_all(&fixture, &synced);
    fixture.one.sync();
    fixture.server.stop();
    fs::create_dir_all(fixture.one.path("another directory/in it")).unwrap();
    write_all(&fixture, &unsynced);
    (fixture, Contents { synced, unsynced })
}

fn write_all(fixture: &Single, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        fs::write(fixture.one.path(name), bytes).unwrap();
    }
}

/// A file of the state directory.
fn state(fixture: &Single, name: &str) -> PathBuf {
    fixture.one.state().join(name)
}

/// All files below a directory.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// Folders with databases that were put aside.
fn put_aside(fixture: &Single) -> Vec<String> {
    names(fixture.one.state()).into_iter().filter(|name| name.starts_with("damaged-")).collect()
}

/// Panics unless everything that was on the server can be read, and the rest is kept.
#[track_caller]
fn all_is_here(fixture: &Single, contents: &Contents) {
    for (name, bytes) in &contents.synced {
        let found = fs::read(fixture.one.path(name)).unwrap();
        assert!(found == *bytes, "{name} is not what it was");
    }
    let kept = files(&state(fixture, "lost+found"));
    let kept: Vec<Vec<u8>> = kept.iter().flat_map(fs::read).collect();
    for (name, bytes) in &contents.unsynced {
        assert!(kept.contains(bytes), "{name} is not in lost+found");
    }
}

/// Panics unless what is not on the server is kept under its name.
#[track_caller]
fn all_has_its_name(fixture: &Single, contents: &Contents) {
    for (name, bytes) in &contents.unsynced {
        let found = fs::read(state(fixture, "lost+found").join(name));
        assert!(found.is_ok_and(|found| found == *bytes), "{name} is not what it was");
    }
}

/// Panics unless the status says what happened and where all is, until it is taken away.
#[track_caller]
fn status_tells(fixture: &Single, why: &str) {
    let [aside] = &put_aside(fixture)[..] else { panic!("{:?}", put_aside(fixture)) };
    let aside = state(fixture, aside);
    let damage = fixture.one.status()["damage"].clone();
    let (first, second) = (&damage[0], &damage[1]);
    assert!(first["message"].as_str().unwrap().contains(why), "{damage}");
    assert_eq!(first["path"], aside.to_str().unwrap());
    assert_eq!(second["path"], state(fixture, "lost+found").to_str().unwrap());
    let lines = fixture.one.run(&["status"]).expect_success().stdout;
    let told = |path: &Path| lines.contains(&format!("damage     {}: ", path.display()));
    assert!(told(&aside) && told(&state(fixture, "lost+found")), "{lines}");
    let log = fs::read_to_string(state(fixture, "daemon.log")).unwrap();
    assert!(log.contains(why) && log.contains("lost+found"), "{log}");
    fs::remove_dir_all(aside).unwrap();
    fs::remove_dir_all(state(fixture, "lost+found")).unwrap();
    assert!(fixture.one.status().get("damage").is_none());
}

/// Mounts again with the server back, and looks that another file comes and goes as ever.
#[track_caller]
fn goes_on(fixture: &mut Single) {
    fixture.server.restart();
    fixture.one.mount();
    fs::write(fixture.one.path("afterwards"), "written afterwards").unwrap();
    fixture.one.sync();
    let two = fixture.another_device("two");
    wait_until("the other device has it", seconds(10), || {
        fs::read(two.path("afterwards")).is_ok_and(|bytes| bytes == b"written afterwards")
    });
}

#[test]
fn a_database_that_was_cut_short_is_made_anew_and_nothing_is_lost() {
    for is_killed in [true, false] {
        let (mut fixture, contents) = filled();
        if is_killed {
            fixture.one.kill();
            work_log_in(&fixture);
        } else {
            fixture.one.umount();
        }
        let database = OpenOptions::new().write(true).open(state(&fixture, "state.db")).unwrap();
        let length = database.metadata().unwrap().len();
        database.set_len(length / PAGE / 2 * PAGE).unwrap();
        goes_on(&mut fixture);
        all_is_here(&fixture, &contents);
        status_tells(&fixture, "cut short");
    }
}

/// Works the log of a killed daemon into the database, and removes it.
fn work_log_in(fixture: &Single) {
    let database = Connection::open(state(fixture, "state.db")).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

#[test]
fn a_database_with_torn_pages_is_made_anew_and_nothing_is_lost() {
    for round in 0..3 {
        let (mut fixture, contents) = filled();
        fixture.one.umount();
        let database = OpenOptions::new().write(true).open(state(&fixture, "state.db")).unwrap();
        let pages = database.metadata().unwrap().len() / PAGE;
        let garbage = Seed::of_this_run().bytes(&format!("garbage {round}"), PAGE as usize);
        for (page, dice) in (1..pages).zip(garbage.iter().cycle()) {
            if dice % 3 == 0 {
                database.write_all_at(&garbage, page * PAGE).unwrap();
            }
        }
        goes_on(&mut fixture);
        all_is_here(&fixture, &contents);
        status_tells(&fixture, "damaged");
    }
}

#[test]
fn of_a_database_whose_names_can_be_read_all_has_its_name_and_the_cache_is_not_kept() {
    let (mut fixture, contents) = filled();
    std::os::unix::fs::symlink("target", fixture.one.path("directory/link")).unwrap();
    File::create(fixture.one.path("empty")).unwrap();
    fixture.one.umount();
    // A while ago: what was changed just before the end is kept in any case.
    let earlier = SystemTime::now() - seconds(3600);
    for file in files(&state(&fixture, "data")) {
        File::open(file).unwrap().set_modified(earlier).unwrap();
    }
    tear_index(&fixture, "nodes_id");
    goes_on(&mut fixture);
    all_is_here(&fixture, &contents);
    all_has_its_name(&fixture, &contents);
    let kept = state(&fixture, "lost+found");
    assert_eq!(fs::read_link(kept.join("directory/link")).unwrap().to_str(), Some("target"));
    assert_eq!(fs::metadata(kept.join("empty")).unwrap().len(), 0);
    assert_eq!(files(&kept).len(), contents.unsynced.len() + 2, "{:?}", files(&kept));
    status_tells(&fixture, "damaged");
}

/// Overwrites the first page of an index.
fn tear_index(fixture: &Single, name: &str) {
    let path = state(fixture, "state.db");
    let database = Connection::open(&path).unwrap();
    let query = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: u32 = database.query_row(query, [name], |row| row.get(0)).unwrap();
    drop(database);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0x5a; PAGE as usize], u64::from(page - 1) * PAGE).unwrap();
}

#[test]
fn a_database_that_is_empty_garbage_or_another_programs_is_put_aside_and_nothing_is_lost() {
    let garbage: fn(&Path) = |path| fs::write(path, vec![7; 100_000]).unwrap();
    let empty: fn(&Path) = |path| fs::write(path, "").unwrap();
    let missing: fn(&Path) = |path| fs::remove_file(path).unwrap();
    let foreign: fn(&Path) = |path| {
        fs::remove_file(path).unwrap();
        let other = Connection::open(path).unwrap();
        other.execute_batch("CREATE TABLE songs (title TEXT); PRAGMA user_version = 3").unwrap();
    };
    let kinds = [
        (garbage, "no database"),
        (empty, "empty"),
        (missing, "missing"),
        (foreign, "another program"),
    ];
    for (damage, why) in kinds {
        let (mut fixture, contents) = filled();
        fixture.one.umount();
        damage(&state(&fixture, "state.db"));
        goes_on(&mut fixture);
        all_is_here(&fixture, &contents);
        status_tells(&fixture, why);
    }
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_as_it_is() {
    let (fixture, contents) = filled();
    fixture.one.umount();
    let path = state(&fixture, "state.db");
    let version = "SELECT user_version FROM pragma_user_version";
    let database = Connection::open(&path).unwrap();
    let ours: i64 = database.query_row(version, [], |row| row.get(0)).unwrap();
    database.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(database);
    let files_before = files(&state(&fixture, "data")).len();
    fixture.one.mount_with(&[]).expect_failure(&["format 99"]);
    assert_eq!(files(&state(&fixture, "data")).len(), files_before);
    assert_eq!(put_aside(&fixture), Vec::<String>::new());
    let put_back = format!("PRAGMA user_version = {ours}");
    Connection::open(&path).unwrap().execute_batch(&put_back).unwrap();
    fixture.one.mount();
    for (name, bytes) in &contents.unsynced {
        assert!(fs::read(fixture.one.path(name)).unwrap() == *bytes);
    }
}

#[test]
fn a_database_that_is_damaged_while_it_is_used_is_an_error_and_made_anew_by_the_next_mount() {
    let (mut fixture, contents) = filled();
    fixture.one.umount();
    fixture.one.mount();
    // Nobody has asked for a name yet, so this is not in memory.
    tear_index(&fixture, "entries_name");
    assert!(fs::read(fixture.one.path("large")).is_err());
    wait_until("the status tells", seconds(30), || {
        let status = fixture.one.run(&["status"]);
        (status.stdout + &status.stderr).contains("damaged")
    });
    fixture.one.umount();
    goes_on(&mut fixture);
    all_is_here(&fixture, &contents);
    all_has_its_name(&fixture, &contents);
    status_tells(&fixture, "damaged");
}

#[test]
fn without_its_log_the_store_is_that_of_before_and_what_was_changed_since_is_kept() {
    let (mut fixture, contents) = filled();
    // A new content for a file whose row will say that it is what the server has.
    fixture.one.umount();
    fixture.one.mount();
    let edited = Seed::of_this_run().bytes("edited", 40_000);
    fs::write(fixture.one.path("directory/small"), &edited).unwrap();
    fs::write(fixture.one.path("newest"), "made after the last checkpoint").unwrap();
    fixture.one.kill();
    fs::remove_file(state(&fixture, "state.db-wal")).unwrap();
    goes_on(&mut fixture);
    for (name, bytes) in contents.synced.iter().chain(&contents.unsynced) {
        assert!(fs::read(fixture.one.path(name)).unwrap() == *bytes, "{name} is not what it was");
    }
    assert_eq!(fs::read(state(&fixture, "lost+found/directory/small")).unwrap(), edited);
    let kept: Vec<_> = files(&state(&fixture, "lost+found"));
    assert_eq!(kept.len(), 2, "{kept:?}");
    let newest = |file: &PathBuf| fs::read(file).unwrap() == b"made after the last checkpoint";
    assert!(kept.iter().any(newest), "{kept:?}");
    let log = fs::read_to_string(state(&fixture, "daemon.log")).unwrap();
    assert!(log.contains("log is gone"), "{log}");
}

#[test]
fn of_a_file_that_is_here_in_part_the_changed_part_is_kept_and_the_rest_is_said_to_be_missing() {
    let mut fixture = Single::new();
    let bytes = Seed::of_this_run().bytes("large", LARGE);
    fs::write(fixture.one.path("large"), &bytes).unwrap();
    fixture.one.sync();
    let mut two = fixture.another_device("two");
    std::mem::swap(&mut fixture.one, &mut two);
    drop(two);
    let file = OpenOptions::new().write(true).open(fixture.one.path("large")).unwrap();
    file.write_all_at(b"a change", 5 * MIB).unwrap();
    file.sync_all().unwrap();
    fixture.server.stop();
    file.write_all_at(b"another change", 6 * MIB).unwrap();
    drop(file);
    fixture.one.umount();
    tear_index(&fixture, "nodes_id");
    fixture.server.restart();
    fixture.one.mount();
    let kept = state(&fixture, "lost+found/large");
    let found = fs::read(&kept).unwrap();
    let (start, end) = ((4 * MIB) as usize, (6 * MIB) as usize);
    assert!(found[end..].starts_with(b"another change"));
    assert!(found[start..start + 1000] == bytes[start..start + 1000]);
    let [aside] = &put_aside(&fixture)[..] else { panic!("{:?}", put_aside(&fixture)) };
    let list = fs::read_to_string(state(&fixture, aside).join("incomplete")).unwrap();
    assert_eq!(list, format!("{}\n", kept.display()));
    let status = fixture.one.run(&["status"]).expect_success().stdout;
    assert!(status.contains("`incomplete`"), "{status}");
}

#[test]
fn a_data_file_that_is_missing_or_cut_short_is_fetched_again() {
    for is_mounted in [false, true] {
        let (mut fixture, contents) = filled();
        fixture.server.restart();
        let ino = |name: &str| fs::metadata(fixture.one.path(name)).unwrap().ino();
        let data = |ino: u64| state(&fixture, "data").join(format!("{:02x}/{ino}", ino % 256));
        let (large, small) = (data(ino("large")), data(ino("directory/small")));
        fixture.one.sync();
        if !is_mounted {
            fixture.one.umount();
        }
        fs::remove_file(small).unwrap();
        OpenOptions::new().write(true).open(large).unwrap().set_len(5 * MIB).unwrap();
        if is_mounted {
            fixture.one.kill();
        }
        fixture.one.mount();
        for (name, bytes) in contents.synced.iter().chain(&contents.unsynced) {
            assert!(
                fs::read(fixture.one.path(name)).unwrap() == *bytes,
                "{name} is not what it was"
            );
        }
    }
}

#[test]
fn what_only_this_device_had_and_is_gone_is_an_error_and_never_zeros() {
    let (mut fixture, contents) = filled();
    let ino = |name: &str| fs::metadata(fixture.one.path(name)).unwrap().ino();
    let data = |ino: u64| state(&fixture, "data").join(format!("{:02x}/{ino}", ino % 256));
    let (gone, cut) = (data(ino("new")), data(ino("directory/new large")));
    fixture.one.umount();
    fs::remove_file(gone).unwrap();
    OpenOptions::new().write(true).open(cut).unwrap().set_len(5 * MIB).unwrap();
    fixture.server.restart();
    fixture.one.mount();
    for name in ["new", "directory/new large"] {
        let error = fs::read(fixture.one.path(name)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{error}");
        let mut file =
            OpenOptions::new().read(true).write(true).open(fixture.one.path(name)).unwrap();
        assert!(file.write_all(b"x").is_err());
        file.seek(SeekFrom::End(-1)).unwrap();
        assert!(file.read_to_end(&mut Vec::new()).is_err());
    }
    let errors = || fixture.one.status()["errors"].to_string();
    wait_until("the status tells", seconds(20), || {
        errors().contains("\"/new\"") && errors().contains("\"/directory/new large\"")
    });
    let api = fixture.server.sign_in("ada");
    api.get("/file/meta?path=/new").expect(404);
    let (name, bytes) = &contents.unsynced[2];
    assert!(fs::read(fixture.one.path(name)).unwrap() == *bytes);
    // Replacing and removing are what is left.
    fs::write(fixture.one.path("new"), "written anew").unwrap();
    fs::remove_file(fixture.one.path("directory/new large")).unwrap();
    fixture.one.sync();
    assert_eq!(fs::read(fixture.one.path("new")).unwrap(), b"written anew");
    assert_eq!(fixture.one.status()["errors"].as_array().unwrap().len(), 0);
}
