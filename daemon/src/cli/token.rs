//! `miaofs token`: tokens that reach a part of the drive, for scripts and programs that speak to the server by themselves.

use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;
use miaofs::client::Client;
use miaofs::protocol::ids::ScopedTokenId;
use miaofs::protocol::scoped_tokens::{CreateScopedToken, Operations, ScopedToken};

use super::state::account::Account;
use super::state::session;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;

/// Arguments of `token`.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long, global = true, env = "MIAOFS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

/// Operation on the tokens.
#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it, this once
    Create(Create),
    /// List the account's tokens
    List,
    /// End a token: the next request with it is refused
    Revoke {
        /// Name or id of the token
        token: String,
    },
}

#[derive(Debug, ClapArgs)]
struct Create {
    /// Path in the drive, such as /photos: what is there now is what the token reaches, wherever it is moved to
    #[arg(long, value_name = "PATH")]
    path: String,
    /// Allow to list and download
    #[arg(long, required_unless_present = "write", conflicts_with = "write")]
    read: bool,
    /// Allow to upload, rename and delete as well
    #[arg(long)]
    write: bool,
    /// Time for which it is good: 90s, 45m, 12h, 30d; without it, until it is revoked
    #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
    expires: Option<u64>,
    /// Name, to know it by; the path and what is allowed unless given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Create {
    fn request(&self) -> CreateScopedToken {
        let (operations, word) = match self.write {
            true => (Operations::Write, "write"),
            false => (Operations::Read, "read"),
        };
        let named = || format!("{} {word}", self.path).chars().take(64).collect();
        CreateScopedToken {
            name: self.name.clone().unwrap_or_else(named),
            path: self.path.clone(),
            operations,
            expires_in: self.expires,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    let (account, refresh_token) = Account::signed_in(state)?;
    let client = session::client(state, &account, refresh_token)?;
    match &args.action {
        Action::Create(create) => {
            let request = create.request();
            let made =
                session::block_on(client.create_scoped_token(&request))?.map_err(Error::Server)?;
            if args.json { output::json(&made) } else { output::line(made.token) }
        }
        Action::List => list(args, &client)?,
        Action::Revoke { token } => {
            let revoked = session::block_on(async {
                let id = find(&client, token).await?;
                client.revoke_scoped_token(id).await.map_err(Error::Server)
            });
            revoked??;
            output::complain(format_args!("revoked: {token}"));
        }
    }
    Ok(())
}

fn list(args: &Args, client: &Client) -> Result<(), Error> {
    let tokens = session::block_on(client.scoped_tokens())?.map_err(Error::Server)?;
    if args.json {
        output::json(&tokens);
        return Ok(());
    }
    let now = Timestamp::now().as_second();
    for ScopedToken { id, name, path, operations, expires_at, .. } in tokens.tokens {
        let operations = match operations {
            Operations::Read => "read",
            Operations::Write => "write",
        };
        let until = match expires_at {
            None => "until revoked".to_owned(),
            Some(at) if at <= now => "expired".to_owned(),
            Some(at) => format!("until {}", Timestamp::from_second(at).unwrap_or(Timestamp::MAX)),
        };
        output::line(format_args!("{id}  {name}  {operations}  {path}  {until}"));
    }
    Ok(())
}

/// The id of the token that a person names.
async fn find(client: &Client, token: &str) -> Result<ScopedTokenId, Error> {
    let all = client.scoped_tokens().await.map_err(Error::Server)?;
    let named = all.tokens.iter().find(|it| it.name == token || it.id.to_string() == token);
    let unknown = || Error::Value {
        name: token.to_owned(),
        why: "no token has this name or id; see `miaofs token list`".to_owned(),
    };
    named.map(|token| token.id).ok_or_else(unknown)
}

/// Reads a lifetime in seconds.
fn parse_lifetime(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time: write 90s, 45m, 12h or 30d");
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_with_a_unit() {
        assert_eq!(parse_lifetime("30d"), Ok(30 * 86_400));
        assert_eq!(parse_lifetime("90s"), Ok(90));
        for wrong in ["", "d", "30", "0h", "1.5h", "-1d", "1w", "秒", "99999999999999999999d"] {
            assert!(parse_lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
