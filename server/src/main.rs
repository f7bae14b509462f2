//! The binary `miaofs-server`.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    miaofs_server::main()
}
