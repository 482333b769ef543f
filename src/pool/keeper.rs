//! The keeper: the one writer of a pool's snapshot, and the one judge of its backends. Runs on the control thread.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{self, MissedTickBehavior, interval, sleep_until};

use super::orders::{Order, Orders};
use super::overrides::{Forced, SharedOverrides};
use super::recent::RecentQuantile;
use super::seat::Seat;
use super::tiers::{Moved, Tiers};
use super::treatment::{Treatment, treatment};
use super::verdicts::Verdicts;
use super::{Pool, SeatFacts, ramp};
use crate::backend::{Backend, BackendId, LastProbe, Registry};
use crate::balance::Member;
use crate::config::plan::{self, BackendAddress, Failback, SendProxy};
use crate::connect::{self, Caller, Connector, Dial};
use crate::discover::{self, DiscoverError, Resolver};
use crate::health::outlier::{Change, Reading, has_room};
use crate::health::{self, Monitor, Places, Report, Schedule, Standing, Tracker};
use crate::metrics::{BackendState, ProbeResult};
use crate::net::Peer;

/// How often host names are asked again. The system's resolver does not tell how long an answer
/// is good for; half a minute is what most records of moving services allow.
const REFRESH: Duration = Duration::from_secs(30);

/// Between looks at what changes by itself: weights that rise, connect times, ejections that end.
const LOOK: Duration = Duration::from_secs(1);

/// Failures come in bursts, and so do verdicts of probes: those of so long are taken in together, since a snapshot of
/// thousands of backends costs milliseconds.
const GATHER: Duration = Duration::from_millis(10);

/// What keepers of all pools work with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Where backends are known by identity.
    pub registry: Arc<Registry>,
    /// What host names are asked of.
    pub resolver: Arc<dyn Resolver>,
    /// What probes dial through.
    pub connector: Connector,
    /// The probes of the process.
    pub places: Arc<Places>,
    /// What operators have said.
    pub overrides: SharedOverrides,
    /// Where it goes what is to happen to sessions.
    pub orders: Orders,
    /// Where this instance is, if that is known.
    pub zone: Option<Arc<str>>,
}

impl Tools {
    /// Tools of pools that stand alone: nobody obeys their orders, and nothing is said by hand.
    pub fn alone(workers: usize) -> Self {
        Self {
            registry: Arc::new(Registry::new(workers)),
            resolver: Arc::new(discover::System),
            connector: connect::system(),
            places: Arc::default(),
            overrides: Arc::default(),
            orders: mpsc::unbounded_channel().0,
            zone: None,
        }
    }
}

/// Publishes a pool's snapshots: whenever what is known of a backend changes.
#[derive(Debug)]
pub struct Keeper {
    pool: Arc<Pool>,
    tools: Tools,
    seats: Vec<Seat>,
    monitor: Monitor,
    tiers: Tiers,
    /// With `single_active`: who has the sessions, or is to have them.
    active: Option<Arc<Backend>>,
    /// Whether that more than one claims to be primary was said already.
    rivals: bool,
    /// By hand: this tier is to serve again, or a better one.
    go_back: Option<u8>,
    /// Host names that are being asked for.
    asking: JoinSet<Answered>,
    /// When what has come in lately is taken into account, if something has.
    due: Option<time::Instant>,
    /// Whether a verdict of probes is among it.
    judged: bool,
    /// Whether only the words of a reason are not what they were when the snapshot was made.
    stale: bool,
    connect_times: RecentQuantile,
    /// Where the clock of ejections begins.
    epoch: Instant,
}

/// The way to a keeper that runs. When it is dropped the keeper ends.
#[derive(Debug, Clone)]
pub struct KeeperHandle(mpsc::UnboundedSender<Command>);

#[derive(Debug)]
enum Command {
    Follow(Box<plan::Pool>, Option<Arc<str>>, oneshot::Sender<Followed>),
    Export(oneshot::Sender<Verdicts>),
}

/// What has become of backends with a new configuration.
#[derive(Debug, Default)]
pub struct Followed {
    /// Those that are gone, or whose name stands for another address now: sessions they have go as `on_remove` says.
    pub removed: Vec<Arc<Backend>>,
}

