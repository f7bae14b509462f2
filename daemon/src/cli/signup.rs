//! `miaofs signup`: makes an account on a server and signs this device in.

use miaofs::client;
use miaofs::protocol::accounts::{Session, SignUp};
use miaofs::protocol::problem::Code;

use super::state::account::Account;
use super::state::server_trust::TrustArgs;
use super::state::session;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;
use super::terminal::password::{self, Source};

/// Arguments of `signup`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// URL of the server
    #[arg(env = "MIAOFS_SERVER")]
    url: String,
    /// Name of the new account
    #[arg(long, env = "MIAOFS_USER")]
    user: String,
    /// Code of an invitation, where the server wants one
    #[arg(long, value_name = "CODE", env = "MIAOFS_INVITE")]
    invite: Option<String>,
    #[command(flatten)]
    identity: Identity,
}

/// Arguments that signing up and signing in have in common.
#[derive(Debug, clap::Args)]
pub(super) struct Identity {
    /// Read the password from the first line of stdin
    #[arg(long, env = "MIAOFS_PASSWORD_STDIN", value_parser = clap::builder::FalseyValueParser::new())]
    pub password_stdin: bool,
    /// Name of this device; it stands in the names of conflict copies [default: the host name]
    #[arg(long, value_name = "NAME", env = "MIAOFS_DEVICE")]
    pub device: Option<String>,
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    let known = Account::load(state)?;
    let before = Account::trust_of(known.as_ref(), &args.url);
    let trust = args.identity.trust.decide(before, &args.url)?;
    let client = session::public_client(&args.url, &trust)?;
    client.check().map_err(Error::Server)?;
    session::check_owner(state, known.as_ref(), client.url(), &args.user)?;
    let device = session::device(known.as_ref(), args.identity.device.as_deref());
    let source = if args.identity.password_stdin { Source::Stdin } else { Source::PromptTwice };
    let mut request = SignUp {
        name: args.user.clone(),
        password: password::read(source, &args.user)?,
        device: (&device).into(),
        invitation: args.invite.clone(),
    };
    state.create()?;
    let mut answer = session::block_on(client.sign_up(&request))?;
    if source == Source::PromptTwice && args.invite.is_none() && wants_invitation(&answer) {
        request.invitation = Some(password::ask("code of your invitation: ")?);
        answer = session::block_on(client.sign_up(&request))?;
    }
    let session = answer.map_err(Error::Server)?;
    let account = session::remember(state, (client.url(), trust), device, &session)?;
    output::line(format_args!("signed up: {account}"));
    Ok(())
}

fn wants_invitation(answer: &Result<Session, client::Error>) -> bool {
    answer.as_ref().is_err_and(|error| error.code() == Some(Code::InvitationNeeded))
}
