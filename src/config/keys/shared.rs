//! Parts of the table that several subjects use.

use std::time::Duration;

use super::{BOOL, Choice, Key, Kind, TIMEOUT, count, duration, seconds};

pub(super) const OFF: Kind = Kind::Choice(OFF_WORDS);
const OFF_WORDS: &[Choice] = &[Choice::word("off", "not at all")];

/// The name of a zone.
pub(super) const ZONE_NAME: Kind = Kind::Either(&[OFF, super::TEXT]);

pub(super) const AUTO: Kind = Kind::Choice(AUTO_WORDS);
const AUTO_WORDS: &[Choice] = &[Choice::word("auto", "chosen by Peerway")];

/// `on_remove` and its kin.
pub(super) const ON_CHANGE: Kind = Kind::Choice(ON_CHANGE_WORDS);
const ON_CHANGE_WORDS: &[Choice] = &[
    Choice::word("keep", "no new sessions; those that live go on"),
    Choice::word("reset", "living sessions are reset at once"),
    Choice::with(
        "drain",
        TIMEOUT,
        "no new sessions; living ones are ended spread evenly over this time, longest idle first",
    ),
];

/// Protocols that ask for TLS in the clear first.
pub(super) const STARTTLS: Kind = Kind::Choice(STARTTLS_WORDS);
const STARTTLS_WORDS: &[Choice] = &[Choice::word("postgres", "PostgreSQL's SSLRequest")];

pub(super) const KEEPALIVE_OR_OFF: Kind = Kind::Either(&[OFF, Kind::Map(KEEPALIVE)]);

/// The kernel's own limits: TCP_KEEPIDLE and TCP_KEEPINTVL 32767 s, TCP_KEEPCNT 127.
const KEEPALIVE: &[Key] = &[
    Key::new("idle", seconds(32_767), "Silence before the first probe, in whole seconds.").default("60s"),
    Key::new("interval", seconds(32_767), "Time between probes, in whole seconds.").default("10s"),
    Key::new("probes", count(1, 127), "Unanswered probes before the connection counts as dead.").default("3"),
];

pub(super) const NODELAY: Key = Key::new(
    "nodelay",
    BOOL,
    "Send small writes at once instead of waiting to fill a packet (TCP_NODELAY). \
     Turn it off only to save packets on a slow link.",
)
.default("true");

pub(super) const KEEPALIVE_KEY: Key = Key::new(
    "keepalive",
    KEEPALIVE_OR_OFF,
    "TCP keepalive: notice a peer that vanished without a word, also while a session is idle. `off` sends no probes.",
);

/// TCP_USER_TIMEOUT is an int of milliseconds: a little over 24 days.
pub(super) const USER_TIMEOUT: Key = Key::new(
    "user_timeout",
    Kind::Either(&[OFF, duration(Duration::from_millis(1), Duration::from_secs(24 * 24 * 3600))]),
    "How long sent bytes may stay unacknowledged before the connection is given up (TCP_USER_TIMEOUT). \
     `off` leaves it to the kernel: some 15 minutes.",
)
.default("off");

/// TCP_CONGESTION, whose names have fifteen characters at most.
pub(super) const CONGESTION_CONTROL: Key = Key::new(
    "congestion_control",
    Kind::Either(&[Kind::Choice(CONGESTION_WORDS), Kind::Scalar(super::Scalar::Congestion)]),
    "The kernel's algorithm for how fast to send (TCP_CONGESTION): `auto`, `system`, or a name such as `cubic` or `bbr`, which \
     the kernel must offer (sysctl `net.ipv4.tcp_available_congestion_control`). `auto` is the machine's own, but `reno` \
     for listeners bound to, and backends at, 127.0.0.0/8 or ::1 if the machine's own is BBR: that spreads packets over \
     time by a timer, which on a loopback only costs CPU time and throughput. Sockets that systemd hands over get it \
     too, whatever `TCPCongestion=` of their unit says.",
)
.default("auto");
const CONGESTION_WORDS: &[Choice] = &[
    Choice::word("auto", "the machine's own, without pacing on the loopback"),
    Choice::word("system", "the machine's own"),
];

/// The words for `to` and the rest of the access log, of the process and of a listener.
pub(super) const ACCESS_LOG: &[Key] = &[
    Key::new(
        "to",
        Kind::Either(&[ACCESS_SINK, super::PATH]),
        "Where access log lines go: `stdout`, `stderr`, `off`, or the path of a file. A file is appended to, and opened \
         again on SIGUSR1 so that it can be rotated. A sink that is stuck or full loses lines, which are counted; it \
         never holds up a session.",
    )
    .default("stdout"),
    Key::new(
        "when",
        Kind::List(&Kind::Either(&[ACCESS_WHEN, Kind::Scalar(super::Scalar::Interval)])),
        "When a session is logged: `start` (its backend is connected), `end`, `interval 60s` (every so often while it \
         lives). Any of them together.",
    )
    .default("[end]"),
    Key::new(
        "sample",
        super::SHARE,
        "The share of sessions that is logged, decided once for each session, so all its lines are there or none.",
    )
    .default("100%"),
    Key::new(
        "skip",
        Kind::List(&Kind::Choice(SKIP_WORDS)),
        "Sessions that are left out: `empty` are those that carried no byte in either direction, such as the probes of \
         another load balancer.",
    )
    .default("[]"),
];

const ACCESS_SINK: Kind = Kind::Choice(ACCESS_SINK_WORDS);
const ACCESS_SINK_WORDS: &[Choice] = &[
    Choice::word("stdout", "standard output"),
    Choice::word("stderr", "standard error"),
    Choice::word("off", "nowhere"),
];

const ACCESS_WHEN: Kind = Kind::Choice(ACCESS_WHEN_WORDS);
const ACCESS_WHEN_WORDS: &[Choice] =
    &[Choice::word("start", "when the backend is connected"), Choice::word("end", "when the session ends")];

const SKIP_WORDS: &[Choice] = &[Choice::word("empty", "sessions that carried no byte")];
