//! Keys of health checks.

use super::shared::ON_CHANGE;
use super::{BOOL, Choice, Key, Kind, MANY, PATH, PORT, SHARE, TEXT, TIMEOUT, TIMEOUT_OR_OFF, count};

/// `pools.NAME.health`.
pub(super) const HEALTH: &[Key] = &[
    Key::new(
        "probe",
        Kind::Choice(PROBES),
        "What is asked of a backend. Without it backends are judged by `passive` alone.",
    )
    .example("tcp"),
    Key::new("interval", TIMEOUT, "From one probe to the next.").default("2s"),
    Key::new("timeout", TIMEOUT, "How long a probe may take.").default("1s"),
    Key::new("rise", count(1, 1000), "Good probes in a row before a backend is up.").default("2"),
    Key::new("fall", count(1, 1000), "Bad probes in a row before it is down.").default("3"),
    Key::new("jitter", SHARE, "Intervals vary at random by so much, so that probes do not march in step.")
        .default("10%"),
    Key::new("fast_interval", TIMEOUT, "The interval while `rise` or `fall` is being counted.").default("500ms"),
    Key::new("port", PORT, "Probe this port instead of the backend's.").example("9000"),
    Key::new("address", TEXT, "Probe this address instead of the backend's.").example("10.0.0.1:9000"),
    Key::new("start", START, "What a backend is before its first probe.").default("up"),
    Key::new("concurrency", count(1, 100_000), "Probes at once, of the whole process.").default("64"),
    Key::new("on_down", ON_CHANGE, "What happens to living sessions when their backend goes down.").default("keep"),
    Key::new("fail_open_below", SHARE, "When fewer than this share of backends is up, use all of them.").default("0%"),
    Key::new("passive", Kind::Map(PASSIVE), "Judge backends by real sessions too, and eject those that fail."),
];

const START: Kind = Kind::Choice(START_WORDS);
const START_WORDS: &[Choice] = &[Choice::word("up", "usable"), Choice::word("down", "not usable until probed")];

const PROBES: &[Choice] = &[
    Choice::word("tcp", "it accepts a connection"),
    Choice::word("tls", "it completes a TLS handshake"),
    Choice::with("script", Kind::List(&Kind::Map(STEP)), "it says what is expected when told what is sent"),
    Choice::with("http", Kind::Map(HTTP), "it answers an HTTP request as expected"),
    Choice::word("grpc", "its gRPC health service says SERVING"),
    Choice::with("postgres", Kind::Map(POSTGRES), "it answers as a PostgreSQL server").bare_too(),
    Choice::word("mysql", "it greets as a MySQL server"),
    Choice::with("redis", Kind::Map(REDIS), "it answers as a Redis server").bare_too(),
];

const STEP: &[Key] = &[
    Key::new("send", TEXT, "Text to send.").example("\"PING\\r\\n\""),
    Key::new("expect", TEXT, "Text that must come back.").example("\"+PONG\""),
    Key::new("send_hex", TEXT, "Bytes to send.").example("\"0a0b\""),
    Key::new("expect_hex", TEXT, "Bytes that must come back.").example("\"0c\""),
    Key::new("expect_regex", TEXT, "A regular expression that what comes back must match.").example("\"^[+]PONG\""),
];

const HTTP: &[Key] = &[
    Key::new("path", TEXT, "The path asked for.").default("/"),
    Key::new("method", TEXT, "The method.").default("GET"),
    Key::new("host", TEXT, "The Host header; without it the backend's address.").example("x"),
    Key::new("status", TEXT, "Status codes that are good.").default("200-299"),
    Key::new("body_regex", TEXT, "A regular expression that the body must match.").example("ok"),
    Key::new("tls", BOOL, "Ask over TLS.").default("false"),
];

const POSTGRES: &[Key] = &[
    ROLE,
    Key::new("user", TEXT, "The user to log in as.").example("u"),
    Key::new("database", TEXT, "The database.").example("d"),
    Key::new("password_file", PATH, "A file with the password.").example("f"),
];

const REDIS: &[Key] = &[ROLE];

const ROLE: Key = Key::new("role", Kind::Choice(ROLE_WORDS), "Only a server in this role is up.").example("primary");
const ROLE_WORDS: &[Choice] =
    &[Choice::word("primary", "it takes writes"), Choice::word("replica", "it follows a primary")];

const PASSIVE: &[Key] = &[
    Key::new("failures", count(1, MANY), "Failures in a row that eject a backend.").default("5"),
    Key::new("rate", SHARE, "Or this share of its sessions.").default("50%"),
    Key::new("min_volume", count(1, MANY), "The share counts from so many sessions on.").default("20"),
    Key::new("eject_for", TIMEOUT, "How long the first ejection lasts; each further one is longer.").default("10s"),
    Key::new("max_eject_for", TIMEOUT, "No ejection is longer.").default("5m"),
    Key::new("max_ejected", SHARE, "Never eject more than this share of the pool.").default("50%"),
    Key::new("first_byte_within", TIMEOUT_OR_OFF, "A backend that takes longer for its first byte has failed. The time runs from the client's first byte, or from \
         connect when the backend speaks first; a session whose client sent nothing gives no sample.")
        .default("off"),
];
