//! The door: takes connections in as long as there are places, and serves each until it ends or has to.
//!
//! Nothing that a client does ends the loop. A client that is slow costs a place and a few kilobytes; when places
//! run out, those that wait for nothing but their client go first (`places`). A connection passes the `Entrance`,
//! and is then served as a stream of bytes (`serve`), whatever those came through.

mod places;
mod serve;
mod socket;
mod steady;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use miaofs::protocol::problem::{Code, MEDIA_TYPE, Problem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::places::ConnectionLimits;
use self::places::{Admitted, Places};
pub(crate) use self::serve::ConnectionTimes;
use self::serve::{Protocol, Serving};
use super::origin::TrustedProxies;
use super::tls::{Agreed, Tls};
use crate::service::Subnet;

/// Refusals that are said at once; beyond them connections are closed without a word.
const REFUSALS_AT_ONCE: usize = 64;
/// Longest time for a client to read its refusal.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Pause after the system has refused a connection, most likely for want of descriptors, and none can be freed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time between two lines in the log that say the same.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// Who may come in, and what they get.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// Connections at once.
    pub limits: ConnectionLimits,
    /// Times that they have.
    pub times: ConnectionTimes,
    /// Whose connections count for no network.
    pub trusted_proxies: TrustedProxies,
    /// TLS, where it is spoken.
    pub tls: Option<Tls>,
}

/// Serves until `stop` is cancelled, then finishes the requests in flight.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    door: Door,
    stop: CancellationToken,
) {
    let Door { limits, times, trusted_proxies, tls } = door;
    let entrance = Entrance {
        places: Places::new(limits),
        trusted_proxies,
        tls,
        serving: Serving { router, times, stop: stop.clone() },
        tasks: TaskTracker::new(),
        refusals: Arc::new(Semaphore::new(REFUSALS_AT_ONCE)),
    };
    let tasks = entrance.tasks.clone();
    tokio::select! {
        () = entrance.take_in(&listener) => (),
        () = stop.cancelled() => (),
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// All that stands behind the listener.
struct Entrance {
    places: Places,
    trusted_proxies: TrustedProxies,
    tls: Option<Tls>,
    serving: Serving,
    tasks: TaskTracker,
    refusals: Arc<Semaphore>,
}

impl Entrance {
    /// Takes connections in, for ever.
    async fn take_in(&self, listener: &TcpListener) {
        let (mut full, mut failing) = (Seldom::default(), Seldom::default());
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    socket::prepare(&stream, self.serving.times.answer_pause);
                    match self.places.take(self.subnet(peer)) {
                        Some(place) => self.enter(stream, peer, place),
                        None => {
                            full.tell(|| tracing::warn!(%peer, "no place for a connection"));
                            self.refuse(stream);
                        }
                    }
                }
                // The peer has gone already.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => (),
                Err(error) => {
                    failing.tell(|| tracing::error!(%error, "cannot accept connections"));
                    if !self.places.make_room() {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// The network for which a connection counts.
    fn subnet(&self, peer: SocketAddr) -> Option<Subnet> {
        let address = peer.ip().to_canonical();
        (!self.trusted_proxies.trusts(address)).then(|| Subnet::of(address))
    }

    fn enter(&self, stream: TcpStream, peer: SocketAddr, place: Admitted) {
        let (serving, tls) = (self.serving.clone(), self.tls.clone());
        self.tasks.spawn(async move {
            match tls {
                None => serving.serve(stream, Protocol::Http1, peer, place).await,
                Some(tls) => enter_by_tls(&tls, stream, (serving, peer, place)).await,
            }
        });
    }

    /// Says that there is no place, and waits a moment for that to be read: a connection that is closed with bytes
    /// unread is reset, and what was said lost.
    fn refuse(&self, mut stream: TcpStream) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _permit = permit;
            let say = async {
                let mut space = [0; 1024];
                // An answer before the request is no answer to a client.
                let _request = stream.read(&mut space).await?;
                stream.write_all(refusal().as_bytes()).await?;
                stream.shutdown().await?;
                while stream.read(&mut space).await? > 0 {}
                std::io::Result::Ok(())
            };
            let _heard_or_not = tokio::time::timeout(REFUSAL_TIME, say).await;
        });
    }
}

/// Words for a client for which there is no place.
fn no_place() -> Problem {
    Problem::new(Code::Unavailable, "there are too many connections; try again")
}

/// The answer that tells it to one who has not come in.
fn refusal() -> String {
    let body = serde_json::to_string(&no_place()).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
         content-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Serves a connection after its handshake. Its place is taken meanwhile, and it may have to leave.
async fn enter_by_tls(tls: &Tls, stream: TcpStream, to: (Serving, SocketAddr, Admitted)) {
    let (serving, peer, place) = to;
    let handshake = tokio::select! {
        handshake = tls.accept(stream) => handshake,
        () = serving.must_leave(&place) => return,
        () = serving.stop.cancelled() => return,
    };
    match handshake {
        Ok((stream, Agreed::Http1)) => serving.serve(stream, Protocol::Http1, peer, place).await,
        Ok((stream, Agreed::Http2)) => serving.serve(stream, Protocol::Http2, peer, place).await,
        Err(error) => tracing::debug!(%peer, %error, "no handshake"),
    }
}

/// Something that is said once in a while.
#[derive(Debug, Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn tell(&mut self, say: impl FnOnce()) {
        if self.0.is_none_or(|last| last.elapsed() >= LOG_PAUSE) {
            self.0 = Some(Instant::now());
            say();
        }
    }
}
