//! Keys of health checks.

use super::super::scalar::Scalar;
use super::shared::{OFF, ON_CHANGE};
use super::{BOOL, Choice, Key, Kind, MANY, PATH, PORT, SHARE, TEXT, TIMEOUT, TIMEOUT_OR_OFF, count, literal};

/// `pools.NAME.health`.
pub(in super::super) const HEALTH: &[Key] = &[
    Key::new(
        "probe",
        Kind::Either(&[OFF, Kind::Choice(PROBES)]),
        "What is asked of a backend, with the pool's `connect.source` and `connect.send_proxy`. Without it backends are \
         judged by `passive` alone. Protocols that have a goodbye are told it.",
    )
    .example("tcp"),
    Key::new(
        "interval",
        TIMEOUT,
        "From one probe to the next. The probes of a pool's backends are spread over it.",
    )
    .default("2s"),
    Key::new("timeout", TIMEOUT, "How long a probe may take, from dialling to the last answer.").default("1s"),
    Key::new("rise", count(1, 1000), "Good probes in a row before a backend that was down is up.").default("2"),
    Key::new("fall", count(1, 1000), "Bad probes in a row before a backend that was up is down.").default("3"),
    Key::new("jitter", SHARE, "Intervals vary at random by so much, so that probes do not march in step.")
        .default("10%"),
    Key::new(
        "fast_interval",
        TIMEOUT,
        "The interval while `rise` or `fall` is being counted, if it is the shorter one.",
    )
    .default("500ms"),
    Key::new("port", PORT, "Probe this port of the backend's host instead of the backend's own.")
        .example("9000")
        .dormant(),
    Key::new(
        "address",
        Kind::Scalar(Scalar::Target),
        "Probe this address instead of the backend's, for all backends of the pool. Not together with `port`.",
    )
    .example("10.0.0.1:9000")
    .dormant(),
    Key::new("tls", BOOL, "Ask inside the pool's `tls`, if it has one; `false` is for a port that does not speak it.")
        .default("true"),
    Key::new("start", START, "What a backend is before its first probe.").default("up"),
    Key::new(
        "concurrency",
        count(1, 100_000),
        "A probe of this pool waits while so many probes run in the whole process. Those that wait are served in order: \
         where pools differ in this, one that waits for a smaller number holds up who comes after it.",
    )
    .default("64"),
    Key::new(
        "on_down",
        ON_CHANGE,
        "What happens to living sessions when the probe of their backend says that it is down, or no longer in the role \
         it must have. With `single_active` it is `reset` unless it is said.",
    )
    .default("keep"),
    Key::new(
        "fail_open_below",
        SHARE,
        "When a smaller share than this of the backends is up, probes may be what is wrong: use all of them but those \
         that are disabled or drained by hand.",
    )
    .default("0%"),
    Key::new(
        "passive",
        Kind::Either(&[OFF, Kind::Map(PASSIVE)]),
        "Judge backends by real sessions too, and eject those that fail: that cannot be connected, that before their \
         first byte reset, or close within 5 s of the client's first byte or 1 s of the connect, that are late with it. \
         Clients that leave, sessions that say nothing, and servers that only listen and close the idle are not held \
         against anyone.",
    ),
];

const START: Kind = Kind::Choice(START_WORDS);
const START_WORDS: &[Choice] =
    &[Choice::word("up", "usable"), Choice::word("down", "not usable until its first good probe")];

const PROBES: &[Choice] = &[
    Choice::word("tcp", "it accepts a connection"),
    Choice::word(
        "tls",
        "it completes a TLS handshake; its certificate is verified as the pool's `tls` says, and not without that",
    ),
    Choice::with("script", Kind::List(&Kind::Map(STEP)), "it says what is expected when told what is sent"),
    Choice::with("http", Kind::Map(HTTP), "it answers an HTTP request as expected").bare_too(),
    Choice::with("grpc", Kind::Map(GRPC), "its gRPC health service (`grpc.health.v1`) says SERVING").bare_too(),
    Choice::with("postgres", Kind::Map(POSTGRES), "it answers as a PostgreSQL server").bare_too(),
    Choice::with("mysql", Kind::Map(MYSQL), "it answers as a MySQL or MariaDB server; give it a `user`").bare_too(),
    Choice::with("redis", Kind::Map(REDIS), "it answers as a Redis server").bare_too(),
];

/// The parameters of the probe `name`.
pub(in super::super) fn probe_keys(name: &str) -> Option<&'static [Key]> {
    PROBES.iter().find(|probe| probe.name == name).and_then(|probe| super::map_of(probe.value?))
}

