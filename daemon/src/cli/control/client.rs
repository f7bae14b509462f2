//! The command's side of the control socket.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{DaemonStatus, Request, Response, SocketPath};
use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::Error;

/// Longest wait for the status of a daemon.
pub(crate) const STATUS_LIMIT: Duration = Duration::from_secs(10);

/// Longest wait for the daemon that takes over from one that died,
const TAKEOVER_LIMIT: Duration = Duration::from_secs(2);
/// and the pause between two looks.
const TAKEOVER_STEP: Duration = Duration::from_millis(20);

/// A request that is being answered.
pub(crate) struct Connection {
    state: StateDir,
    answers: BufReader<UnixStream>,
}

/// Outcome of a wait for an answer.
#[derive(Debug)]
pub(crate) enum Received {
    /// An answer.
    Answer(Response),
    /// Nothing until the deadline.
    Nothing,
}

/// Sends a request to the daemon of a state directory.
pub(crate) fn ask(state: &StateDir, request: &Request) -> Result<Connection, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Error::NotRunning(state.path().to_owned())
        }
        _ => Error::Control { state_dir: state.path().to_owned(), source },
    };
    let socket = SocketPath::of(state).map_err(failed)?;
    let stream = connect(&socket.path).map_err(failed)?;
    let mut connection = Connection { state: state.clone(), answers: BufReader::new(stream) };
    connection.send(request).map_err(failed)?;
    Ok(connection)
}

/// Connects to a daemon. A socket at which nobody listens is of one that died: then the next one may be about to take over.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + TAKEOVER_LIMIT;
    let mut has_died = false;
    loop {
        match UnixStream::connect(socket) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => has_died = true,
            // The next one has taken the old socket away, and makes another.
            Err(error) if error.kind() == io::ErrorKind::NotFound && has_died => {}
            connected => return connected,
        }
        if Instant::now() > deadline {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        std::thread::sleep(TAKEOVER_STEP);
    }
}

impl Connection {
    fn send(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.answers.get_mut().write_all(&line)
    }

    /// Waits for the next answer; a [`Response::Failed`] comes as an error.
    pub(crate) fn receive(&mut self, deadline: Option<Instant>) -> Result<Received, Error> {
        match self.line(deadline) {
            Ok(None) => Ok(Received::Nothing),
            Ok(Some(line)) => match serde_json::from_slice(&line) {
                Ok(Response::Failed(report)) => Err(Error::Reported(report)),
                Ok(answer) => Ok(Received::Answer(answer)),
                Err(error) => {
                    tracing::debug!("answer of the daemon: {error}");
                    Err(self.unexpected_answer())
                }
            },
            Err(source) => Err(Error::Control { state_dir: self.state.path().to_owned(), source }),
        }
    }

    /// The error for an answer that does not fit the request.
    pub(crate) fn unexpected_answer(&self) -> Error {
        Error::ControlAnswer(self.state.path().to_owned())
    }

    fn line(&mut self, deadline: Option<Instant>) -> io::Result<Option<Vec<u8>>> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        self.answers.get_ref().set_read_timeout(left)?;
        let mut line = Vec::new();
        match self.answers.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => Ok(Some(line)),
            Ok(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon has ended")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Asks the daemon how it stands.
pub(crate) fn status(state: &StateDir) -> Result<DaemonStatus, Error> {
    status_within(state, STATUS_LIMIT)
}

/// The same with another limit on the wait. A daemon that dies meanwhile is followed by another one, which is asked instead.
pub(crate) fn status_within(state: &StateDir, limit: Duration) -> Result<DaemonStatus, Error> {
    match ask_status(state, limit) {
        Err(Error::Control { source, .. }) if has_ended(&source) => ask_status(state, limit),
        answered => answered,
    }
}

/// True for the error of a connection whose other end has gone.
fn has_ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn ask_status(state: &StateDir, limit: Duration) -> Result<DaemonStatus, Error> {
    let mut connection = ask(state, &Request::Status)?;
    match connection.receive(Some(Instant::now() + limit))? {
        Received::Answer(Response::Status(status)) => Ok(*status),
        Received::Answer(_) => Err(connection.unexpected_answer()),
        Received::Nothing => Err(Error::TimedOut {
            what: format!("no answer from the daemon of {}", state.path().display()),
            seconds: limit.as_secs(),
        }),
    }
}
