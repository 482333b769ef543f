//! The keeper: the one writer of a pool's snapshot. Runs on the control thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Pool, SeatFacts, ramp};
use crate::backend::{Backend, Registry};
use crate::balance::Member;
use crate::config::plan::{self, BackendAddress};
use crate::discover::{self, DiscoverError, Resolver};
use crate::metrics::BackendState;
use crate::net::Target;

/// How often host names are asked again. The system's resolver does not tell how long an answer
/// is good for; half a minute is what most records of moving services allow.
const REFRESH: Duration = Duration::from_secs(30);

/// Between looks at what changes by itself: weights that rise, connect times.
const LOOK: Duration = Duration::from_secs(1);

/// Publishes a pool's snapshots: at start, whenever a host name's answer changes, and while a slow
/// start goes on.
#[derive(Debug)]
pub struct Keeper {
    pool: Arc<Pool>,
    seats: Vec<Seat>,
    resolver: Arc<dyn Resolver>,
    /// Where this instance is, if that is known.
    zone: Option<Arc<str>>,
    connect_times: RecentQuantile,
}

/// A configured backend and what is known of it.
#[derive(Debug)]
struct Seat {
    backend: Arc<Backend>,
    spec: plan::Backend,
    /// Of a host name: the addresses to dial, the one in use first.
    resolved: Vec<SocketAddr>,
    trouble: Option<DiscoverError>,
    state: BackendState,
    since: SystemTime,
    /// When it came up, unless it was up from the start: what slow start counts from.
    recovered: Option<Instant>,
}

impl Keeper {
    /// A keeper for `pool`; its backends come from `registry`. `zone` is where this instance is.
    pub fn new(pool: Arc<Pool>, registry: &Registry, resolver: Arc<dyn Resolver>, zone: Option<Arc<str>>) -> Self {
        let seat = |spec: &plan::Backend| Seat {
            backend: registry.get(&pool.name, &spec.name),
            spec: spec.clone(),
            resolved: Vec::new(),
            trouble: None,
            state: BackendState::Unknown,
            since: SystemTime::now(),
            recovered: None,
        };
        let seats = pool.settings().backends.iter().map(seat).collect();
        Self { pool, seats, resolver, zone, connect_times: RecentQuantile::default() }
    }

    /// Asks for every host name once and publishes the first snapshot.
    ///
    /// A name that does not resolve leaves its backend down; it is asked again soon.
    pub async fn start(&mut self) {
        self.refresh().await;
        self.publish();
    }