impl KeeperHandle {
    /// Has the pool follow new settings, and publishes. `zone` is where this instance is.
    ///
    /// Backends are told apart by name: those that stay keep their history, and their health unless their address
    /// is another one. Host names that are new are resolved before this returns.
    pub async fn follow(&self, settings: plan::Pool, zone: Option<Arc<str>>) -> Followed {
        let (told, followed) = oneshot::channel();
        // A keeper ends only with its last handle, or with the process.
        let _ = self.0.send(Command::Follow(Box::new(settings), zone, told));
        followed.await.unwrap_or_default()
    }

    /// What it knows of its backends now, for another process.
    pub async fn export(&self) -> Verdicts {
        let (told, exported) = oneshot::channel();
        let _ = self.0.send(Command::Export(told));
        exported.await.unwrap_or_default()
    }
}

impl Keeper {
    /// A keeper for `pool`, of its settings.
    pub fn new(pool: Arc<Pool>, tools: Tools) -> Self {
        let settings = pool.settings();
        let seat = |spec: &plan::Backend| {
            Seat::new(tools.registry.get(&pool.name, &spec.name), spec.clone(), &settings.health)
        };
        let seats = settings.backends.iter().map(seat).collect();
        Self {
            monitor: Monitor::new(tools.connector.clone(), tools.places.clone()),
            pool,
            tools,
            seats,
            tiers: Tiers::default(),
            active: None,
            rivals: false,
            go_back: None,
            asking: JoinSet::new(),
            due: None,
            judged: false,
            stale: false,
            connect_times: RecentQuantile::default(),
            epoch: Instant::now(),
        }
    }

    /// Asks for every host name once and publishes the first snapshot.
    ///
    /// A name that does not resolve leaves its backend down; it is asked again soon.
    pub async fn start(&mut self) {
        self.resolve(|_| true).await;
        self.read_overrides();
        self.publish();
        self.watch();
    }

