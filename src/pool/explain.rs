//! Who would get a session now, and what keeps the others from it. Looks, and changes nothing.

use super::{Choice, Snapshot};
use crate::balance::Draw;
use crate::config::plan::PolicySpec;

/// What would come of a session; members are indices into the snapshot's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospect {
    /// Who may get it. Of a policy that follows keys that is one, unless there is none.
    pub any_of: Vec<usize>,
    /// Of a policy that follows keys: all members in the order in which the key prefers them.
    pub order: Option<Vec<usize>>,
    /// What each member is to it.
    pub standings: Vec<Standing>,
}

/// What a member is to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It gets the session, or is one of those that may.
    Chosen,
    /// It could take the session, but another one is preferred.
    Eligible,
    /// It gets no new sessions.
    Unusable,
    /// It has all the sessions it may have.
    Full,
    /// It has its share of the sessions, as `bounded_load` counts.
    Loaded,
    /// It has just failed to connect, and others have not.
    Suspect,
    /// Its zone is asked only when this instance's has nobody.
    OtherZone,
    /// Its tier is asked only when better ones have nobody.
    OtherTier,
}

/// The groups that are asked for a session, and who of them may get it.
struct Asked<'a> {
    choices: &'a [Choice],
    any_of: Vec<usize>,
}

impl Snapshot {
    /// Who would get a session of this draw. `policy` is what the snapshot's policies were built of.
    pub fn prospect(&self, policy: &PolicySpec, draw: &Draw<'_>) -> Prospect {
        let order = policy.hash.map(|_| self.preferences(draw.key));
        let asked = match order {
            Some(_) => self.ask_by_key(draw),
            None => self.ask_all(policy, draw),
        };
        let standings = self.standings(&asked, order.as_deref().unwrap_or_default(), draw);
        Prospect { any_of: asked.any_of, order, standings }
    }

    /// The key's order over all groups, those first that are asked first.
    fn preferences(&self, key: u64) -> Vec<usize> {
        let of_choice = |choice: &Choice| -> Vec<usize> {
            let order = choice.policy.order(key).into_iter().flatten();
            order.map(|seat| choice.seats[usize::from(seat.0)]).collect()
        };
        self.choices.iter().flat_map(of_choice).collect()
    }

