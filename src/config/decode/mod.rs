//! From a checked tree to the plan: defaults, references between parts, and what excludes what.
//!
//! Values that the checks refused read as absent here, so nothing is reported twice.

mod admission;
mod connect;
mod health;
mod intake;
mod listener;
mod overlap;
mod pool;
mod process;
mod reload;
mod route;
mod starttls;
mod tls;

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::error::Report;
use super::keys::{self, find};
use super::plan::{Keepalive, Plan, StreamTcp};
use super::scalar;
use super::section::{Found, Section, is_word};
use super::tree::Node;
use super::{Catalogue, TlsFiles};

/// The plan that `root` describes; meaningless unless `report` stays without errors. References to pools are
/// judged only when the tree is `complete`: else the pool may be in the file that could not be read.
pub(super) fn plan(root: &Node, complete: bool, catalogue: &Catalogue, report: &mut Report) -> Plan {
    let root = Section::new(keys::ROOT, "", root.at).over(root, "");
    // Files that cannot be reached are not broken.
    let tls = if report.is_within_reach() { catalogue.tls } else { TlsFiles::UNREAD };
    let catalogue = Catalogue { tls, ..*catalogue };
    let mut decoder = Decoder { root, complete, catalogue, report, bound: overlap::Bound::default(), zoned: None };
    let log = decoder.log();
    let admin = decoder.admin();
    let metrics = decoder.metrics();
    let pools = decoder.pools();
    let names: PoolNames = pools.iter().map(|pool| pool.name.clone()).collect();
    let ready_when = decoder.ready_when(&names);
    let listeners = decoder.listeners(&names, &log.access);
    let zone = zone(&decoder.root);
    decoder.check_starttls(&listeners, &pools);
    decoder.check_names(&listeners, &pools);
    decoder.warn_unused(&listeners, &pools);
    decoder.warn_zones(zone.as_deref());
    Plan {
        workers: decoder.workers(),
        max_connections: decoder.max_connections(),
        overflow: decoder.overflow(),
        max_rate: decoder.max_rate(),
        shutdown: decoder.shutdown(),
        upgrade: decoder.upgrade(),
        state_file: decoder.state_file(),
        sandbox: decoder.sandbox(),
        reload: decoder.reload(),
        zone,
        admin,
        metrics,
        ready_when,
        log,
        listeners,
        pools,
        settings: Arc::default(),
    }
}

/// The pools there are, for names that refer to them; sorted, so that of two near names always the same is hinted at.
type PoolNames = BTreeSet<Arc<str>>;

struct Decoder<'a, 'r> {
    root: Section<'a>,
    complete: bool,
    catalogue: Catalogue,
    report: &'r mut Report,
    /// Every address something listens on.
    bound: overlap::Bound,
    /// The first backend's `zone` there is.
    zoned: Option<Found<'a>>,
}

impl<'a> Decoder<'a, '_> {
    /// Reports a required key that no layer of `section` has.
    fn require(&mut self, section: &Section<'a>, name: &str) {
        if section.broken || section.find(name).is_some() {
            return;
        }
        let example = find(section.keys(), name).and_then(|key| key.example);
        let remedy = example.map_or_else(String::new, |example| format!(", such as `{name}: {example}`"));
        self.report.error(section.at, &section.path, format!("`{name}` is missing{remedy}"));
    }
}

/// `tcp`: the options of a connected socket.
fn stream_tcp(tcp: &Section<'_>) -> StreamTcp {
    StreamTcp {
        nodelay: tcp.value("nodelay", scalar::boolean),
        keepalive: keepalive(tcp),
        user_timeout: tcp.optional("user_timeout", scalar::duration),
        congestion: tcp.value("congestion_control", scalar::congestion),
    }
}

fn keepalive(tcp: &Section<'_>) -> Option<Keepalive> {
    if tcp.is_off("keepalive") {
        return None;
    }
    let keepalive = tcp.section("keepalive");
    Some(Keepalive {
        idle: keepalive.value("idle", scalar::duration),
        interval: keepalive.value("interval", scalar::duration),
        probes: keepalive.value("probes", small),
    })
}

/// `zone`, of the process or of a backend; `off` is none.
fn zone(section: &Section<'_>) -> Option<Arc<str>> {
    let name = section.given("zone", |node| scalar::text(node, "text").map(Arc::from));
    name.filter(|_| !section.is_off("zone"))
}

/// A count whose range the table keeps within 32 bits.
fn small(node: &Node) -> Result<u32, String> {
    scalar::count(node).and_then(|number| u32::try_from(number).map_err(|_| "too large".to_owned()))
}

/// A rate that lets something through. The checks have refused zero.
fn some_rate(node: &Node) -> Result<NonZeroU64, String> {
    scalar::rate(node).and_then(|rate| NonZeroU64::new(rate).ok_or_else(|| "zero".to_owned()))
}

/// A count of things in memory.
fn size(node: &Node) -> Result<usize, String> {
    scalar::count(node).and_then(|number| usize::try_from(number).map_err(|_| "too large".to_owned()))
}

/// Durations that `off` turns off.
fn off_or_duration(node: &Node) -> Result<Option<Duration>, String> {
    if is_word(node, &["off"]) { Ok(None) } else { scalar::duration(node).map(Some) }
}
