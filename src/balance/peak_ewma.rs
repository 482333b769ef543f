//! Peak EWMA: two backends at random, the one where a session is expected to wait less.
//!
//! The cost is (active + 1) × latency / weight, with the latency of [`crate::backend::Cost`]: that of Finagle's
//! `p2cPeakEwma` and of tower's `PeakEwma` under `p2c`. The one more is the session to come: without it all idle
//! backends would cost nothing, the slow like the fast.

use super::lots::{Dice, Lots};
use super::{Draw, Entry, Member, Pick, Policy, PolicyKind};
use crate::config::Takes;

pub(super) const ENTRY: Entry = Entry {
    kind: PolicyKind {
        name: "peak_ewma",
        summary: "two at random in proportion to weight, then the one with the lower product of active sessions and \
                  recent peak latency (connect and first-byte time) for its weight",
        takes: Takes::Nothing,
    },
    build: |parts| Box::new(PeakEwma(Lots::new(parts.members))),
};

/// Two draws and one comparison.
#[derive(Debug)]
struct PeakEwma(Lots);

impl Policy for PeakEwma {
    fn pick(&self, members: &[Member], draw: &Draw<'_>) -> Option<Pick> {
        let (one, other) = self.0.draw_two(members, draw, &mut Dice::new(draw.entropy))?;
        let (here, there) = (&members[usize::from(one.0)], &members[usize::from(other.0)]);
        let (latency, other_latency) = latencies(here, there, draw);
        let less = cost(there, other_latency) < cost(here, latency);
        Some(Pick::from(if less { other } else { one }))
    }
}

/// Each as it compares with the other; one that was never measured is as slow as the other.
fn latencies(one: &Member, other: &Member, draw: &Draw<'_>) -> (f32, f32) {
    match (one.backend.cost(draw.now), other.backend.cost(draw.now)) {
        (Some(one), Some(other)) => (one.beside(other), other.beside(one)),
        _ => (1.0, 1.0),
    }
}

fn cost(member: &Member, latency: f32) -> f64 {
    (f64::from(member.backend.active()) + 1.0) * f64::from(latency) / f64::from(member.weight)
}
