//! Host names of backends: asked again and again, and the last good answer kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;

use super::Keeper;
use crate::backend::BackendId;
use crate::config::plan::{self, BackendAddress};
use crate::discover::{self, DiscoverError, Resolver};
use crate::pool::seat::Seat;

/// Answers about host names that a configuration to come is the first to name, one for each of those backends.
#[derive(Debug, Default)]
pub struct Answers(Vec<Ahead>);

#[derive(Debug)]
struct Ahead {
    backend: Arc<str>,
    asked: BackendAddress,
    answer: Result<Vec<SocketAddr>, DiscoverError>,
}

impl Answers {
    /// Asks for the host names of `next` that backends of `now` do not have, all at once: before anything follows `next`,
    /// so that a resolver that takes its time holds up no pool.
    pub async fn ahead(resolver: &Arc<dyn Resolver>, now: &plan::Pool, next: &plan::Pool) -> Self {
        let known: BTreeMap<_, _> = now.backends.iter().map(|backend| (&backend.name, &backend.address)).collect();
        let mut asking = JoinSet::new();
        for backend in next.backends.iter().filter(|backend| known.get(&backend.name) != Some(&&backend.address)) {
            let (backend, asked, resolver) = (backend.name.clone(), backend.address.clone(), resolver.clone());
            if let BackendAddress::Host(host, port) = asked.clone() {
                asking.spawn(async move {
                    let answer = discover::resolve(&*resolver, &host, port).await;
                    Ahead { backend, asked, answer }
                });
            }
        }
        Self(asking.join_all().await)
    }
}

impl Keeper {
    /// Takes in what was asked ahead, and asks in the background for what is still unknown.
    pub(super) fn learn(&mut self, Answers(answers): Answers) {
        let ids: BTreeMap<_, _> = self.seats.iter().map(|seat| (seat.spec.name.clone(), seat.backend.id)).collect();
        let mut told = BTreeSet::new();
        for Ahead { backend, asked, answer } in answers {
            let Some(id) = ids.get(&backend).copied() else { continue };
            self.take_answer(Answered { id, asked, answer });
            told.insert(backend);
        }
        let mut asking = std::mem::take(&mut self.asking);
        self.ask_into(&mut asking, |seat| seat.resolved.is_empty() && !told.contains(&seat.spec.name));
        self.asking = asking;
    }

    /// Asks for the host names of some backends, all at once, and waits for the answers.
    pub(super) async fn resolve(&mut self, wanted: impl Fn(&Seat) -> bool) {
        let mut answers = self.ask_for_names(wanted);
        while let Some(answer) = answers.join_next().await {
            if let Ok(answered) = answer {
                self.take_answer(answered);
            }
        }
    }

    /// Asks for the host names of some backends, all at once.
    pub(super) fn ask_for_names(&self, wanted: impl Fn(&Seat) -> bool) -> JoinSet<Answered> {
        let mut answers = JoinSet::new();
        self.ask_into(&mut answers, wanted);
        answers
    }

    fn ask_into(&self, answers: &mut JoinSet<Answered>, wanted: impl Fn(&Seat) -> bool) {
        for seat in self.seats.iter().filter(|seat| wanted(seat)) {
            if let BackendAddress::Host(host, port) = &seat.spec.address {
                let (resolver, host, port) = (self.tools.resolver.clone(), host.clone(), *port);
                let (id, asked) = (seat.backend.id, seat.spec.address.clone());
                answers.spawn(async move {
                    let answer = discover::resolve(&*resolver, &host, port).await;
                    Answered { id, asked, answer }
                });
            }
        }
    }

    /// Takes an answer in, and says whether it changes anything; an error keeps the last good one.
    pub(super) fn take_answer(&mut self, Answered { id, asked, answer }: Answered) -> bool {
        // A reload may have come between.
        let still = |seat: &&mut Seat| seat.spec.address == asked;
        let Some(seat) = self.seats.of(id).filter(still) else { return false };
        let address = seat.spec.address.to_string();
        match answer {
            Ok(answer) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                self.pool.cells.discovery_last_success.store(now, Relaxed);
                let next = discover::keep_current(&seat.resolved, answer);
                let changed = next != seat.resolved || seat.trouble.is_some();
                if changed {
                    tracing::info!(pool = %self.pool.name, backend = %seat.spec.name, address, answer = ?next, "host name resolved");
                }
                if next.first() != seat.resolved.first() {
                    seat.backend.forget_latency();
                }
                seat.resolved = next;
                seat.trouble = None;
                changed
            }
            Err(error) => {
                self.pool.cells.discovery_errors[error as usize].inc();
                let kept = if seat.resolved.is_empty() { "none to use" } else { "keeping the last good answer" };
                tracing::warn!(pool = %self.pool.name, backend = %seat.spec.name, address, error = error.as_str(), "host name not resolved; {kept}");
                seat.trouble.replace(error) != Some(error)
            }
        }
    }
}

/// What a host name of a backend stands for.
#[derive(Debug)]
pub(super) struct Answered {
    id: BackendId,
    asked: BackendAddress,
    answer: Result<Vec<SocketAddr>, DiscoverError>,
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::balance::CATALOGUE;
    use crate::discover::{Resolution, Resolver};
    use crate::metrics::BackendState;
    use crate::pool::keeper::REFRESH;
    use crate::pool::{Pool, Tools};

