//! What the file system promises, tried on a real store and an engine whose server is not there.

mod acls;
mod allocation;
mod attributes;
mod contents;
mod copies;
mod directories;
mod model;
mod names;
mod renames;
mod xattrs;

use std::path::Path;
use std::sync::Arc;

use miaofs::client::Client;
use miaofs::protocol::files::Kind;
use tokio::runtime::Runtime;

use super::{
    Caller, EntryName, HandleId, IfExists, ModeEffect, MountSettings, NodeSpec, OpenMode,
    Presentation, Privileges, Stat, SyncMode, Truncate, Vfs, Written,
};
use crate::store::{Access, Availability, Ino, Store, StoreOptions};
use crate::sync::{self, Engine};

const ROOT_USER: Caller = Caller { uid: 0, gid: 0, umask: 0, thread: None };
const ADA: Caller = Caller { uid: 1000, gid: 100, umask: 0, thread: None };
const READ: OpenMode = OpenMode { access: Access::Read, truncate: Truncate::No };
const WRITE: OpenMode = OpenMode { access: Access::Write, truncate: Truncate::No };

/// A file system on a store whose server is not there.
fn offline(store: Arc<Store>, runtime: &Runtime, dir: &Path) -> Arc<Vfs> {
    let settings = sync::EngineSettings {
        account: "ada".to_owned(),
        device: "desk".to_owned(),
        bwlimit: None,
        deletions_limit: 1000,
    };
    let _entered = runtime.enter();
    let client = Client::new("http://127.0.0.1:1").unwrap();
    let (engine, ..) = Engine::start(Arc::clone(&store), client, settings);
    let control_socket = dir.join("control.sock");
    let presentation = Presentation::default();
    Vfs::new(
        store,
        engine,
        MountSettings {
            sync: SyncMode::Local,
            session: crate::vfs::SessionState::Alone,
            presentation,
            control_socket,
        },
    )
}

/// A drive in a directory of its own, offline.
struct Drive {
    vfs: Arc<Vfs>,
    runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Drive {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { cache_limit: 1 << 30, free_floor: 0 };
        let store = Store::open(dir.path(), options).unwrap();
        let runtime = Runtime::new().unwrap();
        let vfs = offline(store, &runtime, dir.path());
        Self { vfs, runtime, _dir: dir }
    }

    fn make(&self, caller: Caller, parent: Ino, name: &str, (kind, mode): (Kind, u32)) -> Stat {
        let new = NodeSpec { kind, mode, rdev: 0, target: None };
        self.vfs.create(caller, at(parent, name), new).unwrap()
    }

    fn file(&self, parent: Ino, name: &str) -> Ino {
        self.make(ADA, parent, name, (Kind::File, 0o644)).ino
    }

    fn directory(&self, parent: Ino, name: &str) -> Ino {
        self.make(ADA, parent, name, (Kind::Directory, 0o755)).ino
    }

    /// A file with this content, closed.
    fn file_of(&self, parent: Ino, name: &str, content: &[u8]) -> Ino {
        let how = (WRITE, IfExists::Fail);
        let (stat, handle, _) =
            self.vfs.create_and_open(ADA, at(parent, name), 0o644, how).unwrap();
        self.write(handle, 0, content);
        self.vfs.release(handle).unwrap();
        stat.ino
    }

    fn open(&self, ino: Ino, mode: OpenMode) -> HandleId {
        self.vfs.open(ADA, ino, mode).unwrap()
    }

    fn write(&self, handle: HandleId, offset: u64, bytes: &[u8]) {
        let written = Written { offset, append: false, again: false, bytes };
        let written = self.vfs.write(handle, written, Privileges::Keep).unwrap();
        assert_eq!(written, Availability::Ready(ModeEffect::Unchanged));
    }

    fn read(&self, handle: HandleId, offset: u64, size: usize) -> Vec<u8> {
        let mut buffer = vec![0xAA; size];
        match self.vfs.read(handle, offset, &mut buffer).unwrap() {
            Availability::Ready(length) => buffer.truncate(length),
            Availability::Missing(range) => panic!("{range:?} is missing"),
        }
        buffer
    }

    fn content(&self, ino: Ino) -> Vec<u8> {
        let handle = self.open(ino, READ);
        let content = self.read(handle, 0, 1 << 20);
        self.vfs.release(handle).unwrap();
        content
    }

    fn find(&self, parent: Ino, name: &str) -> Option<Ino> {
        self.vfs.lookup(at(parent, name)).unwrap().map(|stat| stat.ino)
    }

    fn stat(&self, ino: Ino) -> Stat {
        self.vfs.stat(ino).unwrap()
    }
}

fn at(parent: Ino, name: &str) -> EntryName<'_> {
    EntryName { parent, name: name.as_bytes() }
}

/// Asserts that a result is an error of this kind.
macro_rules! refused {
    ($result:expr, $error:pat) => {{
        let result = $result;
        assert!(matches!(result, Err($error)), "{result:?}");
    }};
}
use refused;
