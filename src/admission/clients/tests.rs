use std::net::Ipv4Addr;
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const ANY: Limits = Limits { max_connections: None, pace: None };

fn paced(rate: u64) -> Limits {
    Limits { pace: NonZeroU64::new(rate).map(Pace::new), ..ANY }
}

fn at_most(max: u32) -> Limits {
    Limits { max_connections: Some(max), ..ANY }
}

fn key(text: &str, prefix_v6: u8) -> ClientKey {
    ClientKey::new(Peer::Ip(format!("{text}:1").parse().expect("an address")), prefix_v6)
}

fn v4(number: u32) -> ClientKey {
    ClientKey::new(Peer::tcp((Ipv4Addr::from_bits(number), 1).into()), 64)
}

fn remembered(clients: &Clients) -> usize {
    clients.shards.iter().map(|shard| shard.lock().expect("no panic").known.len()).sum()
}

#[test]
fn a_client_is_an_address_or_the_first_bits_of_one() {
    assert_eq!(key("[2001:db8:0:1::7]", 64), key("[2001:db8:0:1:ffff::8]", 64));
    assert_ne!(key("[2001:db8:0:1::7]", 64), key("[2001:db8:0:2::7]", 64));
    assert_ne!(key("[2001:db8::7]", 128), key("[2001:db8::8]", 128));
    assert_eq!(key("[2001:db8::7]", 1), key("[3fff::1]", 1));
    assert_ne!(key("10.0.0.1", 1), key("10.0.0.2", 1), "an IPv4 address counts as a whole");
    assert_eq!(key("10.0.0.1", 64), key("[::ffff:10.0.0.1]", 64));
    let unix = ClientKey::new(Peer::Unix, 64);
    assert!(["10.0.0.1", "[::1]", "[2001:db8::7]"].iter().all(|client| key(client, 64) != unix));
}

#[test]
fn each_client_has_its_own_sessions() {
    let clients = Clients::default();
    let (one, other) = (v4(1), v4(2));
    assert_eq!([1, 2, 3].map(|_| clients.enter(one, at_most(2), 0).is_ok()), [true, true, false]);
    assert_eq!(clients.enter(one, at_most(2), 0), Err(Refused::MaxConnectionsClient));
    assert_eq!(clients.enter(other, at_most(2), 0), Ok(()));
    clients.leave(one, None, || 0);
    assert_eq!(clients.enter(one, at_most(2), 0), Ok(()));
    assert_eq!(clients.enter(one, at_most(1), 0), Err(Refused::MaxConnectionsClient), "a lower limit ends nobody");
}

#[test]
fn whoever_has_nothing_is_forgotten_at_once() {
    let clients = Clients::default();
    for number in 0..1000 {
        clients.enter(v4(number), ANY, 0).expect("no limit");
    }
    assert_eq!(remembered(&clients), 1000);
    (0..1000).for_each(|number| clients.leave(v4(number), None, || 0));
    assert_eq!(remembered(&clients), 0);
}

#[test]
fn a_rate_is_remembered_after_the_last_session_until_it_no_longer_matters() {
    let clients = Clients::default();
    let visit = |now| {
        let let_in = clients.enter(v4(1), paced(2), now);
        let_in.inspect(|()| clients.leave(v4(1), None, || now))
    };
    assert_eq!([0, 0, 0].map(|now| visit(now).is_ok()), [true, true, false]);
    assert_eq!(visit(SECOND / 3), Err(Refused::RateClient));
    assert_eq!(visit(SECOND / 2), Ok(()));
    assert_eq!(remembered(&clients), 1);
    // Whoever comes to that place of the table later finds nobody there.
    for number in 2..200 {
        clients.enter(v4(number), ANY, 3 * SECOND).expect("no limit");
        clients.leave(v4(number), None, || 3 * SECOND);
    }
    assert_eq!(remembered(&clients), 0);
}

#[test]
fn a_session_that_never_was_takes_nothing_of_the_rate() {
    let clients = Clients::default();
    for _ in 0..10 {
        clients.enter(v4(1), paced(1), 0).expect("it never was");
        clients.leave(v4(1), NonZeroU64::new(1).map(Pace::new), || 0);
    }
    assert_eq!(remembered(&clients), 0);
}

