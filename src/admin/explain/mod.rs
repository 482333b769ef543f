//! `GET /api/v1/explain`: who a new session of some client would get now, and why. Fields are only ever added.

mod way;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use hyper::StatusCode;
use serde::Serialize;

use way::{Guise, Way};

use super::State;
use super::answer::{self, Answer, Refusal};
use super::query::Query;
use crate::balance::{Draw, Facts, Member, hash_key};
use crate::config::plan::{self, HashKey, HashSpec};
use crate::config::{hint, listing};
use crate::metrics::BackendState;
use crate::net::Peer;
use crate::pool::{Pool, Prospect, SeatFacts, Snapshot, Standing};
use crate::route::{Listening, Live};

/// What can be asked with.
pub(super) const PARAMETERS: &[&str] = &["listener", "client", "local", "sni", "alpn", "port", "head"];
/// Names of a key's order of preference that are told.
const ORDER: usize = 16;

#[derive(Serialize)]
struct View {
    listener: String,
    client: String,
    route: Option<String>,
    /// Null where the route leads to none.
    pool: Option<String>,
    policy: Option<&'static str>,
    key: Option<KeyView>,
    table_digest: Option<String>,
    /// Who gets it; null where chance, load or turn decides between several, and where nobody can.
    backend: Option<String>,
    /// Of policies that do not follow keys: who may get it.
    any_of: Option<Vec<String>>,
    /// Of policies that follow keys: whom the key prefers, best first.
    order: Option<Vec<String>>,
    queue_length: usize,
    candidates: Vec<Candidate>,
    why: String,
    /// Shares of the pools that take turns at sessions of this route; what is above is about the one with the largest.
    split: Option<BTreeMap<String, u32>>,
}

#[derive(Serialize)]
struct KeyView {
    kind: &'static str,
    /// The hash, in hex.
    value: String,
}

#[derive(Serialize)]
struct Candidate {
    name: String,
    state: &'static str,
    usable: bool,
    eligible: bool,
    reason: String,
    weight: u32,
    tier: u8,
    zone: Option<String>,
    active: u32,
    max_connections: Option<u32>,
}

/// `GET /api/v1/explain`
pub(super) fn explain(state: &State, query: &Query) -> Result<Answer, Refusal> {
    let live = state.live.load();
    let name = query.get("listener").ok_or_else(|| Refusal::bad("listener=NAME is missing"))?;
    let listening = live.listeners.get(name).ok_or_else(|| unknown(name, &live))?;
    let client = address(query, "client")?.ok_or_else(|| Refusal::bad("client=IP:PORT is missing"))?;
    let local = address(query, "local")?;
    let guise = Guise::new(query, client, local, listening)?;
    let way = guise.way(listening);
    let pool = match &way.to {
        Ok(pool) => pool,
        Err(why) => return Ok(answer::as_json(&View::of_none(name, client, &way, why))),
    };
    let settings = pool.settings();
    let local = match local {
        Some(local) => local,
        None => only_address(listening, &settings)?,
    };
    let case = Case::new(pool, &settings, &Facts { client, local, server_name: guise.server_name() });
    Ok(answer::as_json(&case.view(name, client, &way)))
}

impl View {
    /// Of a session that comes to no pool.
    fn of_none(listener: &str, client: Peer, way: &Way, why: &str) -> Self {
        Self {
            listener: listener.to_owned(),
            client: client.to_string(),
            route: way.route.clone(),
            pool: None,
            policy: None,
            key: None,
            table_digest: None,
            backend: None,
            any_of: None,
            order: None,
            queue_length: 0,
            candidates: Vec::new(),
            why: why.to_owned(),
            split: None,
        }
    }
}

fn unknown(name: &str, live: &Live) -> Refusal {
    let names = || live.listeners.keys().map(|name| &**name);
    let there_are = listing(names(), "and");
    let detail = format!("there is no listener {name:?}{}; there are {there_are}", hint(name, names()));
    Refusal::new(StatusCode::NOT_FOUND, detail)
}

fn address(query: &Query, parameter: &str) -> Result<Option<Peer>, Refusal> {
    let parsed = query.get(parameter).map(str::parse::<SocketAddr>).transpose();
    let wrong = |_| Refusal::bad(format!("{parameter} must be IP:PORT, like 192.0.2.7:4711 or [2001:db8::7]:4711"));
    parsed.map(|address| address.map(Peer::tcp)).map_err(wrong)
}

/// Where the client would arrive, if that is not said. Only one kind of key depends on it.
fn only_address(listening: &Listening, settings: &plan::Pool) -> Result<Peer, Refusal> {
    let matters = settings.policy.hash.is_some_and(|spec| spec.key == HashKey::Destination);
    let bound = match listening.bound.as_slice() {
        [only] => only.parse::<SocketAddr>().ok().filter(|address| !address.ip().is_unspecified()),
        _ => None,
    };
    match bound {
        Some(address) => Ok(Peer::tcp(address)),
        None if matters => Err(Refusal::bad("the pool's key is the destination: local=IP:PORT must say which")),
        None => Ok(Peer::Unix),
    }
}

/// One look at a pool, for one session.
struct Case<'a> {
    pool: &'a Pool,
    settings: &'a plan::Pool,
    snapshot: std::sync::Arc<Snapshot>,
    key: Option<(HashSpec, u64)>,
    prospect: Prospect,
}

