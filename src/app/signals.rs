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

/// All signals that are listened to. SIGPIPE is ignored by Rust's runtime already.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next wish. Cancel safe.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.term.recv() => Wish::End,
            _ = self.int.recv() => Wish::End,
            _ = self.hup.recv() => Wish::Reload,
            _ = self.usr1.recv() => Wish::ReopenLogs,
            _ = self.usr2.recv() => Wish::Upgrade,
        }
    }
}
