//! Keys of a pool and of its backends.

use super::super::scalar::Scalar;
use super::health::HEALTH;
use super::shared::{CONGESTION_CONTROL, KEEPALIVE_KEY, NODELAY, OFF, ON_CHANGE, STARTTLS, USER_TIMEOUT, ZONE_NAME};
use super::{
    BOOL, Choice, Key, Kind, MANY, NAME, PATH, RATE, SHARE, SPAN, TEXT, TEXTS, TIMEOUT, TIMEOUT_OR_OFF, count, literal,
};

/// `pools.NAME`.
pub(in super::super) const POOL: &[Key] = &[
    Key::new("policy", Kind::Policy, "How a backend is chosen for each new session.").default("round_robin"),
    Key::new(
        "backends",
        Kind::List(&Kind::Either(&[Kind::Scalar(Scalar::Target), Kind::Map(BACKEND)])),
        "The backends: each an address, which is then its name too, or a map. An address is `IP:port`, `unix:/path` or \
         `host:port`. A host name is one backend: it keeps its address while the answer has it, and further attempts may \
         go to its other addresses.",
    )
    .example("[10.0.0.1:8080, 10.0.0.3:8080]"),
    Key::new("discover", Kind::Map(DISCOVER), "Find backends elsewhere, one of these ways; may stand beside `backends`. Every address found is a backend of its \
         own.").later(),
    Key::new(
        "backend",
        Kind::Map(BACKEND_DEFAULTS),
        "Said once for all backends of this pool; what a backend says itself comes first.",
    ),
    Key::new(
        "tier_spill_below",
        SHARE,
        "The next `tier` joins when less than this share of a tier's backends is usable; weights do not count here. With \
         `0%` it waits until none of them is.",
    )
    .default("0%"),
    Key::new("failback", FAILBACK, "How a better tier takes over again once it is usable.").default("auto"),
    Key::new(
        "on_failback",
        ON_CHANGE,
        "What happens to the sessions that the tiers it takes over from have then. With `single_active` it is `reset` \
         unless it is said.",
    )
    .default("keep"),
    Key::new(
        "single_active",
        BOOL,
        "Never have sessions on two backends at once, for databases with a single writer. One backend, the first usable \
         one, gets all sessions for as long as it is usable; the next one gets its first when the last session of the one \
         before has ended.",
    )
    .default("false"),
    Key::new("connect", Kind::Map(CONNECT), "How a backend is reached, and what is tried when it is not."),
    Key::new(
        "tls",
        Kind::Either(&[OFF, Kind::Map(TLS)]),
        "Speak TLS with backends, version 1.2 or 1.3; probes do too. A stream that ends without a close_notify was cut and \
         counts as a reset. Half-closing works through TLS 1.3; in 1.2 a close_notify ends both directions once everything \
         before it is written. The bytes are copied whatever `relay` says. The files are watched, and what changes is used \
         for new connections.",
    )
    .default("off"),
    Key::new(
        "starttls",
        Kind::Either(&[OFF, STARTTLS]),
        "Send the protocol's own request for TLS before `tls`, and require the backend's consent: one that is not willing has \
         failed, as `tls`. Probes over TLS do the same. What `starttls` of a listener without `tls` passes on needs no word \
         here.",
    )
    .example("postgres")
    .dormant(),
    Key::new("timeouts", Kind::Map(TIMEOUTS), "Limits on time for sessions of this pool; they beat the listener's."),
    Key::new("tcp", Kind::Map(TCP), "Options of the sockets to backends."),
    Key::new(
        "queue",
        Kind::Either(&[OFF, Kind::Map(QUEUE)]),
        "Let sessions wait, first come first served, when every usable backend is at its `max_connections`; `off` refuses \
         them at once. A client that resets, or finishes without having sent a byte, leaves the queue; one that finishes \
         after sending stays.",
    )
    .default("off"),
    Key::new("health", Kind::Either(&[OFF, Kind::Map(HEALTH)]), "Find out which backends are usable; without it, or with `off`, all are taken to be."),
    Key::new(
        "slow_start",
        SPAN,
        "Bring a backend that came up to its full weight over this time, in a line from a tenth of it; `0s` gives it all at \
         once. Policies that hash pay no heed to it.",
    )
    .default("0s"),
    Key::new(
        "on_remove",
        ON_CHANGE,
        "What happens to living sessions when a reload removes their backend or this pool. When the listener has a say too, the \
         gentler wins.",
    )
    .default("keep"),
];

/// One item of `backends` in the long form.
pub(in super::super) const BACKEND: &[Key] = &literal([
    Key::new(
        "name",
        NAME,
        "Its name in metrics, logs and commands, unique in the pool. Without it the address is the name.",
    )
    .example("web2"),
    Key::new("address", Kind::Scalar(Scalar::Target), "Where it is.").example("10.0.0.2:8080").required(),
    WEIGHT,
    TIER,
    ZONE,
    MAX_CONNECTIONS,
    Key::new("disabled", BOOL, "Send it nothing new; sessions it has go on.").default("false"),
]);

