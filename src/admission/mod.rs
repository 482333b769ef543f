//! Who may come in.
//!
//! Two gates. At accept it is the socket's peer who comes in, under the limits of the process ([`Gate`]) and of the
//! listener ([`Entrance`]). The second asks about the client: whether it may come in at all, and what it has already. A
//! peer that connects for another has to say for whom first; for all others both are asked at once, at accept.
//!
//! Whoever is inside has a [`Share`] of the bandwidth.

mod bandwidth;
mod clients;
mod entrance;
mod gate;
mod rate;
mod refuse;

use std::sync::Arc;
use std::time::Instant;

use crate::metrics::Refused;
use crate::net::Peer;
use entrance::Stay;
use gate::Place;

pub use bandwidth::{Bucket, Buckets, Rates, Share, turn};
pub use entrance::Entrance;
pub use gate::{Gate, Held};
pub use refuse::turn_away;

/// All places that a session has; dropping it frees them.
#[derive(Debug)]
pub struct Permit {
    place: Place,
    stay: Stay,
}

impl Permit {
    /// The first gate, for a connection that was accepted at `at`; and the second one, if it is known by now who the
    /// `client` is. It waits if the process is full and may wait.
    ///
    /// # Errors
    /// Refuse it; nothing is taken.
    pub async fn take(
        gate: &Gate,
        entrance: &Arc<Entrance>,
        client: Option<Peer>,
        at: Instant,
    ) -> Result<Self, Refused> {
        let mut stay = entrance.enter(client, at)?;
        let place = gate.enter(at).await?;
        stay.settle();
        Ok(Self { place, stay })
    }

    /// Lets in the client for whom the peer connects, at the second gate.
    ///
    /// # Errors
    /// Refuse it.
    pub fn introduce(&mut self, client: Peer, at: Instant) -> Result<(), Refused> {
        self.stay.introduce(client, at)
    }

    /// What the session may move.
    pub fn share(&self) -> Share<'_> {
        self.stay.share()
    }

    /// The place in the process for a client that is refused at the second gate, to hold it in silence.
    pub fn hold(self) -> Option<Held> {
        self.place.hold()
    }
}
