//! Verdicts about real sessions, by a clock of the test's own.

use super::*;
use proptest::prelude::*;

const PASSIVE: Passive = Passive {
    failures: 3,
    rate: 0.5,
    min_volume: 10,
    eject_for: Duration::from_secs(10),
    max_eject_for: Duration::from_secs(60),
    max_ejected: 0.5,
    first_byte_within: None,
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn reading(in_a_row: u32, good: u64, bad: u64) -> Reading {
    Reading { in_a_row, good, bad }
}

fn ejected_for(change: Option<Change>) -> u64 {
    match change {
        Some(Change::Ejected { span, .. }) => span.as_secs(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_in_a_row_eject_and_a_good_trial_brings_back() {
    let mut outlier = Outlier::default();
    assert_eq!(outlier.look(reading(2, 5, 2), &PASSIVE, seconds(0), true), None);
    assert_eq!(ejected_for(outlier.look(reading(3, 5, 3), &PASSIVE, seconds(1), true)), 10);
    assert_eq!(outlier.look(reading(4, 5, 4), &PASSIVE, seconds(10), true), None);
    assert_eq!(outlier.look(reading(4, 5, 4), &PASSIVE, seconds(11), true), Some(Change::OnTrial));
    assert!(outlier.is_ejected() && outlier.is_on_trial());
    assert_eq!(outlier.look(reading(4, 5, 4), &PASSIVE, seconds(12), true), None, "nothing was tried yet");
    assert_eq!(outlier.look(reading(0, 6, 4), &PASSIVE, seconds(13), true), Some(Change::Returned));
    assert!(!outlier.is_ejected());
}

#[test]
fn ejections_grow_to_their_limit_and_good_time_takes_them_back() {
    let mut outlier = Outlier::default();
    let (mut now, mut bad) = (0, 3);
    let mut spans = Vec::new();
    for _ in 0..5 {
        let span = ejected_for(outlier.look(reading(bad, 0, u64::from(bad)), &PASSIVE, seconds(now), true));
        spans.push(span);
        now += span;
        assert_eq!(outlier.look(reading(bad, 0, u64::from(bad)), &PASSIVE, seconds(now), true), Some(Change::OnTrial));
        bad += 1;
    }
    assert_eq!(spans, [10, 20, 40, 60, 60]);
    assert_eq!(outlier.look(reading(0, 1, 7), &PASSIVE, seconds(now), true), Some(Change::Returned));
    // 60 + 60 + 40 s of good time take three of five steps back: the next is the third.
    now += 160;
    assert_eq!(outlier.look(reading(0, 2, 7), &PASSIVE, seconds(now), true), None);
    assert_eq!(ejected_for(outlier.look(reading(3, 2, 10), &PASSIVE, seconds(now), true)), 40);
}

#[test]
fn one_that_is_absolved_is_in_again_and_its_next_ejection_still_longer() {
    let mut outlier = Outlier::default();
    assert_eq!(ejected_for(outlier.look(reading(3, 0, 3), &PASSIVE, seconds(0), true)), 10);
    outlier.absolve();
    assert!(!outlier.is_ejected());
    assert_eq!(outlier.look(reading(0, 0, 3), &PASSIVE, seconds(1), true), None);
    assert_eq!(ejected_for(outlier.look(reading(3, 0, 6), &PASSIVE, seconds(2), true)), 20);
}

#[test]
fn another_process_goes_on_where_this_one_was() {
    let mut outlier = Outlier::default();
    ejected_for(outlier.look(reading(3, 0, 3), &PASSIVE, seconds(100), true));
    let sentence = outlier.sentence(seconds(104));
    let mut heir = Outlier::sentenced(&sentence, seconds(1));
    assert!(heir.is_ejected() && !heir.is_on_trial());
    assert_eq!(heir.look(Reading::default(), &PASSIVE, seconds(6), true), None, "for 6 s more");
    assert_eq!(heir.look(Reading::default(), &PASSIVE, seconds(7), true), Some(Change::OnTrial));
    let mut heir = Outlier::sentenced(&heir.sentence(seconds(7)), seconds(0));
    assert!(heir.is_on_trial());
    assert_eq!(ejected_for(heir.look(reading(1, 0, 1), &PASSIVE, seconds(1), true)), 20, "the second time");
    assert!(!Outlier::sentenced(&Sentence::default(), seconds(0)).is_ejected());
}

#[test]
fn a_share_counts_only_over_enough_recent_sessions() {
    let look = |good, bad| Outlier::default().look_twice(reading(0, good, bad));
    assert_eq!(look(4, 5), None, "too few");
    assert!(look(5, 5).is_some());
    assert_eq!(look(6, 5), None, "not half");
    let mut outlier = Outlier::default();
    outlier.look(reading(0, 0, 0), &PASSIVE, seconds(0), true);
    outlier.look(reading(0, 0, 0), &PASSIVE, seconds(1), true);
    for second in 2..30 {
        let change = outlier.look(reading(1, 0, 2 + second / 10), &PASSIVE, seconds(second), true);
        assert_eq!(change, None, "never ten within ten seconds");
    }
}

impl Outlier {
    fn look_twice(&mut self, later: Reading) -> Option<Change> {
        self.look(Reading::default(), &PASSIVE, seconds(0), true);
        self.look(later, &PASSIVE, seconds(1), true)
    }
}

#[test]
fn the_room_is_the_share_rounded_down() {
    let most = |all, share| (0..=all).find(|ejected| !has_room(*ejected, all, share)).expect("an end");
    assert_eq!(
        [most(1, 0.5), most(2, 0.5), most(3, 0.5), most(10, 0.3), most(3, 0.0), most(3, 1.0)],
        [0, 1, 1, 3, 0, 3]
    );
}

proptest! {
    /// Whatever happens in whatever order, no more are out than may be, nobody stays out for longer than the limit
    /// without a trial, and who returns has served a session.
    #[test]
    fn the_cap_holds_for_every_order_of_events(
        events in prop::collection::vec((0usize..6, 0u8..3, 0u64..30), 1..300), share in 0.0f64..1.0,
    ) {
        let passive = Passive { max_ejected: share, ..PASSIVE };
        let mut backends = vec![(Outlier::default(), Reading::default()); 6];
        let mut now = Duration::ZERO;
        for (who, what, wait) in events {
            now += seconds(wait);
            let reading = &mut backends[who].1;
            match what {
                0 => { reading.good += 1; reading.in_a_row = 0; }
                1 => { reading.bad += 1; reading.in_a_row += 1; }
                _ => {}
            }
            for index in 0..backends.len() {
                let out = backends.iter().filter(|(outlier, _)| outlier.is_ejected()).count();
                let (outlier, reading) = &mut backends[index];
                let was = outlier.clone();
                let change = outlier.look(*reading, &passive, now, has_room(out, 6, share));
                if let Some(Change::Ejected { span, .. }) = &change {
                    prop_assert!(*span >= passive.eject_for && *span <= passive.max_eject_for);
                    prop_assert_eq!(outlier.until(), Some(now + *span));
                }
                if change == Some(Change::Returned) {
                    prop_assert!(was.is_on_trial());
                }
            }
            let out = backends.iter().filter(|(outlier, _)| outlier.is_ejected()).count();
            prop_assert!(out as f64 <= 6.0 * share + 1e-6, "{} of 6 with {}", out, share);
        }
    }
}
