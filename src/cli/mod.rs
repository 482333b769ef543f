//! The command line: what can be asked, and the exit codes of the answers.

mod check;
mod client;
mod connections;
mod demo;
mod explain;
mod history;
mod kill;
mod operate;
mod place;
mod plan;
mod pools;
mod reload;
mod run;
mod say;
mod schema;
mod secure;
mod table;
mod upgrade;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::HELPER;

/// Exit codes are part of the contract: 0 well, 1 failed, 2 usage, 78 bad configuration.
const BAD_CONFIG: u8 = 78;

#[derive(Debug, Parser)]
#[command(
    name = "peerway",
    version,
    about = "A load-balancing TCP reverse proxy that never lies to a peer",
    arg_required_else_help = true,
    after_help = "Exit codes: 0 well, 1 failed, 2 usage, 78 bad configuration.\n\
                  Signals to a running proxy: SIGTERM or SIGINT drains (a second one ends at once), SIGHUP reloads, SIGUSR1 opens log files again, SIGUSR2 upgrades."
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
    /// Show the pools of the running process, and how their backends are
    Pools(client::ClientArgs),
    /// Show who is connected to the running process
    Connections(connections::ConnectionsArgs),
    /// End one connection of the running process, with a reset
    Kill(kill::KillArgs),
    /// Say which backend of the running process a client would get now, and why
    Explain(explain::ExplainArgs),
    /// Give a backend of the running process no new sessions
    Drain(operate::DrainArgs),
    /// Let a backend have sessions again, also if the configuration disables it, and go back to its tier
    Enable(operate::BackendArgs),
    /// Give a backend another weight
    Weight(operate::WeightArgs),
    /// Forget what was said of a backend with drain, enable and weight
    Release(operate::BackendArgs),
    /// Show what a reload would change in the running process
    Plan(plan::PlanArgs),
    /// Have the running process read its configuration again
    Reload(reload::ReloadArgs),
    /// Show the last changes of the running process's configuration
    History(client::ClientArgs),
    /// Have the program's file, as it is now, take over from the running process, which keeps its sessions
    Upgrade(client::ClientArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print the annotated reference configuration
    Reference,
    /// Be the helper of a process in a sandbox, which starts this itself
    #[command(name = HELPER, hide = true)]
    Starter {
        /// What to start
        #[arg(last = true, required = true)]
        line: Vec<OsString>,
    },
}

/// Runs the program and gives its exit code.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Demo => demo::demo(),
        Command::Check { config } => check::check(&config),
        Command::Pools(client) => asked(pools::pools(&client)),
        Command::Connections(args) => asked(connections::connections(&args)),
        Command::Kill(args) => asked(kill::kill(&args)),
        Command::Explain(args) => asked(explain::explain(&args)),
        Command::Drain(args) => asked(operate::drain(&args)),
        Command::Enable(args) => asked(operate::enable(&args)),
        Command::Weight(args) => asked(operate::weight(&args)),
        Command::Release(args) => asked(operate::release(&args)),
        Command::Plan(args) => plan::plan(&args),
        Command::Reload(args) => asked(reload::reload(&args)),
        Command::History(client) => asked(history::history(&client)),
        Command::Upgrade(client) => asked(upgrade::upgrade(&client)),
        Command::Schema => asked(schema::schema()),
        Command::Reference => asked(schema::reference()),
        Command::Starter { line } => run::help(line),
    }
}

/// The exit code of a question to the running process, its error said.
fn asked(result: Result<(), client::CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::complain(&error);
            match error {
                client::CliError::BadConfig(_) => ExitCode::from(BAD_CONFIG),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Variables for `${…}` in the configuration.
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
