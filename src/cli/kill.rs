//! `peerway kill`: ends one connection of a running process, with a reset on both sides.

use hyper::Method;

use super::client::{CliError, ClientArgs};
use super::say::print;
use crate::ledger::SessionId;

/// Which connection to end.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct KillArgs {
    /// How to reach the process.
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// The connection's id, from `peerway connections` or the access log
    #[arg(value_name = "ID")]
    pub(super) id: SessionId,
}

/// Ends the connection.
///
/// # Errors
/// The process does not answer, or there is no such connection.
pub(super) fn kill(args: &KillArgs) -> Result<(), CliError> {
    args.client.ask(Method::DELETE, &format!("/api/v1/connections/{}", args.id))?;
    match args.client.json {
        true => Ok(()),
        false => print(format!("{}: reset\n", args.id).as_bytes()),
    }
}
