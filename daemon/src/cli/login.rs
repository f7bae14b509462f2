//! `miaofs login`: signs this device in to an account.

use std::time::Instant;

use miaofs::protocol::accounts::SignIn;

use super::control::{Request, client};
use super::signup::Identity;
use super::state::account::Account;
use super::state::session;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;
use super::terminal::password::{self, Source};

/// Arguments of `login`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// URL of the server [default: the last one]
    #[arg(env = "MIAOFS_SERVER")]
    url: Option<String>,
    /// Name of the account [default: the last one]
    #[arg(long, env = "MIAOFS_USER")]
    user: Option<String>,
    #[command(flatten)]
    identity: Identity,
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    let known = Account::load(state)?;
    let last = known.as_ref();
    let url = args.url.as_deref().or(last.map(|account| account.server.as_str()));
    let user = args.user.as_deref().or(last.map(|account| account.user.as_str()));
    let url = needed(url, "URL")?;
    let trust = args.identity.trust.decide(Account::trust_of(last, url), url)?;
    let client = session::public_client(url, &trust)?;
    client.check().map_err(Error::Server)?;
    let user = needed(user, "--user")?;
    session::check_owner(state, last, client.url(), user)?;
    check_unmounted_if_moved(state, last, client.url())?;
    let device = session::device(last, args.identity.device.as_deref());
    let source = if args.identity.password_stdin { Source::Stdin } else { Source::Prompt };
    let request = SignIn {
        name: user.to_owned(),
        password: password::read(source, user)?,
        device: (&device).into(),
    };
    state.create()?;
    let session = session::block_on(client.sign_in(&request))?.map_err(Error::Server)?;
    let account = session::remember(state, (client.url(), trust), device, &session)?;
    output::line(format_args!("signed in: {account}"));
    notify_daemon(state)
}

/// Refuses to change the server's URL under a daemon, which goes on with the former one.
fn check_unmounted_if_moved(
    state: &StateDir,
    last: Option<&Account>,
    url: &str,
) -> Result<(), Error> {
    match last {
        Some(account) if !account.is(url, &account.user) && client::status(state).is_ok() => {
            let why = format!("the drive is mounted from {}: unmount it first", account.server);
            Err(Error::Value { name: url.to_owned(), why })
        }
        _ => Ok(()),
    }
}

/// A daemon that runs lost its session to this sign-in, or was signed out: it goes on with the one that is remembered.
pub(super) fn notify_daemon(state: &StateDir) -> Result<(), Error> {
    match client::ask(state, &Request::SignedIn) {
        Ok(mut connection) => {
            connection.receive(Some(Instant::now() + client::STATUS_LIMIT)).map(drop)
        }
        Err(Error::NotRunning(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn needed<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, Error> {
    value.ok_or_else(|| Error::Value {
        name: name.to_owned(),
        why: "needed at the first sign-in with this state directory".into(),
    })
}
