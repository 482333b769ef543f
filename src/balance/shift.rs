//! How much of a pool's keys another configuration of it would send elsewhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::{Draw, Member, build};
use crate::backend::Registry;
use crate::config::plan::{BackendAddress, Pool};

/// Keys that are tried: the share is right to about a percent.
const SAMPLE: u64 = 4096;

/// The share, 0.0 to 1.0, of keys whose home in `after` is another address than in `before`, all backends being well;
/// `None` unless both follow keys. A pool that goes by other keys sends all of them elsewhere.
pub fn share_moved(before: &Pool, after: &Pool, now: Instant) -> Option<f64> {
    let (old, new) = (before.policy.hash?, after.policy.hash?);
    if (old.key, old.prefix_v6) != (new.key, new.prefix_v6) {
        return Some(1.0);
    }
    let (old, new) = (homes(before, now), homes(after, now));
    let moved = old.iter().zip(&new).filter(|(old, new)| old != new).count();
    Some(moved as f64 / SAMPLE as f64)
}

/// The address of each key's home; `None` where nobody is at home.
fn homes(pool: &Pool, now: Instant) -> Vec<Option<&BackendAddress>> {
    let registry = Registry::new(1);
    let enabled = || pool.backends.iter().filter(|backend| !backend.disabled);
    let first_tier = enabled().map(|backend| backend.tier).min().unwrap_or_default();
    // A table is built over all of a tier, disabled ones too.
    let seated: Vec<_> = pool.backends.iter().filter(|backend| backend.tier == first_tier).collect();
    let member = |backend: &&crate::config::plan::Backend| Member {
        backend: registry.get(&pool.name, &backend.name),
        weight: backend.weight,
        usable: !backend.disabled,
        max_connections: None,
    };
    let members: Vec<Member> = seated.iter().map(member).collect();
    // A bound moves keys with the load, and there is none here.
    let mut spec = pool.policy.clone();
    spec.hash.iter_mut().for_each(|hash| hash.bounded_load = None);
    let policy = build(&spec, &members, &Arc::default());
    let addresses: HashMap<usize, &BackendAddress> =
        seated.iter().map(|backend| &backend.address).enumerate().collect();
    let home = |index: u64| {
        // Keys are hashes: spread over all numbers.
        let key = xxhash_rust::xxh3::xxh3_64(&index.to_le_bytes());
        let pick = policy.pick(&members, &Draw { key, entropy: 0, now, tried: &[] })?;
        addresses.get(&usize::from(pick.seat.0)).copied()
    };
    (0..SAMPLE).map(home).collect()
}

#[cfg(test)]
mod tests {
    use super::super::CATALOGUE;
    use super::*;

    fn pool(text: &str) -> Pool {
        let yaml =
            format!("{{ listeners: {{ l: {{ bind: '127.0.0.1:0', pool: p }} }}, pools: {{ p: {{ {text} }} }} }}");
        let plan = crate::config::parse("t.yaml", &yaml, &CATALOGUE, &|_| None);
        plan.unwrap_or_else(|errors| panic!("{errors}")).pools.remove(0)
    }

    fn moved(before: &str, after: &str) -> Option<f64> {
        share_moved(&pool(before), &pool(after), Instant::now())
    }

    #[test]
    fn about_as_many_move_as_must() {
        let three = "policy: maglev, backends: [ 10.0.0.1:1, 10.0.0.2:1, 10.0.0.3:1 ]";
        let two = "policy: maglev, backends: [ 10.0.0.1:1, 10.0.0.2:1 ]";
        assert_eq!(moved(three, three), Some(0.0));
        assert_eq!(moved(three, "policy: maglev, backends: [ 10.0.0.3:1, 10.0.0.1:1, 10.0.0.2:1 ]"), Some(0.0));
        let one_of_three = moved(three, two).expect("both hash");
        assert!((0.3..0.45).contains(&one_of_three), "{one_of_three}");
    }

    #[test]
    fn another_key_or_another_address_moves_what_it_names() {
        let named =
            |address: &str| format!("policy: maglev, backends: [ {{ name: a, address: '{address}' }}, 10.0.0.2:1 ]");
        let half = moved(&named("10.0.0.1:1"), &named("10.0.0.9:1")).expect("both hash");
        assert!((0.45..0.55).contains(&half), "{half}");
        let by = |key: &str| format!("policy: {{ maglev: {{ key: {key} }} }}, backends: 10.0.0.1:1");
        assert_eq!(moved(&by("client_ip"), &by("client_ip_port")), Some(1.0));
    }

    #[test]
    fn what_follows_no_keys_moves_none() {
        assert_eq!(moved("policy: random, backends: 'h:1'", "policy: maglev, backends: 'h:1'"), None);
        assert_eq!(moved("policy: maglev, backends: []", "policy: maglev, backends: []"), Some(0.0));
    }
}
