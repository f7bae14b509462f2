//! Requests that may have to wait, for bytes, for the disk or for the server: their replies go to a task.

use std::sync::Arc;

use fuser::{INodeNo, ReplyData, ReplyEmpty, ReplyLseek};

use crate::store::{Availability, Durable, Ino, SeekWhence};
use crate::vfs::{self, Allocation, Caller, HandleId, Span, SyncMode, Vfs};

use super::adapter::Adapter;
use super::answer::Answer;
use super::translate::errno;

type Synced = Result<Durable, vfs::Error>;

impl Adapter {
    /// Reads after fetching what is missing, on a task.
    pub(super) fn read_later(&self, handle: HandleId, offset: u64, size: usize, reply: ReplyData) {
        let vfs = Arc::clone(&self.vfs);
        self.runtime
            .spawn(async move { reply.answer(vfs.read_fetching(handle, offset, size).await) });
    }

    /// Syncs on a thread that may wait for the disk, then waits for the server if that is asked for.
    pub(super) fn sync_later(
        &self,
        ino: Ino,
        reply: ReplyEmpty,
        sync: impl FnOnce(&Vfs) -> Synced + Send + 'static,
    ) {
        let (vfs, runtime) = (Arc::clone(&self.vfs), self.runtime.clone());
        self.runtime.spawn_blocking(move || match (sync(&vfs), vfs.sync_mode()) {
            (Ok(_durable), SyncMode::Remote) => {
                runtime.spawn(async move { reply.answer(vfs.flush(ino).await) });
            }
            (synced, _) => reply.answer(synced.map(drop)),
        });
    }

    /// Reserves room for a span of an open file, or makes it zeros.
    pub(super) fn allocate(
        &self,
        caller: Caller,
        node: INodeNo,
        (id, span, what): (HandleId, Span, Allocation),
        reply: ReplyEmpty,
    ) {
        match self.vfs.allocate(caller, id, span, what) {
            Ok(Availability::Ready(written)) => {
                self.kernel.hear_of(node, written);
                reply.ok();
            }
            Err(error) => reply.error(errno(&error)),
            Ok(Availability::Missing(_)) => {
                let (vfs, kernel) = (Arc::clone(&self.vfs), self.kernel.clone());
                self.runtime.spawn(async move {
                    let done = vfs.allocate_fetching(caller, id, span, what).await;
                    reply.answer(done.map(|written| kernel.hear_of(node, written)));
                });
            }
        }
    }

    /// Finds data, or a hole, in an open file.
    pub(super) fn seek(&self, id: HandleId, offset: i64, sought: SeekWhence, reply: ReplyLseek) {
        match self.vfs.seek(id, offset, sought) {
            Ok(Availability::Ready(found)) => reply.answer(Ok(found)),
            Err(error) => reply.error(errno(&error)),
            Ok(Availability::Missing(_)) => {
                let vfs = Arc::clone(&self.vfs);
                self.runtime.spawn(async move {
                    reply.answer(vfs.seek_fetching(id, offset, sought).await);
                });
            }
        }
    }
}
