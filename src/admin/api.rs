//! The API's answers. Fields are only ever added.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::State;
use super::answer::{self, Answer, Refusal};
use super::elders::Wanted;
use super::query::{Query, decode};
use crate::backend::LastProbe;
use crate::config::Setting;
use crate::drain::Stage;
use crate::ledger::{Ledger, Record, SessionId};
use crate::metrics::{Cause, Counts, Direction, Labels, families};
use crate::pool::{Forced, Override, Pool, SeatFacts};
use crate::route::Listening;
use crate::sink::rfc3339;

/// Connections in one answer, unless it is said.
const LIMIT: usize = 100;
/// Connections in one answer at most; `next` leads on.
const MOST: usize = 1000;

#[derive(Serialize)]
struct Pools {
    pools: Vec<PoolView>,
}

#[derive(Serialize)]
struct PoolView {
    name: String,
    policy: &'static str,
    table_digest: Option<String>,
    fail_open: bool,
    queue_length: usize,
    backends: Vec<BackendView>,
}

#[derive(Serialize)]
struct BackendView {
    name: String,
    address: String,
    state: &'static str,
    weight: u32,
    tier: u8,
    zone: Option<String>,
    active: u64,
    connections_total: u64,
    since: String,
    reason: Option<String>,
    last_probe: Option<ProbeView>,
    #[serde(rename = "override")]
    overridden: Option<OverrideView>,
}

#[derive(Serialize)]
struct ProbeView {
    result: &'static str,
    error: Option<String>,
    duration_seconds: f64,
    at: String,
}

/// What was said by hand.
#[derive(Serialize)]
pub(super) struct OverrideView {
    /// `drain`, `enable`, or nothing.
    state: Option<&'static str>,
    within_seconds: Option<f64>,
    weight: Option<u32>,
    at: String,
}

impl From<&Override> for OverrideView {
    fn from(over: &Override) -> Self {
        let (state, within) = match over.forced {
            Some(Forced::Drain { within_ms }) => (Some("drain"), within_ms.map(|millis| millis as f64 / 1000.0)),
            Some(Forced::Enable) => (Some("enable"), None),
            None => (None, None),
        };
        let at = rfc3339(over.said_at());
        Self { state, within_seconds: within, weight: over.weight, at }
    }
}

/// `GET /api/v1/pools`. Sessions are those of all processes, as in the metrics.
pub(super) async fn pools(state: &State) -> Answer {
    state.elders.refresh().await;
    let (live, others) = (state.live.load(), state.elders.sum());
    answer::as_json(&Pools { pools: live.pools.values().map(|pool| view_pool(pool, &others)).collect() })
}

fn view_pool(pool: &Pool, others: &Counts) -> PoolView {
    let snapshot = pool.snapshot();
    let waiting = others.total_of(families::POOL_QUEUE_LENGTH, &Labels::new(&[("pool", &pool.name)]));
    let seats = snapshot.members.iter().zip(&snapshot.seats);
    PoolView {
        name: pool.name.to_string(),
        policy: pool.settings().policy.name,
        table_digest: snapshot.policy().and_then(|policy| policy.digest()),
        fail_open: pool.fails_open(),
        queue_length: pool.queue_length() + waiting as usize,
        backends: seats.map(|(member, seat)| view_backend(member, seat, others)).collect(),
    }
}

fn view_backend(member: &crate::balance::Member, seat: &SeatFacts, others: &Counts) -> BackendView {
    let labels = Labels::new(&[("pool", &member.backend.pool), ("backend", &member.backend.name)]);
    let of_others = |family| others.total_of(family, &labels);
    BackendView {
        name: member.backend.name.to_string(),
        address: seat.address.clone(),
        state: seat.state.as_str(),
        weight: seat.weight,
        tier: seat.tier,
        zone: seat.zone.as_deref().map(str::to_owned),
        active: u64::from(member.backend.active()) + of_others(families::BACKEND_ACTIVE),
        connections_total: member.backend.cells.connections.get() + of_others(families::BACKEND_CONNECTIONS),
        since: rfc3339(seat.since),
        reason: Some(&seat.reason).filter(|reason| !reason.is_empty()).cloned(),
        last_probe: member.backend.last_probe().map(|probe| view_probe(&probe)),
        overridden: seat.over.as_ref().map(OverrideView::from),
    }
}

fn view_probe(probe: &LastProbe) -> ProbeView {
    ProbeView {
        result: probe.result.as_str(),
        error: probe.error.as_deref().map(str::to_owned),
        duration_seconds: probe.took.as_secs_f64(),
        at: rfc3339(probe.at),
    }
}

#[derive(Serialize)]
struct Listeners<'a> {
    listeners: Vec<ListenerView<'a>>,
}

#[derive(Serialize)]
struct ListenerView<'a> {
    name: String,
    configured: Vec<String>,
    bound: Vec<String>,
    active: u64,
    state: &'static str,
    /// Where sessions go that no route takes.
    pool: Option<&'a Setting>,
    /// As the configuration has them; of a listener that a reload removed there are none.
    routes: &'a [Setting],
}

