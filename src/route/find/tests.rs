//! Which route takes whom, and what is not known yet.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::config::plan::{Destination, HeadPattern, Words};

fn name(text: &str) -> NamePattern {
    match text.strip_prefix("*.") {
        Some(parent) => NamePattern::Child(parent.into()),
        None if text == "*" => NamePattern::Any,
        None => NamePattern::Name(text.into()),
    }
}

fn names(texts: &[&str]) -> Vec<NamePattern> {
    texts.iter().map(|text| name(text)).collect()
}

fn route(when: Match) -> Route {
    Route { when, to: Destination::Reject }
}

const NOTHING: Shown<'_> = Shown { client: None, port: None, facts: None, head: b"", authority: None };

fn facts(sni: Option<&str>, alpn: &[&str]) -> Facts {
    let alpn = alpn.iter().map(|name| name.as_bytes().into()).collect();
    Facts { sni: sni.map(Into::into), alpn, ..Facts::default() }
}

#[test]
fn the_first_that_matches_wins_and_all_it_asks_for_must_hold() {
    let both = Match { sni: names(&["*.x", "y"]), alpn: vec![b"h2".as_slice().into()], ..Match::default() };
    let routes = [route(both), route(Match { sni: names(&["a.x"]), ..Match::default() }), route(Match::default())];
    let found = |of: &Facts| find(&routes, &Shown { facts: Some(of), ..NOTHING });
    assert_eq!(found(&facts(Some("a.x"), &["h3", "h2"])), Found::Route(0));
    assert_eq!(found(&facts(Some("y"), &["h2"])), Found::Route(0));
    assert_eq!(found(&facts(Some("a.x"), &["http/1.1"])), Found::Route(1));
    assert_eq!(found(&facts(Some("b.x"), &[])), Found::Route(2));
    assert_eq!(found(&facts(None, &["h2"])), Found::Route(2));
    assert_eq!(find(&routes[..2], &Shown { facts: Some(&Facts::default()), ..NOTHING }), Found::Nowhere);
}

#[test]
fn what_may_still_match_hides_what_is_behind_it() {
    let sni = route(Match { sni: names(&["a.x"]), ..Match::default() });
    let all = route(Match::default());
    assert_eq!(find(&[sni.clone(), all.clone()], &NOTHING), Found::Undecided);
    // Before it, no byte is needed.
    assert_eq!(find(&[all.clone(), sni.clone()], &NOTHING), Found::Route(0));
    // And one thing that certainly does not hold is enough.
    let elsewhere = route(Match { port: vec![1], ..sni.when.clone() });
    assert_eq!(find(&[elsewhere, all], &Shown { port: Some(2), ..NOTHING }), Found::Route(1));
}

#[test]
fn each_thing_is_looked_for_in_its_own_place() {
    let one = |when: Match, shown: &Shown<'_>| find(&[route(when)], shown);
    let client = |ip: &str| Shown { client: ip.parse().ok(), ..NOTHING };
    let source = || Match { source: vec!["10.0.0.0/8".parse().unwrap()], ..Match::default() };
    assert_eq!(one(source(), &client("10.1.2.3")), Found::Route(0));
    assert_eq!(one(source(), &client("11.1.2.3")), Found::Nowhere);
    assert_eq!(one(source(), &NOTHING), Found::Nowhere, "who has no address is in no network");
    let authority = || Match { authority: names(&["*.x"]), ..Match::default() };
    assert_eq!(one(authority(), &Shown { authority: Some("a.x"), ..NOTHING }), Found::Route(0));
    assert_eq!(one(authority(), &Shown { facts: Some(&facts(Some("a.x"), &[])), ..NOTHING }), Found::Nowhere);
    let prefix = || Match { prefix: Some(b"SSH-".as_slice().into()), ..Match::default() };
    let head = |head| Shown { head, ..NOTHING };
    let got = [&b""[..], b"SSH", b"SSH-2", b"SSX"].map(|bytes| one(prefix(), &head(bytes)));
    assert_eq!(got, [Found::Undecided, Found::Undecided, Found::Route(0), Found::Nowhere]);
    let regex = || Match { regex: HeadPattern::new("^GE?T", 9).ok(), ..Match::default() };
    let got = [&b"G"[..], b"GT", b"P"].map(|bytes| one(regex(), &head(bytes)));
    assert_eq!(got, [Found::Undecided, Found::Route(0), Found::Nowhere]);
    let san = || Match { client_san: vec![Words("spiffe://prod/*".into())], ..Match::default() };
    let shown = Facts { client_sans: vec!["x".into(), "spiffe://prod/a".into()], ..Facts::default() };
    assert_eq!(one(san(), &Shown { facts: Some(&shown), ..NOTHING }), Found::Route(0));
    assert_eq!(one(san(), &Shown { facts: Some(&Facts::default()), ..NOTHING }), Found::Nowhere);
}

