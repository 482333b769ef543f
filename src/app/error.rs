//! Why the process did not start, or a configuration was not put into force: in words, with the remedy.

use std::fmt;
use std::io;

use crate::admin::EndpointError;
use crate::ledger::OpenError;
use crate::tls::Unusable;

/// Why the process did not start.
#[derive(Debug)]
pub enum StartError {
    /// Addresses that could not be bound: each with its place in the configuration.
    Bind(Vec<(String, io::Error)>),
    /// An option of sockets may not be used: where it is wanted, and why not.
    Option(String, io::Error),
    /// An access log could not be opened.
    Log(OpenError),
    /// The admin or metrics endpoint could not be had.
    Endpoint(EndpointError),
    /// Files of TLS that cannot be used: each with the key that names them.
    Tls(Vec<(String, Unusable)>),
    /// What operators have said before cannot be read.
    State(String),
    /// A socket that the service manager gives is not one that is wanted.
    Given(String),
    /// The process that is to be replaced does not let this one take over.
    Upgrade(String),
    /// The sandbox that is asked for is not to be had.
    Sandbox(String),
    /// Descriptors would run out before anybody is served.
    Descriptors {
        /// How many there may be.
        limit: usize,
        /// How many this configuration needs.
        fewest: usize,
    },
    /// Threads or signals are not to be had.
    Runtime(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(failed) => {
                for (index, (place, error)) in failed.iter().enumerate() {
                    let newline = if index > 0 { "\n" } else { "" };
                    write!(f, "{newline}cannot bind {place}: {error}{}", remedy(error))?;
                }
                Ok(())
            }
            Self::Option(place, error) => write!(f, "{place}: {error}"),
            Self::Log(error) => write!(f, "cannot open {error}"),
            Self::Tls(failed) => {
                for (index, (key, error)) in failed.iter().enumerate() {
                    let newline = if index > 0 { "\n" } else { "" };
                    write!(f, "{newline}{key}: {error}")?;
                }
                Ok(())
            }
            Self::Endpoint(EndpointError::Bind(place, error)) => {
                write!(f, "cannot bind {place}: {error}{}", remedy(error))
            }
            Self::Endpoint(error) => error.fmt(f),
            Self::State(error) => f.write_str(error),
            Self::Given(error) => write!(f, "socket activation: {error}"),
            Self::Upgrade(error) => write!(f, "cannot take over: {error}"),
            Self::Sandbox(error) => write!(f, "sandbox: {error}"),
            Self::Descriptors { limit, fewest } => {
                write!(
                    f,
                    "{limit} descriptors are too few, this configuration needs {fewest}: raise the limit (LimitNOFILE, ulimit -n)"
                )
            }
            Self::Runtime(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has it (`ss -ltnp` or `ss -lxp` shows which)",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address (`tcp.freebind: true` binds it anyway)",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, unix sockets a writable folder"
        }
        _ => "",
    }
}