/// 300 000 sources within a second, each with a session and then with none.
#[test]
fn a_flood_is_bounded_and_neither_frees_the_busy_nor_locks_out_the_innocent() {
    let clients = Clients::default();
    let busy = v4(u32::MAX);
    let both = Limits { max_connections: Some(1), ..paced(1) };
    clients.enter(busy, both, 0).expect("its first");
    for number in 0..300_000 {
        assert_eq!(clients.enter(v4(number), both, 0), Ok(()), "innocent");
        clients.leave(v4(number), None, || 0);
        if number % 1000 == 0 {
            assert_eq!(clients.enter(busy, both, 0), Err(Refused::MaxConnectionsClient));
        }
    }
    assert!(remembered(&clients) <= SHARDS * RESTING + 1, "{}", remembered(&clients));
    let queued: usize = clients.shards.iter().map(|shard| shard.lock().expect("no panic").resting.len()).sum();
    assert!(queued <= SHARDS * RESTING, "{queued}");
    // Who came last is still remembered, so more than 65 000 have to come to make room for one.
    assert_eq!(clients.enter(v4(299_999), both, 0), Err(Refused::RateClient));
}

/// Those who come again and again are not the ones to be forgotten.
#[test]
fn whoever_comes_again_rests_from_then_on() {
    let clients = Clients::default();
    let visit = |number: u32, rate, now| {
        clients.enter(v4(number), paced(rate), now).expect("within its rate");
        clients.leave(v4(number), None, || now);
    };
    visit(0, 1000, 0);
    for number in 1..200_000 {
        visit(number, 1, 0);
        if number % 20_000 == 0 {
            visit(0, 1000, 0);
        }
    }
    let (shard, key) = clients.shard(v4(0));
    let due = shard.known.get(&key).map(|client| client.full_at);
    assert_eq!(due, Some(10 * SECOND / 1000), "all of its ten visits are known");
}

#[test]
fn clients_whose_hashes_are_alike_are_told_apart() {
    let mut known = HashMap::<Hashed, u32, BuildHasherDefault<TakeOver>>::default();
    for number in 0..9 {
        known.insert(Hashed { key: v4(number), hash: 7 }, number);
    }
    assert!((0..9).all(|number| known.get(&Hashed { key: v4(number), hash: 7 }) == Some(&number)));
}

#[test]
fn where_nobody_is_remembered_nobody_asks_for_the_time() {
    let clients = Clients::default();
    clients.enter(v4(1), ANY, 0).expect("no limit");
    clients.leave(v4(1), None, || panic!("it is of no use"));
    assert!(clients.shards.iter().all(|shard| shard.lock().expect("no panic").known.is_empty()));
}

#[derive(Debug, Clone)]
enum Deed {
    Enter(u32),
    Leave(usize, bool),
    Wait(u64),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (0u32..6).prop_map(Deed::Enter),
        3 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(which, undone)| Deed::Leave(which, undone)),
        2 => (0..SECOND).prop_map(Deed::Wait),
    ];
    prop::collection::vec(deed, 0..300)
}

proptest! {
    /// Whatever happens, it is as if everything were remembered for ever.
    #[test]
    fn it_says_what_a_table_without_end_would_say(deeds in deeds(), max in 1u32..5, rate in 1u64..6) {
        let clients = Clients::default();
        let limits = Limits { max_connections: Some(max), ..paced(rate) };
        let mut known: HashMap<u32, (u32, u64)> = HashMap::new();
        let (mut inside, mut now) = (Vec::new(), SECOND);
        for deed in deeds {
            match deed {
                Deed::Wait(span) => now += span,
                Deed::Enter(who) => {
                    let (sessions, full_at) = known.entry(who).or_default();
                    let taken = limits.pace.and_then(|pace| pace.take(*full_at, now));
                    let expected = match taken {
                        _ if *sessions >= max => Err(Refused::MaxConnectionsClient),
                        None => Err(Refused::RateClient),
                        Some(next) => {
                            (*sessions, *full_at) = (*sessions + 1, next);
                            inside.push(who);
                            Ok(())
                        }
                    };
                    prop_assert_eq!(clients.enter(v4(who), limits, now), expected);
                }
                Deed::Leave(which, undone) if !inside.is_empty() => {
                    let who = inside.swap_remove(which % inside.len());
                    let never_was = limits.pace.filter(|_| undone);
                    clients.leave(v4(who), never_was, || now);
                    if let Some((sessions, full_at)) = known.get_mut(&who) {
                        *sessions -= 1;
                        *full_at = never_was.map_or(*full_at, |pace| pace.give_back(*full_at));
                    }
                }
                Deed::Leave(..) => {}
            }
        }
        inside.into_iter().for_each(|who| clients.leave(v4(who), None, || now));
        for shard in &clients.shards {
            let shard = shard.lock().expect("no panic");
            prop_assert!(shard.known.values().all(|client| client.sessions == 0 && client.rests));
            prop_assert_eq!(shard.known.len(), shard.resting.len());
        }
    }
}
