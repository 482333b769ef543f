//! Options of sockets.

use std::fmt;
use std::time::Duration;

/// `listeners.*.tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTcp {
    /// Length of the accept queue, connections.
    pub backlog: u32,
    /// `fast_open`: length of its queue; `None` is off.
    pub fast_open: Option<u32>,
    /// Wake only when data arrived, for at most so long; `None` is off.
    pub defer_accept: Option<Duration>,
    /// Bind addresses that do not exist yet.
    pub freebind: bool,
    /// Options of each accepted socket.
    pub stream: StreamTcp,
}

/// Options of one connected TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTcp {
    /// Disable Nagle's algorithm.
    pub nodelay: bool,
    /// `None` is off.
    pub keepalive: Option<Keepalive>,
    /// How long sent bytes may stay unacknowledged; `None` is the kernel's way.
    pub user_timeout: Option<Duration>,
    /// How fast it sends.
    pub congestion: Congestion,
}

/// Who decides how fast a socket sends (TCP_CONGESTION).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// The machine's algorithm; on the loopback another one, if the machine's paces.
    #[default]
    Auto,
    /// The machine's algorithm.
    System,
    /// This one.
    Named(CongestionName),
}

/// The name of a congestion control algorithm: 1 to 15 characters of ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CongestionName {
    length: u8,
    bytes: [u8; Self::LONGEST],
}

impl CongestionName {
    /// TCP_CA_NAME_MAX, without the zero at the end.
    const LONGEST: usize = 15;

    /// None if no algorithm can have that name.
    pub fn new(name: &str) -> Option<Self> {
        let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=Self::LONGEST).contains(&name.len()) || !name.bytes().all(is_sound) {
            return None;
        }
        let mut bytes = [0; Self::LONGEST];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Self { length: name.len() as u8, bytes })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        // It is ASCII, so it always is one.
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for CongestionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// TCP keepalive; the kernel counts in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Between probes.
    pub interval: Duration,
    /// Unanswered probes before the connection is given up.
    pub probes: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_kernel_can_have() {
        for name in ["reno", "bbr", "a-name_of_15_byt"[..15].into()] {
            assert_eq!(CongestionName::new(name).map(|known| known.as_str().to_owned()).as_deref(), Some(name));
        }
        for name in ["", "sixteen_of_these", "two words", "cubic\n", "é"] {
            assert_eq!(CongestionName::new(name), None, "{name:?}");
        }
    }
}
