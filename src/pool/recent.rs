//! Quantiles of what a histogram has counted lately. Pure.

use std::time::Duration;

/// A quantile of what a histogram has counted lately: each look weighs a tenth less than the next.
#[derive(Debug, Default)]
pub(super) struct RecentQuantile {
    seen: Vec<u64>,
    recent: Vec<f64>,
}

impl RecentQuantile {
    /// With fewer recent counts than this a high quantile says nothing.
    const LEAST: f64 = 20.0;
    const KEPT: f64 = 0.9;

    /// Takes in the histogram's cumulative counts, and gives the upper bound of the bucket that the
    /// quantile lies in; `None` while too little is known, or beyond the last bound.
    pub(super) fn next(&mut self, bounds: &[f64], cumulative: &[u64], quantile: f64) -> Option<Duration> {
        self.seen.resize(cumulative.len(), 0);
        self.recent.resize(cumulative.len(), 0.0);
        for ((recent, seen), now) in self.recent.iter_mut().zip(&mut self.seen).zip(cumulative) {
            *recent = *recent * Self::KEPT + now.saturating_sub(*seen) as f64;
            *seen = *now;
        }
        let total = self.recent.last().copied().filter(|total| *total >= Self::LEAST)?;
        let place = self.recent.iter().position(|upto| *upto >= total * quantile)?;
        bounds.get(place).map(|bound| Duration::from_secs_f64(*bound))
    }
}
