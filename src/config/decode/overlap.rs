//! Two sockets on one address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::super::error::{Place, Report};
use super::super::plan::BindAddress;
use super::super::socket_path::real_socket;

/// Every address claimed so far, and by whom.
#[derive(Default)]
pub(super) struct Bound {
    exact: HashMap<SocketAddr, Claim>,
    /// The first claim on any address of a family (is it IPv6?) and port.
    any: HashMap<(bool, u16), Claim>,
    /// By their real paths.
    unix: HashMap<PathBuf, Claim>,
}

#[derive(Clone)]
struct Claim {
    at: Place,
    path: String,
    address: String,
}

impl Bound {
    /// Claims `address`; reports whoever has it already and returns false. IPv6 sockets are v6only, so the
    /// families never meet; port 0 is another port each time.
    pub(super) fn claim(&mut self, address: &BindAddress, at: Place, path: &str, report: &mut Report) -> bool {
        let claim = Claim { at, path: path.to_owned(), address: address.to_string() };
        let earlier = match address {
            BindAddress::Ip(address) if address.port() == 0 => None,
            BindAddress::Ip(address) => self.claim_ip(*address, &claim),
            BindAddress::Unix(path, _) => self.unix.insert(real_socket(path), claim.clone()),
        };
        let Some(earlier) = earlier else { return true };
        let first = report.show(earlier.at);
        let message = match address {
            _ if earlier.address == claim.address => {
                format!("`{}` is taken by {} at {first}", claim.address, earlier.path)
            }
            BindAddress::Ip(_) => {
                format!("`{}` overlaps `{}` of {} at {first}", claim.address, earlier.address, earlier.path)
            }
            BindAddress::Unix(..) => {
                format!(
                    "`{}` is the same socket as `{}` of {} at {first}",
                    claim.address, earlier.address, earlier.path
                )
            }
        };
        report.error(at, path, message);
        false
    }

    fn claim_ip(&mut self, address: SocketAddr, claim: &Claim) -> Option<Claim> {
        let family = (address.is_ipv6(), address.port());
        let wildcard = SocketAddr::new(unspecified(address.ip()), address.port());
        let earlier = if address.ip().is_unspecified() {
            self.any.get(&family)
        } else {
            self.exact.get(&address).or_else(|| self.exact.get(&wildcard))
        };
        let earlier = earlier.cloned();
        self.exact.entry(address).or_insert_with(|| claim.clone());
        self.any.entry(family).or_insert_with(|| claim.clone());
        earlier
    }
}

fn unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Whether the second of two addresses is refused.
    fn overlap(first: &str, second: &str) -> bool {
        let address = |text: &str| match text.strip_prefix("unix:") {
            Some(path) => BindAddress::Unix(path.into(), None),
            None => BindAddress::Ip(text.parse().unwrap()),
        };
        let (mut bound, mut report) = (Bound::default(), Report::default());
        assert!(bound.claim(&address(first), Place::default(), "a", &mut report));
        !bound.claim(&address(second), Place::default(), "b", &mut report)
    }

    #[test]
    fn what_overlaps_and_what_does_not() {
        for (a, b) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("unix:/a", "unix:/a"),
            ("unix:a", "unix:./a"),
            ("unix:/proc/self/a", "unix:/proc/self/../self/a"),
        ] {
            assert!(overlap(a, b) && overlap(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("0.0.0.0:80", "[::]:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("unix:/a", "unix:/b"),
        ] {
            assert!(!overlap(a, b) && !overlap(b, a), "{a} {b}");
        }
    }
}
