//! Host names through the system's resolver (files, DNS, whatever nsswitch.conf says).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::timeout;

/// One resolution may take so long; the last good answer serves meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
/// More addresses than this of one name are of no use to one backend, and an answer may be hostile.
const MOST_ADDRESSES: usize = 64;

/// A resolution under way.
pub type Resolution<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Asks for the addresses of a name. The system does; tests answer for themselves.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// All addresses of `host`, with `port`.
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> Resolution<'a>;
}

/// The system's resolver, on the runtime's blocking threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Resolver for System {
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> Resolution<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum DiscoverError {
    /// None in time.
    Timeout,
    /// The name is unknown, or the resolver failed.
    Failed,
    /// The name is known and has no address.
    Empty,
}

impl DiscoverError {
    /// All classes, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Timeout, Self::Failed, Self::Empty];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Empty => "empty",
        }
    }

    /// In words, for people.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Timeout => "the resolver did not answer in time",
            Self::Failed => "unknown, or the resolver failed",
            Self::Empty => "has no address",
        }
    }
}

/// Asks once, within bounds.
///
/// # Errors
/// No usable answer; the caller keeps what it has.
pub async fn resolve(resolver: &dyn Resolver, host: &str, port: u16) -> Result<Vec<SocketAddr>, DiscoverError> {
    let answer = timeout(PATIENCE, resolver.lookup(host, port)).await.map_err(|_| DiscoverError::Timeout)?;
    let mut addresses = answer.map_err(|_| DiscoverError::Failed)?;
    // Resolvers rotate their answers; an order of our own keeps "changed" meaning changed.
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MOST_ADDRESSES);
    if addresses.is_empty() { Err(DiscoverError::Empty) } else { Ok(addresses) }
}

/// The next order of addresses: the one in use stays first for as long as the answer has it.
pub fn keep_current(current: &[SocketAddr], mut answer: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if let Some(place) = current.first().and_then(|used| answer.iter().position(|address| address == used)) {
        answer[..=place].rotate_right(1);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug)]
    struct Fixed(io::Result<usize>);

    impl Resolver for Fixed {
        fn lookup<'a>(&'a self, _: &'a str, port: u16) -> Resolution<'a> {
            let answer = match &self.0 {
                Ok(count) => {
                    Ok((0..*count).map(|i| SocketAddr::from(([127, 0, (i >> 8) as u8, i as u8], port))).collect())
                }
                Err(error) => Err(io::Error::from(error.kind())),
            };
            Box::pin(async move { answer })
        }
    }

    #[derive(Debug)]
    struct Silent;

    impl Resolver for Silent {
        fn lookup<'a>(&'a self, _: &'a str, _: u16) -> Resolution<'a> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_bad_answer_has_its_class() {
        let ask = async |resolver: &dyn Resolver| resolve(resolver, "name", 1).await;
        assert_eq!(ask(&Silent).await, Err(DiscoverError::Timeout));
        assert_eq!(ask(&Fixed(Err(io::ErrorKind::NotFound.into()))).await, Err(DiscoverError::Failed));
        assert_eq!(ask(&Fixed(Ok(0))).await, Err(DiscoverError::Empty));
        assert_eq!(ask(&Fixed(Ok(1000))).await.map(|answer| answer.len()), Ok(MOST_ADDRESSES));
    }

    proptest! {
        #[test]
        fn the_address_in_use_stays_first_and_none_is_lost(ports in prop::collection::btree_set(1u16..50, 1..20), used in 1u16..50) {
            let address = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
            let answer: Vec<_> = ports.iter().map(address).collect();
            let mut next = keep_current(&[address(&used)], answer.clone());
            let expected = if ports.contains(&used) { address(&used) } else { answer[0] };
            prop_assert_eq!(next[0], expected);
            next.sort_unstable();
            prop_assert_eq!(next, answer);
        }
    }
}
