//! Requests that look for a name, or give or take one: they wait while the names of the drive come for the first time.

use std::ffi::OsStr;
use std::sync::Arc;

use fuser::{Errno, INodeNo, Request};
use tokio::task::spawn_blocking;
use tracing::Instrument;

use crate::vfs::{EntryName, Error, Vfs};

use super::adapter::Adapter;
use super::answer::{Answer, Refuse as _};
use super::takeover::first_number;
use super::trace::Traced;
use super::translate::entry_name;

impl Adapter {
    /// Answers with what an operation on a name says.
    pub(super) fn answer_named<T, R>(
        &self,
        reply: Traced<R>,
        (parent, name): (INodeNo, &OsStr),
        operation: impl FnOnce(&Vfs, EntryName<'_>) -> Result<T, Error> + Send + 'static,
    ) where
        T: Send + 'static,
        R: Answer<T> + Send + 'static,
    {
        if self.vfs.knows_names() {
            return reply.answer(operation(&self.vfs, entry_name(parent, name)));
        }
        let name = name.to_owned();
        self.answer_with_names(reply, move |vfs| operation(vfs, entry_name(parent, &name)));
    }

    /// Answers with what a change of names says, which is made once, also when the kernel sends the request again: then
    /// `done` says what it has come to.
    pub(super) fn answer_change<T, R>(
        &self,
        (request, reply): (&Request, Traced<R>),
        name: (INodeNo, &OsStr),
        change: impl FnOnce(&Vfs, EntryName<'_>) -> Result<T, Error> + Send + 'static,
        done: impl FnOnce(&Vfs, EntryName<'_>) -> Result<T, Error> + Send + 'static,
    ) where
        T: Send + 'static,
        R: Answer<T> + Send + 'static,
    {
        let number = first_number(request);
        self.answer_named(reply, name, move |vfs, entry| {
            vfs.once(number, |vfs| change(vfs, entry), |vfs| done(vfs, entry))
        });
    }

    /// Answers with what an operation says once the names are here.
    pub(super) fn answer_with_names<T, R>(
        &self,
        reply: Traced<R>,
        operation: impl FnOnce(&Vfs) -> Result<T, Error> + Send + 'static,
    ) where
        T: Send + 'static,
        R: Answer<T> + Send + 'static,
    {
        if self.vfs.knows_names() {
            return reply.answer(operation(&self.vfs));
        }
        let (vfs, span) = (Arc::clone(&self.vfs), reply.span());
        let waiting = async move {
            let Some(learned) = reply.waiter().unless_ended(vfs.learn_names()).await else {
                return reply.refuse(Errno::EINTR);
            };
            // What follows is done whole, and answered before the thread does something else.
            match learned {
                Ok(()) => drop(spawn_blocking(move || reply.answer(operation(&vfs)))),
                Err(error) => reply.answer(Err(error)),
            }
        };
        self.runtime.spawn(waiting.instrument(span));
    }
}
