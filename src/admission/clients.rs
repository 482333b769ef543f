//! What each client of a listener has: its sessions, and how many of its connections came lately.
//!
//! Memory is bounded whoever comes. A client is remembered while it has sessions, of which there are at most as many as
//! the process may have, and after the last one until its bucket is full again, which takes no more than a second: by
//! then it is like one who was never here. Of those without a session at most [`RESTING`] a shard are remembered; beyond
//! that whoever has rested for longest is forgotten early. So a flood of sources locks nobody out, and lets nobody have
//! more sessions than it may. To have its bucket filled early a client would need 65 536 others to come and go since its
//! own last session ended, all within a second.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap, RandomState};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bandwidth::Buckets;
use super::rate::Pace;
use crate::metrics::Refused;
use crate::net::Peer;

/// Workers seldom meet in one of so many.
const SHARDS: usize = 16;
/// Clients without a session that a shard remembers.
const RESTING: usize = 4096;
/// Of those, looked at each time someone comes or goes: more than can have been added since.
const STEP: usize = 8;

/// One client: an IPv4 address, the leading bits of an IPv6 address, or all peers on unix sockets together.
///
/// Words of four bytes, since every session holds one, and sixteen bytes in one piece would have to be aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ClientKey([u32; 4]);

impl ClientKey {
    /// The client at `peer`, if so many leading bits of an IPv6 address tell clients apart.
    pub(super) fn new(peer: Peer, prefix_v6: u8) -> Self {
        let bits = match peer.ip().map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => ip.to_ipv6_mapped().to_bits(),
            Some(IpAddr::V6(ip)) => {
                let behind = 128 - u32::from(prefix_v6.clamp(1, 128));
                ip.to_bits() >> behind << behind
            }
            // A multicast address: nobody connects from there.
            None => u128::MAX,
        };
        Self([96, 64, 32, 0].map(|place| (bits >> place) as u32))
    }
}

/// A client's key and its hash, which is worked out once for all that is to be done with it.
#[derive(Debug, Clone, Copy)]
struct Hashed {
    key: ClientKey,
    hash: u64,
}

impl PartialEq for Hashed {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Hashed {}

impl Hash for Hashed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes over a hash that is there already.
#[derive(Debug, Default)]
struct TakeOver(u64);

impl Hasher for TakeOver {
    fn write(&mut self, bytes: &[u8]) {
        // Only whole hashes are written; anything else would have to be mixed in.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What a client may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_connections: Option<u32>,
    pub(super) pace: Option<Pace>,
}

/// The clients of one listener.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// Keyed anew in each process, so that nobody can choose addresses that all fall into one place.
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    known: HashMap<Hashed, Client, BuildHasherDefault<TakeOver>>,
    /// Clients that had no session when they were put here, each once, and until when they are to be remembered.
    resting: VecDeque<(Hashed, u64)>,
}

#[derive(Debug, Default)]
struct Client {
    sessions: u32,
    /// When its bucket is full again.
    full_at: u64,
    /// Whether it is in `resting`.
    rests: bool,
    /// What its sessions may move together, once one of them is limited.
    buckets: Option<Arc<Buckets>>,
}

impl Client {
    /// From when on it is like one who was never here.
    fn settled_at(&self) -> u64 {
        self.full_at.max(self.buckets.as_ref().map_or(0, |buckets| buckets.full_at()))
    }
}

impl Clients {
    /// Lets one more session of a client in, or says which limit forbids it; then nothing is taken.
    pub(super) fn enter(&self, key: ClientKey, limits: Limits, now: u64) -> Result<(), Refused> {
        let (mut shard, key) = self.shard(key);
        shard.forget_rested(|| now);
        // Every limit is at least 1, so whoever is not known is let in.
        let client = shard.known.entry(key).or_default();
        if limits.max_connections.is_some_and(|max| client.sessions >= max) {
            return Err(Refused::MaxConnectionsClient);
        }
        if let Some(pace) = limits.pace {
            client.full_at = pace.take(client.full_at, now).ok_or(Refused::RateClient)?;
        }
        client.sessions += 1;
        Ok(())
    }

    /// One session of a client has ended; with a pace it is one that never was, and its turn is given back. The time is
    /// asked only where it matters, which is where clients are remembered after their last session.
    pub(super) fn leave(&self, key: ClientKey, never_was: Option<Pace>, now: impl Fn() -> u64) {
        let (mut shard, key) = self.shard(key);
        shard.leave(key, never_was, &now);
        shard.forget_rested(now);
    }

    /// What the sessions of a client, of which there is one, may move together.
    pub(super) fn buckets(&self, key: ClientKey) -> Option<Arc<Buckets>> {
        let (mut shard, key) = self.shard(key);
        shard.known.get_mut(&key).map(|client| client.buckets.get_or_insert_default().clone())
    }

    /// Where a client is kept, and its key there.
    fn shard(&self, key: ClientKey) -> (MutexGuard<'_, Shard>, Hashed) {
        let hash = self.hasher.hash_one(key);
        // Other bits than those that tell places of a table apart, which are the first and the last.
        let shard = (hash >> 32) as usize % SHARDS;
        (self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner), Hashed { key, hash })
    }
}

impl Shard {
    fn leave(&mut self, key: Hashed, never_was: Option<Pace>, now: impl Fn() -> u64) {
        let Entry::Occupied(mut entry) = self.known.entry(key) else { return };
        let client = entry.get_mut();
        client.sessions = client.sessions.saturating_sub(1);
        if let Some(pace) = never_was {
            client.full_at = pace.give_back(client.full_at);
        }
        if client.sessions > 0 || client.rests {
            return;
        }
        let until = client.settled_at();
        if until == 0 || until <= now() {
            entry.remove();
            return;
        }
        client.rests = true;
        self.resting.push_back((key, until));
        if self.resting.len() > RESTING {
            self.forget_one();
        }
    }

    /// Forgets some of those whose time is up.
    fn forget_rested(&mut self, now: impl Fn() -> u64) {
        if self.resting.is_empty() {
            return;
        }
        let now = now();
        for _ in 0..STEP {
            match self.resting.front() {
                Some((key, until)) if *until <= now => self.wake(*key, |client| client.settled_at() <= now),
                _ => return,
            }
        }
    }

    /// Makes room: forgets whoever rests for longest, and has not come again since.
    fn forget_one(&mut self) {
        for _ in 0..STEP {
            let Some((key, until)) = self.resting.front().copied() else { return };
            self.wake(key, |client| client.settled_at() <= until);
            if self.resting.len() <= RESTING {
                return;
            }
        }
        // All of these have come again: then it is one of them.
        if let Some((key, _)) = self.resting.front().copied() {
            self.wake(key, |_| true);
        }
    }

    /// Takes the first one, of this key, out of `resting`: it is forgotten if it is without a session and `may_go`, and
    /// put back at the end if only the latter is not so.
    fn wake(&mut self, key: Hashed, may_go: impl FnOnce(&Client) -> bool) {
        self.resting.pop_front();
        let Entry::Occupied(mut entry) = self.known.entry(key) else { return };
        match entry.get() {
            client if client.sessions > 0 => entry.get_mut().rests = false,
            client if may_go(client) => drop(entry.remove()),
            client => self.resting.push_back((key, client.settled_at())),
        }
    }
}

#[cfg(test)]
mod tests;