pub(super) const BACKEND_DEFAULTS: &[Key] = &[WEIGHT, TIER, ZONE, MAX_CONNECTIONS];

const WEIGHT: Key = Key::new(
    "weight",
    Kind::Scalar(Scalar::Weight),
    "Its share of new sessions relative to the others: with 5 it gets five times as many as with 1. To send none, say \
     `disabled: true`.",
)
.default("1");
const TIER: Key = Key::new(
    "tier",
    count(0, 255),
    "Backends of a higher number are used only when too few of the lower numbers are usable: see `tier_spill_below`.",
)
.default("0");
const ZONE: Key = Key::new(
    "zone",
    ZONE_NAME,
    "Where it runs, in the words of the `zone` at the top of the file: where the two are the same, it comes first. Without it \
     the backend is of no zone.",
)
.example("b");
const MAX_CONNECTIONS: Key = Key::new(
    "max_connections",
    Kind::Either(&[OFF, count(1, MANY)]),
    "Sessions it may have at once from this process, exactly. Further ones go to other backends; if all are full they wait in \
     the `queue` or are refused.",
)
.default("off");

/// The parameters of every policy that hashes.
pub(in super::super) const HASH: &[Key] = &[
    Key::new(
        "key",
        Kind::Choice(HASH_KEYS),
        "Sessions with an equal key go to the same backend while it is usable. Clients on unix sockets have no address \
         and are all alike.",
    )
    .default("client_ip"),
    Key::new(
        "prefix_v6",
        count(1, 128),
        "How many leading bits of a client's IPv6 address count: a household or host often has all addresses of a /64.",
    )
    .default("64"),
    Key::new(
        "bounded_load",
        Kind::Either(&[OFF, Kind::Scalar(Scalar::Ratio)]),
        "No backend gets more than so many times its share of the sessions there are; what is beyond goes to the key's \
         next choice. 1.25 evens out keys that are far from alike; a pool with few sessions then follows keys less well. \
         `off` follows keys whatever the load.",
    )
    .default("off"),
];
const HASH_KEYS: &[Choice] = &[
    Choice::word("client_ip", "the client's IP address"),
    Choice::word(
        "client_ip_port",
        "the client's IP address and port: each connection by itself, the same on all replicas",
    ),
    Choice::word(
        "server_name",
        "the server name the client asked for, in its TLS hello or by a PROXY header. The hello is waited for as by a route \
         with `sni` (`listeners.NAME.routes`); clients that ask for none are all alike",
    ),
    Choice::word("destination", "the address and port the client connected to"),
];

const DISCOVER: &[Key] = &[
    Key::new("dns", TEXT, "A host name and port; each address of the answer is a backend named `IP:port`.")
        .example("db.internal:5432"),
    Key::new("file", PATH, "A file with a list of backends, watched.").example("backends.yaml"),
    Key::new("kubernetes", TEXT, "The endpoints of a service.").example("default/db:5432"),
];

const FAILBACK: Kind = Kind::Choice(FAILBACK_WORDS);
const FAILBACK_WORDS: &[Choice] = &[
    Choice::word("auto", "as soon as it is usable"),
    Choice::word("manual", "when an operator enables a backend of it"),
];

const CONNECT: &[Key] = &[
    Key::new("timeout", TIMEOUT, "For one attempt, all of it: TCP, PROXY header, TLS.").default("2s"),
    Key::new(
        "attempts",
        count(1, 100),
        "Attempts for one session, each on a different backend while there is one. After the first byte of the client went to a \
         backend nothing is tried again.",
    )
    .default("3"),
    Key::new("deadline", TIMEOUT, "For all attempts and the pauses between them; time in a queue does not count.").default("10s"),
    Key::new(
        "retry_budget",
        Kind::Map(RETRY_BUDGET),
        "Limits what the sessions of the pool may together spend on further attempts, hedges too, so that an outage is not \
         multiplied. It is earned and spent over the last ten seconds: `share` of the sessions that began, and `min` on top.",
    )
    .instead_of_off("write `{ share: 100% }` to allow as many further attempts as sessions"),
    Key::new("backoff", Kind::Map(BACKOFF), "Pauses, only before the same backend must be tried again."),
    Key::new(
        "hedge_after",
        Kind::Either(&[Kind::Choice(HEDGE_WORDS), TIMEOUT]),
        "When an attempt takes so long, such as `50ms`, start one on a second backend too; the first to connect wins. It is \
         one of the `attempts`, so there must be at least 2, and must be shorter than `timeout`.",
    )
    .default("off"),
    Key::new(
        "source",
        Kind::Either(&[OFF, Kind::List(&Kind::Either(&[Kind::Choice(SOURCE_WORDS), Kind::Scalar(Scalar::Source)]))]),
        "Connect from these addresses of this machine, without ports. Each attempt takes the next one of the backend's \
         family, so there must be one for each family among the backends; unix sockets need none. More addresses mean \
         more connections at once: each has some 28 000 ports towards one backend. An address that cannot be used, or \
         has no port left, is a failure of this machine (`local`) and not counted against the backend. Without this the \
         kernel chooses. The word `client` alone connects from the client's own address, with a port that the kernel chooses: \
         backends see who the client is, and must have their way back to it through this machine (`deploy/README.md`). It \
         needs CAP_NET_RAW or CAP_NET_ADMIN; a client on a unix socket, or of the other family than the backend, is not \
         served. Health probes come from the address that the kernel chooses.",
    )
    .example("[10.0.0.9]")
    .dormant(),
    Key::new(
        "send_proxy",
        Kind::Choice(SEND_PROXY_WORDS),
        "Tell backends who the client is, with a PROXY protocol header: the client's address and the one it connected to. \
         It is sent once on each connection, before anything else, and is not counted in the session's bytes. Backends \
         must expect it: one that does not takes it for the client's first bytes. For a client on a unix socket it has no \
         addresses (`UNKNOWN` in version 1, `LOCAL` in version 2).",
    )
    .example("v2")
    .dormant(),
];

