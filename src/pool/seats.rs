//! The seats of a pool: all of them in order, or one by identity.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use super::seat::Seat;
use crate::backend::BackendId;

/// The seats in the order of the configuration, with an index: what is told about one of tens of thousands, probe by
/// probe, must not have to look through all.
#[derive(Debug, Default)]
pub(super) struct Seats {
    list: Vec<Seat>,
    places: HashMap<BackendId, usize>,
}

impl Seats {
    /// The seat of that backend.
    pub(super) fn of(&mut self, id: BackendId) -> Option<&mut Seat> {
        self.list.get_mut(*self.places.get(&id)?)
    }
}

impl FromIterator<Seat> for Seats {
    fn from_iter<I: IntoIterator<Item = Seat>>(seats: I) -> Self {
        let list: Vec<Seat> = seats.into_iter().collect();
        let places = list.iter().enumerate().map(|(place, seat)| (seat.backend.id, place)).collect();
        Self { list, places }
    }
}

impl IntoIterator for Seats {
    type Item = Seat;
    type IntoIter = std::vec::IntoIter<Seat>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl Deref for Seats {
    type Target = [Seat];

    fn deref(&self) -> &[Seat] {
        &self.list
    }
}

impl DerefMut for Seats {
    fn deref_mut(&mut self) -> &mut [Seat] {
        &mut self.list
    }
}
