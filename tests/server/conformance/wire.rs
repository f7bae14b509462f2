//! Requests as bytes, and a connection that sends them as they are.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Time after which a request that is not whole counts as never answered.
const UNANSWERED: Duration = Duration::from_millis(300);
/// Time within which every whole request is answered, on a busy machine.
const ANSWERED: Duration = Duration::from_secs(60);

/// A request as it goes over the wire.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// The method.
    pub method: Vec<u8>,
    /// Path and query, encoded.
    pub target: Vec<u8>,
    /// Names and values of header fields; `host` and `content-length` come from elsewhere.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// The body, if there is one.
    pub body: Option<Vec<u8>>,
    /// The bytes are sent as they are in place of all else: perhaps no request at all.
    pub chaos: Option<Vec<u8>>,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    /// The status.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header field.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Request {
    /// A request of this method for a target.
    pub(super) fn new(method: &str, target: String) -> Self {
        Self { method: method.into(), target: target.into_bytes(), ..Self::default() }
    }

    /// The same with a header field.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        if let Some(chaos) = &self.chaos {
            return chaos.clone();
        }
        let mut bytes =
            [&self.method[..], b" ", &self.target, b" HTTP/1.1\r\nhost: x\r\n"].concat();
        for (name, value) in &self.headers {
            bytes.extend([&name[..], b": ", value, b"\r\n"].concat());
        }
        if let Some(body) = &self.body {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// The request for a reader of a report.
    pub(super) fn display(&self) -> String {
        let bytes = self.bytes();
        let shown = bytes.len().min(3000);
        let more = if shown < bytes.len() { "…" } else { "" };
        format!("{}{more} ({} bytes)", bytes[..shown].escape_ascii(), bytes.len())
    }
}

/// A connection that is kept as long as the server keeps it.
pub(super) struct Connection {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// To this address, when it is first needed.
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, buffer: Vec::new() }
    }

    /// Sends a request; `None` when the server answers nothing to it.
    pub(super) fn ask(&mut self, request: &Request) -> Option<Answer> {
        let answer = self.try_ask(request);
        let is_whole = request.chaos.is_none();
        let goes_on = answer.as_ref().is_some_and(|it| it.header("connection") != Some("close"));
        if !goes_on || !is_whole {
            self.stream = None;
            self.buffer.clear();
        }
        // A server may close a kept connection while a request is on its way: once more then, on a new one.
        if answer.is_none() && is_whole { self.try_ask(request) } else { answer }
    }

    fn try_ask(&mut self, request: &Request) -> Option<Answer> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address).expect("the server listens");
            stream.set_nodelay(true).expect("an open socket");
            self.stream = Some(stream);
        }
        let patience = if request.chaos.is_some() { UNANSWERED } else { ANSWERED };
        let stream = self.stream.as_mut()?;
        stream.set_read_timeout(Some(patience)).expect("a time above zero");
        // A server that has seen enough may close before it has read all; its answer counts.
        let _sent = stream.write_all(&request.bytes());
        self.read(request.method == b"HEAD")
    }

    fn read(&mut self, is_head: bool) -> Option<Answer> {
        let end = loop {
            match self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end,
                None => self.more()?,
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let headers = fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        let mut answer = Answer { status, headers: headers.collect(), body: Vec::new() };
        if status == 100 {
            return self.read(is_head);
        }
        if is_head || matches!(status, 204 | 304) {
            return Some(answer);
        }
        answer.body = match answer.header("content-length").map(str::parse) {
            Some(length) => self.take(length.ok()?)?,
            None => self.chunks()?,
        };
        Some(answer)
    }

    /// The body of an answer whose length was not known.
    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                match self.buffer.windows(2).position(|two| two == b"\r\n") {
                    Some(end) => break end,
                    None => self.more()?,
                }
            };
            let line = String::from_utf8(self.take(end + 2)?).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            body.extend(self.take(length)?);
            self.take(2)?;
            if length == 0 {
                return Some(body);
            }
        }
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            self.more()?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    fn more(&mut self) -> Option<()> {
        let mut block = [0; 64 * 1024];
        loop {
            match self.stream.as_mut()?.read(&mut block) {
                Ok(0) => return None,
                Ok(count) => {
                    self.buffer.extend_from_slice(&block[..count]);
                    return Some(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(_no_more) => return None,
            }
        }
    }
}