    /// Answers what it was told to, one answer a question.
    #[derive(Debug, Default)]
    struct Scripted(Mutex<Vec<io::Result<Vec<SocketAddr>>>>);

    impl Resolver for Scripted {
        fn lookup<'a>(&'a self, _: &'a str, _: u16) -> Resolution<'a> {
            let answer = self.0.lock().expect("sound").remove(0);
            Box::pin(async move { answer })
        }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 5432))
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_keeps_its_address_while_the_answer_has_it_and_its_last_good_answer_for_ever() {
        let yaml = "{ listeners: { l: { bind: 127.0.0.1:0, pool: p } },
                      pools: { p: { backends: 'db.example.com:5432' } } }";
        let plan = crate::config::parse("test.yaml", yaml, &CATALOGUE, &|_| None).expect("valid");
        let pool = Arc::new(Pool::new(plan.pools[0].clone()));
        let nobody = || Err(io::Error::from(io::ErrorKind::NotFound));
        let answers = vec![
            nobody(),
            Ok(vec![address(2), address(3)]),
            Ok(vec![address(1), address(2)]),
            Ok(vec![]),
            Ok(vec![address(9)]),
        ];
        let resolver = Arc::new(Scripted(Mutex::new(answers)));
        let mut keeper = Keeper::new(pool.clone(), Tools { resolver, ..Tools::alone(1) });
        let seen = |pool: &Pool| {
            let seat = &pool.snapshot().seats[0];
            (seat.state, seat.targets.iter().map(ToString::to_string).collect::<Vec<_>>())
        };

        keeper.start().await;
        assert_eq!(seen(&pool), (BackendState::Down, vec![]));
        assert!(!pool.is_usable());
        let _running = keeper.spawn();
        let expected = [
            vec!["127.0.0.2:5432", "127.0.0.3:5432"],
            vec!["127.0.0.2:5432", "127.0.0.1:5432"], // still there, so still first
            vec!["127.0.0.2:5432", "127.0.0.1:5432"], // an empty answer is no answer
            vec!["127.0.0.9:5432"],
        ];
        for expected in expected {
            tokio::time::sleep(REFRESH + Duration::from_millis(1)).await;
            assert_eq!(seen(&pool), (BackendState::Up, expected.iter().map(ToString::to_string).collect()));
        }
        assert_eq!(pool.cells.discovery_errors[DiscoverError::Failed as usize].get(), 1);
        assert_eq!(pool.cells.discovery_errors[DiscoverError::Empty as usize].get(), 1);
    }

    /// Answers after four seconds.
    #[derive(Debug)]
    struct Slow;

    impl Resolver for Slow {
        fn lookup<'a>(&'a self, _: &'a str, _: u16) -> Resolution<'a> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(4)).await;
                Ok(vec![address(1)])
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_resolver_holds_up_nobody_who_follows() {
        let settings = |backend: &str| {
            let yaml = format!(
                "{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }}, pools: {{ p: {{ backends: '{backend}' }} }} }}"
            );
            crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None).expect("valid").pools.remove(0)
        };
        let resolver: Arc<dyn Resolver> = Arc::new(Slow);
        let pool = Arc::new(Pool::new(settings("127.0.0.1:1")));
        let mut keeper = Keeper::new(pool.clone(), Tools { resolver: resolver.clone(), ..Tools::alone(1) });
        keeper.start().await;
        let keeper = keeper.spawn();
        let dialable = || !pool.snapshot().seats[0].targets.is_empty();

        let began = tokio::time::Instant::now();
        keeper.follow(settings("one.example.com:5432"), None, Answers::default()).await;
        assert!(began.elapsed() < Duration::from_secs(1) && !dialable(), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(dialable(), "it was asked for meanwhile");

        let next = settings("two.example.com:5432");
        let answers = Answers::ahead(&resolver, &pool.settings(), &next).await;
        let began = tokio::time::Instant::now();
        keeper.follow(next.clone(), None, answers).await;
        assert!(began.elapsed() < Duration::from_secs(1) && dialable(), "it was asked for before");
        let began = tokio::time::Instant::now();
        Answers::ahead(&resolver, &pool.settings(), &next).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "nothing is new");
    }

    #[tokio::test]
    async fn a_usable_seat_has_an_address_also_when_another_of_the_same_name_has_none() {
        let yaml = "{ listeners: { l: { bind: 127.0.0.1:0, pool: p } },
                      pools: { p: { backends: [ { name: a, address: 'db.example.com:5432' },
                                                { name: b, address: 'db.example.com:5432' } ] } } }";
        let plan = crate::config::parse("test.yaml", yaml, &CATALOGUE, &|_| None).expect("valid");
        let pool = Arc::new(Pool::new(plan.pools[0].clone()));
        let answers = vec![Err(io::Error::from(io::ErrorKind::TimedOut)), Ok(vec![address(2)])];
        let resolver = Arc::new(Scripted(Mutex::new(answers)));
        let mut keeper = Keeper::new(pool.clone(), Tools { resolver, ..Tools::alone(1) });
        keeper.start().await;
        let snapshot = pool.snapshot();
        assert_eq!(snapshot.members.iter().filter(|member| member.usable).count(), 1);
        for (seat, member) in snapshot.seats.iter().zip(&snapshot.members) {
            assert_eq!(member.usable, !seat.targets.is_empty(), "{seat:?}");
        }
    }
}
