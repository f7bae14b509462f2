//! `miaofs account`: the end of the account.

use miaofs::protocol::accounts::CloseAccount;

use super::login;
use super::state::account::Account;
use super::state::session;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;
use super::terminal::password::{self, Source};

/// Arguments of `account`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Close the account: all devices are signed out, and the server deletes all that it has after a while
    Delete {
        /// Read the password from the first line of stdin
        #[arg(long, env = "MIAOFS_PASSWORD_STDIN", value_parser = clap::builder::FalseyValueParser::new())]
        password_stdin: bool,
    },
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    let Action::Delete { password_stdin } = args.action;
    let (account, refresh_token) = Account::signed_in(state)?;
    let source = if password_stdin { Source::Stdin } else { Source::Prompt };
    let request = CloseAccount { password: password::read(source, &account.user)? };
    let client = session::client(state, &account, refresh_token)?;
    let closed = session::block_on(client.close_account(&request))?.map_err(Error::Server);
    if closed.is_err() {
        // The session was renewed for this, and a daemon that runs goes on with the new one.
        login::notify_daemon(state)?;
        return closed;
    }
    Account { refresh_token: None, ..account.clone() }.save(state)?;
    output::line(format_args!(
        "the account {} is closed; until the server deletes it, its operator can restore it",
        account.user
    ));
    if state.holds_files() {
        output::line(format_args!("what is in {} stays", state.path().display()));
    }
    Ok(())
}
