//! What a TCP connection is told to do: not to gather small answers, and to notice a peer that has vanished.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use socket2::SockRef;
use tokio::net::TcpStream;

/// Quiet time after which a peer is asked whether it is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between two such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Questions without an answer after which it is not.
const KEEPALIVE_PROBES: u32 = 3;
/// Bytes that the system takes ahead of what the other side has room for. More would only be read early: without a bound the
/// system takes megabytes for each of those who read slowly.
const UNSENT_MAX: u32 = 256 * 1024;

/// Sets the options of a connection that was accepted. What is sent may stay unacknowledged, or untaken, for
/// `answer_pause`: keepalive alone says nothing while bytes are under way.
pub(super) fn prepare(stream: &TcpStream, answer_pause: Duration) {
    if let Err(error) = set_options(stream, answer_pause) {
        tracing::debug!(%error, "a connection keeps the system's settings");
    }
}

fn set_options(stream: &TcpStream, answer_pause: Duration) -> io::Result<()> {
    // A small answer does not wait until the other side has acknowledged the one before (Nagle's
    // algorithm against delayed acknowledgements costs 40 ms a request).
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_MAX)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    let milliseconds = u32::try_from(answer_pause.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(stream, milliseconds)?)
}
