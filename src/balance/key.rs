//! What a session is known by: the key that hashing policies follow.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64;

use crate::config::plan::{HashKey, HashSpec};
use crate::net::Peer;

/// Who asks and for what, as far as choosing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The client's address.
    pub client: Peer,
    /// The address it connected to.
    pub local: Peer,
    /// The host name it asks for, if it does.
    pub server_name: Option<&'a str>,
}

/// The key of a session: the same on every machine and in every version, for replicas must agree on it.
///
/// Clients on unix sockets have no address and so share one key, and so do those that ask for no name.
pub fn hash_key(spec: &HashSpec, facts: &Facts<'_>) -> u64 {
    match spec.key {
        HashKey::ClientIp => hash(facts.client, spec.prefix_v6, false),
        HashKey::ClientIpPort => hash(facts.client, spec.prefix_v6, true),
        HashKey::ServerName => xxh3_64(facts.server_name.unwrap_or_default().as_bytes()),
        HashKey::Destination => hash(facts.local, u8::MAX, true),
    }
}

/// Hashes the sixteen bytes of the address, IPv4 as ::ffff:a.b.c.d, cut to the prefix, and the port.
fn hash(peer: Peer, prefix_v6: u8, with_port: bool) -> u64 {
    let Peer::Ip(address) = peer else {
        return xxh3_64(b"unix:");
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&network(address.ip(), prefix_v6).to_be_bytes());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    xxh3_64(if with_port { &bytes } else { &bytes[..16] })
}

fn network(ip: IpAddr, prefix_v6: u8) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits() & u128::MAX.checked_shl(128u32.saturating_sub(prefix_v6.into())).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(key: HashKey, client: &str, local: &str) -> u64 {
        let peer = |text: &str| text.parse().map_or(Peer::Unix, Peer::tcp);
        let spec = HashSpec { key, ..HashSpec::default() };
        hash_key(&spec, &Facts { client: peer(client), local: peer(local), server_name: None })
    }

    #[test]
    fn a_key_is_what_the_configuration_says_and_nothing_else() {
        use HashKey::{ClientIp, ClientIpPort, Destination};
        let base = |key| key_of(key, "10.0.0.1:5000", "10.0.0.9:80");
        for (key, changes) in
            [(ClientIp, [false, true, false]), (ClientIpPort, [true, true, false]), (Destination, [false, false, true])]
        {
            let port = key_of(key, "10.0.0.1:5001", "10.0.0.9:80");
            let ip = key_of(key, "10.0.0.2:5000", "10.0.0.9:80");
            let local = key_of(key, "10.0.0.1:5000", "10.0.0.9:81");
            assert_eq!([port, ip, local].map(|other| other != base(key)), changes, "{key:?}");
        }
    }

    #[test]
    fn one_household_of_ipv6_is_one_client() {
        let ip = |text: &str| key_of(HashKey::ClientIp, text, "");
        assert_eq!(ip("[2001:db8:1:2::1]:1"), ip("[2001:db8:1:2:ffff::9]:2"));
        assert_ne!(ip("[2001:db8:1:2::1]:1"), ip("[2001:db8:1:3::1]:1"));
        assert_eq!(ip("[::ffff:10.0.0.1]:1"), ip("10.0.0.1:1"), "one client has one spelling");
        assert_eq!(network("2001:db8::1".parse().expect("an address"), 0), 0);
        assert_eq!(ip("unix:"), ip("unix:"));
    }

    /// Changing these moves every client of every user, and parts replicas of different versions.
    #[test]
    fn keys_are_the_same_for_ever() {
        let keys = [(HashKey::ClientIp, "192.0.2.7:1"), (HashKey::ClientIpPort, "[2001:db8::7]:443")];
        assert_eq!(
            keys.map(|(key, client)| key_of(key, client, "")),
            [11_382_084_814_815_045_381, 16_632_609_359_459_968_582]
        );
    }
}
