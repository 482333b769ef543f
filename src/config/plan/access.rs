//! `allow` and `deny`: which networks may come in, as a table that is searched once a connection.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;

/// Keys of one node of the search: 16 IPv4 addresses are one cache line, and so many are compared without a branch.
const FAN: usize = 16;

/// Who may come in. The longest prefix that holds an address decides, and of two equal ones the one that denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessList {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    unix: bool,
}

/// One of the two lists, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// Networks; IPv4 never as mapped IPv6.
    pub networks: Vec<IpNet>,
    /// Whether peers on unix sockets are in it, who have no address.
    pub unix: bool,
}

impl Networks {
    /// Whether it holds nobody.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

impl AccessList {
    /// The table of these two lists. Whoever is in neither comes in only if there is no list of those that may.
    pub fn new(allow: &Networks, deny: &Networks) -> Self {
        let others = allow.is_empty();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (list, allowed) in [(allow, true), (deny, false)] {
            for network in &list.networks {
                match network {
                    IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits(), allowed)),
                    IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), allowed)),
                }
            }
        }
        let unix = !deny.unix && (allow.unix || others);
        Self { v4: Ranges::new(v4, others), v6: Ranges::new(v6, others), unix }
    }

    /// Whether a client of this address may come in; one on a unix socket has none. A mapped address is one of IPv4.
    pub fn allows(&self, client: Option<IpAddr>) -> bool {
        match client.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => self.v4.allows(ip.to_bits()),
            Some(IpAddr::V6(ip)) => self.v6.allows(ip.to_bits()),
            None => self.unix,
        }
    }
}

/// Prefixes flattened into ranges: prefixes nest and never overlap otherwise, so the innermost one of an address is known
/// beforehand. Neighbours that say the same are one range, so ranges that allow and ranges that deny take turns: n
/// prefixes are at most 2n + 1 ranges, and of a range only its start is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ranges<A> {
    /// Last the starts of all ranges, sorted, from the lowest address on; before it every [`FAN`]th of those, and so on
    /// up to one node. A search reads one node of each.
    layers: Vec<Box<[A]>>,
    /// What the first range says.
    first: bool,
}

/// An address as a number.
trait Address: Copy + Ord {
    const LOWEST: Self;
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    const LOWEST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    const LOWEST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<A: Address> Ranges<A> {
    /// Of prefixes, each as its first and last address and what it says; `others` is said of all other addresses.
    fn new(mut prefixes: Vec<(A, A, bool)>, others: bool) -> Self {
        // Outer before inner; of two equal ones the one that denies comes second, as if it were within the other.
        prefixes.sort_unstable_by_key(|(first, last, allowed)| (*first, Reverse(*last), !*allowed));
        let mut ranges = vec![(A::LOWEST, others)];
        let mut open: Vec<(A, bool)> = Vec::new();
        let around = |open: &[(A, bool)]| open.last().map_or(others, |(_, allowed)| *allowed);
        for (first, last, allowed) in prefixes {
            while let Some((end, _)) = open.pop_if(|(end, _)| *end < first) {
                end.next().into_iter().for_each(|next| begin(&mut ranges, next, around(&open)));
            }
            begin(&mut ranges, first, allowed);
            open.push((last, allowed));
        }
        while let Some((end, _)) = open.pop() {
            end.next().into_iter().for_each(|next| begin(&mut ranges, next, around(&open)));
        }
        let first = ranges.first().map_or(others, |(_, allowed)| *allowed);
        Self { layers: layers(ranges.into_iter().map(|(start, _)| start).collect()), first }
    }

    fn allows(&self, address: A) -> bool {
        let mut at = 0;
        for layer in &self.layers {
            let node = &layer[at * FAN..layer.len().min((at + 1) * FAN)];
            // The first key of the node is never beyond the address.
            at = at * FAN + node.iter().filter(|start| **start <= address).count().saturating_sub(1);
        }
        self.first ^ (at % 2 == 1)
    }
}

/// Has a range begin at `start`, unless the one before goes on.
fn begin<A: Address>(ranges: &mut Vec<(A, bool)>, start: A, allowed: bool) {
    ranges.pop_if(|(begun, _)| *begun == start);
    if ranges.last().is_none_or(|(_, before)| *before != allowed) {
        ranges.push((start, allowed));
    }
}

/// The starts, and above them the ways to them.
fn layers<A: Copy>(starts: Vec<A>) -> Vec<Box<[A]>> {
    let mut layers = vec![starts.into_boxed_slice()];
    while let Some(top) = layers.last().filter(|top| top.len() > FAN) {
        layers.push(top.iter().copied().step_by(FAN).collect());
    }
    layers.reverse();
    layers
}

#[cfg(test)]
mod tests;
