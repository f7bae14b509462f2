//! A disk of the state directory that others fill and empty again, while a program works and its daemon may be killed.
//!
//! What was answered with success must be there; what failed may be as before or as after. Names can always be removed, moved
//! and made.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Torture;
use crate::filesystem::random::Random;
use crate::harness::device::Device;
use crate::harness::disk::SmallDisk;
use crate::harness::scratch;
use crate::harness::server::Server;
use crate::harness::tree::difference;
use crate::harness::wait::{seconds, wait_until};

/// MiB of the disk.
const DISK: u32 = 160;
/// Files that there are at once.
const FILES: u64 = 24;
/// Operations of a round.
const OPERATIONS: u64 = 60;
/// Time in which the other device must have all of it.
const SETTLED: Duration = seconds(60);
const SIZE_MAX: u64 = 3 << 20;

/// Content of a file: one byte, so many times.
type Content = (u8, u64);

/// Contents that a file may have; more than one after a failure. `None`: it may be absent.
type Known = BTreeMap<PathBuf, Vec<Option<Content>>>;

/// A device on a small disk, and another that is not. Devices end before the server.
struct Scene {
    one: Device,
    two: Device,
    _server: Server,
    disk: SmallDisk,
    is_full: bool,
    _directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let (disk, directory) = (SmallDisk::new(DISK), scratch());
        let server = Server::start_embedded(&directory.path().join("data"), &[]);
        let state = disk.path().join("state");
        fs::create_dir(&state).unwrap();
        std::os::unix::fs::symlink(state, directory.path().join("one.state")).unwrap();
        let one = Device::new(directory.path(), "one");
        one.sign("signup", &server.url(), "ada").expect_success();
        one.run(&["config", "set", "free_floor", "20M"]).expect_success();
        one.mount();
        fs::create_dir(one.path("d")).unwrap();
        let two = Device::signed_in(directory.path(), "two", &server, "ada");
        Self { one, two, _server: server, disk, is_full: false, _directory: directory }
    }

    /// Fills the disk, or gives the room back. The daemon needs a moment in between to have room in reserve again.
    fn turn(&mut self) {
        if self.is_full {
            self.disk.free();
        } else {
            wait_until("there is room in reserve", seconds(20), || {
                self.disk.path().join("state/reserve").exists()
            });
            self.disk.fill();
        }
        self.is_full = !self.is_full;
    }
}

#[test]
fn on_a_disk_that_is_full_now_and_then_nothing_is_lost() {
    let mut torture = Torture::begin("full disk");
    let mut scene = Scene::new();
    let mut known = Known::new();
    while torture.goes_on() {
        for _ in 0..OPERATIONS {
            if torture.random.one_in(30) {
                scene.turn();
            }
            let asked = Instant::now();
            let worked = step(&mut torture.random, &scene.one.path("d"), &mut known);
            torture.waited(asked.elapsed());
            match worked {
                Ok(()) => torture.report.acknowledged += 1,
                Err(refused) => {
                    torture.report.lost += 1;
                    panic!("seed {}: {refused}", torture.report.seed);
                }
            }
        }
        if torture.random.one_in(3) {
            scene.one.kill();
            torture.report.kills += 1;
            scene.one.mount();
        }
        if scene.is_full {
            scene.turn();
        }
        torture.report.rounds += 1;
        check(&mut torture, &scene.one, &mut known);
        scene.one.sync();
        let began = Instant::now();
        let apart = || difference(&scene.one.path("d"), &scene.two.path("d"));
        while !apart().is_empty() {
            if began.elapsed() > SETTLED {
                torture.report.unequal += 1;
                panic!("seed {}: not equal: {}", torture.report.seed, apart());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    torture.end();
}

/// One operation; what needs no room must succeed.
fn step(random: &mut Random, top: &Path, known: &mut Known) -> Result<(), String> {
    let path = top.join(format!("{}", random.below(FILES)));
    let before = known.get(&path).cloned().unwrap_or_else(|| vec![None]);
    match random.below(8) {
        0 => {
            let other = top.join(format!("{}", random.below(FILES)));
            match fs::rename(&path, &other) {
                Ok(()) => {
                    let there: Vec<_> = before.into_iter().filter(Option::is_some).collect();
                    if path != other {
                        known.insert(path, vec![None]);
                        known.insert(other, there);
                    }
                    Ok(())
                }
                Err(error) if error.kind() == ErrorKind::NotFound && before.contains(&None) => {
                    known.insert(path, vec![None]);
                    Ok(())
                }
                Err(error) => Err(format!("{} cannot be renamed: {error}", path.display())),
            }
        }
        1 | 2 => match fs::remove_file(&path) {
            Ok(()) => {
                known.insert(path, vec![None]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound && before.contains(&None) => Ok(()),
            Err(error) => Err(format!("{} cannot be removed: {error}", path.display())),
        },
        3 => {
            let directory = top.join("directory");
            let made = fs::create_dir(&directory).and_then(|()| fs::remove_dir(&directory));
            made.map_err(|error| format!("a directory cannot be made and removed: {error}"))
        }
        _ => {
            let content = (random.below(255) as u8 + 1, random.below(SIZE_MAX));
            let new = path.with_extension("new");
            let written = fs::write(&new, vec![content.0; content.1 as usize])
                .and_then(|()| fs::rename(&new, &path));
            match written {
                Ok(()) => known.insert(path, vec![Some(content)]),
                Err(_no_room) => known.insert(path, before),
            };
            Ok(())
        }
    }
}

/// Looks for all files that are known.
fn check(torture: &mut Torture, device: &Device, known: &mut Known) {
    for (path, contents) in known {
        let found = match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{}: {error}\n{:#}", path.display(), device.status()),
        };
        let is = |content: &Option<Content>| match (content, &found) {
            (None, None) => true,
            (Some((byte, size)), Some(found)) => {
                found.len() as u64 == *size && found.iter().all(|is| is == byte)
            }
            _ => false,
        };
        let Some(now) = contents.iter().find(|content| is(content)).copied() else {
            torture.report.lost += 1;
            let found = found.map(|it| (it.first().copied(), it.len()));
            panic!(
                "seed {}: {} is {found:?}, not {contents:?}",
                torture.report.seed,
                path.display()
            );
        };
        *contents = vec![now];
    }
}
