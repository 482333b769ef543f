//! Keys of a route: which sessions it takes, and where they go.

use super::super::scalar::Scalar;
use super::shared::OFF;
use super::{Choice, Key, Kind, NAME, PORT, TEXT, TEXTS, count, literal};

/// One item of `routes`.
pub(in super::super) const ROUTE: &[Key] = &literal([
    Key::new(
        "match",
        Kind::Map(MATCH),
        "What a connection must show; all that is named must hold. Of a list, one item is enough. `{}` asks for nothing.",
    )
    .required(),
    Key::new("pool", NAME, "The pool for such connections.").example("web"),
    Key::new("action", ACTION, "Instead of a pool: turn them away. They end as `rejected`.").dormant(),
    Key::new("split", Kind::Map(SPLIT), "Instead of a pool: share them among several.").dormant(),
]);

const MATCH: &[Key] = &literal([
    Key::new(
        "sni",
        TEXTS,
        "Server names in the TLS hello. `*.` at the front stands for exactly one label, as in certificates: \
         `*.example.com` takes `a.example.com` and neither `example.com` nor `a.b.example.com`. `*` takes any name. Case and \
         a dot at the end do not matter. An IP address in the hello is no name. Of a hello that hides another one (ECH) the \
         outer name counts.",
    )
    .example("\"*.eu.example.com\""),
    Key::new(
        "alpn",
        TEXTS,
        "Application protocols that the TLS hello offers, in whatever order; with `tls`, the one that was agreed on.",
    )
    .example("[h2]"),
    Key::new("source", SOURCES, "Networks of the client's address. Clients on unix sockets have none.")
        .example("[203.0.113.0/24]"),
    Key::new(
        "port",
        Kind::List(&PORT),
        "Ports of this machine that it arrived at, for a listener with several; what a PROXY header says does not matter.",
    )
    .example("8080"),
    Key::new("prefix", TEXT, "The first bytes, at most 4096. With `tls` those inside of it.")
        .example("\"SSH-\"")
        .dormant(),
    Key::new(
        "regex",
        TEXT,
        "A regular expression that the first bytes match. One that begins with `^` is decided as soon as it can be, and any \
         other matches anywhere, so that it certainly does not only after `regex_limit` bytes. `$`, `\\z` and `\\b` are \
         refused: they depend on bytes that may not have come yet. With `tls` those inside of it.",
    )
    .example("\"^GET /\"")
    .dormant(),
    Key::new("regex_limit", Kind::Scalar(Scalar::Size), "How many bytes `regex` may look at, at most 4KiB.")
        .default("1KiB")
        .dormant(),
    Key::new("authority", TEXTS, "Server names as in `sni`, which a PROXY header (`accept_proxy`) says the client asked for.")
        .example("db.example.com")
        .dormant(),
    Key::new(
        "client_san",
        TEXTS,
        "Alternative names in the client's certificate, which `tls.client_auth` has verified; `*` stands for anything.",
    )
    .example("\"spiffe://prod/*\"")
    .dormant(),
]);

const ACTION: Kind = Kind::Choice(ACTION_WORDS);
const ACTION_WORDS: &[Choice] = &[
    Choice::word("reject", "reset"),
    Choice::word(
        "drop",
        "silence: hold the socket unread until `timeouts.handshake`, then reset; at most 1 % of `max_connections` of them",
    ),
];

const SPLIT: &[Key] = &[
    Key::new(
        "to",
        Kind::Values(&count(0, 1_000_000)),
        "Pools and their shares relative to each other: of `{ blue: 90, green: 10 }`, exactly 90 of 100 sessions go to \
         `blue`, evenly spread. A share of 0 gets none.",
    )
    .example("{ blue: 90, green: 10 }")
    .required(),
    Key::new(
        "sticky",
        STICKY,
        "Clients that stay with one pool. Then shares are of clients, and hold on average. A share that changes moves only \
         as many clients as it must, and a restart or another replica moves none.",
    )
    .example("client_ip"),
];

const STICKY: Kind = Kind::Either(&[OFF, Kind::Choice(STICKY_WORDS)]);
const STICKY_WORDS: &[Choice] =
    &[Choice::word("client_ip", "by the client's address; all of an IPv6 /64 are one client")];
const SOURCES: Kind = Kind::List(&Kind::Scalar(Scalar::Network));
