//! The schedule of a pool's probes: spread over the interval, faster in transition, never two at once for a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::ask::{Places, ask};
use super::{Probe, ProbeError};
use crate::backend::BackendId;
use crate::connect::{Connector, Dial};

/// How often and with what backends are asked.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// The same in transition.
    pub fast_interval: Duration,
    /// The share by which intervals vary, 0.0 to 1.0.
    pub jitter: f64,
    /// A probe starts only while fewer than so many run in the process.
    pub concurrency: usize,
    /// What is asked.
    pub probe: Arc<dyn Probe>,
}

/// How one probe went.
#[derive(Debug)]
pub struct Report {
    /// Whose.
    pub id: BackendId,
    /// Good, or why not.
    pub result: Result<(), ProbeError>,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: SystemTime,
}

/// Asks a pool's backends in turn. Runs only while someone awaits [`Monitor::next`]; probes under way go on.
#[derive(Debug)]
pub struct Monitor {
    connector: Connector,
    places: Arc<Places>,
    schedule: Option<Schedule>,
    subjects: BTreeMap<BackendId, Subject>,
    /// Who is asked when: of each subject that is not being asked, its turn.
    agenda: BTreeSet<(Instant, BackendId)>,
    running: JoinSet<Report>,
}

#[derive(Debug)]
struct Subject {
    dial: Dial,
    turn: Turn,
    /// When it was asked last, or became known.
    asked: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    /// It is asked then.
    At(Instant),
    /// It is being asked.
    Now(tokio::task::Id),
    /// It was asked, and nobody has said yet when it is asked again.
    Over,
}

impl Monitor {
    /// A monitor that asks nobody yet.
    pub fn new(connector: Connector, places: Arc<Places>) -> Self {
        Self {
            connector,
            places,
            schedule: None,
            subjects: BTreeMap::new(),
            agenda: BTreeSet::new(),
            running: JoinSet::new(),
        }
    }

    /// Takes over who is asked, how and how often. Those it knows keep their turn; newcomers are spread over the
    /// interval, those that `hurry` (nothing is known of them) over the fast one.
    pub fn follow(&mut self, schedule: Option<Schedule>, subjects: Vec<(BackendId, Dial, bool)>) {
        self.agenda.clear();
        let mut known = std::mem::take(&mut self.subjects);
        let Some(schedule) = schedule else {
            self.schedule = None;
            self.running = JoinSet::new();
            return;
        };
        let (now, count) = (Instant::now(), subjects.len().max(1) as u32);
        for (place, (id, dial, hurry)) in (0..).zip(subjects) {
            let subject = known.remove(&id);
            let asked = subject.as_ref().map_or(now, |subject| subject.asked);
            let turn = match subject.map(|subject| subject.turn) {
                // A shorter interval counts from the last probe, not from the end of a longer one.
                Some(Turn::At(due)) => Turn::At(due.min(asked + schedule.interval)),
                Some(turn) => turn,
                None if hurry => Turn::At(now + schedule.fast_interval.min(schedule.interval) * place / count),
                None => Turn::At(now + schedule.interval * place / count),
            };
            if let Turn::At(due) = turn {
                self.agenda.insert((due, id));
            }
            self.subjects.insert(id, Subject { dial, turn, asked });
        }
        self.schedule = Some(schedule);
    }

    /// The next report; starts the probes that are due meanwhile. Cancel safe.
    pub async fn next(&mut self) -> Report {
        loop {
            let due = self.start_due();
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => match ended {
                    Ok((_, report)) => {
                        self.is_over(report.id);
                        return report;
                    }
                    Err(error) => {
                        if let Some(id) = self.whose(error.id()) {
                            self.is_over(id);
                            return Report::of_a_defect(id);
                        }
                    }
                },
                () = sleep_until(due.unwrap_or_else(far_away)) => {}
            }
        }
    }

    fn is_over(&mut self, id: BackendId) {
        if let Some(subject) = self.subjects.get_mut(&id)
            && matches!(subject.turn, Turn::Now(_))
        {
            subject.turn = Turn::Over;
        }
    }

    /// Who is being asked by this task; nobody if it was dropped meanwhile.
    fn whose(&self, task: tokio::task::Id) -> Option<BackendId> {
        let asks = |subject: &Subject| matches!(subject.turn, Turn::Now(running) if running == task);
        self.subjects.iter().find(|(_, subject)| asks(subject)).map(|(id, _)| *id)
    }

    /// Sets when a backend whose report was taken in is asked again: soon while it is `in_transition`.
    pub fn again(&mut self, id: BackendId, in_transition: bool) {
        let (Some(schedule), Some(subject)) = (&self.schedule, self.subjects.get_mut(&id)) else { return };
        let interval = if in_transition { schedule.fast_interval.min(schedule.interval) } else { schedule.interval };
        let vary = 1.0 + schedule.jitter * (2.0 * fastrand::f64() - 1.0);
        // After a probe that took longer than the interval the next one follows at once.
        let due = subject.asked + interval.mul_f64(vary);
        if let Turn::At(before) = subject.turn {
            self.agenda.remove(&(before, id));
        }
        subject.turn = Turn::At(due);
        self.agenda.insert((due, id));
    }

    /// Starts all probes that are due; says when the next one is.
    fn start_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while let Some((due, id)) = self.agenda.first().copied() {
            if due > now {
                return Some(due);
            }
            self.agenda.pop_first();
            self.start(id, now);
        }
        None
    }

    fn start(&mut self, id: BackendId, now: Instant) {
        let (Some(schedule), Some(subject)) = (&self.schedule, self.subjects.get_mut(&id)) else { return };
        let (places, limit) = (self.places.clone(), schedule.concurrency);
        let (connector, dial, probe) = (self.connector.clone(), subject.dial.clone(), schedule.probe.clone());
        let task = self.running.spawn(async move {
            let _place = places.enter(limit).await;
            let (result, took) = ask(connector, dial, probe).await;
            Report { id, result, took, at: SystemTime::now() }
        });
        (subject.turn, subject.asked) = (Turn::Now(task.id()), now);
    }
}

impl Report {
    /// A probe that panicked shows nothing of its backend.
    fn of_a_defect(id: BackendId) -> Self {
        let error = ProbeError::local("the probe panicked: a defect of this program");
        Self { id, result: Err(error), took: Duration::ZERO, at: SystemTime::now() }
    }
}

/// When nothing is due.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3600)
}
