//! `user`: lists accounts and changes what they may.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde_json::json;

use super::runtime::beside_server;
use super::{invitations, output, size};
use crate::config::Flags;
use crate::service::Error;
use crate::service::accounts::{Status, User, Users};
use crate::service::counted;

/// The longest password that is read, with its line's end.
const INPUT_MAX: u64 = 4096;

/// Flags of `user`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// Operations on accounts.
#[derive(Debug, Subcommand)]
enum Action {
    /// List all accounts; with --json one object a line.
    List(Common),
    /// Make an account with the password that is the line on stdin.
    Add {
        /// Name of the account.
        name: String,
        /// Bytes that the drive may hold, instead of the setting `quota`.
        #[arg(long = "size", value_name = "SIZE", value_parser = size::parse)]
        size: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// Invite somebody to make an account: print the code of an invitation, list them, or take one back.
    Invite(Box<invitations::Args>),
    /// Close an account: its devices are signed out at once, and after a grace all that it has is removed.
    Delete(Named),
    /// Let a closed account be used again, before its grace is over.
    Restore(Named),
    /// Change how much the drive of an account may hold.
    Quota {
        /// Name of the account.
        name: String,
        /// Bytes, or a number with KiB, MiB, GiB or TiB.
        #[arg(value_parser = size::parse)]
        size: u64,
        #[command(flatten)]
        common: Common,
    },
    /// End the use of an account: nobody can sign in, and its devices are signed out at once.
    Disable(Named),
    /// Let a disabled account be used again.
    Enable(Named),
    /// Replace the password of an account by the line on stdin; its devices are signed out.
    Password(Named),
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

/// Flags of an action on one account.
#[derive(Debug, clap::Args)]
struct Named {
    /// Name of the account.
    name: String,
    #[command(flatten)]
    common: Common,
}

impl Args {
    /// Does what was asked for.
    ///
    /// # Errors
    /// There is no such account, or what was asked for is out of bounds.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        match &self.action {
            Action::List(common) => common.with_users(async |users| common.list(&users).await),
            Action::Quota { name, size, common } => common.with_users(async |users| {
                let user = users.set_quota(name, *size).await.context(name.clone())?;
                common.show(&user, &quota_words(&user))
            }),
            Action::Add { name, size, common } => common.add(name, *size),
            Action::Invite(args) => args.run(),
            Action::Delete(named) => {
                named.change("is closed", async |users, name| users.close(name).await)
            }
            Action::Restore(named) => {
                named.change("may be used again", async |users, name| users.restore(name).await)
            }
            Action::Disable(named) => named.set_enabled(false, "is disabled"),
            Action::Enable(named) => named.set_enabled(true, "may be used again"),
            Action::Password(named) => named.set_password(),
        }
    }
}

impl Named {
    fn change(
        &self,
        words: &str,
        change: impl AsyncFnOnce(&Users, &str) -> Result<User, Error>,
    ) -> anyhow::Result<()> {
        self.common.with_users(async |users| {
            let user = change(&users, &self.name).await.context(self.name.clone())?;
            self.common.show(&user, &format!("{} {words}", user.name))
        })
    }

    fn set_enabled(&self, is_enabled: bool, words: &str) -> anyhow::Result<()> {
        self.common.with_users(async |users| {
            let user =
                users.set_enabled(&self.name, is_enabled).await.context(self.name.clone())?;
            self.common.show(&user, &format!("{} {words}", user.name))
        })
    }

    fn set_password(&self) -> anyhow::Result<()> {
        let password = read_password()?;
        self.common.with_users(async |users| {
            let user = users.set_password(&self.name, password).await.context(self.name.clone())?;
            self.common.show(&user, &format!("{} has a new password", user.name))
        })
    }
}

impl Common {
    fn with_users<W: Future<Output = anyhow::Result<()>>>(
        &self,
        work: impl FnOnce(Users) -> W,
    ) -> anyhow::Result<()> {
        beside_server(&self.flags, async |backends, _policy| work(Users::new(&backends)).await)
    }

    fn add(&self, name: &str, size: Option<u64>) -> anyhow::Result<()> {
        let password = read_password()?;
        beside_server(&self.flags, async |backends, policy| {
            let users = Users::new(&backends);
            let quota = size.unwrap_or(policy.quota);
            let user = users.add(name, &password, quota).await.context(name.to_owned())?;
            self.show(&user, &format!("{} may sign in", user.name))
        })
    }

    async fn list(&self, users: &Users) -> anyhow::Result<()> {
        if !self.json {
            output::line(row(["name", "status", "used", "quota", "nodes"]))?;
        }
        let mut last = None;
        loop {
            let page = users.page(last).await?;
            let Some(user) = page.last() else { return Ok(()) };
            last = Some(user.id);
            for user in &page {
                let [used, quota] = [used(user), user.quota].map(size::format);
                let nodes = user.nodes.to_string();
                self.show(user, &row([&user.name, word(user.status), &used, &quota, &nodes]))?;
            }
        }
    }

    fn show(&self, user: &User, words: &str) -> anyhow::Result<()> {
        if !self.json {
            return output::line(words);
        }
        output::json(&json!({
            "name": user.name,
            "status": word(user.status),
            "quota": user.quota,
            "used": used(user),
            "metadata": user.metadata,
            "nodes": user.nodes,
            "created_at": user.created_at,
        }))
    }
}

fn row([name, status, used, quota, nodes]: [&str; 5]) -> String {
    format!("{name:<24} {status:<8} {used:>11} {quota:>11} {nodes:>9}")
}

/// Bytes that count against the quota.
fn used(user: &User) -> u64 {
    counted(user.used, user.metadata)
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Disabled => "disabled",
        Status::Closed => "closed",
        Status::Removing => "removing",
    }
}

fn quota_words(user: &User) -> String {
    let full = used(user) > user.quota;
    let [used, quota] = [used(user), user.quota].map(size::format);
    let full = if full { "; it stays, and nothing can be added" } else { "" };
    format!("the drive of {} may hold {quota} and holds {used}{full}", user.name)
}

/// The first line on stdin, which no program list shows.
fn read_password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        bail!(
            "the password is read from a file or a pipe on stdin, since a terminal would show it"
        );
    }
    let mut text = String::new();
    stdin.take(INPUT_MAX).read_to_string(&mut text).context("cannot read the password on stdin")?;
    let line = text.lines().next().unwrap_or("");
    if line.is_empty() {
        bail!("there is no password on stdin");
    }
    Ok(line.to_owned())
}