    /// Runs the keeper for as long as there is a handle to it.
    pub fn spawn(self) -> KeeperHandle {
        let (handle, commands) = mpsc::unbounded_channel();
        tokio::spawn(self.run(commands));
        KeeperHandle(handle)
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut refreshes = interval(REFRESH);
        let mut looks = interval(LOOK);
        refreshes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        refreshes.tick().await;
        let pool = self.pool.clone();
        loop {
            let due = self.due;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Follow(settings, zone, told)) => {
                        let followed = self.follow(*settings, zone).await;
                        let _ = told.send(followed);
                    }
                    Some(Command::Export(told)) => drop(told.send(self.export())),
                    None => return,
                },
                report = self.monitor.next() => self.take_report(report),
                () = pool.has_news(), if due.is_none() => self.gather(),
                () = sleep_until(due.unwrap_or_else(time::Instant::now)), if due.is_some() => self.take_news(),
                // In the background: a resolver that takes its time holds up no probe and no verdict.
                _ = refreshes.tick(), if self.asking.is_empty() => self.asking = self.ask_for_names(|_| true),
                Some(answer) = self.asking.join_next(), if !self.asking.is_empty() => {
                    if answer.is_ok_and(|answered| self.take_answer(answered)) {
                        self.publish();
                        self.watch();
                    }
                }
                _ = looks.tick() => self.look(),
            }
        }
    }

    fn export(&self) -> Verdicts {
        let now = self.epoch.elapsed();
        let verdict = |seat: &Seat| (seat.spec.name.to_string(), seat.verdict(now));
        Verdicts {
            backends: self.seats.iter().map(verdict).collect(),
            serving_tier: self.tiers.serving(),
            active: self.active.as_ref().map(|backend| backend.name.to_string()),
        }
    }

    /// Takes over what the process before knew of the backends, and what operators had said there. Before [`Self::spawn`].
    pub fn import(&mut self, verdicts: &Verdicts) {
        let settings = self.pool.settings();
        let now = self.epoch.elapsed();
        for seat in &mut self.seats {
            // Said long ago: an `enable` is not to be carried out once more.
            seat.over = self.tools.overrides.of(&self.pool.name, &seat.spec.name);
            if let Some(verdict) = verdicts.backends.get(&*seat.spec.name) {
                seat.take_over(verdict, &settings.health, now);
            }
        }
        self.tiers.resume(verdicts.serving_tier);
        let named = |seat: &&Seat| verdicts.active.as_deref() == Some(&*seat.spec.name);
        self.active = self.seats.iter().find(named).map(|seat| seat.backend.clone());
        self.publish();
        self.watch();
    }

    async fn follow(&mut self, settings: plan::Pool, zone: Option<Arc<str>>) -> Followed {
        self.tools.zone = zone;
        let before = self.pool.settings();
        self.pool.follow(settings);
        let settings = self.pool.settings();
        let mut followed = Followed::default();
        let mut known: Vec<Option<Seat>> = std::mem::take(&mut self.seats).into_iter().map(Some).collect();
        for spec in &settings.backends {
            let same = |seat: &Option<Seat>| seat.as_ref().is_some_and(|seat| seat.spec.name == spec.name);
            let seat = known.iter_mut().find(|seat| same(seat)).and_then(Option::take);
            let seat = match seat {
                Some(seat) => self.keep(seat, spec, &before.health, &settings.health, &mut followed),
                None => Seat::new(self.tools.registry.get(&self.pool.name, &spec.name), spec.clone(), &settings.health),
            };
            self.seats.push(seat);
        }
        followed.removed.extend(known.into_iter().flatten().map(|seat| seat.backend));
        self.resolve(|seat| seat.resolved.is_empty()).await;
        self.read_overrides();
        self.publish();
        self.watch();
        followed
    }

    /// A backend that stays: with its history, unless what that is about has changed.
    fn keep(
        &self,
        mut seat: Seat,
        spec: &plan::Backend,
        before: &plan::Health,
        health: &plan::Health,
        followed: &mut Followed,
    ) -> Seat {
        if seat.spec.address != spec.address {
            seat.resolved.clear();
            seat.trouble = None;
            seat.moved(health);
            followed.removed.push(seat.backend.clone());
        } else if health.probe.is_none() {
            seat.tracker = None;
            seat.backend.note_probe(None);
        } else if seat.tracker.is_none() {
            // It serves already, and goes on until the new probe says otherwise.
            seat.tracker = Some(Tracker::new(health.start_up || seat.state == BackendState::Up));
        } else if before.probe != health.probe || before.at != health.at {
            // Another question: what is known stands until it is answered.
            seat.backend.note_probe(None);
        }
        if health.passive.is_none() {
            seat.outlier.pardon();
        }
        seat.spec = spec.clone();
        seat
    }

    /// Has what has come in taken into account soon.
    fn gather(&mut self) {
        self.due.get_or_insert_with(|| time::Instant::now() + GATHER);
    }

    /// Takes in what operators have said and what probes and sessions have shown.
    fn take_news(&mut self) {
        self.due = None;
        let said = self.read_overrides();
        let shown = self.judge_sessions() | self.judged;
        if shown || said {
            self.publish();
        }
        if said {
            self.watch();
        }
    }

    /// Takes over what operators say of the backends; says whether that changed.
    fn read_overrides(&mut self) -> bool {
        let mut changed = false;
        for seat in &mut self.seats {
            let over = self.tools.overrides.of(&self.pool.name, &seat.spec.name);
            if over == seat.over {
                continue;
            }
            changed = true;
            let enables =
                |over: &Option<super::Override>| over.as_ref().is_some_and(|over| over.forced == Some(Forced::Enable));
            if enables(&over) {
                // Enabling one is also how an operator goes back to its tier, and forgives what sessions have shown.
                self.go_back = Some(self.go_back.map_or(seat.spec.tier, |tier| tier.min(seat.spec.tier)));
                seat.outlier.pardon();
                seat.backend.evidence.forget();
            }
            seat.over = over;
        }
        changed
    }

    fn look(&mut self) {
        let (counts, _) = self.pool.cells.connect.read();
        let p95 = self.connect_times.next(self.pool.cells.connect.bounds(), &counts, 0.95);
        self.pool.connect_p95.store(p95.map_or(0, |span| span.as_nanos() as u64), Relaxed);
        // Suspicion ends by itself, and then there may be room.
        self.pool.serve_queue();
        let judged = self.judge_sessions();
        // A trial lets in one more each time, so that one session that says nothing does not hold it up.
        let on_trial = self.seats.iter().any(|seat| seat.outlier.is_on_trial());
        if judged || on_trial || self.stale || self.is_rising() {
            self.publish();
        }
    }

    /// Whether a slow start goes on.
    fn is_rising(&self) -> bool {
        let settings = self.pool.settings();
        // The weights of a table of keys do not rise, and it is dear.
        let slow_start = if settings.policy.hash.is_some() { Duration::ZERO } else { settings.slow_start };
        // One more look than there is left to rise, so that the last step is to the whole.
        let rising = |seat: &Seat| seat.recovered.is_some_and(|at| at.elapsed() < slow_start + 2 * LOOK);
        !slow_start.is_zero() && self.seats.iter().any(rising)
    }

    /// Judges backends by what sessions have shown of them; says whether a verdict has changed.
    fn judge_sessions(&mut self) -> bool {
        let settings = self.pool.settings();
        let Some(passive) = &settings.health.passive else { return false };
        let (now, all) = (self.epoch.elapsed(), self.seats.len());
        let mut ejected = self.seats.iter().filter(|seat| seat.outlier.is_ejected()).count();
        let mut up = self.seats.iter().filter(|seat| seat.state == BackendState::Up).count();
        let mut changed = false;
        for seat in &mut self.seats {
            let (in_a_row, good, bad) = seat.backend.evidence.read();
            let (was_up, was_out) = (seat.state == BackendState::Up, seat.outlier.is_ejected());
            // One that is down or drained gets no sessions anyway, and would only take the room of one that does.
            let may_eject = was_out || was_up && up > 1 && has_room(ejected, all, passive.max_ejected);
            let change = seat.outlier.look(Reading { in_a_row, good, bad }, passive, now, may_eject);
            changed |= change.is_some();
            match change {
                Some(Change::Ejected { span, why }) => {
                    ejected += usize::from(!was_out);
                    up -= usize::from(was_up);
                    seat.backend.cells.ejections.inc();
                    seat.ejected_for = format!("{why}; ejected for {span:?}");
                    if seat.state == BackendState::Ejected {
                        tracing::warn!(pool = %self.pool.name, backend = %seat.spec.name, reason = seat.ejected_for, "backend ejected again");
                    }
                }
                Some(Change::OnTrial) => {
                    tracing::info!(pool = %self.pool.name, backend = %seat.spec.name, "ejected backend is on trial");
                }
                Some(Change::Returned) | None => {}
            }
        }
        changed
    }

    /// Takes in how a probe went.
    fn take_report(&mut self, report: Report) {
        let settings = self.pool.settings();
        let health = &settings.health;
        let Some(seat) = self.seats.iter_mut().find(|seat| seat.backend.id == report.id) else { return };
        let Some(tracker) = &mut seat.tracker else { return };
        let last = Arc::new(last_probe(&report));
        seat.backend.cells.probes[last.result as usize].inc();
        seat.backend.cells.probe_duration.store(last.took.as_nanos() as u64, Relaxed);
        // What this machine lacks shows nothing of the backend.
        let changed = match last.result {
            ProbeResult::Local => None,
            result => tracker.observe(result == ProbeResult::Ok, health.rise, health.fall),
        };
        if changed == Some(Standing::Up) {
            // What was held against a server that was down says nothing about one that is up.
            seat.backend.observe_success();
            seat.backend.evidence.forget();
            seat.outlier.absolve();
        }
        let in_transition = tracker.in_transition();
        self.stale |= seat.backend.last_probe().and_then(|before| before.error.clone()) != last.error;
        seat.backend.note_probe(Some(last));
        self.monitor.again(report.id, in_transition);
        if changed.is_some() {
            self.judged = true;
            self.gather();
        }
    }

    /// Tells the monitor who is to be asked, where and how.
    fn watch(&mut self) {
        let settings = self.pool.settings();
        let health = &settings.health;
        let schedule = health.probe.as_ref().map(|probe| Schedule {
            interval: health.interval,
            fast_interval: health.fast_interval,
            jitter: health.jitter,
            concurrency: health.concurrency,
            probe: health::build(probe).into(),
        });
        let preamble = settings.connect.send_proxy.map(|send| {
            let send = match send {
                SendProxy::V1 => SendProxy::V1,
                // No session asks, so there is none to name.
                SendProxy::V2 { crc32c, .. } => SendProxy::V2 { unique_id: false, crc32c },
            };
            Caller { client: Peer::Unix, local: Peer::Unix, id: &"", unique_id: None }.preamble(send)
        });
        let subject = |seat: &Seat| {
            let dial = Dial {
                target: seat.probed_at(&health.at)?,
                source: settings.connect.source.clone(),
                preamble: preamble.clone(),
                tcp: settings.tcp,
                timeout: health.timeout,
            };
            let unknown = seat.tracker.as_ref().is_some_and(|tracker| tracker.standing() == Standing::Unknown);
            // One that is drained by hand comes back some day, and is known then.
            (seat.state != BackendState::Disabled).then_some((seat.backend.id, dial, unknown))
        };
        self.monitor.follow(schedule, self.seats.iter().filter_map(subject).collect());
    }

    /// Asks for the host names of some backends, all at once, and waits for the answers.
    async fn resolve(&mut self, wanted: impl Fn(&Seat) -> bool) {
        let mut answers = self.ask_for_names(wanted);
        while let Some(answer) = answers.join_next().await {
            if let Ok(answered) = answer {
                self.take_answer(answered);
            }
        }
    }

    /// Asks for the host names of some backends, all at once.
    fn ask_for_names(&self, wanted: impl Fn(&Seat) -> bool) -> JoinSet<Answered> {
        let mut answers = JoinSet::new();
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
        answers
    }

    /// Takes an answer in, and says whether it changes anything; an error keeps the last good one.
    fn take_answer(&mut self, Answered { id, asked, answer }: Answered) -> bool {
        // A reload may have come between.
        let still = |seat: &&mut Seat| seat.backend.id == id && seat.spec.address == asked;
        let Some(seat) = self.seats.iter_mut().find(still) else { return false };
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

    /// Makes what is known what sessions choose from, and says what has changed.
    fn publish(&mut self) {
        let settings = self.pool.settings();
        (self.judged, self.stale) = (false, false);
        self.seats.iter_mut().for_each(|seat| settle(&self.pool.name, seat));
        let fail_open = self.fails_open(&settings);
        let usable: Vec<bool> = self.seats.iter().map(|seat| may_serve(seat, fail_open)).collect();
        let usable = self.serve_one_tier(&settings, usable);
        let usable = self.serve_one_backend(&settings, usable);
        let (members, facts) =
            self.seats.iter().zip(&usable).map(|(seat, usable)| self.seat(seat, *usable, &settings)).unzip();
        // Who is accepted from here on may have chosen from the new snapshot.
        let since = Instant::now();
        self.pool.publish(facts, members);
        self.order(&settings, fail_open, since);
    }

    /// Whether so few are up that all are used; says when that changes.
    fn fails_open(&self, settings: &plan::Pool) -> bool {
        let counted = self.seats.iter().filter(|seat| !seat.is_out_of_service());
        // Those that were not probed yet speak neither against themselves nor against the probes.
        let may_be_up = |seat: &Seat| matches!(seat.state, BackendState::Up | BackendState::Unknown);
        let (all, up) = counted.fold((0, 0), |(all, up), seat| (all + 1, up + usize::from(may_be_up(seat))));
        let opens = (up as f64) < settings.health.fail_open_below * f64::from(all);
        if self.pool.fail_open.swap(opens, Relaxed) != opens {
            match opens {
                true => tracing::warn!(pool = %self.pool.name, up, of = all, "too few backends are up: all are used"),
                false => {
                    tracing::info!(pool = %self.pool.name, up, of = all, "enough backends are up again: only those are used")
                }
            }
        }
        opens
    }

    /// Takes the use from tiers that are better than the one that serves: they stand by until failback.
    fn serve_one_tier(&mut self, settings: &plan::Pool, mut usable: Vec<bool>) -> Vec<bool> {
        let tiers = self.fit_tiers(settings, &usable);
        let best = tiers.first().copied();
        let before = self.tiers.serving();
        let still = before.is_some_and(|serving| tiers.contains(&serving));
        let moved = match self.go_back.take().filter(|tier| before.is_some_and(|serving| *tier < serving)) {
            Some(_) => self.tiers.go_back(best),
            None => self.tiers.look(best, still, settings.failback),
        };
        let failed_back = moved.is_some_and(Moved::is_failback);
        if let Some(Moved { from, to }) = moved {
            match failed_back {
                true => tracing::info!(pool = %self.pool.name, from, to, "a better tier serves again"),
                false => {
                    tracing::warn!(pool = %self.pool.name, from, to, "a worse tier serves: nothing better is usable")
                }
            }
        }
        let Some(serving) = self.tiers.serving() else { return usable };
        for (seat, usable) in self.seats.iter_mut().zip(&mut usable) {
            seat.relieved = seat.spec.tier > serving && (seat.relieved || failed_back);
            // One that is on trial in a better tier gets the sessions that it is tried with.
            let tried = settings.failback == Failback::Auto && seat.outlier.is_on_trial();
            *usable &= seat.spec.tier >= serving || tried;
        }
        usable
    }

    /// The tiers that could serve: those with a backend that is up. Where none is, those with one that gets sessions
    /// all the same; a tier that is down or on trial does not take over from one that works.
    fn fit_tiers(&self, settings: &plan::Pool, usable: &[bool]) -> BTreeSet<u8> {
        // With `single_active` a trial needs the whole of the pool's sessions.
        let sound =
            |seat: &Seat| seat.state == BackendState::Up || settings.single_active && seat.outlier.is_on_trial();
        let seats = || self.seats.iter().zip(usable).filter(|(_, usable)| **usable).map(|(seat, _)| seat);
        let fit: BTreeSet<u8> = seats().filter(|seat| sound(seat)).map(|seat| seat.spec.tier).collect();
        if fit.is_empty() { seats().map(|seat| seat.spec.tier).collect() } else { fit }
    }

    /// With `single_active`: takes the use from all but one, which keeps it for as long as it can.
    fn serve_one_backend(&mut self, settings: &plan::Pool, usable: Vec<bool>) -> Vec<bool> {
        if !settings.single_active {
            self.active = None;
            return usable;
        }
        let serving = self.tiers.serving();
        let fits = |seat: &Seat| Some(seat.spec.tier) == serving;
        let candidates = || {
            self.seats
                .iter()
                .zip(&usable)
                .filter(|(seat, usable)| **usable && fits(seat))
                .map(|(seat, _)| &seat.backend)
        };
        let stays = self.active.as_ref().filter(|active| candidates().any(|backend| backend.id == active.id));
        let next = stays.or_else(|| candidates().next()).cloned();
        if let (Some(before), Some(next)) = (&self.active, &next)
            && before.id != next.id
        {
            tracing::warn!(pool = %self.pool.name, from = %before.name, to = %next.name, "another backend is to have the sessions");
        }
        self.tell_rivals(settings, next.as_deref());
        // While nobody is usable the last one is remembered: its sessions may go on.
        self.active = next.or(self.active.take());
        let id = self.active.as_ref().map(|active| active.id);
        self.seats.iter().zip(usable).map(|(seat, usable)| usable && Some(seat.backend.id) == id).collect()
    }

    /// Two that claim to be primary is an error of theirs; the one that has the sessions keeps them.
    fn tell_rivals(&mut self, settings: &plan::Pool, active: Option<&Backend>) {
        let primary = settings.health.probe.as_ref().and_then(plan::Probe::role) == Some(plan::Role::Primary);
        let claims = |seat: &&Seat| primary && seat.state == BackendState::Up;
        let names: Vec<&str> = self.seats.iter().filter(claims).map(|seat| &*seat.spec.name).collect();
        let rivals = names.len() > 1;
        if rivals && !self.rivals {
            let uses = active.map_or("none", |active| &*active.name);
            tracing::error!(pool = %self.pool.name, claim = names.join(" "), uses, "more than one backend claims to be the primary; only one is used");
        } else if self.rivals && !rivals {
            tracing::info!(pool = %self.pool.name, "no longer more than one backend claims to be the primary");
        }
        self.rivals = rivals;
    }

    /// A seat as sessions and operators see it.
    fn seat(&self, seat: &Seat, usable: bool, settings: &plan::Pool) -> (Member, SeatFacts) {
        let weight = match settings.policy.hash {
            // A table of keys is made of configured weights alone, so that it moves only with them.
            Some(_) => seat.weight(),
            None => {
                let up_for = seat.recovered.map_or(Duration::MAX, |at| at.elapsed());
                ramp::weight(seat.weight(), up_for, settings.slow_start)
            }
        };
        let trial = seat.outlier.is_on_trial().then(|| seat.backend.active() + 1);
        let limits = seat.spec.max_connections.into_iter().chain(trial);
        let member = Member { backend: seat.backend.clone(), weight, usable, max_connections: limits.min() };
        let (_, reason) = seat.judge();
        let facts = SeatFacts {
            address: seat.spec.address.to_string(),
            // Each seat's own: two of one host name ask apart, and one may have an answer and the other none.
            targets: seat.targets(),
            state: seat.state,
            since: seat.since,
            reason: self.standing_by(seat, usable, settings).unwrap_or(reason),
            weight: seat.weight(),
            tier: seat.spec.tier,
            zone: seat.spec.zone.clone(),
            local: self.tools.zone.is_none() || seat.spec.zone == self.tools.zone,
            over: seat.over.clone(),
        };
        (member, facts)
    }

    /// Why one that is up gets no sessions all the same.
    fn standing_by(&self, seat: &Seat, usable: bool, settings: &plan::Pool) -> Option<String> {
        if usable || seat.state != BackendState::Up {
            return None;
        }
        let waits = self.tiers.serving().is_some_and(|serving| seat.spec.tier < serving);
        if waits && settings.failback == Failback::Manual {
            return Some("standing by: `failback` is manual, so enable it to go back".into());
        }
        let active = self.active.as_ref().map_or("another one", |active| &*active.name);
        Some(match self.rivals {
            true => format!("claims to be the primary as well; {active} has the sessions"),
            false => format!("standing by: {active} has the sessions"),
        })
    }

    /// Orders what is to happen to sessions, of those backends where that has changed.
    fn order(&mut self, settings: &plan::Pool, fail_open: bool, since: Instant) {
        for seat in &mut self.seats {
            let treatment = treatment(seat, settings, fail_open);
            if treatment == std::mem::replace(&mut seat.treated, treatment) {
                continue;
            }
            let Treatment { how, cause, spares_newcomers } = treatment;
            // Nobody obeys any more when the process is ending.
            let backend = seat.backend.clone();
            let _ = self.tools.orders.send(Order { backend, how, cause, spares_newcomers, since });
        }
    }
}

