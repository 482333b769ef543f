//! Taking over: a new configuration, or what another process knew.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Answers, Followed, Keeper};
use crate::config::plan::{self, SendProxy};
use crate::connect::{Caller, Dial};
use crate::health::{self, Schedule, Standing, Tracker};
use crate::metrics::BackendState;
use crate::net::Peer;
use crate::pool::Held;
use crate::pool::seat::Seat;
use crate::pool::verdicts::Verdicts;

impl Keeper {
    pub(super) fn follow(&mut self, settings: plan::Pool, zone: Option<Arc<str>>, answers: Answers) -> Followed {
        self.tools.zone = zone;
        let before = self.pool.settings();
        self.pool.follow(settings);
        let settings = self.pool.settings();
        let mut followed = Followed::default();
        // By name, which is what they are told apart by; a pool may have tens of thousands.
        let seats = std::mem::take(&mut self.seats).into_iter();
        let mut known: BTreeMap<_, _> = seats.map(|seat| (seat.spec.name.clone(), seat)).collect();
        let seat = |spec: &plan::Backend| match known.remove(&spec.name) {
            Some(seat) => self.keep(seat, spec, &before.health, &settings.health, &mut followed),
            None => Seat::new(self.tools.registry.get(&self.pool.name, &spec.name), spec.clone(), &settings.health),
        };
        self.seats = settings.backends.iter().map(seat).collect();
        followed.removed.extend(known.into_values().map(|seat| seat.backend));
        self.learn(answers);
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

    /// What is known of the backends, for a process that is to take over. With `single_active` this one is confined from
    /// here on.
    pub(super) fn export(&self) -> Verdicts {
        let now = self.epoch.elapsed();
        let verdict = |seat: &Seat| (seat.spec.name.to_string(), seat.verdict(now));
        Verdicts {
            backends: self.seats.iter().map(verdict).collect(),
            serving_tier: self.tiers.serving(),
            active: self.active.as_ref().map(|backend| backend.name.to_string()),
            held: self.pool.settle(),
        }
    }

    /// Takes over what the process before knew of the backends, and what operators had said there. Before [`Self::spawn`].
    pub fn import(&mut self, verdicts: &Verdicts) {
        let settings = self.pool.settings();
        let now = self.epoch.elapsed();
        for seat in self.seats.iter_mut() {
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
        // A process of an earlier version does not say, and has its sessions where it meant to have them.
        let held = verdicts.held.clone().or_else(|| verdicts.active.clone().map(Held::One));
        if let Some(held) = held.filter(|_| settings.single_active) {
            self.pool.take_hold(&held);
        }
        self.watch();
    }

    /// Tells the monitor who is to be asked, where and how.
    pub(super) fn watch(&mut self) {
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
                SendProxy::V2 { crc32c, .. } => {
                    SendProxy::V2 { authority: false, alpn: false, ssl: false, unique_id: false, crc32c }
                }
            };
            Caller {
                client: Peer::Unix,
                local: Peer::Unix,
                id: &"",
                unique_id: None,
                server_name: None,
                asked: None,
                speaks: false,
                alpn: None,
                ssl: None,
            }
            .preamble(send)
        });
        let subject = |seat: &Seat| {
            let dial = Dial {
                target: seat.probed_at(&health.at)?,
                source: settings.connect.source.clone(),
                // No client asks.
                transparent: None,
                preamble: preamble.clone(),
                starttls: settings.starttls.filter(|_| health.tls),
                secure: if health.tls { self.secure(seat, &settings) } else { None },
                speaks: false,
                tcp: settings.tcp,
                timeout: health.timeout,
            };
            let unknown = seat.tracker.as_ref().is_some_and(|tracker| tracker.standing() == Standing::Unknown);
            // One that is drained by hand comes back some day, and is known then.
            (seat.state != BackendState::Disabled).then_some((seat.backend.id, dial, unknown))
        };
        self.monitor.follow(schedule, self.seats.iter().filter_map(subject).collect());
    }
}
