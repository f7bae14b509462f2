//! Requests that may have to wait, for bytes, for the disk or for the server: their replies go to a task.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use fuser::{Errno, INodeNo, ReplyData, ReplyEmpty, ReplyWrite};
use tracing::Instrument;

use crate::store::{Availability, CopyRange, Durable, Ino};
use crate::vfs::{
    Allocation, ByteRange, Caller, Error, HandleId, ModeEffect, Privileges, SyncMode, Vfs, Written,
};

use super::adapter::Adapter;
use super::answer::{Answer, Refuse};
use super::trace::Traced;
use super::translate::errno;

type Synced = Result<Durable, Error>;

thread_local! {
    /// Buffer that a thread reads into before it answers; as large as its largest read so far.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<R: Refuse> Traced<R> {
    /// Answers with the result of a task, or that the program was asked to end before.
    pub(super) async fn answer_unless_ended<T>(self, task: impl Future<Output = Result<T, Error>>)
    where
        R: Answer<T>,
    {
        match self.waiter().unless_ended(task).await {
            Some(result) => self.answer(result),
            None => self.refuse(Errno::EINTR),
        }
    }
}

impl Adapter {
    /// Answers at once if nothing is missing, else on a task that fetches it and tries again.
    pub(super) fn answer_or_fetch<T, R, F>(
        &self,
        reply: Traced<R>,
        attempt: Result<Availability<T>, Error>,
        fetching: impl FnOnce(Arc<Vfs>) -> F,
    ) where
        T: Send + 'static,
        R: Answer<T> + Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        match attempt {
            Ok(Availability::Ready(value)) => reply.accept(value),
            Ok(Availability::Missing(_)) => {
                self.answer_later(reply, fetching(Arc::clone(&self.vfs)))
            }
            Err(error) => reply.refuse(errno(&error)),
        }
    }

    /// Answers with the result of a task, or that the program was asked to end before.
    fn answer_later<T, R, F>(&self, reply: Traced<R>, task: F)
    where
        T: Send + 'static,
        R: Answer<T> + Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let span = reply.span();
        self.runtime.spawn(reply.answer_unless_ended(task).instrument(span));
    }

    /// Answers that a file is open once the kernel has no pages of an older content of it.
    pub(super) fn answer_opened<T, R>(&self, reply: Traced<R>, ino: Ino, opened: Result<T, Error>)
    where
        T: Send + 'static,
        R: Answer<T> + Send + 'static,
    {
        if opened.is_err() || self.vfs.has_current_pages(ino) {
            return reply.answer(opened);
        }
        let (vfs, span) = (Arc::clone(&self.vfs), reply.span());
        // The kernel closes what it was told is open: this wait, which is not for the network, is not given up.
        let told = async move {
            vfs.pages_are_current(ino).await;
            reply.answer(opened);
        };
        self.runtime.spawn(told.instrument(span));
    }

    pub(super) fn read_content(
        &self,
        id: HandleId,
        offset: u64,
        size: usize,
        reply: Traced<ReplyData>,
    ) {
        let mut reply = Some(reply);
        match read_and_answer(&self.vfs, (id, offset, size), &mut reply) {
            Ok(Availability::Ready(())) => {}
            Ok(Availability::Missing(_)) => {
                if let Some(reply) = reply {
                    let (vfs, span) = (Arc::clone(&self.vfs), reply.span());
                    let read =
                        async move { fetch_and_answer(&vfs, (id, offset, size), reply).await };
                    self.runtime.spawn(read.instrument(span));
                }
            }
            Err(error) => refuse(reply, errno(&error)),
        }
    }

    pub(super) fn write_content(
        &self,
        (node, id): (INodeNo, HandleId),
        written: Written<'_>,
        privileges: Privileges,
        reply: Traced<ReplyWrite>,
    ) {
        let length = written.bytes.len() as u32;
        match self.vfs.write(id, written, privileges) {
            Ok(Availability::Ready(effect)) => {
                self.kernel.invalidate_mode(node, effect);
                reply.accept(length);
            }
            Err(error) => reply.refuse(errno(&error)),
            Ok(Availability::Missing(_)) => {
                let (vfs, kernel) = (Arc::clone(&self.vfs), self.kernel.clone());
                let bytes = written.bytes.to_vec();
                let Written { offset, append, again, .. } = written;
                // The first try may have changed it, whatever becomes of the next ones.
                kernel.invalidate_mode(node, ModeEffect::Changed);
                let write = async move {
                    let written = Written { offset, append, again, bytes: &bytes };
                    let effect = vfs.write_fetching(id, written, privileges).await?;
                    kernel.invalidate_mode(node, effect);
                    Ok(length)
                };
                self.answer_later(reply, write);
            }
        }
    }

    /// Waits for the server on `close`, if that is asked for.
    pub(super) fn flush_file(&self, (ino, id): (Ino, HandleId), reply: Traced<ReplyEmpty>) {
        if !self.vfs.close_waits(id) {
            return reply.accept(());
        }
        let vfs = Arc::clone(&self.vfs);
        self.answer_later(reply, async move { vfs.flush(ino).await });
    }

    /// Syncs on a thread that may wait for the disk, then waits for the server if that is asked for.
    pub(super) fn sync_node(
        &self,
        ino: Ino,
        reply: Traced<ReplyEmpty>,
        sync: impl FnOnce(&Vfs) -> Synced + Send + 'static,
    ) {
        let (vfs, runtime) = (Arc::clone(&self.vfs), self.runtime.clone());
        self.runtime.spawn_blocking(move || {
            let span = reply.span();
            let synced = span.in_scope(|| sync(&vfs));
            match (synced, vfs.sync_mode()) {
                (Ok(_durable), SyncMode::Remote) => {
                    let flush = async move { vfs.flush(ino).await };
                    runtime.spawn(reply.answer_unless_ended(flush).instrument(span));
                }
                (synced, _) => reply.answer(synced.map(drop)),
            }
        });
    }

    /// Copies on a thread that may wait for the disk.
    pub(super) fn copy_content(
        &self,
        caller: Caller,
        (source, (node, target)): (HandleId, (INodeNo, HandleId)),
        range: CopyRange,
        reply: Traced<ReplyWrite>,
    ) {
        let (vfs, kernel) = (Arc::clone(&self.vfs), self.kernel.clone());
        let runtime = self.runtime.clone();
        self.runtime.spawn_blocking(move || {
            let span = reply.span();
            let copy = async move {
                let (length, effect) = vfs.copy(caller, (source, target), range).await?;
                kernel.invalidate_mode(node, effect);
                Ok(length as u32)
            };
            runtime.block_on(reply.answer_unless_ended(copy).instrument(span));
        });
    }

    pub(super) fn allocate_content(
        &self,
        caller: Caller,
        (node, id): (INodeNo, HandleId),
        (range, what): (ByteRange, Allocation),
        reply: Traced<ReplyEmpty>,
    ) {
        let kernel = self.kernel.clone();
        match self.vfs.allocate(caller, id, range, what) {
            Ok(Availability::Ready(effect)) => {
                kernel.invalidate_mode(node, effect);
                reply.accept(());
            }
            Err(error) => reply.refuse(errno(&error)),
            Ok(Availability::Missing(_)) => {
                let vfs = Arc::clone(&self.vfs);
                kernel.invalidate_mode(node, ModeEffect::Changed);
                self.answer_later(reply, async move {
                    let effect = vfs.allocate_fetching(caller, id, range, what).await?;
                    kernel.invalidate_mode(node, effect);
                    Ok(())
                });
            }
        }
    }
}

