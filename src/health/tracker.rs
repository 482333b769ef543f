//! The verdict of probes: up after `rise` good ones in a row, down after `fall` bad ones. Pure.

use serde::{Deserialize, Serialize};

/// What probes have shown of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing yet; its first probe decides.
    Unknown,
    /// Well, or taken to be well before its first probe.
    Up,
    /// Not well.
    Down,
}

/// Counts one backend's probes. A sample in, a transition out; someone else acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracker {
    standing: Standing,
    /// Samples in a row that speak against `standing`.
    contrary: u32,
}

impl Tracker {
    /// Before the first probe: up, or unknown, which is not usable.
    pub fn new(start_up: bool) -> Self {
        Self { standing: if start_up { Standing::Up } else { Standing::Unknown }, contrary: 0 }
    }

    /// What probes have shown so far.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether the next samples may change it, so that they should come soon.
    pub fn in_transition(&self) -> bool {
        self.contrary > 0 || self.standing == Standing::Unknown
    }

    /// Takes in how a probe went; says what it changed, if it did.
    pub fn observe(&mut self, good: bool, rise: u32, fall: u32) -> Option<Standing> {
        let (other, enough) = match self.standing {
            Standing::Unknown => (if good { Standing::Up } else { Standing::Down }, 1),
            Standing::Up if !good => (Standing::Down, fall),
            Standing::Down if good => (Standing::Up, rise),
            Standing::Up | Standing::Down => {
                self.contrary = 0;
                return None;
            }
        };
        self.contrary += 1;
        if self.contrary < enough {
            return None;
        }
        *self = Self { standing: other, contrary: 0 };
        Some(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_probe_decides_who_was_not_taken_to_be_up() {
        let first = |good| Tracker::new(false).observe(good, 5, 5);
        assert_eq!((first(true), first(false)), (Some(Standing::Up), Some(Standing::Down)));
        assert!(Tracker::new(false).in_transition() && !Tracker::new(true).in_transition());
    }

    #[test]
    fn it_takes_as_many_in_a_row_as_is_said() {
        let mut tracker = Tracker::new(true);
        let told: Vec<_> =
            [false, false, true, false, false, false, true, true].map(|good| tracker.observe(good, 2, 3)).into();
        let mut expected = vec![None; 8];
        (expected[5], expected[7]) = (Some(Standing::Down), Some(Standing::Up));
        assert_eq!(told, expected);
    }

    proptest! {
        /// No flapping faster than `rise` and `fall` allow, and never silence when enough has come.
        #[test]
        fn every_change_has_its_row_of_samples(
            samples in prop::collection::vec(any::<bool>(), 0..200), rise in 1u32..6, fall in 1u32..6, start_up: bool,
        ) {
            let mut tracker = Tracker::new(start_up);
            for (at, good) in samples.iter().enumerate() {
                let before = tracker.standing();
                let changed = tracker.observe(*good, rise, fall);
                let row = samples[..=at].iter().rev().take_while(|sample| *sample == good).count() as u32;
                match changed {
                    Some(Standing::Up) => prop_assert!(*good && (row >= rise || before == Standing::Unknown)),
                    Some(Standing::Down) => prop_assert!(!*good && (row >= fall || before == Standing::Unknown)),
                    Some(Standing::Unknown) => prop_assert!(false, "never forgotten"),
                    None if *good => prop_assert!(tracker.standing() == Standing::Up || row < rise),
                    None => prop_assert!(tracker.standing() == Standing::Down || row < fall),
                }
                prop_assert!(changed.is_none() || changed != Some(before));
            }
        }
    }
}
