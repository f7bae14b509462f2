//! Targets for a fuzzer: what processes tell each other, what people write, and what the kernel lists.

use super::control::{Request, Response};
use super::daemon::handover::{self, Message};
use super::daemon::readiness::StartupReport;
use super::mounting::mountinfo;
use super::mounting::options::{MountOptions, Unknown};
use super::state::account::Account;
use super::state::settings::Settings;
use super::terminal::size;

/// Messages between daemon, supervisor and commands, and the account of a state directory.
pub(crate) fn messages(input: &[u8]) {
    match handover::read(input) {
        Ok(Message::Session(record)) => assert_eq!(record.request().len(), 104),
        Ok(Message::Startup(_) | Message::Ending) | Err(_) => (),
    }
    let _report = serde_json::from_slice::<StartupReport>(input);
    let _answer = serde_json::from_slice::<Response>(input);
    if let Ok(request) = serde_json::from_slice::<Request>(input) {
        let json = serde_json::to_vec(&request).expect("a request is JSON");
        assert_eq!(serde_json::from_slice::<Request>(&json).ok(), Some(request));
    }
    if let Ok(account) = serde_json::from_slice::<Account>(input) {
        assert!(account.is(&account.server, &account.user));
        let _shown = account.to_string();
    }
}

/// `config.toml` of a state directory, sizes and rates.
pub(crate) fn settings(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _settings = toml::from_str::<Settings>(text);
    let _rate = size::parse_rate(text);
    if let Ok(bytes) = size::parse(text) {
        let _shown = size::display(bytes);
    }
}

/// Options of a mount, which are written so that they read the same; and the kernel's list of mounts.
pub(crate) fn mount_options(input: &[u8]) {
    let _mounts = mountinfo::parse(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    for unknown in [Unknown::Refuse, Unknown::Ignore] {
        let mut options = MountOptions::default();
        if options.read(text, unknown).is_err() {
            continue;
        }
        // These two are for the command that was called, not for the daemon that it starts.
        (options.state_dir, options.remount) = (None, false);
        let mut again = MountOptions::default();
        again.read(&options.to_string(), Unknown::Refuse).expect("written options can be read");
        assert_eq!(again, options);
    }
}
