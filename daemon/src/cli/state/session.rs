//! Signing in: from a name and a password to an account remembered in the state directory.

use std::future::Future;
use std::io;
use std::sync::Arc;

use miaofs::client::{Client, Persist};
use miaofs::protocol::accounts::{Device as PresentedDevice, Session};
use miaofs::protocol::ids::DeviceId;

use super::account::{Account, Device};
use super::server_trust::ServerTrust;
use super::state_dir::StateDir;
use crate::cli::terminal::error::Error;

/// The device of a state directory as it presents itself to the server.
pub(crate) fn device(known: Option<&Account>, name: Option<&str>) -> Device {
    let id = known.map_or_else(DeviceId::random, |account| account.device.id);
    let kept = known.map(|account| account.device.name.as_str());
    let name = name.or(kept).map_or_else(host_name, str::to_owned);
    Device { id, name }
}

fn host_name() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_string_lossy();
    let short: String = name.split('.').next().unwrap_or_default().chars().take(64).collect();
    if short.is_empty() { "device".into() } else { short }
}

impl From<&Device> for PresentedDevice {
    fn from(device: &Device) -> Self {
        Self { id: Some(device.id), name: device.name.clone() }
    }
}

/// Refuses to put another account's files into a state directory that holds files already.
pub(crate) fn check_owner(
    state: &StateDir,
    known: Option<&Account>,
    server: &str,
    user: &str,
) -> Result<(), Error> {
    match known {
        Some(account) if state.holds_files() && !account.was(server, user) => {
            Err(Error::OtherAccount {
                state_dir: state.path().to_owned(),
                user: account.user.clone(),
                server: account.server.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// Remembers a session that was just made.
pub(crate) fn remember(
    state: &StateDir,
    (server, trust): (&str, ServerTrust),
    device: Device,
    session: &Session,
) -> Result<Account, Error> {
    let account = Account {
        server: server.to_owned(),
        trust,
        user: session.name.clone(),
        device: Device { id: session.device, ..device },
        refresh_token: Some(session.refresh_token.clone()),
    };
    account.save(state)?;
    Ok(account)
}

/// The server's API without a session.
pub(crate) fn public_client(server: &str, trust: &ServerTrust) -> Result<Client, Error> {
    Client::trusting(server, trust.into()).map_err(Error::Server)
}

/// The server's API with the session of the signed-in account; a renewed session is remembered.
pub(crate) fn client(
    state: &StateDir,
    account: &Account,
    refresh_token: String,
) -> Result<Client, Error> {
    let client = public_client(&account.server, &account.trust)?;
    Ok(client.signed_in(refresh_token, persist(state.clone())))
}

/// Writes each new refresh token where the next start finds it.
pub(crate) fn persist(state: StateDir) -> Persist {
    Arc::new(move |session| {
        let stored = Account::load(&state).and_then(|account| match account {
            Some(account) => {
                Account { refresh_token: Some(session.refresh_token.clone()), ..account }
                    .save(&state)
            }
            None => Err(Error::NotSignedIn(state.path().to_owned())),
        });
        stored.map_err(io::Error::other)
    })
}

/// Runs one exchange with the server to its end, on this thread.
pub(crate) fn block_on<T>(exchange: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { action: "start talking to the server", source })?;
    Ok(runtime.block_on(exchange))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(refresh_token: &str) -> Session {
        Session {
            access_token: "a".into(),
            expires_in: 60,
            refresh_token: refresh_token.into(),
            name: "ada".into(),
            device: DeviceId::random(),
        }
    }

    #[test]
    fn a_renewed_session_is_what_the_next_start_finds() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path()).unwrap();
        let first = device(None, Some("desk"));
        let account =
            remember(&state, ("http://a", ServerTrust::default()), first, &session("one")).unwrap();
        persist(state.clone())(&session("two")).unwrap();
        let (found, token) = Account::signed_in(&state).unwrap();
        assert_eq!(token, "two");
        assert_eq!(found.device, account.device);
    }

    #[test]
    fn a_state_directory_with_files_takes_no_other_account() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path()).unwrap();
        let account = remember(
            &state,
            ("http://a", ServerTrust::default()),
            device(None, None),
            &session("one"),
        )
        .unwrap();
        assert!(check_owner(&state, Some(&account), "http://b", "ada").is_ok());
        std::fs::write(dir.path().join("state.db"), "").unwrap();
        assert!(check_owner(&state, Some(&account), "http://b", "ada").is_err());
        assert!(check_owner(&state, Some(&account), "http://a", "eve").is_err());
        assert!(check_owner(&state, Some(&account), "http://a/", "ada").is_ok());
    }

    #[test]
    fn a_device_keeps_its_id_and_its_name() {
        let known = Account {
            server: "http://a".into(),
            user: "ada".into(),
            device: device(None, Some("desk")),
            trust: ServerTrust::default(),
            refresh_token: None,
        };
        assert_eq!(device(Some(&known), None), known.device);
        let renamed = device(Some(&known), Some("shelf"));
        assert_eq!((renamed.id, renamed.name.as_str()), (known.device.id, "shelf"));
        assert!(!device(None, None).name.is_empty());
    }
}