impl<'a> Case<'a> {
    fn new(pool: &'a Pool, settings: &'a plan::Pool, facts: &Facts<'_>) -> Self {
        let snapshot = pool.snapshot();
        let key = settings.policy.hash.map(|spec| (spec, hash_key(&spec, facts)));
        let draw = Draw { key: key.map_or(0, |(_, key)| key), entropy: 0, now: Instant::now(), tried: &[] };
        let prospect = snapshot.prospect(&settings.policy, &draw);
        Self { pool, settings, snapshot, key, prospect }
    }

    fn view(&self, listener: &str, client: Peer, way: &Way) -> View {
        let names = |indices: &[usize]| indices.iter().map(|index| self.name(*index).to_owned()).collect::<Vec<_>>();
        let Prospect { any_of, order, .. } = &self.prospect;
        View {
            listener: listener.to_owned(),
            client: client.to_string(),
            route: way.route.clone(),
            pool: Some(self.pool.name.to_string()),
            policy: Some(self.settings.policy.name),
            key: self.key.map(|(spec, key)| KeyView { kind: spec.key.as_str(), value: format!("{key:016x}") }),
            table_digest: self.snapshot.policy().and_then(|policy| policy.digest()),
            backend: self.certain().map(|index| self.name(index).to_owned()),
            any_of: order.is_none().then(|| names(any_of)),
            order: order.as_ref().map(|order| names(&order[..order.len().min(ORDER)])),
            queue_length: self.pool.queue_length(),
            candidates: (0..self.snapshot.members.len()).map(|index| self.candidate(index)).collect(),
            why: self.why(),
            split: way.split.clone().map(BTreeMap::from_iter),
        }
    }

    fn name(&self, index: usize) -> &str {
        &self.snapshot.members[index].backend.name
    }

    /// The one that gets it, if nothing is left open.
    fn certain(&self) -> Option<usize> {
        match self.prospect.any_of.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    fn candidate(&self, index: usize) -> Candidate {
        let (member, seat) = (&self.snapshot.members[index], &self.snapshot.seats[index]);
        Candidate {
            name: member.backend.name.to_string(),
            state: seat.state.as_str(),
            usable: member.usable,
            eligible: matches!(self.prospect.standings[index], Standing::Chosen | Standing::Eligible),
            reason: self.reason(index),
            weight: seat.weight,
            tier: seat.tier,
            zone: seat.zone.as_deref().map(str::to_owned),
            active: member.backend.active(),
            max_connections: member.max_connections,
        }
    }

    /// What it is to the session, in words that also follow "it is".
    fn reason(&self, index: usize) -> String {
        let (member, seat) = (&self.snapshot.members[index], &self.snapshot.seats[index]);
        match self.prospect.standings[index] {
            Standing::Chosen if self.certain().is_some() => "the one that gets it".into(),
            Standing::Chosen => "one of those that may get it".into(),
            Standing::Eligible => "able to take it, but not preferred".into(),
            Standing::Unusable => unusable(seat),
            Standing::Full => full(member),
            Standing::Loaded => "at its bounded load".into(),
            Standing::Suspect => "suspect: it failed to connect a moment ago".into(),
            Standing::OtherZone => "in another zone, and this one has somebody".into(),
            Standing::OtherTier => format!("in tier {}, which is not in use", seat.tier),
        }
    }

    fn why(&self) -> String {
        let policy = self.settings.policy.name;
        let reason = match (&self.prospect.order, self.prospect.any_of.as_slice()) {
            (_, []) => return self.why_nobody(),
            (Some(order), [chosen, ..]) => self.why_key(order, *chosen),
            (None, [only]) => format!("`{}` is the one that policy `{policy}` comes to.", self.name(*only)),
            (None, several) => {
                format!("Policy `{policy}` does not look at the client: any of {} may get it.", several.len())
            }
        };
        match self.pool.queue_length() {
            0 => reason,
            waiting => format!("{reason} But {waiting} wait in the queue, and a new session waits behind them."),
        }
    }

    fn why_key(&self, order: &[usize], chosen: usize) -> String {
        let (owner, name) = (order[0], self.name(chosen));
        if owner == chosen {
            return format!("The client's key belongs to `{name}`, which can take it.");
        }
        let place = order.iter().position(|index| *index == chosen).unwrap_or_default() + 1;
        format!(
            "The client's key belongs to `{}`, but that is {}. `{name}`, number {place} of the key's order, is the first that can take it.",
            self.name(owner),
            self.reason(owner),
        )
    }

    fn why_nobody(&self) -> String {
        let members = &self.snapshot.members;
        if members.is_empty() {
            return "The pool has no backends.".into();
        }
        if !self.pool.is_usable() {
            return format!("None of the {} backends is usable.", members.len());
        }
        match self.settings.queue {
            Some(queue) => format!(
                "All usable backends are full. It would wait in the queue, where {} of {} wait now.",
                self.pool.queue_length(),
                queue.max
            ),
            None => "All usable backends are full, and there is no queue to wait in.".into(),
        }
    }
}

fn unusable(seat: &SeatFacts) -> String {
    match (seat.state, seat.reason.as_str()) {
        (BackendState::Disabled, reason) if !reason.is_empty() => reason.into(),
        (state, "") => state.as_str().into(),
        (state, reason) => format!("{state}: {reason}"),
    }
}

fn full(member: &Member) -> String {
    let max = member.max_connections.unwrap_or_default();
    format!("full: {} of {max} sessions", member.backend.active())
}
