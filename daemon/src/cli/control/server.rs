//! The daemon's side of the control socket.

use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Request, Response, SocketPath};
use crate::cli::state::state_dir::StateDir;
use crate::cli::terminal::error::{Error, Exit, Report};

/// The longest request in bytes.
const REQUEST_MAX: u64 = 64 * 1024;

/// Where the answers to one request go.
pub(crate) type Answers = mpsc::Sender<Response>;

/// Work that remains once the answers to a request have been sent.
pub(crate) type Afterwards = Option<Box<dyn FnOnce() + Send>>;

/// The bound socket; its name goes away with it.
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds the socket of a state directory that this process has locked, in place of a dead one.
    pub(crate) fn bind(state: &StateDir) -> Result<Self, Error> {
        let path = state.socket();
        let bind = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let socket = SocketPath::of(state)?;
            let listener = UnixListener::bind(&socket.path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener = bind().map_err(Error::file("bind", &path))?;
        Ok(Self { listener, path })
    }

    /// Answers requests, until it is dropped.
    pub(crate) async fn serve<H, F>(&self, handle: H) -> !
    where
        H: Fn(Request, Answers) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Afterwards> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, handle.clone()));
                }
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Whoever connects to a leftover is refused, so nothing is lost when it cannot be removed.
        let _ = fs::remove_file(&self.path);
    }
}

async fn serve_connection<H, F>(stream: UnixStream, handle: H)
where
    H: Fn(Request, Answers) -> F,
    F: Future<Output = Afterwards>,
{
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (answers, queue) = mpsc::channel(1);
    let work = async {
        match request(&mut reader).await {
            Ok(request) => {
                tokio::select! {
                    afterwards = handle(request, answers) => afterwards,
                    () = closed_by_peer(&mut reader) => None,
                }
            }
            Err(report) => {
                // The peer that sent nonsense may be gone as well.
                let _ = answers.send(Response::Failed(report)).await;
                drop(answers);
                None
            }
        }
    };
    let (afterwards, written) = tokio::join!(work, write(writer, queue));
    if let Err(error) = written {
        tracing::debug!("control socket: {error}");
    }
    if let Some(afterwards) = afterwards {
        afterwards();
    }
}

async fn request(reader: &mut BufReader<OwnedReadHalf>) -> Result<Request, Report> {
    let refuse = |message: String| Report { exit: Exit::Usage, message, next: None };
    let mut line = Vec::new();
    let read = reader.take(REQUEST_MAX).read_until(b'\n', &mut line).await;
    read.map_err(|error| refuse(format!("cannot read the request: {error}")))?;
    serde_json::from_slice(&line).map_err(|error| refuse(format!("not a request: {error}")))
}

