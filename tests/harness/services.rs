//! Addresses of what `scripts/services` started, and ways to make one of these services fail.

use std::process::Command;

use super::command::output;

/// The setting `MIAOFS_TEST_{name}`; panics when nobody has read the file that `scripts/services up` wrote.
pub(crate) fn service(name: &str) -> String {
    std::env::var(format!("MIAOFS_TEST_{name}")).unwrap_or_else(|_missing| {
        panic!(
            "MIAOFS_TEST_{name} is not set: this test needs the real dependencies. Run `scripts/services up`, \
             then `set -a; source target/services/services.env`"
        )
    })
}

/// True if the servers of this run stand on the real dependencies (`MIAOFS_TEST_BACKENDS=real`) and not on embedded ones.
pub(crate) fn real_backends() -> bool {
    match std::env::var("MIAOFS_TEST_BACKENDS").as_deref() {
        Ok("real") => true,
        Ok("embedded" | "") | Err(_) => false,
        Ok(other) => {
            panic!("MIAOFS_TEST_BACKENDS is {other:?}, which is neither real nor embedded")
        }
    }
}

/// Runs `scripts/services` with these arguments: `services(&["kill", "redis"])`.
pub(crate) fn services(arguments: &[&str]) {
    let mut command = Command::new(service("SERVICES"));
    command.args(arguments).arg(service("SERVICES_DIR"));
    output(&mut command);
}

/// Runs SQL on the primary of MariaDB; answers the rows, a line each, columns parted by tabs.
pub(crate) fn sql(statement: &str) -> String {
    let url = service("DATABASE_URL");
    let (user, rest) = url.trim_start_matches("mysql://").split_once(':').expect("a user");
    let (password, address) = rest.split_once('@').expect("a password");
    let (host, port) = address.split_once(':').expect("a port");
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--protocol=tcp", "--host", host, "--port", port]);
    command.args(["--batch", "--skip-column-names"]);
    // On the command line others could read it.
    command.args(["--user", user, "--execute", statement]).env("MYSQL_PWD", password);
    output(&mut command)
}
