//! What the command line says: answers on stdout, complaints on stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use super::client::CliError;

/// Prints an answer; a reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// It cannot be written, such as to a disk that is full.
pub(super) fn print(text: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        _ => Ok(()),
    }
}

/// Prints JSON as it came, with an end of line.
///
/// # Errors
/// Those of [`print`].
pub(super) fn print_json(body: &[u8]) -> Result<(), CliError> {
    print(&[body.trim_ascii_end(), b"\n"].concat())
}

/// Says a line on stderr. If that cannot be written, the exit code has to do.
pub(super) fn complain(words: impl Display) {
    // `eprintln!` would panic where stderr is full or gone, and a proxy need not read its warnings to run.
    let _ = writeln!(io::stderr().lock(), "{words}");
}

/// Says why it failed.
pub(super) fn fail(why: impl Display) -> ExitCode {
    complain(why);
    ExitCode::FAILURE
}