fn matching() -> impl Strategy<Value = Match> {
    let sni = vec(prop_oneof!["[ab]", "[ab]\\.x", Just("*.x".to_owned()), Just("*".to_owned())], 0..3);
    let alpn = vec("[pq]", 0..2);
    let source = vec(prop_oneof![Just("10.0.0.0/8"), Just("10.0.0.1/32"), Just("::/0")], 0..2);
    let (prefix, regex) = (proptest::option::of("[mn]{1,3}"), proptest::option::of("\\^?[mn]{1,3}"));
    (sni, alpn, source, vec(1..3_u16, 0..2), prefix, regex).prop_map(|(sni, alpn, source, port, prefix, regex)| Match {
        sni: sni.iter().map(|text| name(text)).collect(),
        alpn: alpn.into_iter().map(|text| text.into_bytes().into()).collect(),
        source: source.into_iter().map(|text| text.parse().unwrap()).collect(),
        port,
        prefix: prefix.map(|text| text.into_bytes().into()),
        regex: regex.map(|text| HeadPattern::new(&text, 4).unwrap()),
        ..Match::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever becomes known, and in whatever pieces, a decision stands.
    #[test]
    fn a_decision_stands(
        matches in vec(matching(), 0..5),
        sni in proptest::option::of("[ab](\\.x)?"), alpn in vec("[pq]", 0..2), bytes in "[mn]{0,6}",
        client in proptest::option::of(prop_oneof![Just("10.0.0.1"), Just("10.0.0.2"), Just("::1")]),
        port in 1..4_u16,
    ) {
        let routes: Vec<Route> = matches.into_iter().map(route).collect();
        let alpn: Vec<&str> = alpn.iter().map(String::as_str).collect();
        let facts = facts(sni.as_deref(), &alpn);
        let known = |facts, head| Shown {
            client: client.map(|ip| ip.parse().unwrap()), port: Some(port), facts, head, authority: None,
        };
        let bytes = bytes.as_bytes();
        let all = find(&routes, &known(Some(&facts), bytes));
        for end in 0..=bytes.len() {
            for facts in [None, Some(&facts)] {
                let found = find(&routes, &known(facts, &bytes[..end]));
                prop_assert!(found == Found::Undecided || found == all, "{:?} {:?}", found, all);
            }
        }
        // Nothing is left open by who has said everything.
        prop_assert!(bytes.len() < 4 || all != Found::Undecided);
    }

    /// A route that another one covers takes nobody whom that one does not.
    #[test]
    fn who_takes_the_covered_route_takes_the_covering_one(
        outer in matching(), inner in matching(),
        sni in proptest::option::of("[ab](\\.x)?"), alpn in vec("[pq]", 0..2), bytes in "[mn]{4}",
    ) {
        let alpn: Vec<&str> = alpn.iter().map(String::as_str).collect();
        let facts = facts(sni.as_deref(), &alpn);
        let shown = Shown {
            client: "10.0.0.1".parse().ok(), port: Some(1), facts: Some(&facts), head: bytes.as_bytes(), authority: None,
        };
        let takes = |when: &Match| find(&[route(when.clone())], &shown) == Found::Route(0);
        prop_assert!(!outer.covers(&inner) || !takes(&inner) || takes(&outer));
    }
}
