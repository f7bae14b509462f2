//! What the store promises, tried from outside; a crash is a copy of the directory while it is open.

mod local;

use std::path::Path;
use std::sync::Arc;

use miaofs::protocol::files::Kind;

use super::{Access, Content, Error, Ino, NewNode, Outcome, Store, StoreOptions};

const OPTIONS: StoreOptions = StoreOptions { cache_limit: 1 << 30, free_floor: 0 };

fn open(dir: &Path) -> Arc<Store> {
    Store::open(dir, OPTIONS).unwrap()
}

/// The store as it would be found if the daemon were killed now.
fn crashed(dir: &Path) -> (tempfile::TempDir, Arc<Store>) {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(dir, copy.path());
    let store = open(copy.path());
    (copy, store)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
}

fn new(kind: Kind) -> NewNode {
    NewNode { kind, mode: 0o644, uid: 1, gid: 2, rdev: 0, target: None, now: 1_000 }
}

fn make(store: &Store, parent: Ino, name: &str, kind: Kind) -> Ino {
    store
        .change(|change| {
            let ino = change.insert(new(kind))?;
            change.link(parent, name.as_bytes(), ino)?;
            Ok::<_, Error>(ino)
        })
        .unwrap()
}

fn create(store: &Arc<Store>, name: &str) -> Content {
    store
        .change_and_open(Access::Write, |change| {
            let ino = change.insert(new(Kind::File))?;
            change.link(Ino::ROOT, name.as_bytes(), ino)?;
            Ok::<_, Error>(((), ino))
        })
        .unwrap()
        .1
}

fn write_file(store: &Arc<Store>, name: &str, bytes: &[u8]) -> Ino {
    let content = create(store, name);
    assert_eq!(content.write_at(0, bytes, 2_000).unwrap(), Outcome::Done(()));
    content.ino()
}

fn read_all(store: &Arc<Store>, ino: Ino) -> Vec<u8> {
    let content = store.open_content(ino, Access::Read).unwrap();
    let mut bytes = vec![0xee; content.size() as usize];
    let length = bytes.len();
    assert_eq!(content.read_at(0, &mut bytes).unwrap(), Outcome::Done(length));
    bytes
}

fn entry(store: &Store, parent: Ino, name: &str) -> Option<Ino> {
    store.view(|view| view.entry(parent, name.as_bytes())).unwrap()
}

fn size(store: &Store, ino: Ino) -> u64 {
    store.view(|view| view.node(ino)).unwrap().attributes.size
}