/// Returns when the peer has closed the connection; it has nothing more to say after its request.
async fn closed_by_peer(reader: &mut BufReader<OwnedReadHalf>) {
    let mut byte = [0];
    while matches!(reader.read(&mut byte).await, Ok(1)) {}
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Response>) -> io::Result<()> {
    while let Some(answer) = queue.recv().await {
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        writer.write_all(&line).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, Write};
    use std::os::unix::net::UnixStream as Peer;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cli::control::client::{self, Received};

    /// A state directory with a socket that is served by `handle` on a thread of its own.
    fn serve<H, F>(dir: PathBuf, handle: H) -> StateDir
    where
        H: Fn(Request, Answers) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Afterwards> + Send + 'static,
    {
        let state = StateDir::at(&dir).unwrap();
        state.create().unwrap();
        let (bound, is_bound) = std::sync::mpsc::channel();
        let served = state.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = ControlSocket::bind(&served).unwrap();
                bound.send(()).unwrap();
                socket.serve(handle).await;
            });
        });
        is_bound.recv().unwrap();
        state
    }

    async fn done(request: Request, answers: Answers) -> Afterwards {
        let answer = match request {
            Request::Flush { ino: Some(7), .. } => Response::Done,
            _ => Response::Failed(Report { exit: Exit::Busy, message: "no".into(), next: None }),
        };
        answers.send(answer).await.unwrap();
        None
    }

    fn flush(ino: u64) -> Request {
        Request::Flush { ino: Some(ino), deletions: super::super::Deletions::Ask }
    }

    #[test]
    fn a_request_is_answered_over_a_private_socket() {
        let dir = tempfile::tempdir().unwrap();
        let state = serve(dir.path().to_owned(), done);
        let mode = fs::metadata(state.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut connection = client::ask(&state, &flush(7)).unwrap();
        assert!(matches!(connection.receive(None), Ok(Received::Answer(Response::Done))));
        let mut refused = client::ask(&state, &flush(8)).unwrap();
        assert_eq!(refused.receive(None).unwrap_err().exit(), Exit::Busy);
    }

    #[test]
    fn a_state_directory_with_a_long_path_has_a_socket_too() {
        let dir = tempfile::tempdir().unwrap();
        let state = serve(dir.path().join("x".repeat(200)), done);
        let mut connection = client::ask(&state, &flush(7)).unwrap();
        assert!(matches!(connection.receive(None), Ok(Received::Answer(Response::Done))));
    }

    #[test]
    fn nonsense_is_refused_and_the_next_request_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let state = serve(dir.path().to_owned(), done);
        let mut peer = Peer::connect(state.socket()).unwrap();
        peer.write_all(b"{\"command\":\"explode\"}\n").unwrap();
        let mut answer = String::new();
        io::BufReader::new(peer).read_line(&mut answer).unwrap();
        assert!(answer.contains("not a request"), "{answer}");
        let mut connection = client::ask(&state, &flush(7)).unwrap();
        assert!(matches!(connection.receive(None), Ok(Received::Answer(Response::Done))));
    }

    #[test]
    fn a_command_that_goes_away_ends_what_it_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (ended, has_ended) = std::sync::mpsc::channel();
        let state = serve(dir.path().to_owned(), move |_, answers| {
            let guard = SaysWhenDropped(ended.clone());
            async move {
                let _held = (guard, answers);
                std::future::pending().await
            }
        });
        let mut connection = client::ask(&state, &flush(7)).unwrap();
        let soon = Instant::now() + Duration::from_millis(50);
        assert!(matches!(connection.receive(Some(soon)), Ok(Received::Nothing)));
        assert!(has_ended.try_recv().is_err());
        drop(connection);
        has_ended.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    #[test]
    fn what_remains_is_done_once_the_whole_answer_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let (done, is_done) = std::sync::mpsc::channel();
        let state = serve(dir.path().to_owned(), move |_, answers| {
            let done = done.clone();
            async move {
                // More than a socket holds that nobody reads.
                let message = "x".repeat(8 << 20);
                let report = Report { exit: Exit::Busy, message, next: None };
                answers.send(Response::Failed(report)).await.unwrap();
                let afterwards: Box<dyn FnOnce() + Send> = Box::new(move || done.send(()).unwrap());
                Some(afterwards)
            }
        });
        let mut connection = client::ask(&state, &flush(7)).unwrap();
        is_done.recv_timeout(Duration::from_millis(200)).unwrap_err();
        assert_eq!(connection.receive(None).unwrap_err().exit(), Exit::Busy);
        is_done.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    struct SaysWhenDropped(std::sync::mpsc::Sender<()>);

    impl Drop for SaysWhenDropped {
        fn drop(&mut self) {
            // The test may have ended already.
            let _ = self.0.send(());
        }
    }

    #[test]
    fn without_a_daemon_the_answer_is_that_none_runs() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path()).unwrap();
        assert!(matches!(client::ask(&state, &flush(7)), Err(Error::NotRunning(_))));
        drop(std::os::unix::net::UnixListener::bind(state.socket()).unwrap());
        assert!(matches!(client::ask(&state, &flush(7)), Err(Error::NotRunning(_))));
    }
}