/// Each with exactly one of these.
pub(in super::super) const STEP: &[Key] = &literal([
    Key::new("send", TEXT, "Text to send. It may hold a password, so it is never shown.")
        .example("\"PING\\r\\n\"")
        .secret(),
    Key::new("expect", TEXT, "Text that must come next.").example("\"+PONG\""),
    Key::new("send_hex", Kind::Scalar(Scalar::Hex), "Bytes to send. They are never shown.")
        .example("\"0a0b\"")
        .secret(),
    Key::new("expect_hex", Kind::Scalar(Scalar::Hex), "Bytes that must come next.").example("\"0c\""),
    Key::new(
        "expect_regex",
        Kind::Scalar(Scalar::Regex),
        "A regular expression that must match what has come since the last step, within 64 KiB of it, as soon as enough \
         of it is there. What comes after the match is left to the next step.",
    )
    .example("\"^[+]PONG\""),
]);

const HTTP: &[Key] = &literal([
    Key::new("path", Kind::Scalar(Scalar::HttpPath), "The path asked for.").default("/"),
    Key::new("method", Kind::Scalar(Scalar::Method), "The method.").default("GET"),
    Key::new("host", Kind::Scalar(Scalar::Token), "The Host header; without it the address that is probed.")
        .example("x"),
    Key::new(
        "status",
        Kind::List(&Kind::Scalar(Scalar::Statuses)),
        "Status codes that are good: one, a range, or a list of them. A redirect is an answer like any other, and not \
         followed.",
    )
    .default("200-299"),
    Key::new(
        "body_regex",
        Kind::Scalar(Scalar::Regex),
        "A regular expression that must match the body, within its first 64 KiB.",
    )
    .example("ok"),
    Key::new("tls", BOOL, "Ask over TLS; the certificate is verified as the pool's `tls` says, and not without that.")
        .default("false"),
]);

const GRPC: &[Key] =
    &literal([Key::new("service", TEXT, "The service that is asked about; without it the server as a whole.")
        .example("orders")]);

const POSTGRES: &[Key] = &literal([
    ROLE,
    user(
        "The user to log in as, who needs no right but to connect. Without one the server is only asked whether it is \
         PostgreSQL, which it also says while it starts, stops or has no connection left.",
    ),
    Key::new("database", TEXT, "The database to log in to; without it the one of the user's name.").example("d"),
    PASSWORD,
]);

const MYSQL: &[Key] = &literal([
    ROLE,
    user(
        "The user to log in as, who needs no right but to connect. Without one the probe logs in as `peerway` with no \
         password, and a server that turns it away is up: it counts that in `Aborted_connects`, and MariaDB logs a \
         warning each time. Leaving after the greeting would be worse: after `max_connect_errors` of that a server \
         blocks this host, and with it every client.",
    ),
    PASSWORD,
]);

const REDIS: &[Key] = &literal([
    Key::new(
        "role",
        Kind::Choice(ROLE_WORDS),
        "Only a server in this role is up, and a replica only while it is connected to its primary: when that dies its \
         replicas are down too, unless `fail_open_below` uses them nevertheless.",
    )
    .example("primary"),
    user("The user to log in as, for accounts other than the default one."),
    PASSWORD,
]);

const fn user(doc: &'static str) -> Key {
    Key::new("user", TEXT, doc).example("u")
}

const PASSWORD: Key = Key::new(
    "password_file",
    PATH,
    "A file whose first line is the password. It is read for each probe, so that it can be changed at any time.",
)
.example("f")
.dormant();

const ROLE: Key = Key::new(
    "role",
    Kind::Choice(ROLE_WORDS),
    "Only a server in this role is up. PostgreSQL and MySQL tell it to users only.",
)
.example("primary");
const ROLE_WORDS: &[Choice] =
    &[Choice::word("primary", "it takes writes"), Choice::word("replica", "it follows a primary")];

const PASSIVE: &[Key] = &[
    Key::new("failures", count(1, MANY), "Failures in a row that eject a backend.").default("5"),
    Key::new("rate", SHARE, "Or failures of this share of its sessions of the last ten seconds.").default("50%"),
    Key::new("min_volume", count(1, MANY), "The share counts from so many sessions on.").default("20"),
    Key::new(
        "eject_for",
        TIMEOUT,
        "How long the first ejection lasts. Each further one lasts twice as long as the one before; after as much time \
         without one as the last one lasted, that is taken back by one step. When it is over a few sessions are let in on \
         trial, and the first good one brings the backend back.",
    )
    .default("10s"),
    Key::new("max_eject_for", TIMEOUT, "No ejection is longer.").default("5m"),
    Key::new(
        "max_ejected",
        SHARE,
        "Never eject more than this share of the pool's backends, rounded down, nor the last one that is usable.",
    )
    .default("50%"),
    Key::new("first_byte_within", TIMEOUT_OR_OFF, "A backend that takes longer for its first byte has failed. The time runs from the client's first byte, or from \
         connect when the backend speaks first; a session whose client sent nothing gives no sample.")
        .default("off"),
];
