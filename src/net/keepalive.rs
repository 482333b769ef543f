//! Keepalive of dialled sockets: only sessions that last have any use for it.
//!
//! Four calls of the system and a timer of the kernel are a part of what a short connection costs. The kernel counts the
//! silence before the first probe from the last packet, also where the option is set later, so that nothing is lost as long
//! as it is set before that silence can be over.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::config::plan::Keepalive;

/// A session that was connected to its backend so long ago lasts: it is given its keepalive, at most some hundred
/// milliseconds late.
pub const LASTING: Duration = Duration::from_secs(2);

/// The keepalive that a socket must have from the start: the first probe may be due before its session is known to last,
/// whose backend is reached within `timeout`.
pub fn urgent(keepalive: Option<Keepalive>, timeout: Duration) -> Option<Keepalive> {
    let known_by = timeout.saturating_add(LASTING);
    // Half of the silence is left, for a worker that is late.
    keepalive.filter(|keepalive| keepalive.idle / 2 < known_by)
}

/// Has the kernel probe the peer of a TCP socket whenever it has been silent for too long.
pub(super) fn keep_alive(socket: &impl AsFd, keepalive: &Keepalive) -> io::Result<()> {
    let wanted =
        TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval).with_retries(keepalive.probes);
    SockRef::from(socket).set_tcp_keepalive(&wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_due_too_soon_is_urgent() {
        let of = |idle| Keepalive { idle: Duration::from_secs(idle), interval: Duration::from_secs(9), probes: 3 };
        let urgent = |idle, timeout| urgent(Some(of(idle)), timeout);
        let second = Duration::from_secs(1);
        assert_eq!([1, 7].map(|idle| urgent(idle, 2 * second)), [Some(of(1)), Some(of(7))]);
        assert_eq!([8, 60].map(|idle| urgent(idle, 2 * second)), [None, None]);
        assert_eq!(urgent(60, 29 * second), Some(of(60)), "it may take half a minute to reach the backend");
        assert_eq!(urgent(32767, Duration::MAX), Some(of(32767)));
        assert_eq!(super::urgent(None, second), None);
    }
}
