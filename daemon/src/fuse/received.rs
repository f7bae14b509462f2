//! Requests as they come: each is counted, and followed in the log.

use fuser::{INodeNo, Request};

use super::adapter::Adapter;
use super::request_counts::Opcode;
use super::trace::{self, Subject, Traced};

impl Adapter {
    /// The reply to a request that has come.
    pub(super) fn traced<'a, R>(
        &self,
        opcode: Opcode,
        request: &Request,
        subject: impl Into<Subject<'a>>,
        reply: R,
    ) -> Traced<R> {
        self.requests.count(opcode);
        Traced::new(opcode.name(), request, subject.into(), reply)
    }

    /// A request has come that has no answer.
    pub(super) fn unanswered(&self, opcode: Opcode, request: &Request, node: INodeNo) {
        self.requests.count(opcode);
        trace::unanswered(opcode.name(), request, node);
    }
}
