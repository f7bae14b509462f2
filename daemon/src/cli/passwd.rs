//! `miaofs passwd`: changes the password of the account, which signs all other devices out.

use miaofs::protocol::accounts::ChangePassword;

use super::login;
use super::state::account::Account;
use super::state::session;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;
use super::terminal::password::{self, Source};

/// Arguments of `passwd`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Read the password so far, and the new one, from the first two lines of stdin
    #[arg(long, env = "MIAOFS_PASSWORD_STDIN", value_parser = clap::builder::FalseyValueParser::new())]
    password_stdin: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    let (account, refresh_token) = Account::signed_in(state)?;
    let [old, new] = match args.password_stdin {
        true => [Source::Stdin; 2],
        false => [Source::Prompt, Source::PromptTwice],
    };
    let request = ChangePassword {
        old: password::read(old, &account.user)?,
        new: password::read(new, &account.user)?,
    };
    let client = session::client(state, &account, refresh_token)?;
    let changed = session::block_on(client.change_password(&request))?.map_err(Error::Server);
    // A daemon that runs has lost its session to the one of this device that goes on.
    login::notify_daemon(state)?;
    changed?;
    output::line(format_args!(
        "the password of {} is another one now; all other devices were signed out",
        account.user
    ));
    Ok(())
}
