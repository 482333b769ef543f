//! The program as it is to be started again.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tokio::process::{Child, Command};

use super::heir::MARK;
use super::words::VERSION;

/// Set by the service manager for the process that it started, and for no other.
const NOT_FOR_HEIRS: &[&str] = &["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// How this process was started.
#[derive(Debug)]
pub struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

/// What a new process has for standard input, output and error: the socket to the old one, where that writes to, and a pipe
/// for its last words.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) link: OwnedFd,
    /// The old process's own if there is none.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: OwnedFd,
}

impl Program {
    /// As the command line has it. A name without a folder is looked up now, as the shell has done; what the file holds
    /// is another matter: it may be replaced meanwhile, which is what upgrades are for.
    ///
    /// # Errors
    /// The working directory is gone.
    pub(in crate::app) fn of_this_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        let path = match name.as_os_str().as_bytes().contains(&b'/') {
            true => std::path::absolute(&name)?,
            false => look_up(&name).map_or_else(std::env::current_exe, Ok)?,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }

    /// What a helper is told to start: a whole path, and what follows it.
    pub fn of_line(mut line: Vec<OsString>) -> Self {
        let arguments = line.split_off(line.len().min(1));
        Self { path: line.pop().unwrap_or_default().into(), arguments }
    }

    /// Starts it anew, to take over.
    ///
    /// # Errors
    /// In words: the file cannot be executed, or there is no room for another process.
    pub(super) fn start(&self, ends: Ends) -> Result<Child, String> {
        let Ends { link, stdout, stderr } = ends;
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env(MARK, VERSION.to_string());
        command.stdin(link).stderr(stderr);
        if let Some(stdout) = stdout {
            command.stdout(stdout);
        }
        for name in NOT_FOR_HEIRS {
            command.env_remove(name);
        }
        command.spawn().map_err(|error| format!("cannot start {}: {error}", self.path.display()))
    }
}

/// The first file of that name in `PATH`.
fn look_up(name: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}