    /// Keeps answers fresh, weights rising and connect times known for as long as the process lives.
    pub async fn run(mut self) {
        let mut refreshes = interval(REFRESH);
        let mut looks = interval(LOOK);
        refreshes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refreshes.tick().await;
        let named = self.seats.iter().any(|seat| matches!(seat.spec.address, BackendAddress::Host(..)));
        loop {
            tokio::select! {
                _ = refreshes.tick(), if named => {
                    if self.refresh().await {
                        self.publish();
                    }
                }
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let (counts, _) = self.pool.cells.connect.read();
        let p95 = self.connect_times.next(self.pool.cells.connect.bounds(), &counts, 0.95);
        self.pool.connect_p95.store(p95.map_or(0, |span| span.as_nanos() as u64), Relaxed);
        // Suspicion ends by itself, and then there may be room.
        self.pool.serve_queue();
        let settings = self.pool.settings();
        let slow_start = match settings.policy.hash {
            // Its weights do not rise, and its table is dear.
            Some(_) => Duration::ZERO,
            None => settings.slow_start,
        };
        // One more look than there is left to rise, so that the last step is to the whole.
        let rising = |seat: &Seat| seat.recovered.is_some_and(|at| at.elapsed() < slow_start + 2 * LOOK);
        if !slow_start.is_zero() && self.seats.iter().any(rising) {
            self.publish();
        }
    }

    /// Asks for all host names at once; says whether anything changed.
    async fn refresh(&mut self) -> bool {
        let mut answers = JoinSet::new();
        for (index, seat) in self.seats.iter().enumerate() {
            if let BackendAddress::Host(host, port) = &seat.spec.address {
                let (resolver, host, port) = (self.resolver.clone(), host.clone(), *port);
                answers.spawn(async move { (index, discover::resolve(&*resolver, &host, port).await) });
            }
        }
        let mut changed = false;
        while let Some(answer) = answers.join_next().await {
            let Ok((index, answer)) = answer else {
                continue;
            };
            changed |= self.take_answer(index, answer);
        }
        changed
    }

    /// Takes an answer in; an error keeps the last good one.
    fn take_answer(&mut self, index: usize, answer: Result<Vec<SocketAddr>, DiscoverError>) -> bool {
        let seat = &mut self.seats[index];
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

    /// Makes what is known what sessions choose from.
    fn publish(&mut self) {
        let settings = self.pool.settings();
        let mut facts = Vec::with_capacity(self.seats.len());
        let mut members = Vec::with_capacity(self.seats.len());
        for seat in &mut self.seats {
            let (state, reason) = seat.judge();
            if state != seat.state {
                let came_up = state == BackendState::Up && seat.state != BackendState::Unknown;
                seat.recovered = came_up.then(Instant::now);
                seat.since = SystemTime::now();
                seat.state = state;
            }
            // A table of keys is made of configured weights alone, so that it moves only with them.
            let up_for = seat.recovered.map_or(Duration::MAX, |at| at.elapsed());
            let weight = match settings.policy.hash {
                Some(_) => seat.spec.weight,
                None => ramp::weight(seat.spec.weight, up_for, settings.slow_start),
            };
            members.push(Member {
                backend: seat.backend.clone(),
                weight,
                usable: state == BackendState::Up,
                max_connections: seat.spec.max_connections,
            });
            facts.push(SeatFacts {
                address: seat.spec.address.to_string(),
                // Each seat's own: two of one host name ask apart, and one may have an answer and the other none.
                targets: seat.targets(),
                state,
                since: seat.since,
                reason,
                weight: seat.spec.weight,
                tier: seat.spec.tier,
                zone: seat.spec.zone.clone(),
                local: self.zone.is_none() || seat.spec.zone == self.zone,
            });
        }
        self.pool.publish(facts, members);
    }
}

/// A quantile of what a histogram has counted lately: each look weighs a tenth less than the next.
#[derive(Debug, Default)]
struct RecentQuantile {
    seen: Vec<u64>,
    recent: Vec<f64>,
}

impl RecentQuantile {
    /// With fewer recent counts than this a high quantile says nothing.
    const LEAST: f64 = 20.0;
    const KEPT: f64 = 0.9;

    /// Takes in the histogram's cumulative counts, and gives the upper bound of the bucket that the
    /// quantile lies in; `None` while too little is known, or beyond the last bound.
    fn next(&mut self, bounds: &[f64], cumulative: &[u64], quantile: f64) -> Option<Duration> {
        self.seen.resize(cumulative.len(), 0);
        self.recent.resize(cumulative.len(), 0.0);
        for ((recent, seen), now) in self.recent.iter_mut().zip(&mut self.seen).zip(cumulative) {
            *recent = *recent * Self::KEPT + now.saturating_sub(*seen) as f64;
            *seen = *now;
        }
        let total = self.recent.last().copied().filter(|total| *total >= Self::LEAST)?;
        let place = self.recent.iter().position(|upto| *upto >= total * quantile)?;
        bounds.get(place).map(|bound| Duration::from_secs_f64(*bound))
    }
}

impl Seat {
    fn targets(&self) -> Arc<[Target]> {
        match &self.spec.address {
            BackendAddress::Ip(address) => [Target::Ip(*address)].into(),
            BackendAddress::Unix(path) => [Target::Unix(path.as_path().into())].into(),
            BackendAddress::Host(..) => self.resolved.iter().map(|address| Target::Ip(*address)).collect(),
        }
    }

    fn judge(&self) -> (BackendState, String) {
        let named = matches!(self.spec.address, BackendAddress::Host(..));
        match self.trouble {
            _ if self.spec.disabled => (BackendState::Disabled, "disabled in the configuration".into()),
            Some(error) if self.resolved.is_empty() => (BackendState::Down, format!("host name: {}", error.explain())),
            Some(error) => (BackendState::Up, format!("host name: {}; last good answer kept", error.explain())),
            None if named && self.resolved.is_empty() => (BackendState::Down, "host name: not resolved yet".into()),
            None => (BackendState::Up, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use super::*;
    use crate::balance::CATALOGUE;
    use crate::discover::Resolution;

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
        let mut keeper = Keeper::new(pool.clone(), &Registry::new(1), resolver, None);
        let seen = |pool: &Pool| {
            let seat = &pool.snapshot().seats[0];
            (seat.state, seat.targets.iter().map(ToString::to_string).collect::<Vec<_>>())
        };

        keeper.start().await;
        assert_eq!(seen(&pool), (BackendState::Down, vec![]));
        assert!(!pool.is_usable());
        tokio::spawn(keeper.run());
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

    #[tokio::test]
    async fn a_usable_seat_has_an_address_also_when_another_of_the_same_name_has_none() {
        let yaml = "{ listeners: { l: { bind: 127.0.0.1:0, pool: p } },
                      pools: { p: { backends: [ { name: a, address: 'db.example.com:5432' },
                                                { name: b, address: 'db.example.com:5432' } ] } } }";
        let plan = crate::config::parse("test.yaml", yaml, &CATALOGUE, &|_| None).expect("valid");
        let pool = Arc::new(Pool::new(plan.pools[0].clone()));
        let answers = vec![Err(io::Error::from(io::ErrorKind::TimedOut)), Ok(vec![address(2)])];
        let mut keeper = Keeper::new(pool.clone(), &Registry::new(1), Arc::new(Scripted(Mutex::new(answers))), None);
        keeper.start().await;
        let snapshot = pool.snapshot();
        assert_eq!(snapshot.members.iter().filter(|member| member.usable).count(), 1);
        for (seat, member) in snapshot.seats.iter().zip(&snapshot.members) {
            assert_eq!(member.usable, !seat.targets.is_empty(), "{seat:?}");
        }
    }
}
