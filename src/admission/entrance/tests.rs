use std::num::NonZeroU64;
use std::time::Duration;

use super::*;
use crate::config::plan::{AccessList, Networks};

fn entrance(rules: Admission) -> Arc<Entrance> {
    Arc::new(Entrance::new(&rules, Instant::now()))
}

fn rate(rate: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(rate)
}

fn client(number: u8) -> Option<Peer> {
    Some(Peer::tcp(([10, 0, 0, number], 1).into()))
}

/// It comes in for good.
fn settled(entrance: &Arc<Entrance>, who: Option<Peer>, at: Instant) -> Result<Stay, Refused> {
    entrance.enter(who, at).map(|mut stay| {
        stay.settle();
        stay
    })
}

#[test]
fn a_lower_limit_ends_nobody_and_admits_nobody_until_there_are_fewer() {
    let at = Instant::now();
    let limited = |max| Admission { max_connections: max, ..Admission::default() };
    let entrance = entrance(limited(None));
    let mut inside: Vec<_> = (0..5).map(|_| settled(&entrance, client(1), at)).collect();
    entrance.follow(&limited(Some(2)));
    for left in (0..5).rev() {
        assert_eq!(settled(&entrance, client(1), at).err(), Some(Refused::MaxConnectionsListener), "{left}");
        if left == 1 {
            break;
        }
        inside.pop();
    }
    inside.pop();
    let last = settled(&entrance, client(1), at);
    assert!(last.is_ok() && settled(&entrance, client(1), at).is_err());
}

#[test]
fn sessions_from_before_a_client_was_limited_count() {
    let at = Instant::now();
    let entrance = entrance(Admission::default());
    let inside = settled(&entrance, client(1), at);
    let per_client = PerClient { max_connections: Some(1), ..PerClient::default() };
    entrance.follow(&Admission { per_client, ..Admission::default() });
    assert_eq!(settled(&entrance, client(1), at).err(), Some(Refused::MaxConnectionsClient));
    assert!(settled(&entrance, client(2), at).is_ok());
    drop(inside);
    assert!(settled(&entrance, client(1), at).is_ok());
}

#[test]
fn whoever_is_refused_takes_nothing_from_anyone() {
    let at = Instant::now();
    let per_client = PerClient { max_connections: Some(3), rate: rate(5), ..PerClient::default() };
    let rules = Admission { max_connections: Some(4), max_rate: rate(8), per_client, ..Admission::default() };
    let entrance = entrance(rules);
    // Someone else refuses these.
    (0..50).for_each(|_| drop(entrance.enter(client(1), at).expect("there is room")));
    let inside: Vec<_> = (0..3).map(|_| settled(&entrance, client(1), at).expect("its three")).collect();
    (0..50).for_each(|_| {
        assert_eq!(entrance.enter(client(1), at).err(), Some(Refused::MaxConnectionsClient));
    });
    let fourth = settled(&entrance, client(2), at).expect("there is room");
    (0..50).for_each(|_| {
        assert_eq!(entrance.enter(client(3), at).err(), Some(Refused::MaxConnectionsListener));
    });
    drop((inside, fourth));
    // Of the listener's eight four are left, and of the client's five two.
    assert!((0..2).all(|_| settled(&entrance, client(1), at).is_ok()));
    (0..50).for_each(|_| assert_eq!(entrance.enter(client(1), at).err(), Some(Refused::RateClient)));
    assert!((0..2).all(|_| settled(&entrance, client(3), at).is_ok()));
    (0..50).for_each(|_| assert_eq!(entrance.enter(client(3), at).err(), Some(Refused::RateListener)));
    let later = at + Duration::from_millis(130);
    assert!(settled(&entrance, client(3), later).is_ok(), "nothing of its own was taken by those fifty");
}

#[test]
fn a_client_that_is_denied_meets_no_limit() {
    let at = Instant::now();
    let deny = Networks { networks: vec!["10.0.0.1/32".parse().expect("a network")], unix: false };
    let access = Some(Arc::new(AccessList::new(&Networks::default(), &deny)));
    let entrance = entrance(Admission { access, max_rate: rate(1), max_connections: Some(1), ..Admission::default() });
    (0..50).for_each(|_| assert_eq!(entrance.enter(client(1), at).err(), Some(Refused::Denied)));
    assert!(settled(&entrance, client(2), at).is_ok());
}

#[test]
fn a_client_that_is_introduced_meets_its_own_limits() {
    let at = Instant::now();
    let per_client = PerClient { max_connections: Some(1), ..PerClient::default() };
    let entrance = entrance(Admission { per_client, ..Admission::default() });
    let introduced = |number| {
        let mut stay = settled(&entrance, None, at).expect("the peer that connects for all of them");
        stay.introduce(client(number).expect("a client"), at).map(|()| stay)
    };
    let first = introduced(1);
    assert_eq!(introduced(1).err(), Some(Refused::MaxConnectionsClient));
    assert!(introduced(2).is_ok());
    drop(first);
    assert!(introduced(1).is_ok());
    assert_eq!(entrance.sessions.load(Relaxed), 0);
}
