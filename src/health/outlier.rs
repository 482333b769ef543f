//! The verdict of real sessions: ejection of backends that fail them, and the way back. Pure.
//!
//! After Envoy's outlier detection (consecutive failures, success rate, growing ejection times, a cap on how many are
//! out) with the half-open trial of a circuit breaker (Nygard, "Release It!") before the full return.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::plan::Passive;

/// What sessions have shown of a backend, counted since it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Failures since the last success.
    pub in_a_row: u32,
    /// Sessions that it served.
    pub good: u64,
    /// Sessions that it failed.
    pub bad: u64,
}

/// One backend's way out and back. Times are of one clock that never goes back.
#[derive(Debug, Clone, Default)]
pub struct Outlier {
    state: State,
    /// Ejections that weigh on the length of the next.
    times: u32,
    /// When `times` last changed.
    changed_at: Duration,
    window: Window,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    In,
    Out {
        until: Duration,
    },
    /// Some sessions are let in; judged by what comes after this reading.
    Trial(Reading),
}

/// An [`Outlier`] as it goes from one process to the next: spans in milliseconds from now, since clocks differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sentence {
    /// How long it is still to be out.
    pub out_for: Option<u64>,
    /// Whether a few sessions may try it.
    pub on_trial: bool,
    /// Ejections that weigh on the length of the next.
    pub times: u32,
}

/// What a look has changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It gets no sessions for so long.
    Ejected {
        /// How long.
        span: Duration,
        /// Why, in words.
        why: String,
    },
    /// A few sessions may try it.
    OnTrial,
    /// It is a backend like any other again.
    Returned,
}

impl Outlier {
    /// Whether it is out, or let in on trial only.
    pub fn is_ejected(&self) -> bool {
        self.state != State::In
    }

    /// Whether a few sessions may try it.
    pub fn is_on_trial(&self) -> bool {
        matches!(self.state, State::Trial(_))
    }

    /// When it may be tried again.
    pub fn until(&self) -> Option<Duration> {
        match self.state {
            State::Out { until } => Some(until),
            State::In | State::Trial(_) => None,
        }
    }

    /// Takes a reading in. `may_eject` is whether there is room for one more that is out.
    pub fn look(&mut self, reading: Reading, passive: &Passive, now: Duration, may_eject: bool) -> Option<Change> {
        let recent = self.window.slide(reading, now);
        match self.state {
            State::In => {
                self.forgive(passive, now);
                let why = fault(reading, recent, passive).filter(|_| may_eject)?;
                Some(self.eject(why, passive, now))
            }
            State::Out { until } if now >= until => {
                self.state = State::Trial(reading);
                Some(Change::OnTrial)
            }
            State::Out { .. } => None,
            State::Trial(since) if reading.bad > since.bad => {
                Some(self.eject("the trial failed".to_owned(), passive, now))
            }
            State::Trial(since) if reading.good > since.good => {
                self.state = State::In;
                self.changed_at = now;
                // What came before the trial has been paid for.
                self.window = Window::from(reading, now);
                Some(Change::Returned)
            }
            State::Trial(_) => None,
        }
    }

    /// What another process is to know of it.
    pub fn sentence(&self, now: Duration) -> Sentence {
        let left = |until: Duration| u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
        Sentence { out_for: self.until().map(left), on_trial: self.is_on_trial(), times: self.times }
    }

    /// One of which another process knew this. Nothing was read of it here yet.
    pub fn sentenced(sentence: &Sentence, now: Duration) -> Self {
        let until = sentence.out_for.map(|left| now.saturating_add(Duration::from_millis(left)));
        let state = match until {
            Some(until) => State::Out { until },
            None if sentence.on_trial => State::Trial(Reading::default()),
            None => State::In,
        };
        // Good time counts from now on.
        Self { state, times: sentence.times, changed_at: until.unwrap_or(now), window: Window::default() }
    }

    /// Brings it back at once, as if it had never been out: someone says so, or judging is over.
    pub fn pardon(&mut self) {
        *self = Self::default();
    }

    /// Holds nothing against it that has happened up to now: it was down, and probes say that it is up. The next
    /// ejection is as long as it would have been.
    pub fn absolve(&mut self) {
        self.state = State::In;
        self.window = Window::default();
    }

    fn eject(&mut self, why: String, passive: &Passive, now: Duration) -> Change {
        self.times += 1;
        let span = span(passive, self.times);
        self.changed_at = now + span;
        self.state = State::Out { until: now + span };
        Change::Ejected { span, why }
    }

    /// One step of the next ejection's length is taken back for as much good time as the last one lasted.
    fn forgive(&mut self, passive: &Passive, now: Duration) {
        while self.times > 0 && now.saturating_sub(self.changed_at) >= span(passive, self.times) {
            self.changed_at += span(passive, self.times);
            self.times -= 1;
        }
    }
}

/// How long the `times`-th ejection lasts.
fn span(passive: &Passive, times: u32) -> Duration {
    let doubled = 1u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX);
    passive.eject_for.saturating_mul(doubled).min(passive.max_eject_for)
}

/// Why a backend should be out, if it should.
fn fault(reading: Reading, recent: Reading, passive: &Passive) -> Option<String> {
    if reading.in_a_row >= passive.failures {
        return Some(format!("{} failures in a row", reading.in_a_row));
    }
    let total = recent.good + recent.bad;
    let too_many = recent.bad > 0 && recent.bad as f64 >= passive.rate * total as f64;
    (total >= u64::from(passive.min_volume) && too_many)
        .then(|| format!("{} of {total} sessions failed in {} s", recent.bad, Window::SPAN.as_secs()))
}

/// Whether one more of `all` backends may be out when `ejected` are.
pub fn has_room(ejected: usize, all: usize, max_ejected: f64) -> bool {
    // A share such as 30 % of 10 must not fall short of 3 by the last digit of a float.
    let most = (all as f64 * max_ejected + 1e-9).floor() as usize;
    ejected < most
}

/// Readings of the last seconds, one each second.
#[derive(Debug, Clone, Default)]
struct Window(VecDeque<(Duration, Reading)>);

impl Window {
    const SPAN: Duration = Duration::from_secs(10);
    const STEP: Duration = Duration::from_secs(1);

    fn from(reading: Reading, now: Duration) -> Self {
        Self([(now, reading)].into())
    }

    /// Takes a reading in and says what has happened within the span.
    fn slide(&mut self, reading: Reading, now: Duration) -> Reading {
        // The newest reading that is older than the span is where it begins.
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= Self::SPAN) {
            self.0.pop_front();
        }
        if self.0.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= Self::STEP) {
            self.0.push_back((now, reading));
        }
        let first = self.0.front().map_or(reading, |(_, first)| *first);
        Reading {
            in_a_row: reading.in_a_row,
            good: reading.good.saturating_sub(first.good),
            bad: reading.bad.saturating_sub(first.bad),
        }
    }
}

#[cfg(test)]
mod tests;
