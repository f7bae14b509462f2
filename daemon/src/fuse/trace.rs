//! The kernel's requests in the log, each from its arrival to its answer: `--log miaofs::fuse=debug`.
//!
//! A request is a span that its reply carries, so it is followed wherever it is answered, also on a task: the events of
//! that task, and of what it calls, stand in the span. As long as nobody listens at this level, a request costs a look
//! at a flag; no clock is read and nothing is formatted.

use std::ffi::OsStr;
use std::io;
use std::time::Instant;

use fuser::{Errno, INodeNo, Request};
use tracing::field;
use tracing::{Span, debug, debug_span};

use super::answer::{Answer, Refuse};
use super::interrupt::Waiter;

/// Node, or names, that a request is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// A node.
    Node(INodeNo),
    /// A name in a directory, or an attribute of a node.
    Name(INodeNo, &'a OsStr),
    /// Both names of a rename.
    Names([(INodeNo, &'a OsStr); 2]),
}

impl From<INodeNo> for Subject<'_> {
    fn from(node: INodeNo) -> Self {
        Self::Node(node)
    }
}

impl<'a> From<(INodeNo, &'a OsStr)> for Subject<'a> {
    fn from((node, name): (INodeNo, &'a OsStr)) -> Self {
        Self::Name(node, name)
    }
}

impl<'a> From<[(INodeNo, &'a OsStr); 2]> for Subject<'a> {
    fn from(names: [(INodeNo, &'a OsStr); 2]) -> Self {
        Self::Names(names)
    }
}

impl<'a> Subject<'a> {
    fn first(self) -> (INodeNo, Option<&'a OsStr>) {
        match self {
            Self::Node(node) => (node, None),
            Self::Name(node, name) | Self::Names([(node, name), _]) => (node, Some(name)),
        }
    }

    fn second(self) -> Option<(INodeNo, &'a OsStr)> {
        match self {
            Self::Node(_) | Self::Name(..) => None,
            Self::Names([_, second]) => Some(second),
        }
    }
}

/// Logs a request that has no answer.
pub(super) fn unanswered(operation: &str, request: &Request, node: INodeNo) {
    span(operation, request, node.into()).in_scope(|| debug!("received"));
}

fn span(operation: &str, request: &Request, subject: Subject<'_>) -> Span {
    debug_span!(
        "request",
        id = request.unique().0,
        %operation,
        ino = subject.first().0.0,
        name = subject.first().1.map(field::debug),
        new_parent = subject.second().map(|(parent, _)| parent.0),
        new_name = subject.second().map(|(_, name)| field::debug(name)),
        uid = request.uid(),
        pid = request.pid(),
    )
}

/// A reply to a request that is followed in the log.
#[derive(Debug)]
pub(super) struct Traced<R> {
    reply: R,
    trace: Trace,
    waiter: Waiter,
}

#[derive(Debug)]
struct Trace {
    span: Span,
    /// Arrival of the request, if anybody listens.
    began: Option<Instant>,
}

impl<R> Traced<R> {
    pub(super) fn new(operation: &str, request: &Request, subject: Subject<'_>, reply: R) -> Self {
        let span = span(operation, request, subject);
        let began = (!span.is_disabled()).then(|| {
            span.in_scope(|| debug!("received"));
            Instant::now()
        });
        Self { reply, trace: Trace { span, began }, waiter: Waiter::new(request.pid()) }
    }

    /// The reply itself, for one that is filled step by step before it is answered.
    pub(super) fn reply_mut(&mut self) -> &mut R {
        &mut self.reply
    }

    /// The thread that waits for the answer.
    pub(super) fn waiter(&self) -> Waiter {
        self.waiter
    }

    /// The request, for a task that will answer it.
    pub(super) fn span(&self) -> Span {
        self.trace.span.clone()
    }
}

impl Trace {
    fn answered(self, errno: Option<Errno>) {
        let Some(began) = self.began else { return };
        let elapsed = began.elapsed();
        self.span.in_scope(|| match errno {
            None => debug!(?elapsed, "answered"),
            Some(errno) => {
                let error = io::Error::from_raw_os_error(errno.into());
                debug!(?elapsed, errno = i32::from(errno), %error, "answered with an error");
            }
        });
    }
}

impl<R: Refuse> Refuse for Traced<R> {
    fn refuse(self, errno: Errno) {
        self.reply.refuse(errno);
        self.trace.answered(Some(errno));
    }
}

impl<T, R: Answer<T>> Answer<T> for Traced<R> {
    fn accept(self, value: T) {
        self.reply.accept(value);
        self.trace.answered(None);
    }
}