/// `GET /api/v1/listeners`. Sessions are those of all processes, as in the metrics.
pub(super) async fn listeners(state: &State) -> Answer {
    state.elders.refresh().await;
    let (live, others) = (state.live.load(), state.elders.sum());
    let elsewhere = |name: &str| others.total_of(families::LISTENER_ACTIVE, &Labels::new(&[("listener", name)]));
    let draining = state.life.stage() >= Stage::Draining;
    let told = |listening: &Listening, key| live.plan.settings.get("listeners")?.get(&listening.live.name)?.get(key);
    let view = |listening: &Listening| ListenerView {
        pool: told(listening, "pool").filter(|pool| matches!(pool, Setting::Leaf(_))),
        routes: match told(listening, "routes") {
            Some(Setting::List(routes)) => routes,
            _ => &[],
        },
        name: listening.live.name.to_string(),
        configured: listening.live.configured(),
        bound: listening.bound.clone(),
        active: listening.live.census().active + elsewhere(&listening.live.name),
        state: if draining || listening.leaving { "draining" } else { "open" },
    };
    answer::as_json(&Listeners { listeners: live.listeners.values().map(view).collect() })
}

#[derive(Serialize)]
struct Connections {
    connections: Vec<ConnectionView>,
    next: Option<String>,
}

/// One session, of this process or an older one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConnectionView {
    id: String,
    listener: String,
    pool: Option<String>,
    backend: Option<String>,
    peer: String,
    client: String,
    phase: String,
    age_seconds: f64,
    idle_seconds: f64,
    bytes: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
struct Bytes {
    up: u64,
    down: u64,
}

/// What `GET /api/v1/connections` can be asked for.
pub(super) const CONNECTION_FILTERS: &[&str] = &["limit", "after", "listener", "pool", "backend"];

/// `GET /api/v1/connections`
pub(super) async fn connections(state: &State, query: &Query) -> Result<Answer, Refusal> {
    let limit = limit(query).map_err(Refusal::bad)?;
    let after = query.get("after").map(session_id).transpose().map_err(Refusal::bad)?;
    let filter = |name| query.get(name).map(str::to_owned);
    let (listener, pool, backend) = (filter("listener"), filter("pool"), filter("backend"));
    // One more than asked for tells whether there are more.
    let wanted = Wanted { limit: limit + 1, after: after.map(|id| id.0), listener, pool, backend };
    let mut connections = own_connections(state, &wanted);
    connections.extend(state.elders.connections(&wanted).await);
    // Ids are of one length, so their order is that of their texts.
    connections.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    let more = connections.len() > limit;
    connections.truncate(limit);
    let next = connections.last().filter(|_| more).map(|connection| connection.id.clone());
    Ok(answer::as_json(&Connections { connections, next }))
}

/// Sessions of this process.
pub(super) fn own_connections(state: &State, wanted: &Wanted) -> Vec<ConnectionView> {
    let found = state.ledger.list(wanted.after.map(SessionId), wanted.limit, |record| is_wanted(record, wanted));
    found.iter().map(|record| view_connection(&state.ledger, record)).collect()
}

/// `DELETE /api/v1/connections/{id}`
pub(super) async fn kill(state: &State, raw: &str) -> Result<Answer, Refusal> {
    let id = decode(raw).and_then(|id| session_id(&id)).map_err(Refusal::bad)?;
    match state.ledger.end(id, Cause::Killed) || state.elders.kill(id.0).await {
        true => Ok(answer::empty(StatusCode::NO_CONTENT)),
        false => Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no connection {id}, or no longer"))),
    }
}

fn limit(query: &Query) -> Result<usize, String> {
    match query.get("limit").map(str::parse::<usize>) {
        None => Ok(LIMIT),
        Some(Ok(limit @ 1..=MOST)) => Ok(limit),
        Some(_) => Err(format!("limit must be a number from 1 to {MOST}")),
    }
}

/// Ids are at most 16 hex digits; no sign, no space.
pub(super) fn session_id(text: &str) -> Result<SessionId, String> {
    let looks_right = (1..=16).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit());
    let parsed = text.parse().ok().filter(|_| looks_right);
    parsed.ok_or_else(|| "a connection's id is 16 hex digits, as in the access log".into())
}

fn is_wanted(record: &Record, wanted: &Wanted) -> bool {
    let fits = |wanted: &Option<String>, name: Option<&str>| wanted.is_none() || wanted.as_deref() == name;
    let known = record.progress();
    fits(&wanted.listener, Some(&record.listener.name))
        && fits(&wanted.pool, known.pool.as_ref().map(|pool| &*pool.name))
        && fits(&wanted.backend, known.backend.as_ref().map(|backend| &*backend.name))
}

fn view_connection(ledger: &Ledger, record: &Record) -> ConnectionView {
    let phase = record.phase().as_str().to_owned();
    let known = record.progress();
    ConnectionView {
        id: record.id.to_string(),
        listener: record.listener.name.to_string(),
        pool: known.pool.as_ref().map(|pool| pool.name.to_string()),
        backend: known.backend.as_ref().map(|backend| backend.name.to_string()),
        peer: record.peer().to_string(),
        client: record.client().to_string(),
        phase,
        age_seconds: record.started().elapsed().as_secs_f64(),
        idle_seconds: ledger.idle_for(record).as_secs_f64(),
        bytes: Bytes { up: record.tally.bytes(Direction::Up), down: record.tally.bytes(Direction::Down) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_nothing_else() {
        assert_eq!(session_id("00000000000000ff"), Ok(SessionId(255)));
        for bad in ["", "+ff", "-1", " 1", "0x1", "g", "00000000000000001", "../1", "1\n"] {
            assert!(session_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits_are_refused_at_the_top_and_at_the_bottom() {
        let of = |raw| limit(&Query::parse(Some(raw), &["limit"]).unwrap_or_else(|error| panic!("{error}")));
        assert_eq!((of(""), of("limit=7"), of("limit=1000")), (Ok(100), Ok(7), Ok(1000)));
        assert!(of("limit=0").is_err() && of("limit=1001").is_err() && of("limit=x").is_err() && of("limit=").is_err());
    }
}
