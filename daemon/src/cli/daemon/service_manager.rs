//! The service manager, such as systemd, that may have started the program and wants to know how it stands.
//!
//! It listens to the process that it started, which is the supervisor; the daemon does not even know of it.

use sd_notify::NotifyState;

/// Variable of the environment that names its socket.
pub(super) const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says that the mount is usable.
pub(super) fn ready() {
    tell(NotifyState::Ready);
}

/// Says that the end has begun.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
}
