//! Which of our own addresses an attempt comes from.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Whose turn it is. Ports are used up per pair of addresses, so each target has turns of its own.
#[derive(Debug)]
pub(super) struct Turns {
    taken: Mutex<HashMap<SocketAddr, usize>>,
    /// Of the complaints: when this was made, and the second from which the next one may be said.
    made: Instant,
    quiet_until: AtomicU64,
}

impl Default for Turns {
    fn default() -> Self {
        Self { taken: Mutex::default(), made: Instant::now(), quiet_until: AtomicU64::new(0) }
    }
}

impl Turns {
    /// Beyond so many targets all start over: addresses of host names come and go.
    const MOST_TARGETS: usize = 10_000;

    /// The address to bind for an attempt on `target`, with port 0; None if there is nothing to choose from.
    ///
    /// # Errors
    /// None of `sources` is of the target's family.
    pub(super) fn next(&self, sources: &[IpAddr], target: SocketAddr) -> io::Result<Option<SocketAddr>> {
        if sources.is_empty() {
            return Ok(None);
        }
        let of_family = || sources.iter().filter(|source| source.is_ipv4() == target.is_ipv4());
        let source = self.turn(target).checked_rem(of_family().count()).and_then(|turn| of_family().nth(turn));
        let Some(source) = source else {
            let family = if target.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(io::Error::other(format!("`connect.source` has no {family} address")));
        };
        let mut address = SocketAddr::new(*source, 0);
        // A link-local address means nothing without its link, and that is the target's.
        if let (SocketAddr::V6(address), SocketAddr::V6(target)) = (&mut address, target) {
            address.set_scope_id(target.scope_id());
        }
        Ok(Some(address))
    }

    /// How many attempts on `target` there were before this one.
    fn turn(&self, target: SocketAddr) -> usize {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= Self::MOST_TARGETS && !taken.contains_key(&target) {
            taken.clear();
        }
        let turns = taken.entry(target).or_default();
        *turns = turns.wrapping_add(1);
        turns.wrapping_sub(1)
    }

    /// Says why this machine could not connect: a few times a minute, however often it happens. `chosen`: from an
    /// address that it was given.
    pub(super) fn complain(&self, target: SocketAddr, chosen: bool, error: &io::Error) {
        const PAUSE_SECONDS: u64 = 10;
        let (now, until) = (self.made.elapsed().as_secs(), self.quiet_until.load(Relaxed));
        let mine = || self.quiet_until.compare_exchange(until, now + PAUSE_SECONDS, Relaxed, Relaxed).is_ok();
        if now < until || !mine() {
            return;
        }
        let what = match error.kind() {
            _ if chosen => "no connection from any of `connect.source`",
            io::ErrorKind::AddrNotAvailable => {
                "no port is free for a connection (net.ipv4.ip_local_port_range; `connect.source` takes several addresses)"
            }
            _ => "this machine could not connect",
        };
        tracing::warn!(%target, %error, "{what}; the backend is not to blame");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|ip| ip.parse().expect("an address")).collect()
    }

    fn target(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_target_gets_the_addresses_of_its_family_in_turn() {
        let turns = Turns::default();
        let sources = ips(&["127.0.0.2", "::1", "127.0.0.3"]);
        let next = |to: &str| turns.next(&sources, target(to)).expect("a source").expect("a choice").to_string();
        let got: Vec<String> = (0..4).map(|_| next("127.0.0.1:80")).collect();
        assert_eq!(got, ["127.0.0.2:0", "127.0.0.3:0", "127.0.0.2:0", "127.0.0.3:0"]);
        assert_eq!([next("[::1]:80"), next("[::1]:80")], ["[::1]:0", "[::1]:0"]);
    }

    /// Two targets dialled alternately would else each see one address only.
    #[test]
    fn turns_are_each_targets_own() {
        let turns = Turns::default();
        let sources = ips(&["127.0.0.2", "127.0.0.3"]);
        let (a, b) = (target("127.0.0.1:80"), target("127.0.0.1:81"));
        let got: Vec<_> = [a, b, a, b].map(|to| turns.next(&sources, to).expect("a source")).into();
        assert_ne!(got[0], got[2]);
        assert_ne!(got[1], got[3]);
    }

    #[test]
    fn targets_that_come_and_go_do_not_pile_up() {
        let turns = Turns::default();
        for port in 1..=u16::MAX {
            turns.turn(SocketAddr::from(([10, 0, 0, 1], port)));
        }
        assert!(turns.taken.lock().expect("sound").len() <= Turns::MOST_TARGETS);
    }

    #[test]
    fn no_address_of_the_family_is_an_error_and_no_address_at_all_is_none() {
        let turns = Turns::default();
        let error = turns.next(&ips(&["127.0.0.2"]), target("[::1]:80")).expect_err("no IPv6");
        assert_eq!(error.to_string(), "`connect.source` has no IPv6 address");
        assert_eq!(turns.next(&[], target("[::1]:80")).expect("no wish"), None);
    }

    #[test]
    fn a_link_local_source_is_on_the_link_of_its_target() {
        let next = Turns::default().next(&ips(&["fe80::1"]), target("[fe80::2%7]:80"));
        assert_eq!(next.expect("a source"), Some(target("[fe80::1%7]:0")));
    }
}