    /// Asks as a session does: a policy that follows keys has no state that a pick could change.
    fn ask_by_key(&self, draw: &Draw<'_>) -> Asked<'_> {
        let pick = |choice: &Choice| choice.pick(draw).map(|pick| choice.seats[usize::from(pick.seat.0)]);
        let found = self.choices.iter().enumerate().find_map(|(at, choice)| Some((at, pick(choice)?)));
        match found {
            Some((at, member)) => Asked { choices: &self.choices[..=at], any_of: vec![member] },
            None => Asked { choices: &self.choices, any_of: Vec::new() },
        }
    }

    /// Asks nobody, for a pick may move a cursor or follow chance: all whom it could lead to.
    fn ask_all(&self, policy: &PolicySpec, draw: &Draw<'_>) -> Asked<'_> {
        let (mut any_of, mut asked) = (Vec::new(), 0);
        while any_of.is_empty() && asked < self.choices.len() {
            // A zone that spills over shares its sessions with the rest of its tier.
            let together = if self.choices[asked].first < 1.0 { 2 } else { 1 };
            let end = self.choices.len().min(asked + together);
            any_of.extend(self.choices[asked..end].iter().flat_map(|choice| choice.takers(policy, draw)));
            asked = end;
        }
        Asked { choices: &self.choices[..asked], any_of }
    }

    fn standings(&self, asked: &Asked<'_>, order: &[usize], draw: &Draw<'_>) -> Vec<Standing> {
        let mut standings = self.standings_unasked(asked);
        for choice in asked.choices {
            for (member, index) in choice.members.iter().zip(&choice.seats) {
                if matches!(standings[*index], Standing::OtherTier | Standing::OtherZone) {
                    let suspect = member.backend.is_suspect(draw.now);
                    standings[*index] = if suspect { Standing::Suspect } else { Standing::Eligible };
                }
            }
        }
        asked.any_of.iter().for_each(|index| standings[*index] = Standing::Chosen);
        // Of those that a key prefers to the one it gets, nothing else can be wrong.
        for index in order.iter().take_while(|index| !asked.any_of.contains(index)) {
            if standings[*index] == Standing::Eligible {
                standings[*index] = Standing::Loaded;
            }
        }
        standings
    }

    /// What members are as long as their group is not asked.
    fn standings_unasked(&self, asked: &Asked<'_>) -> Vec<Standing> {
        let tiers = asked.choices.iter().flat_map(|choice| &choice.seats).map(|index| self.seats[*index].tier);
        let last = tiers.max();
        let standing = |(member, seat): (&crate::balance::Member, &super::SeatFacts)| match member.usable {
            false => Standing::Unusable,
            true if member.is_full() => Standing::Full,
            true if last.is_some_and(|last| seat.tier <= last) => Standing::OtherZone,
            true => Standing::OtherTier,
        };
        self.members.iter().zip(&self.seats).map(standing).collect()
    }
}

impl Choice {
    /// Those that a pick could lead to: suspects only if there is nobody else.
    fn takers(&self, policy: &PolicySpec, draw: &Draw<'_>) -> Vec<usize> {
        let free = self.members.iter().zip(&self.seats).filter(|(member, _)| member.may_take(draw));
        let (suspect, trusted): (Vec<_>, Vec<_>) = free.partition(|(member, _)| member.backend.is_suspect(draw.now));
        let takers = if trusted.is_empty() { suspect } else { trusted };
        // Of all policies that do not follow keys, one leaves nothing open.
        let most = if policy.name == "first" { 1 } else { usize::MAX };
        takers.into_iter().map(|(_, index)| *index).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Instant;

    use super::*;
    use crate::balance::CATALOGUE;
    use crate::pool::{Keeper, Pool, Tools};

    /// A pool as `{ policy: …, backends: … }` says, in zone `here`.
    async fn pool(settings: &str) -> Arc<Pool> {
        let yaml = format!("{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }}, pools: {{ p: {settings} }} }}");
        let plan = crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None);
        let plan = plan.unwrap_or_else(|errors| panic!("{errors}"));
        let pool = Arc::new(Pool::new(plan.pools[0].clone()));
        Keeper::new(pool.clone(), Tools { zone: Some("here".into()), ..Tools::alone(1) }).start().await;
        pool
    }

    fn backend(name: &str, more: &str) -> String {
        format!("{{ name: {name}, address: '127.0.0.1:{}', {more} }}", name.as_bytes()[0])
    }

    fn draw(key: u64) -> Draw<'static> {
        Draw { key, entropy: 0, now: Instant::now(), tried: &[] }
    }

    fn prospect(pool: &Pool, key: u64) -> Prospect {
        pool.snapshot().prospect(&pool.settings().policy, &draw(key))
    }

    #[tokio::test]
    async fn a_key_gets_whom_it_is_said_to_get() {
        for policy in ["maglev", "rendezvous", "ring_hash", "{ maglev: { bounded_load: 1.25 } }"] {
            let backends: Vec<_> = ["a", "b", "c"].map(|name| backend(name, "max_connections: 40")).into();
            let pool = pool(&format!("{{ policy: {policy}, backends: [ {} ] }}", backends.join(", "))).await;
            let mut held = Vec::new();
            for key in 0..120 {
                let said = prospect(&pool, key);
                let lease = pool.lease(&draw(key)).expect("there is room");
                assert_eq!(pool.snapshot().members[said.any_of[0]].backend.id, lease.backend().id, "{policy} {key}");
                let before = said.order.iter().flatten().take_while(|index| **index != said.any_of[0]);
                let passed: Vec<_> = before.map(|index| said.standings[*index]).collect();
                let reasons = [Standing::Full, Standing::Loaded];
                assert!(passed.iter().all(|standing| reasons.contains(standing)), "{policy} {key} {passed:?}");
                held.push(lease);
            }
            assert!(prospect(&pool, 0).any_of.is_empty());
        }
    }

    #[tokio::test]
    async fn looking_changes_nothing() {
        for kind in CATALOGUE.policies {
            let backends = [backend("a", "max_connections: 1"), backend("b", "")].join(", ");
            let pool = pool(&format!("{{ policy: {}, backends: [ {backends} ] }}", kind.name)).await;
            let _held = pool.snapshot().members[0].backend.claim();
            pool.snapshot().members[1].backend.observe_failure(Instant::now());
            let first = prospect(&pool, 7);
            assert!((0..10).all(|_| prospect(&pool, 7) == first), "{}", kind.name);
            assert_eq!(pool.cursor.load(Relaxed), 0, "{}", kind.name);
            assert_eq!(pool.cells.hash_displaced.get(), 0, "{}", kind.name);
            assert_eq!(pool.snapshot().members.iter().map(|member| member.backend.active()).sum::<u32>(), 1);
        }
    }

    #[tokio::test]
    async fn each_reason_has_its_standing() {
        let backends = [
            backend("a", "zone: here"),
            backend("b", "zone: here, disabled: true"),
            backend("c", "zone: here, max_connections: 1"),
            backend("d", "zone: here"),
            backend("e", "zone: there"),
            backend("f", "zone: here, tier: 1"),
        ];
        let pool = pool(&format!("{{ policy: random, backends: [ {} ] }}", backends.join(", "))).await;
        let _full = pool.snapshot().members[2].backend.claim();
        pool.snapshot().members[3].backend.observe_failure(Instant::now());
        let said = prospect(&pool, 0);
        use Standing::*;
        // A quarter of the zone's weight is gone, so a quarter of the sessions goes to the other zone.
        assert_eq!(said.standings, [Chosen, Unusable, Full, Suspect, Chosen, OtherTier]);
        assert_eq!((said.any_of, said.order), (vec![0, 4], None));
    }

    #[tokio::test]
    async fn a_whole_zone_keeps_its_sessions_and_a_full_one_passes_them_on() {
        let backends = [backend("a", "zone: here, max_connections: 1"), backend("b", "zone: there")].join(", ");
        let pool = pool(&format!("{{ policy: round_robin, backends: [ {backends} ] }}")).await;
        assert_eq!(prospect(&pool, 0).standings, [Standing::Chosen, Standing::OtherZone]);
        let _full = pool.snapshot().members[0].backend.claim();
        assert_eq!(prospect(&pool, 0).standings, [Standing::Full, Standing::Chosen]);
    }

    #[tokio::test]
    async fn first_leaves_nothing_open_and_suspects_are_better_than_nobody() {
        let backends = [backend("a", ""), backend("b", "")].join(", ");
        let pool = pool(&format!("{{ policy: first, backends: [ {backends} ] }}")).await;
        assert_eq!(prospect(&pool, 0).standings, [Standing::Chosen, Standing::Eligible]);
        pool.snapshot().members[0].backend.observe_failure(Instant::now());
        assert_eq!(prospect(&pool, 0).standings, [Standing::Suspect, Standing::Chosen]);
        pool.snapshot().members[1].backend.observe_failure(Instant::now());
        assert_eq!(prospect(&pool, 0).any_of, [0]);
    }
}
