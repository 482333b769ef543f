//! The command line: what can be asked, and the exit codes of the answers.

mod check;
pub mod client;
pub mod connections;
mod demo;
pub mod kill;
pub mod pools;
mod run;
mod schema;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit codes are part of the contract: 0 well, 1 failed, 2 usage, 78 bad configuration.
const BAD_CONFIG: u8 = 78;

#[derive(Debug, Parser)]
#[command(
    name = "peerway",
    version,
    about = "A load-balancing TCP reverse proxy that never lies to a peer",
    arg_required_else_help = true,
    after_help = "Exit codes: 0 well, 1 failed, 2 usage, 78 bad configuration.\n\
                  Signals to a running proxy: SIGTERM or SIGINT drains (a second one ends at once), SIGUSR1 opens log files again."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    Run {
        /// A configuration file, or a folder of *.yaml; may be repeated
        #[arg(short, long, value_name = "FILE|DIR", required = true)]
        config: Vec<PathBuf>,
    },
    /// Run a proxy before three small HTTP backends of its own, to try it out
    Demo,
    /// Say whether configurations are good, or everything that is wrong with them
    Check {
        /// Each a configuration of its own: a file, or a folder whose *.yaml make one
        #[arg(value_name = "FILE|DIR", required = true)]
        config: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print the annotated reference configuration
    Reference,
}

/// Runs the program and gives its exit code.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Demo => demo::demo(),
        Command::Check { config } => check::check(&config),
        Command::Schema => schema::schema(),
        Command::Reference => schema::reference(),
    }
}

/// Variables for `${…}` in the configuration.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
