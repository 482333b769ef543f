//! A listener's routes, with the living pools that they lead to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::find::{Found, Shown, find};
use super::split::{Shares, sticky_share};
use crate::balance::{self, hash_key};
use crate::config::plan::{self, Destination, HashKey, HashSpec, Route};
use crate::net::Peer;
use crate::pool::Pool;

/// Where the sessions of one listener go.
#[derive(Debug)]
pub struct Table {
    routes: Vec<Route>,
    ways: Vec<Way>,
    default: Option<Arc<Pool>>,
}

/// Where one route leads, living.
#[derive(Debug)]
enum Way {
    Pool(Arc<Pool>),
    Split(Fork),
    Reject,
    Drop,
}

/// Pools that share sessions.
#[derive(Debug)]
struct Fork {
    split: plan::Split,
    pools: Vec<Arc<Pool>>,
    shares: Shares,
    /// Sessions that have come by; kept over reloads that leave the shares alone.
    cursor: Arc<AtomicU64>,
}

/// Where a session goes.
#[derive(Debug, Clone)]
pub enum Lead {
    /// To this pool.
    Pool(Arc<Pool>),
    /// Nowhere: reset it.
    Reject,
    /// Nowhere: hold it in silence.
    Drop,
    /// No route takes it, and there is no pool for the rest.
    Nowhere,
}

/// What an operator wants to know of a route that divides sessions.
pub type Fractions<'a> = Vec<(&'a Arc<Pool>, u32)>;

impl Table {
    /// The routes of `listener` with pools that `pool` finds by name. Cursors go on where those of `before` stand.
    ///
    /// None if a pool is not there: a defect of ours, as its keeper did not start.
    pub fn new(
        listener: &plan::Listener,
        pool: impl Fn(&Arc<str>) -> Option<Arc<Pool>>,
        before: Option<&Self>,
    ) -> Option<Self> {
        let way = |route: &Route| {
            Some(match &route.to {
                Destination::Pool(name) => Way::Pool(pool(name)?),
                Destination::Split(split) => Way::Split(Fork::new(split, &pool, before)?),
                Destination::Reject => Way::Reject,
                Destination::Drop => Way::Drop,
            })
        };
        let ways = listener.routes.iter().map(way).collect::<Option<_>>()?;
        let default = match &listener.pool {
            Some(name) => Some(pool(name)?),
            None => None,
        };
        Some(Self { routes: listener.routes.clone(), ways, default })
    }

    /// Which route takes a session that shows this. Undecided also while it leads to a pool that goes by the server's
    /// name, and that may still come.
    pub fn find(&self, shown: &Shown<'_>) -> Found {
        let found = find(&self.routes, shown);
        let awaited = shown.facts.is_none() && self.reached_by(found).any(goes_by_name);
        if awaited { Found::Undecided } else { found }
    }

    /// Where a session of `client` goes that takes the route `found`; the next one may go elsewhere.
    pub fn lead(&self, found: Found, client: Peer) -> Lead {
        match found {
            Found::Route(index) => match self.ways.get(index) {
                Some(Way::Pool(pool)) => Lead::Pool(pool.clone()),
                Some(Way::Split(fork)) => fork.lead(client),
                Some(Way::Reject) => Lead::Reject,
                Some(Way::Drop) => Lead::Drop,
                None => Lead::Nowhere,
            },
            Found::Nowhere => self.default.clone().map_or(Lead::Nowhere, Lead::Pool),
            Found::Undecided => Lead::Nowhere,
        }
    }

    /// The pools and their shares, if this route divides sessions and does not stick to clients.
    pub fn divided(&self, found: Found) -> Option<Fractions<'_>> {
        let Found::Route(index) = found else { return None };
        let Some(Way::Split(fork)) = self.ways.get(index) else { return None };
        let shares = fork.pools.iter().zip(&fork.split.to).map(|(pool, (_, share))| (pool, *share));
        (!fork.split.sticky).then(|| shares.collect())
    }

    /// All pools that sessions may go to; some perhaps more than once.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.ways.iter().flat_map(Way::pools).chain(&self.default)
    }

    fn reached_by(&self, found: Found) -> impl Iterator<Item = &Arc<Pool>> {
        let (way, default) = match found {
            Found::Route(index) => (self.ways.get(index), None),
            Found::Nowhere => (None, self.default.as_ref()),
            Found::Undecided => (None, None),
        };
        way.into_iter().flat_map(Way::pools).chain(default)
    }
}

/// Whether the pool's policy hashes the server's name.
fn goes_by_name(pool: &Arc<Pool>) -> bool {
    pool.settings().policy.hash.is_some_and(|spec| spec.key == HashKey::ServerName)
}

impl Way {
    fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let (one, several) = match self {
            Self::Pool(pool) => (Some(pool), [].as_slice()),
            Self::Split(fork) => (None, fork.pools.as_slice()),
            Self::Reject | Self::Drop => (None, [].as_slice()),
        };
        one.into_iter().chain(several)
    }
}

impl Fork {
    fn new(
        split: &plan::Split,
        pool: &impl Fn(&Arc<str>) -> Option<Arc<Pool>>,
        before: Option<&Table>,
    ) -> Option<Self> {
        let pools = split.to.iter().map(|(name, _)| pool(name)).collect::<Option<_>>()?;
        let ways = before.map(|table| table.ways.as_slice()).unwrap_or_default();
        let cursor = ways.iter().find_map(|way| match way {
            Way::Split(fork) if fork.split == *split => Some(fork.cursor.clone()),
            _ => None,
        });
        let shares = Shares::new(split.to.iter().map(|(_, share)| *share));
        Some(Self { split: split.clone(), pools, shares, cursor: cursor.unwrap_or_default() })
    }

    fn lead(&self, client: Peer) -> Lead {
        let index = if self.split.sticky {
            // The client's address alone, so that nothing else moves it.
            let facts = balance::Facts { client, local: Peer::Unix, server_name: None };
            sticky_share(hash_key(&HashSpec::default(), &facts), &self.split.to)
        } else {
            self.shares.of(self.cursor.fetch_add(1, Relaxed))
        };
        index.and_then(|index| self.pools.get(index).cloned()).map_or(Lead::Nowhere, Lead::Pool)
    }
}
