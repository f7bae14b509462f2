//! `user invite`: makes invitations, lists them and takes them back.

use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use super::output;
use super::runtime::beside_server;
use crate::backend::unix_now;
use crate::config::Flags;
use crate::service::accounts::{Invitation, Invitations};

const DAY: u64 = 24 * 60 * 60;

/// Flags of `user invite`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Accounts that may be made by the invitation.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    uses: u64,
    /// Time for which it is good: a number with s, m, h or d.
    #[arg(long, default_value = "7d", value_name = "TIME", value_parser = parse_time)]
    expires: Duration,
    #[command(flatten)]
    common: Common,
}

/// Operations on invitations.
#[derive(Debug, Subcommand)]
enum Action {
    /// List the invitations that are good still; their codes cannot be had again.
    List(Common),
    /// Take an invitation back.
    Revoke {
        /// Id of the invitation, as the list has it.
        id: String,
        #[command(flatten)]
        common: Common,
    },
}

/// Flags of every action.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Does what was asked for.
    ///
    /// # Errors
    /// There is no such invitation, or the database does not answer.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.action {
            None => self.common.with_invitations(async |invitations| {
                let (code, invitation) = invitations.invite(self.uses, self.expires).await?;
                self.common.show_code(&code, &invitation)
            }),
            Some(Action::List(common)) => common.with_invitations(async |invitations| {
                for invitation in invitations.all().await? {
                    common.show(&invitation)?;
                }
                Ok(())
            }),
            Some(Action::Revoke { id, common }) => common.with_invitations(async |invitations| {
                invitations.revoke(id).await.context(id.clone())?;
                if common.json { Ok(()) } else { output::line("it is good for nothing now") }
            }),
        }
    }
}

impl Common {
    fn with_invitations<W: Future<Output = anyhow::Result<()>>>(
        &self,
        work: impl FnOnce(Invitations) -> W,
    ) -> anyhow::Result<()> {
        let work = async |backends, _policy| work(Invitations::new(&backends)).await;
        beside_server(&self.flags, work)
    }

    fn show_code(&self, code: &str, invitation: &Invitation) -> anyhow::Result<()> {
        if !self.json {
            output::line(code)?;
            let days = (invitation.expires_at - unix_now()).max(0).unsigned_abs() / DAY;
            let uses = invitation.uses;
            eprintln!(
                "good for {uses} accounts and {days} days: miaofs signup URL --invite {code}"
            );
            return Ok(());
        }
        output::json(&json!({
            "code": code,
            "id": invitation.id.to_string(),
            "uses": invitation.uses,
            "expires_at": invitation.expires_at,
        }))
    }

    fn show(&self, invitation: &Invitation) -> anyhow::Result<()> {
        let hours = (invitation.expires_at - unix_now()).max(0) / 3600;
        if !self.json {
            let Invitation { id, uses, .. } = invitation;
            return output::line(format_args!("{id}  {uses} accounts, {hours} hours"));
        }
        output::json(&json!({
            "id": invitation.id.to_string(),
            "uses": invitation.uses,
            "created_at": invitation.created_at,
            "expires_at": invitation.expires_at,
        }))
    }
}

/// Reads a time: `90s`, `12h`, `7d`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: write a number with s, m, h or d");
    let digits = text.find(|is: char| !is.is_ascii_digit()).ok_or_else(wrong)?;
    let seconds = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => DAY,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..digits].parse().map_err(|_none| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!(parse_time("7d"), Ok(Duration::from_secs(7 * DAY)));
        assert_eq!(parse_time("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "7", "d", "7 d", "-1d", "7w", "99999999999999999d"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