/// Reads so many bytes of an open file at an offset and answers with them, unless some are missing.
fn read_and_answer(
    vfs: &Vfs,
    (id, offset, size): (HandleId, u64, usize),
    reply: &mut Option<Traced<ReplyData>>,
) -> Result<Availability<()>, Error> {
    READ_BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(buffer.len().max(size), 0);
        Ok(match vfs.read(id, offset, &mut buffer[..size])? {
            Availability::Ready(length) => {
                if let Some(reply) = reply.take() {
                    reply.accept(&buffer[..length]);
                }
                Availability::Ready(())
            }
            Availability::Missing(range) => Availability::Missing(range),
        })
    })
}

/// As [`read_and_answer`], after the missing bytes were fetched; or answers that the program was asked to end before.
async fn fetch_and_answer(vfs: &Vfs, range: (HandleId, u64, usize), reply: Traced<ReplyData>) {
    let waiter = reply.waiter();
    let mut reply = Some(reply);
    let read = vfs.read_fetching(range.0, || read_and_answer(vfs, range, &mut reply));
    match waiter.unless_ended(read).await {
        Some(Ok(())) => {}
        Some(Err(error)) => refuse(reply, errno(&error)),
        None => refuse(reply, Errno::EINTR),
    }
}

/// Refuses what has not been answered.
fn refuse(reply: Option<Traced<ReplyData>>, errno: Errno) {
    if let Some(reply) = reply {
        reply.refuse(errno);
    }
}
