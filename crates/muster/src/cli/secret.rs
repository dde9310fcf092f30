//! Asks a person for a password, or reads one from what another program writes.
//!
//! Never from an argument: the list of processes shows those to everybody.

use super::client::ClientError;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read, Write};

/// Longest line that is read. Passwords are shorter.
const LINE_SIZE_MAX_BYTES: u64 = 4 << 10;

/// A terminal that does not show what is typed; it does again when this is gone.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut without = before.clone();
        without.local_modes.remove(LocalModes::ECHO);
        // The end of the line is still shown: the next words shall not stand behind the question.
        without.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &without)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that is gone need not be set back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// A new password: typed twice at a terminal, else the first line of standard input.
pub fn new_password(what: &str) -> Result<String, ClientError> {
    let first = password(what)?;
    if std::io::stdin().is_terminal() && password("The same again")? != first {
        return Err(ClientError::WrongUse("the two are not the same; nothing was changed".to_owned()));
    }
    Ok(first)
}

/// A password: typed at a terminal, else the next line of standard input.
pub fn password(what: &str) -> Result<String, ClientError> {
    let system = |source| ClientError::System { source };
    let unseen = match std::io::stdin().is_terminal() {
        true => {
            eprint!("{what}: ");
            std::io::stderr().flush().map_err(system)?;
            Some(Unseen::begin().map_err(|errno| system(errno.into()))?)
        }
        false => None,
    };
    let mut line = String::new();
    std::io::stdin().lock().take(LINE_SIZE_MAX_BYTES).read_line(&mut line).map_err(system)?;
    drop(unseen);
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        let text = "a password is read from a terminal or from a line of standard input, and there is none";
        return Err(ClientError::WrongUse(text.to_owned()));
    }
    Ok(password.to_owned())
}
