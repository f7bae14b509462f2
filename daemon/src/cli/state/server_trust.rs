//! Whom a device trusts to be its server: what a person says at a sign-in, kept with the account.
//!
//! The certificates themselves are kept, not the name of their file: a mount at the start of the machine depends
//! on no file in somebody's home, and nobody changes whom it trusts by changing one.

use std::fs;
use std::path::{Path, PathBuf};

use miaofs::client::{Plain, Trust};
use serde::{Deserialize, Serialize};

use crate::cli::terminal::error::Error;

/// Word in place of a file: trust the CAs of the machine again.
const OF_THE_MACHINE: &str = "system";

/// Whom a device trusts to be its server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerTrust {
    /// Certificates of the only CAs that may vouch for the server, in PEM; absent for those of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// True if a person has decided that nobody listens on the way to a server without TLS.
    pub insecure: bool,
}

/// Arguments of a sign-in that say whom to trust.
#[derive(Debug, clap::Args)]
pub(crate) struct TrustArgs {
    /// Trust only the CAs in this PEM file to vouch for the server; kept for the mount. `system` goes back to the
    /// machine's own
    #[arg(long, value_name = "FILE", env = "MIAOFS_CA")]
    ca: Option<PathBuf>,
    /// Speak plain http:// to another machine, where password and files can be read on their way; kept for the mount
    #[arg(long, env = "MIAOFS_INSECURE", value_parser = clap::builder::FalseyValueParser::new())]
    insecure: bool,
}

impl ServerTrust {
    /// True where nobody has said anything.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&ServerTrust> for Trust {
    fn from(trust: &ServerTrust) -> Self {
        let plain = if trust.insecure { Plain::Anywhere } else { Plain::Loopback };
        Self { ca: trust.ca.clone(), plain }
    }
}

impl TrustArgs {
    /// Puts together what is said now and what was said `before` about the same server.
    pub(crate) fn decide(&self, before: ServerTrust, url: &str) -> Result<ServerTrust, Error> {
        let ca = match self.ca.as_deref() {
            None => before.ca,
            Some(word) if word == Path::new(OF_THE_MACHINE) => None,
            Some(file) => Some(fs::read_to_string(file).map_err(Error::file("read", file))?),
        };
        // A server that has TLS now does not do without it again unasked.
        let insecure = self.insecure || before.insecure && url.starts_with("http://");
        Ok(ServerTrust { ca, insecure })
    }
}

#[cfg(test)]
mod tests {
    use miaofs::protocol::ids::DeviceId;

    use super::*;
    use crate::cli::state::account::{Account, Device};

    fn decide(args: &TrustArgs, server: &str, trust: ServerTrust, url: &str) -> ServerTrust {
        let device = Device { id: DeviceId::random(), name: "desk".into() };
        let (server, user) = (server.to_owned(), "ada".to_owned());
        let known = Account { server, user, device, trust, refresh_token: None };
        args.decide(Account::trust_of(Some(&known), url), url).unwrap()
    }

    #[test]
    fn what_was_said_counts_for_the_same_server_until_it_is_said_anew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "new").unwrap();
        let old = ServerTrust { ca: Some("old".into()), insecure: true };
        let silent = TrustArgs { ca: None, insecure: false };
        assert_eq!(decide(&silent, "http://a", old.clone(), "http://a"), old);
        assert!(!decide(&silent, "http://a", old.clone(), "https://a").insecure);
        let elsewhere = decide(&silent, "http://a", old.clone(), "http://b");
        assert_eq!(elsewhere, ServerTrust::default());
        let named = TrustArgs { ca: Some(file.path().to_owned()), insecure: false };
        let now = decide(&named, "https://a", old.clone(), "https://a");
        assert_eq!(now.ca.as_deref(), Some("new"));
        let system = TrustArgs { ca: Some(OF_THE_MACHINE.into()), insecure: false };
        assert_eq!(decide(&system, "https://a", old, "https://a").ca, None);
        let missing = TrustArgs { ca: Some("/no/such/file".into()), insecure: false };
        assert!(missing.decide(ServerTrust::default(), "https://a").is_err());
    }
}
