//! How a session ended: exactly one cause, side and phase.

use crate::metrics::{Cause, Phase, Side};
use crate::pool::QueueError;
use crate::relay::{End, Fault};
use crate::upstream::DialError;

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
    /// The client's socket failed while a backend was being reached.
    ClientFailed(i32),
    /// The client closed its direction while it waited in the queue, and had sent nothing.
    ClientLeft,
    /// Its listener is no longer known.
    NoRoute,
    /// No backend was reached.
    Dial(DialError),
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self::Dial(error)
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

    /// A session that never came to relay.
    pub fn failed(failure: Failure, phase: Phase) -> Self {
        let proxy = |cause| Self { cause, side: Side::Proxy, phase, errno: None };
        match failure {
            Failure::ClientFailed(errno) => Self::broken(Cause::ClientReset, Side::Client, phase, errno),
            Failure::ClientLeft => Self { cause: Cause::ClientReset, side: Side::Client, phase, errno: None },
            Failure::NoRoute => proxy(Cause::NoRoute),
            Failure::Dial(DialError::Queue(QueueError::Full)) => proxy(Cause::QueueFull),
            Failure::Dial(DialError::Queue(QueueError::Timeout)) => proxy(Cause::QueueTimeout),
            Failure::Dial(DialError::Unavailable(_)) => proxy(Cause::NoBackend),
            Failure::Dial(DialError::Failed(errno)) => {
                Self { cause: Cause::ConnectFailed, side: Side::Backend, phase, errno }
            }
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
