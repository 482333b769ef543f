//! One access log line: every key, in one order, whatever is known.

use std::time::{Duration, SystemTime};

use super::{Kind, Outcome, Progress, Record};
use crate::intake::{Facts, Introduction};
use crate::metrics::Direction;
use crate::net::Address;
use crate::sink::{Form, Line, Rfc3339};
use crate::upstream::Attempt;
use crate::wire::proxy::{ALPN, AUTHORITY, UNIQUE_ID};

/// Version of the keys below. Keys are added without a new one.
const VERSION: u64 = 1;
/// Characters of one string: more than any name needs, less than a peer could fill a disk with.
const MOST: usize = 256;

/// Writes the line about `record`, newline included; the session has `lasted` so long.
///
/// `seconds.connect` adds up the attempts, failed ones too. `seconds.first_byte_up` runs from accept
/// to the client's first byte passed on; `seconds.first_byte_down` is the backend's: from that byte,
/// or from its connection when it spoke first, to its own first byte passed on.
pub(super) fn compose(form: Form, kind: Kind, record: &Record, outcome: Option<&Outcome>, lasted: Duration) -> Vec<u8> {
    let mut line = Line::new(form, MOST);
    let known = record.progress();
    line.number("v", VERSION);
    line.short("ts", Some(&Rfc3339(SystemTime::now()).short()));
    line.word("kind", Some(kind.as_str()));
    line.short("id", Some(&record.id.short()));
    line.text("listener", Some(&record.listener.name));
    line.string("route", known.route.map(|route| format!("routes[{route}]")));
    places(&mut line, record, &known);
    line.list("attempts", known.attempts(), attempt);
    line.number("bytes_up", record.tally.bytes(Direction::Up));
    line.number("bytes_down", record.tally.bytes(Direction::Down));
    line.object("seconds", |line| spans(line, record, &known, lasted));
    line.word("cause", outcome.map(|outcome| outcome.cause.as_str()));
    line.word("side", outcome.map(|outcome| outcome.side.as_str()));
    line.word("phase", outcome.map(|outcome| outcome.phase.as_str()));
    line.bare("errno", outcome.and_then(|outcome| outcome.errno));
    line.finish()
}

fn places(line: &mut Line, record: &Record, known: &Progress) {
    line.text("pool", known.pool.as_ref().map(|pool| &*pool.name));
    line.text("backend", known.backend.as_ref().map(|backend| &*backend.name));
    // Nearly always the two are one, whose digits are worked out once.
    match (record.peer().short(), record.introduction()) {
        (Some(peer), None) => {
            line.short("peer", Some(&peer));
            line.short("client", Some(&peer));
        }
        _ => {
            address(line, "peer", Some(record.peer()));
            address(line, "client", Some(record.client()));
        }
    }
    address(line, "local", Some(record.local()));
    address(line, "upstream_local", known.upstream_local());
    address(line, "backend_addr", known.target());
    wishes(line, known.facts.as_deref(), record.introduction());
}

fn address(line: &mut Line, key: &str, address: Option<impl Address>) {
    match address.as_ref().and_then(Address::short) {
        Some(short) => line.short(key, Some(&short)),
        None => line.string(key, address),
    }
}

/// What the client has shown here, or else what another proxy has said of it; that may be any bytes.
fn wishes(line: &mut Line, facts: Option<&Facts>, told: Option<&Introduction>) {
    let fields = told.and_then(|told| told.fields.as_ref());
    let field = |kind| fields.and_then(|fields| fields.get(kind)).map(<[u8]>::escape_ascii);
    match facts.and_then(|facts| facts.sni.as_ref()) {
        Some(name) => line.string("sni", Some(name)),
        None => line.string("sni", field(AUTHORITY)),
    }
    match facts.and_then(Facts::protocols) {
        Some(protocols) => line.string("alpn", Some(protocols)),
        None => line.string("alpn", field(ALPN)),
    }
    line.string("unique_id", field(UNIQUE_ID));
}

fn attempt(line: &mut Line, attempt: &Attempt) {
    line.text("backend", Some(&attempt.backend.name));
    line.word("result", Some(attempt.result.as_str()));
    line.seconds("seconds", Some(attempt.took()));
}

fn spans(line: &mut Line, record: &Record, known: &Progress, lasted: Duration) {
    let connecting = known.attempts().iter().map(Attempt::took).sum::<Duration>();
    let secure = known.facts.as_ref().and_then(|facts| facts.secure.as_ref());
    line.seconds("handshake", secure.map(|secure| secure.took));
    line.seconds("queue", known.queue_wait());
    line.seconds("connect", (!known.attempts().is_empty()).then_some(connecting));
    line.seconds("first_byte_up", record.tally.first_byte(Direction::Up));
    line.seconds("first_byte_down", record.tally.backend_first_byte());
    line.seconds("total", Some(lasted));
}