const RETRY_BUDGET: &[Key] = &[
    Key::new("share", SHARE, "Further attempts for each session that began: with `20%` one for five.").default("20%"),
    Key::new(
        "min",
        RATE,
        "Further attempts a second that are allowed on top, whatever the sessions: a quiet pool needs them.",
    )
    .default("10/s"),
];

const BACKOFF: &[Key] = &[
    Key::new("base", TIMEOUT, "The first pause; each further one is twice as long.").default("50ms"),
    Key::new("max", TIMEOUT, "No pause is longer.").default("1s"),
];

const HEDGE_WORDS: &[Choice] = &[
    Choice::word("p95", "the 95th percentile of the pool's recent connect times, once enough of them are known"),
    Choice::word("off", "never"),
];
const SOURCE_WORDS: &[Choice] = &[Choice::word("client", "the client's own address, transparently")];
const SEND_PROXY_WORDS: &[Choice] = &[
    Choice::word("off", "not at all"),
    Choice::word("v1", "version 1, a line of text"),
    Choice::with("v2", Kind::List(&Kind::Choice(PROXY_FIELDS)), "version 2, binary, with these fields if any")
        .bare_too(),
];
const PROXY_FIELDS: &[Choice] = &[
    Choice::word(
        "authority",
        "the server name the client asked for, if it is known: from its TLS hello where `tls` or a route has it read, or \
         from the header of another proxy",
    ),
    Choice::word(
        "alpn",
        "the application protocol, if it is known: agreed on here, the only one that is offered, or from the header of \
         another proxy",
    ),
    Choice::word(
        "ssl",
        "version and cipher of the client's TLS, and the common name of its certificate if that was verified; where none \
         ends here, what the header of another proxy says",
    ),
    Choice::word("unique_id", "the session's id, as in the log"),
    Choice::word("crc32c", "a checksum of the header"),
];

const TLS: &[Key] = &[
    Key::new(
        "server_name",
        TEXT,
        "Sent as SNI and looked for among the alternative names of the backend's certificate, never its common name. \
         Without it a backend's own host name or IP address is; an address is not sent as SNI.",
    )
    .example("db.example.com"),
    Key::new("ca", PATH, "The authorities trusted, PEM; without it the system's.").example("ca.pem"),
    Key::new("cert", PATH, "A certificate to show to backends that ask for one, then its chain, PEM.").example("me.pem"),
    Key::new("key", PATH, "Its key, PEM, without a password.").example("me.key"),
    Key::new(
        "alpn",
        TEXTS,
        "Application protocols offered, the preferred one first. A backend that knows none of them may refuse.",
    )
    .example("[x]"),
    Key::new(
        "verify",
        BOOL,
        "`false` believes any backend to be the right one, so that whoever is on the way can read and change everything; it \
         is said loudly at start.",
    )
    .default("true"),
];

const TIMEOUTS: &[Key] =
    &[Key::new("idle", TIMEOUT_OR_OFF, "No byte in either direction for so long; without it the listener's.")
        .example("10m")];

const TCP: &[Key] = &[KEEPALIVE_KEY, USER_TIMEOUT, NODELAY, CONGESTION_CONTROL];

const QUEUE: &[Key] = &[
    Key::new("max", count(1, MANY), "Sessions that may wait at once; those beyond it are refused.").default("1000"),
    Key::new("timeout", TIMEOUT, "How long each may wait before it is refused.").default("5s"),
];