/// What a host name of a backend stands for.
#[derive(Debug)]
struct Answered {
    id: BackendId,
    asked: BackendAddress,
    answer: Result<Vec<SocketAddr>, DiscoverError>,
}

/// Makes a backend what all that is known of it amounts to. Each change is one line and one count.
fn settle(pool: &str, seat: &mut Seat) {
    let (state, reason) = seat.judge();
    if state == seat.state {
        return;
    }
    let (from, first) = (seat.state, !seat.settled);
    let seconds = seat.changed.elapsed().as_secs_f64();
    let came_up = state == BackendState::Up && !first;
    seat.settled = true;
    seat.recovered = came_up.then(Instant::now);
    (seat.state, seat.since, seat.changed) = (state, SystemTime::now(), Instant::now());
    if first && state == BackendState::Up {
        return;
    }
    seat.backend.cells.transitions[state as usize].inc();
    let (backend, address) = (&*seat.spec.name, seat.spec.address.to_string());
    let probe = seat.backend.last_probe();
    let probe_seconds = probe.map(|probe| probe.took.as_secs_f64());
    match state {
        BackendState::Down | BackendState::Ejected => {
            tracing::warn!(pool, backend, address, %from, to = %state, reason, probe_seconds, seconds_before = seconds, "backend changed");
        }
        _ => {
            tracing::info!(pool, backend, address, %from, to = %state, reason, probe_seconds, seconds_before = seconds, "backend changed");
        }
    }
}

/// Whether sessions may go there, as far as it is about this one alone.
fn may_serve(seat: &Seat, fail_open: bool) -> bool {
    let dialable = !seat.targets().is_empty();
    match seat.state {
        BackendState::Up => dialable,
        BackendState::Ejected => dialable && (seat.outlier.is_on_trial() || fail_open),
        BackendState::Down | BackendState::Unknown => dialable && fail_open,
        BackendState::Draining | BackendState::Disabled => false,
    }
}

fn last_probe(report: &Report) -> LastProbe {
    let (result, error) = match &report.result {
        Ok(()) => (ProbeResult::Ok, None),
        Err(error) => (error.result, Some(error.words.as_str().into())),
    };
    LastProbe { result, error, took: report.took, at: report.at }
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
