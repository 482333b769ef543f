//! How a session ended: exactly one cause, side and phase.

use crate::intake::Turned;
use crate::metrics::{Cause, Phase, Refused, Side};
use crate::pool::QueueError;
use crate::relay::{End, Fault};
use crate::upstream::DialError;

/// How a connection ended, of which the ledger knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was a session, and is counted and logged as one.
    Closed(Outcome),
    /// It was refused at the second gate, and is counted as that alone.
    Refused(Refused),
}

impl From<Outcome> for Ending {
    fn from(outcome: Outcome) -> Self {
        Self::Closed(outcome)
    }
}

/// The one end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Why.
    pub cause: Cause,
    /// Who brought it about.
    pub side: Side,
    /// Where the session was then.
    pub phase: Phase,
    /// What the kernel said, if it was a socket's error.
    pub errno: Option<i32>,
}

/// Why a session ended before its relay; each stage has its own, and the match below is exhaustive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It was not let in.
    Refused(Refused),
    /// It did not say in time who it is, or its TLS handshake took too long.
    Late,
    /// The client's socket failed before a backend was reached.
    ClientFailed(i32),
    /// The client closed its direction before anything was done for it, and had sent nothing: while its PROXY header
    /// or its first bytes were awaited, or while it waited in the queue.
    ClientLeft,
    /// The TLS handshake with the client came to nothing …
    Unsecured,
    /// … or was not begun, as too many were under way.
    Overload,
    /// What it sent did not decide where it goes.
    Undecided,
    /// No route takes it, or its listener is no longer known.
    NoRoute,
    /// Its route turned it away.
    Rejected,
    /// No backend was reached.
    Dial(DialError),
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self::Dial(error)
    }
}

impl From<Turned> for Failure {
    fn from(turned: Turned) -> Self {
        match turned {
            Turned::Away(reason) => Self::Refused(reason),
            Turned::Late => Self::Late,
            Turned::Left => Self::ClientLeft,
            Turned::Undecided => Self::Undecided,
            Turned::Broken(errno) => Self::ClientFailed(errno),
            Turned::Unsecured => Self::Unsecured,
            Turned::Overload => Self::Overload,
        }
    }
}

impl Ending {
    /// A session that never came to relay, or that was none.
    pub fn failed(failure: Failure, phase: Phase) -> Self {
        match failure {
            Failure::Refused(reason) => Self::Refused(reason),
            Failure::Late => Outcome::stopped(Cause::HandshakeTimeout, phase).into(),
            Failure::ClientFailed(errno) => Outcome::broken(Cause::ClientReset, Side::Client, phase, errno).into(),
            Failure::ClientLeft => Outcome { cause: Cause::ClientReset, side: Side::Client, phase, errno: None }.into(),
            Failure::Unsecured => {
                Outcome { cause: Cause::HandshakeFailed, side: Side::Client, phase, errno: None }.into()
            }
            Failure::Overload => Outcome::stopped(Cause::HandshakeFailed, phase).into(),
            Failure::Undecided => Outcome::stopped(Cause::SniffUndecided, phase).into(),
            Failure::NoRoute => Outcome::stopped(Cause::NoRoute, phase).into(),
            Failure::Rejected => Outcome::stopped(Cause::Rejected, phase).into(),
            Failure::Dial(error) => Outcome::undialled(error, phase).into(),
        }
    }
}

impl Outcome {
    /// The end of a relay.
    pub fn relayed(end: End, phase: Phase) -> Self {
        match end {
            // Both ends of stream were passed on, so the phase is closing by definition.
            End::Finished { first } => Self { cause: Cause::Finished, side: first, phase: Phase::Closing, errno: None },
            End::Failed(Fault { side: Side::Client, errno }) => {
                Self::broken(Cause::ClientReset, Side::Client, phase, errno)
            }
            End::Failed(Fault { errno, .. }) => Self::broken(Cause::BackendReset, Side::Backend, phase, errno),
        }
    }

    /// A session for which no backend was reached.
    fn undialled(error: DialError, phase: Phase) -> Self {
        match error {
            DialError::Queue(QueueError::Full) => Self::stopped(Cause::QueueFull, phase),
            DialError::Queue(QueueError::Timeout) => Self::stopped(Cause::QueueTimeout, phase),
            DialError::Unavailable(_) => Self::stopped(Cause::NoBackend, phase),
            DialError::Failed(side, errno) => Self { cause: Cause::ConnectFailed, side, phase, errno },
        }
    }

    /// Ended by Peerway: a limit, a kill, a drain.
    pub fn stopped(cause: Cause, phase: Phase) -> Self {
        Self { cause, side: Side::Proxy, phase, errno: None }
    }

    /// A defect.
    pub fn internal(phase: Phase) -> Self {
        Self::stopped(Cause::Internal, phase)
    }

    fn broken(cause: Cause, side: Side, phase: Phase, errno: i32) -> Self {
        Self { cause, side, phase, errno: Some(errno) }
    }
}
