//! What pools count, and how their names are resolved.

use std::sync::atomic::Ordering::Relaxed;

use super::reading::OfPool;
use crate::config::plan::BackendAddress;
use crate::discover::DiscoverError;
use crate::metrics::families as f;
use crate::metrics::{Page, Unavailable};

pub(super) fn of_pools(page: &mut Page, pools: &[OfPool]) {
    let mut connect = page.family(f::POOL_CONNECT);
    pools.iter().for_each(|of| connect.histogram(&of.labels, &of.pool.cells.connect));
    let mut first_byte = page.family(f::POOL_FIRST_BYTE);
    pools.iter().for_each(|of| first_byte.histogram(&of.labels, &of.pool.cells.first_byte));
    let mut queue = page.family(f::POOL_QUEUE_LENGTH);
    pools.iter().for_each(|of| queue.sample(&of.labels, &[], of.pool.queue_length()));
    let mut unavailable = page.family(f::POOL_UNAVAILABLE);
    for of in pools {
        for reason in Unavailable::ALL {
            let count = of.pool.cells.unavailable[*reason as usize].get();
            unavailable.sample(&of.labels, &[reason.as_str()], count);
        }
    }
    let mut retries = page.family(f::POOL_RETRIES);
    pools.iter().for_each(|of| retries.sample(&of.labels, &[], of.pool.cells.retries.get()));
    let mut hedges = page.family(f::POOL_HEDGES);
    for of in pools {
        hedges.sample(&of.labels, &["won"], of.pool.cells.hedges_won.get());
        hedges.sample(&of.labels, &["lost"], of.pool.cells.hedges_lost.get());
    }
    let mut waits = page.family(f::POOL_QUEUE_WAIT);
    pools.iter().for_each(|of| waits.histogram(&of.labels, &of.pool.cells.queue_wait));
    let mut displaced = page.family(f::POOL_HASH_DISPLACED);
    pools.iter().for_each(|of| displaced.sample(&of.labels, &[], of.pool.cells.hash_displaced.get()));
    let mut fail_open = page.family(f::POOL_FAIL_OPEN);
    pools.iter().for_each(|of| fail_open.sample(&of.labels, &[], u8::from(of.pool.fails_open())));
}

/// Only of pools that have something to resolve.
pub(super) fn of_discovery(page: &mut Page, pools: &[OfPool]) {
    let resolves = |of: &&OfPool| {
        of.pool.settings().backends.iter().any(|backend| matches!(backend.address, BackendAddress::Host(..)))
    };
    let resolving: Vec<_> = pools.iter().filter(resolves).collect();
    let mut success = page.family(f::DISCOVERY_SUCCESS);
    for of in &resolving {
        success.sample(&of.labels, &[], of.pool.cells.discovery_last_success.load(Relaxed));
    }
    let mut errors = page.family(f::DISCOVERY_ERRORS);
    for of in &resolving {
        for class in DiscoverError::ALL {
            errors.sample(&of.labels, &[class.as_str()], of.pool.cells.discovery_errors[class as usize].get());
        }
    }
}
