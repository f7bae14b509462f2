//! Accounts: signing up, in and out, the tokens that prove who asks, and what an operator does with accounts.
//!
//! Stands on nothing of the other wings.

mod account;
mod audited;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod invitations;
mod passwords;
mod rate_limit;
mod refresh_token;
mod removal;
mod scoped_tokens;
mod tokens;
mod turns;
mod users;

pub(crate) use account::Accounts;
pub(crate) use audited::AuditedAccounts;
pub(crate) use invitations::Invitations;
pub(crate) use removal::remove_closed;
pub(crate) use tokens::Tokens;
pub(crate) use users::{Status, User, Users};

pub(crate) use crate::backend::db::invitations::Invitation;
