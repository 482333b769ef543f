//! What a listener asks of clients before they are routed.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// `accept_proxy`: whose word is taken on who the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptProxy {
    /// Networks of peers that are trusted, and must send a header.
    pub from: Vec<IpNet>,
    /// Whether peers on unix sockets are.
    pub from_unix: bool,
    /// What becomes of peers that are not.
    pub others: Others,
    /// How long the header may take, from accept.
    pub timeout: Duration,
}

impl AcceptProxy {
    /// Whether a peer is trusted: one of this address, IPv4 never mapped, or one on a unix socket, which has none.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.from_unix, |ip| self.from.iter().any(|network| network.contains(&ip)))
    }
}

/// `starttls`: a protocol in which TLS is asked for in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Starttls {
    /// PostgreSQL's SSLRequest.
    Postgres,
}

/// `accept_proxy.others`: what becomes of peers that are not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// They are reset.
    Refuse,
    /// They are served without a header.
    Plain,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_a_matter_of_network_and_family() {
        let from = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
        let settings =
            |from_unix| AcceptProxy { from: from.into(), from_unix, others: Others::Refuse, timeout: Duration::ZERO };
        let trusts = |ip: &str| settings(false).trusts(Some(ip.parse().expect("an address")));
        assert_eq!(["10.255.0.1", "192.0.2.7", "2001:db8:ffff::1"].map(trusts), [true; 3]);
        assert_eq!(["11.0.0.1", "192.0.2.8", "2001:db9::1", "::ffff:10.0.0.1"].map(trusts), [false; 4]);
        assert_eq!([true, false].map(|unix| settings(unix).trusts(None)), [true, false]);
    }
}
