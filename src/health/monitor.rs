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

/// A probe that starts so much later than it should tells of a process that was stopped or starved.
const LATE: Duration = Duration::from_secs(1);

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
    /// Whether it is asked at the fast interval.
    fast: bool,
    /// Whether its turn was put off already.
    put_off: bool,
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
            // Who is somewhere else now is a newcomer: an answer from where it was says nothing.
            let subject = subject.filter(|subject| subject.dial.target == dial.target);
            let asked = subject.as_ref().map_or(now, |subject| subject.asked);
            let (fast, put_off) = subject.as_ref().map_or((hurry, false), |subject| (subject.fast, subject.put_off));
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
            self.subjects.insert(id, Subject { dial, turn, asked, fast, put_off });
        }
        self.schedule = Some(schedule);
    }

    /// The next report; starts the probes that are due meanwhile. Cancel safe.
    pub async fn next(&mut self) -> Report {
        loop {
            let due = self.start_due();
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => {
                    let (task, report) = match ended {
                        Ok((task, report)) => (task, Some(report)),
                        Err(error) => (error.id(), None),
                    };
                    if let Some(id) = self.is_over(task, report.as_ref().map(|report| report.id)) {
                        return report.unwrap_or_else(|| Report::of_a_defect(id));
                    }
                }
                () = sleep_until(due.unwrap_or_else(far_away)) => {}
            }
        }
    }

    /// Whose turn is over with this task; nobody's if who it asked was dropped or has moved meanwhile.
    fn is_over(&mut self, task: tokio::task::Id, hint: Option<BackendId>) -> Option<BackendId> {
        let asks = |subject: &Subject| matches!(subject.turn, Turn::Now(running) if running == task);
        // Only a probe that panicked does not say whom it asked.
        let id = hint.or_else(|| self.subjects.iter().find(|(_, subject)| asks(subject)).map(|(id, _)| *id))?;
        let subject = self.subjects.get_mut(&id).filter(|subject| asks(subject))?;
        subject.turn = Turn::Over;
        Some(id)
    }

    /// Sets when a backend whose report was taken in is asked again: soon while it is `in_transition`.
    pub fn again(&mut self, id: BackendId, in_transition: bool) {
        let (Some(schedule), Some(subject)) = (&self.schedule, self.subjects.get_mut(&id)) else { return };
        let interval = if in_transition { schedule.fast_interval.min(schedule.interval) } else { schedule.interval };
        let vary = match std::mem::replace(&mut subject.fast, in_transition) && !in_transition {
            // What many go through together, a start or a network that comes back, must not leave them in step.
            true => fastrand::f64(),
            false => 1.0 + schedule.jitter * (2.0 * fastrand::f64() - 1.0),
        };
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
            match now - due > LATE && self.put_off(id, now) {
                true => {}
                false => self.start(id, now),
            }
        }
        None
    }

    /// Gives a probe that is much too late a new turn somewhere within the interval, once: this process was stopped,
    /// all are late, and they shall neither come all at once now nor march in step from now on.
    fn put_off(&mut self, id: BackendId, now: Instant) -> bool {
        let (Some(schedule), Some(subject)) = (&self.schedule, self.subjects.get_mut(&id)) else { return false };
        if std::mem::replace(&mut subject.put_off, true) {
            return false;
        }
        let interval = if subject.fast { schedule.fast_interval.min(schedule.interval) } else { schedule.interval };
        let due = now + interval.mul_f64(fastrand::f64());
        subject.turn = Turn::At(due);
        self.agenda.insert((due, id));
        true
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
        (subject.turn, subject.asked, subject.put_off) = (Turn::Now(task.id()), now, false);
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

#[cfg(test)]
mod tests;
