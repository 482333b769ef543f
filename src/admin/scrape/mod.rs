//! `/metrics`: one look at everything that is counted.

mod backends;
mod kernel;
mod listeners;
mod pools;
mod process;
mod reading;
mod tls;

use super::State;
use crate::metrics::{Counts, Format, Known, Page};

pub use kernel::Process;

use backends::{histograms_of_backends, of_backends};
use listeners::{of_listeners, of_sessions};
use pools::{of_discovery, of_pools};
use process::{of_engines, of_process, of_workers};
use reading::{OfListener, OfPool, listeners, pools};
use tls::of_tls;

/// A page of all metrics, finished: of this process and of those before it.
pub fn scrape(state: &State, process: &Process, format: Format) -> String {
    write(state, process, format, others).finish()
}

/// A page of what this process alone has counted.
pub(super) fn scrape_alone(state: &State, process: &Process, format: Format) -> String {
    write(state, process, format, |_, _, _| Counts::default()).finish()
}

fn write(
    state: &State,
    process: &Process,
    format: Format,
    others: impl FnOnce(&State, &[OfListener<'_>], &[OfPool]) -> Counts,
) -> Page {
    /// What a backend adds to a page, and a pool or listener at most, so that it is allocated once.
    const BYTES_EACH: usize = 2 * 1024;
    let live = state.live.load();
    let (listeners, pools) = (listeners(&live), pools(&live));
    let with_histograms = live.plan.metrics.as_ref().is_some_and(|metrics| metrics.backend_histograms);
    let backends = pools.iter().map(|pool| pool.backends.len()).sum::<usize>();
    let parts = backends * (1 + usize::from(with_histograms)) + 3 * pools.len() + 3 * listeners.len() + 4;
    let mut page = Page::beside(format, parts * BYTES_EACH, others(state, &listeners, &pools));
    of_process(&mut page, state, &live);
    of_workers(&mut page, state);
    of_listeners(&mut page, &listeners, &state.gate);
    of_sessions(&mut page, &listeners);
    of_engines(&mut page, state);
    of_pools(&mut page, &pools);
    of_backends(&mut page, &pools);
    if with_histograms {
        histograms_of_backends(&mut page, &pools);
    }
    of_tls(&mut page, state, &listeners);
    of_discovery(&mut page, &pools);
    process.write(&mut page);
    page
}

/// What older processes have counted. Of those that have ended only what is about things that are still there.
fn others(state: &State, listeners: &[OfListener<'_>], pools: &[OfPool]) -> Counts {
    let (mut others, mut ended) = state.elders.counts();
    let mut known = Known::default();
    listeners.iter().for_each(|listener| known.add(&listener.labels));
    for pool in pools {
        known.add(&pool.labels);
        pool.backends.iter().for_each(|backend| known.add(&backend.labels));
    }
    ended.keep_known(&known);
    others.add(&ended);
    others
}
