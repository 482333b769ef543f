//! The roll against a map, and who is found due.

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::ledger::{AccessLogs, Ledger};
use crate::listener::ListenerLive;
use crate::net::Peer;

pub(in crate::ledger) fn listener() -> Arc<ListenerLive> {
    let yaml = "{ listeners: { l: { bind: 127.0.0.1:0, pool: p } }, pools: { p: { backends: [] } } }";
    let plan = crate::config::parse("t.yaml", yaml, &crate::balance::CATALOGUE, &|_| None).expect("valid");
    Arc::new(ListenerLive::new(plan.listeners[0].clone(), 1))
}

fn record(listener: &Arc<ListenerLive>, id: u64) -> Arc<Record> {
    Arc::new(Record::new(SessionId(id), listener.clone(), (Peer::Unix, Peer::Unix), Instant::now(), 0))
}

fn ids(records: &[Arc<Record>]) -> Vec<u64> {
    records.iter().map(|record| record.id.0).collect()
}

/// All who are due, a step at a time.
fn due(roll: &mut Roll, now: u64) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), None);
    if !roll.is_due(now) {
        return found;
    }
    loop {
        let (due, last) = roll.due(after, now);
        assert!(due.len() <= LOOKS);
        found.extend(ids(&due));
        match last {
            Some(last) => after = Some(last),
            None => return found,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Come(u64),
    Leave(usize),
    Due(usize, u64),
    AllDue,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..3).prop_map(Step::Come),
        3 => any::<usize>().prop_map(Step::Leave),
        2 => (any::<usize>(), 0u64..100).prop_map(|(who, at)| Step::Due(who, at)),
        1 => Just(Step::AllDue),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_is_a_map_in_the_order_of_ids(steps in prop::collection::vec(step(), 1..300), now in 0u64..100) {
        let listener = listener();
        let (mut roll, mut map, mut next) = (Roll::default(), BTreeMap::<u64, u64>::new(), 1000);
        for step in steps {
            let nth = |map: &BTreeMap<u64, u64>, n: usize| map.keys().nth(n % map.len().max(1)).copied();
            match step {
                // Ids are drawn before they are entered, so one may come a little late.
                Step::Come(late) => {
                    next += 2;
                    let id = if late == 0 { next - 3 } else { next };
                    if map.insert(id, 0).is_none() {
                        roll.insert(record(&listener, id));
                    }
                }
                Step::Leave(n) => if let Some(id) = nth(&map, n) {
                    map.remove(&id);
                    prop_assert_eq!(roll.remove(SessionId(id)).map(|record| record.id.0), Some(id));
                    prop_assert!(roll.remove(SessionId(id)).is_none() && roll.get(SessionId(id)).is_none());
                },
                Step::Due(n, at) => if let Some(id) = nth(&map, n) {
                    map.insert(id, at);
                    roll.set_due([(SessionId(id), at)]);
                },
                Step::AllDue => {
                    map.values_mut().for_each(|due| *due = 0);
                    roll.set_all_due();
                }
            }
            prop_assert_eq!(roll.len(), map.len());
            prop_assert!(roll.places.len() <= 2 * map.len());
        }
        prop_assert_eq!(ids(&roll.behind(None, usize::MAX)), map.keys().copied().collect::<Vec<_>>());
        let wanted: Vec<u64> = map.iter().filter(|(_, due)| **due <= now).map(|(id, _)| *id).collect();
        prop_assert_eq!(due(&mut roll, now), wanted.clone());
        // Nobody was told when to be looked at next, so nobody is, but those who were not due.
        let later: Vec<u64> = map.iter().filter(|(_, due)| **due > now).map(|(id, _)| *id).collect();
        prop_assert_eq!(roll.is_due(now), false);
        prop_assert_eq!(roll.is_due(100), !later.is_empty());
        let half: Vec<u64> = map.keys().copied().skip(map.len() / 2).take(3).collect();
        let before = map.keys().copied().nth((map.len() / 2).wrapping_sub(1)).map(SessionId);
        prop_assert_eq!(ids(&roll.behind(before, 3)), half);
    }
}

#[test]
fn a_long_roll_is_looked_through_in_steps_and_its_room_is_given_back() {
    let (listener, mut roll) = (listener(), Roll::default());
    let all: Vec<u64> = (1..=40_000).collect();
    all.iter().for_each(|id| roll.insert(record(&listener, *id)));
    assert!(roll.places.capacity() < 40_000 * 13 / 10, "{}", roll.places.capacity());
    assert_eq!(due(&mut roll, 0), all);
    roll.set_due(all.iter().map(|id| (SessionId(*id), 9)));
    assert!(due(&mut roll, 8).is_empty());
    roll.set_due([(SessionId(39_999), 5)]);
    assert_eq!(due(&mut roll, 8), [39_999]);
    for id in all.iter().filter(|id| *id % 100 != 0) {
        roll.remove(SessionId(*id));
    }
    assert_eq!(roll.len(), 400);
    assert!(roll.places.capacity() < 2_000, "{}", roll.places.capacity());
}

#[test]
fn a_session_is_idle_only_by_its_worker_s_clock() {
    let (listener, ledger) = (listener(), Ledger::new(1, AccessLogs::default()));
    let clock = Arc::<crate::relay::IdleClock>::default();
    ledger.shards[0].clock.set(clock.clone().into()).expect("the first");
    let started = Instant::now() - std::time::Duration::from_secs(60);
    let record = Record::new(SessionId(1), listener, (Peer::Unix, Peer::Unix), started, 0);
    record.tally.stir(clock.now());
    assert!(ledger.idle_for(&record).is_zero());
    (0..8).for_each(|_| assert!(clock.advance(std::time::Duration::from_millis(250)).0));
    assert_eq!(ledger.idle_for(&record).as_millis(), 2000 - 375);
    record.tally.stir(clock.now());
    assert!(ledger.idle_for(&record).is_zero());
}
