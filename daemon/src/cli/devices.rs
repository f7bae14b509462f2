//! `miaofs devices`: the devices that are signed in to the account, and the end of one's session.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use miaofs::client::Client;
use miaofs::protocol::accounts::SignedInDevice;

use super::login;
use super::state::account::Account;
use super::state::session;
use super::state::state_dir::StateDir;
use super::terminal::error::Error;
use super::terminal::output;

/// Arguments of `devices`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON
    #[arg(long, env = "MIAOFS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Sign a device out at once; what it has not sent yet stays on it
    Revoke {
        /// Name of the device, or its id where several have that name
        device: String,
    },
}

/// Runs the command.
pub(super) fn run(args: &Args, state: &StateDir) -> Result<(), Error> {
    let (account, refresh_token) = Account::signed_in(state)?;
    let client = session::client(state, &account, refresh_token)?;
    let done = match &args.action {
        None => list(&client).map(|devices| print(&devices, args)),
        Some(Action::Revoke { device }) => revoke(&client, device),
    };
    // The session was renewed for this, and a daemon that runs goes on with the new one.
    login::notify_daemon(state)?;
    done
}

fn list(client: &Client) -> Result<Vec<SignedInDevice>, Error> {
    Ok(session::block_on(client.devices())?.map_err(Error::Server)?.devices)
}

fn revoke(client: &Client, name: &str) -> Result<(), Error> {
    let devices = list(client)?;
    let device = find(&devices, name)?;
    session::block_on(client.revoke_device(device.id))?.map_err(Error::Server)?;
    output::line(format_args!("signed out: {}", device.name));
    Ok(())
}

/// The one device that is meant.
fn find<'a>(devices: &'a [SignedInDevice], name: &str) -> Result<&'a SignedInDevice, Error> {
    let wrong = |why: String| Err(Error::Value { name: "DEVICE".into(), why });
    let is_meant = |device: &&SignedInDevice| device.name == name || device.id.to_string() == name;
    let meant: Vec<&SignedInDevice> = devices.iter().filter(is_meant).collect();
    match meant[..] {
        [device] if device.current => {
            wrong("that is this device; sign it out with: miaofs logout".into())
        }
        [device] => Ok(device),
        [] => wrong(format!("no device {name:?} is signed in; see: miaofs devices")),
        _ => wrong(format!(
            "several devices are called {name:?}; say which by its id: miaofs devices"
        )),
    }
}

fn print(devices: &[SignedInDevice], args: &Args) {
    if args.json {
        return output::json(&devices);
    }
    for line in lines(devices) {
        output::line(line);
    }
}

/// The list as a person reads it.
fn lines(devices: &[SignedInDevice]) -> impl Iterator<Item = String> {
    let head = format!("{:<24} {:<16} {:<16} id", "name", "last seen", "first seen");
    let line = |device: &SignedInDevice| {
        let this = if device.current { " (this one)" } else { "" };
        let [last, first] = [device.last_seen, device.first_seen].map(time);
        format!("{:<24} {last:<16} {first:<16} {}{this}", device.name, device.id)
    };
    std::iter::once(head).chain(devices.iter().map(line))
}

/// A time in seconds since 1970, in the time zone of this machine.
fn time(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use miaofs::protocol::ids::DeviceId;

    use super::*;

    fn device(name: &str, current: bool) -> SignedInDevice {
        let id = DeviceId::random();
        SignedInDevice { id, name: name.into(), first_seen: 0, last_seen: 0, current }
    }

    #[test]
    fn a_device_is_meant_by_its_name_if_that_is_its_own_and_by_its_id() {
        let devices = [
            device("desk", true),
            device("twin", false),
            device("twin", false),
            device("lap", false),
        ];
        assert_eq!(find(&devices, "lap").unwrap(), &devices[3]);
        assert_eq!(find(&devices, &devices[1].id.to_string()).unwrap(), &devices[1]);
        for (name, part) in
            [("twin", "its id"), ("desk", "miaofs logout"), ("none", "is signed in")]
        {
            let why = find(&devices, name).unwrap_err().to_string();
            assert!(why.contains(part), "{why}");
        }
        let text = lines(&devices).collect::<Vec<_>>();
        assert!(text[1].ends_with("(this one)") && !text[2].ends_with("(this one)"), "{text:?}");
    }
}
