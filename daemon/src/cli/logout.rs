//! `miaofs logout`: ends this device's session at the server and forgets the token.

use miaofs::client::Retry;

use super::state::account::Account;
use super::state::session;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;
use crate::sync::with_causes;

/// Runs the command. The local files stay.
pub(super) fn run(state: &StateDir) -> Result<(), Error> {
    let (account, refresh_token) = Account::signed_in(state)?;
    let client = session::client(state, &account, refresh_token)?.with_retry(Retry::NEVER);
    let ended = session::block_on(client.sign_out())?;
    Account { refresh_token: None, ..account.clone() }.save(state)?;
    output::line(format_args!("signed out: {account}"));
    if state.holds_files() {
        let place = state.path().display();
        output::line(format_args!("the files in {place} stay; sign in again to go on"));
    }
    match ended {
        Ok(()) | Err(miaofs::client::Error::SignedOut { .. }) => Ok(()),
        Err(error) => {
            let why = with_causes(&error);
            output::complain(format_args!(
                "miaofs: the server was not told, the session there ends by itself: {why}"
            ));
            Ok(())
        }
    }
}
