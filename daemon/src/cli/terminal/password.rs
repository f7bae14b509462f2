//! Asking for a password: on the terminal without echo, or as the first line of stdin.

use std::io::{self, BufRead, Write};

use super::error::Error;

/// Where the password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Typed once on the terminal.
    Prompt,
    /// Typed twice on the terminal, for a password that is new.
    PromptTwice,
    /// The first line of stdin.
    Stdin,
}

/// Reads a password.
pub(crate) fn read(source: Source, user: &str) -> Result<String, Error> {
    match source {
        Source::Stdin => first_line(io::stdin().lock()),
        Source::Prompt => prompt(&format!("password of {user}: ")),
        Source::PromptTwice => {
            let password = prompt(&format!("new password for {user}: "))?;
            if prompt("the same again: ")? == password {
                Ok(password)
            } else {
                Err(Error::PasswordsDiffer)
            }
        }
    }
}

/// Asks for something that may be seen while it is typed.
pub(crate) fn ask(text: &str) -> Result<String, Error> {
    let mut stderr = io::stderr();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).map_err(Error::Password)?;
    first_line(io::stdin().lock()).map(|line| line.trim().to_owned())
}

fn prompt(text: &str) -> Result<String, Error> {
    rpassword::prompt_password(text).map_err(Error::Password)
}

fn first_line(mut input: impl BufRead) -> Result<String, Error> {
    let mut line = String::new();
    input.read_line(&mut line).map_err(Error::Password)?;
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(Error::Password(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_stdin_is_the_password() {
        assert_eq!(first_line(&b"se cret\r\nmore\n"[..]).unwrap(), "se cret");
        assert_eq!(first_line(&b"no newline"[..]).unwrap(), "no newline");
        assert!(first_line(&b"\n"[..]).is_err());
    }
}
