//! Signals as a stream of wishes.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// SIGTERM or SIGINT.
    End,
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    ReopenLogs,
    /// SIGUSR2.
    Upgrade,
}

/// Signals that want something of a process that runs.
pub(super) struct Standing {
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Standing {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }
}

/// All signals that are listened to. SIGPIPE is ignored by Rust's runtime already.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    standing: Standing,
}

impl Signals {
    /// Listens to those that end a process, too.
    pub(super) fn install(standing: Standing) -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())?, standing })
    }

    /// The next wish. Cancel safe.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.term.recv() => Wish::End,
            _ = self.int.recv() => Wish::End,
            _ = self.standing.hup.recv() => Wish::Reload,
            _ = self.standing.usr1.recv() => Wish::ReopenLogs,
            _ = self.standing.usr2.recv() => Wish::Upgrade,
        }
    }
}
