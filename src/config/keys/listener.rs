//! Keys of a listener.

use super::super::scalar::Scalar;
use super::admission::ADMISSION;
use super::route::ROUTE;
use super::shared::{ACCESS_LOG, CONGESTION_CONTROL, KEEPALIVE_KEY, NODELAY, OFF, ON_CHANGE, STARTTLS, USER_TIMEOUT};
use super::tls::TLS;
use super::{BOOL, BYTE_RATE_OR_OFF, Choice, Key, Kind, NAME, TIMEOUT, TIMEOUT_OR_OFF, count, literal, seconds};

/// `listeners.NAME`.
pub(in super::super) const LISTENER: &[Key] = &[
    Key::new(
        "bind",
        Kind::List(&Kind::Either(&[Kind::Scalar(Scalar::Bind), Kind::Map(BIND)])),
        "The addresses it listens on, one or a list: `IP:port`, a range of ports `IP:first-last`, or `unix:/path`. \
         `0.0.0.0:5432` is every IPv4 address and `[::]:5432` every IPv6 address; name both for both. Port 0 lets the \
         kernel choose; the log line `listening` says which. A port that another process holds is an error.",
    )
    .example("[127.0.0.1:8080, \"[::1]:8080\"]")
    .required(),
    Key::new(
        "pool",
        NAME,
        "The pool that connections go to; with `routes`, those that no route takes. With routes it may be left out: a \
         session that none of them takes then ends as `no_route`.",
    )
    .example("web"),
    Key::new(
        "routes",
        Kind::List(&Kind::Map(ROUTE)),
        "Choose the pool by what the client shows. The first route that matches wins. A route that needs bytes (`sni`, \
         `alpn`, `prefix`, `regex`) is reached with one of three results: it matches; it certainly does not, such as one \
         with `sni` for a client that does not speak TLS; or more bytes are needed. What is still undecided when \
         `timeouts.sniff` is over, when the client ends its stream, or when 16 KiB have not brought a whole TLS hello, ends \
         the session as `sniff_undecided`, and so does a hello that is malformed. It never falls through to a later route \
         or to `pool`. Nothing is read before the first route that needs it, and what is read is passed on unchanged. A \
         client that waits for the server to speak first (MySQL, SMTP) is waited for until `timeouts.sniff` by a route that \
         needs bytes.",
    ),
    Key::new(
        "accept_proxy",
        Kind::Either(&[OFF, Kind::Map(ACCEPT_PROXY)]),
        "Read a PROXY protocol header (version 1 or 2), which says who the client is behind another load balancer. From \
         then on that address is the client's for limits, logs, hashing and headers; in the access log, `peer` is still \
         who really connected. A peer that is trusted must send a header: one that sends anything else, or ends in the \
         midst of one, is reset and counted as `proxy_invalid`; one that does not send it in time ends as \
         `handshake_timeout`, and one that leaves without a byte as `client_reset`. A header that names nobody (LOCAL, \
         such as the health checks of the other load balancer, or UNKNOWN) leaves the peer itself the client. Of version \
         2 at most 4096 bytes are taken behind the length, a checksum is verified if there is one, and a unique id is \
         logged and passed on by `send_proxy`.",
    ),
    Key::new(
        "starttls",
        Kind::Either(&[OFF, STARTTLS]),
        "Answer the protocol's own request for TLS first, then go on with `tls` or with `routes`. Without `tls` here, the \
         TLS is the backend's: a route with `sni` sees the name in the hello, and the request is repeated to the backend, \
         which must be willing (else the attempt fails as `tls`). Until the hello has come `timeouts.sniff` counts, or \
         with `tls` `timeouts.handshake`. A client that speaks in the clear, as `psql` does by `sslmode=disable`, \
         certainly matches no `sni`; with `tls` it is refused. Only a request to cancel a query, which clients before \
         PostgreSQL 17 make in the clear whatever their session is inside, is passed on then too, unless every client must \
         show a certificate. One that begins TLS without asking (`sslnegotiation=direct`) is served too. MySQL cannot be \
         routed by name: its server speaks first, and its salt is part of the login.",
    )
    .example("postgres")
    .dormant()
    .never(
        "mysql",
        "a MySQL server speaks first, and its salt, which is part of the login, is in what it says, so that a backend must \
         be chosen before the name that a client asks for can be known; route by address or port",
    ),
    Key::new(
        "tls",
        Kind::Either(&[OFF, Kind::Map(TLS)]),
        "Speak TLS with clients, version 1.2 or 1.3; with backends, the pool's `tls` decides. With `accept_proxy` the header \
         stands before the hello. A stream that ends without a close_notify was cut and counts as a reset. Half-closing works through TLS \
         1.3; in 1.2 a close_notify ends both directions once everything before it is written. All files named here are \
         watched: what changes is used for new connections once it is whole and valid, and until then what was there \
         before. `peerway check` reads them too, so it must be allowed to.",
    )
    .dormant(),
    Key::new(
        "admission",
        Kind::Either(&[OFF, Kind::Map(ADMISSION)]),
        "Who may connect, how many and how often. Behind another load balancer (`accept_proxy`) `allow`, `deny` and \
         `per_client` are about the client that the header names; a header that names nobody leaves the peer itself the \
         client. What one client alone may do is looked at first, so that one that does too much takes nothing from the \
         others, and a connection that is refused counts for no limit. A reload changes all of this for living sessions too: \
         a lower limit ends nobody, and lets nobody in until there are fewer. During an upgrade each process counts its own.",
    ),
    Key::new("timeouts", Kind::Map(TIMEOUTS), "Limits on time. A session that reaches one is reset on each side that has not finished: a peer never takes a \
         session that was cut for one that ended well. A reload changes them for living sessions too, within a second or \
         two."),
    Key::new("relay", RELAY, "How bytes are moved between the two sockets.").default("auto"),
    Key::new("on_remove", ON_CHANGE, "What happens to living sessions when a reload removes this listener.")
        .default("keep"),
    Key::new(
        "bandwidth",
        Kind::Either(&[OFF, Kind::Map(BANDWIDTH)]),
        "Limits on bytes a second, of each direction by itself, as counted after TLS and PROXY headers. What a tenth of a \
         second brings may come at once. What may not be moved yet waits in the kernel, which slows the sender down; to wait \
         for that is not to be idle. A reload changes them for living sessions too, within a second or two.",
    ),
    Key::new("tcp", Kind::Map(TCP), "Options of the listening socket and of the sockets it accepts."),
    Key::new("log", Kind::Map(LOG), "What this listener logs, where that differs from `log` of the process."),
];

/// One item of `bind` in the long form.
pub(in super::super) const BIND: &[Key] = &literal([
    Key::new("address", Kind::Scalar(Scalar::Bind), "The address, as in the short form.")
        .example("unix:peerway.sock")
        .required(),
    Key::new(
        "mode",
        Kind::Scalar(Scalar::Mode),
        "Permission bits of a unix socket, in quotes, such as `\"0660\"`. Without it the process's umask decides.",
    )
    .example("\"0660\""),
    Key::new(
        "transparent",
        BOOL,
        "Accept connections to any address that the kernel hands over (IP_TRANSPARENT), such as by a TPROXY rule. The address \
         that the client wanted is the session's destination then. Needs CAP_NET_RAW or CAP_NET_ADMIN; the rules are in \
         `deploy/README.md`.",
    )
    .default("false"),
]);

const ACCEPT_PROXY: &[Key] = &[
    Key::new(
        "from",
        Kind::List(&Kind::Either(&[FROM_UNIX, Kind::Scalar(Scalar::Network)])),
        "Networks of peers whose word is taken, one or a list of them. They are compared with the address that really \
         connected, never with one from a header. The word `unix` stands for peers on a unix socket, who are on this \
         machine and had the permission to open it. `0.0.0.0/0` and `::/0` let anyone say who they are.",
    )
    .example("[10.0.0.0/8]")
    .required(),
    Key::new("others", OTHERS, "What becomes of connections from elsewhere.").default("refuse"),
    Key::new("timeout", TIMEOUT, "How long the header may take, from accept. Nothing extends it.").default("1s"),
];

pub(super) const FROM_UNIX: Kind = Kind::Choice(FROM_UNIX_WORDS);
const FROM_UNIX_WORDS: &[Choice] = &[Choice::word("unix", "peers on a unix socket")];

const OTHERS: Kind = Kind::Choice(OTHERS_WORDS);
const OTHERS_WORDS: &[Choice] = &[
    Choice::word("refuse", "they are reset, and counted as `proxy_untrusted`"),
    Choice::word("plain", "they are taken as they are, without a header: one that they send is payload"),
];

const TIMEOUTS: &[Key] = &[
    Key::new(
        "handshake",
        TIMEOUT,
        "From accept to the end of the TLS handshake. Nothing extends it. So long clients are held, too, that are refused in silence.",
    )
    .default("5s"),
    Key::new(
        "sniff",
        TIMEOUT,
        "From accept until the first bytes have decided the route, see `routes`. Nothing extends it.",
    )
    .default("3s"),
    Key::new("idle", TIMEOUT_OR_OFF, "No byte in either direction for so long.").default("1h"),
    Key::new(
        "half_closed",
        TIMEOUT_OR_OFF,
        "After one side has finished sending: no byte in the direction still open for so long. Every byte starts it anew.",
    )
    .default("5m"),
    Key::new("session", TIMEOUT_OR_OFF, "From accept, whatever happens.").default("off"),
];

const RELAY: Kind = Kind::Choice(RELAY_WORDS);
const RELAY_WORDS: &[Choice] = &[
    Choice::word("auto", "copy, and let the kernel move the bytes (splice) while reads are large"),
    Choice::word("copy", "always copy"),
    Choice::word("splice", "splice whenever both sides are plain sockets"),
];

const BANDWIDTH: &[Key] = &[
    Key::new("per_connection", BYTE_RATE_OR_OFF, "Of each session.").example("10MiB/s"),
    Key::new(
        "per_client",
        BYTE_RATE_OR_OFF,
        "Of all sessions of one client together, in equal parts; what a client is, `admission.per_client` says.",
    )
    .example("50MiB/s"),
];

const TCP: &[Key] = &[
    Key::new(
        "backlog",
        count(1, 1_000_000),
        "Connections the kernel holds until they are accepted; net.core.somaxconn caps it.",
    )
    .default("4096"),
    NODELAY,
    KEEPALIVE_KEY,
    USER_TIMEOUT,
    CONGESTION_CONTROL,
    Key::new(
        "fast_open",
        Kind::Either(&[OFF, count(1, 1_000_000)]),
        "Take data in the first packet (TCP_FASTOPEN): the number of such connections that may wait.",
    )
    .default("off"),
    Key::new(
        "defer_accept",
        Kind::Either(&[OFF, seconds(3600)]),
        "Accept a connection only when its first bytes are there, or after so many whole seconds (TCP_DEFER_ACCEPT). Not for \
         protocols in which the server speaks first.",
    )
    .default("off"),
    Key::new("freebind", BOOL, "Bind addresses that this machine does not have yet (IP_FREEBIND).").default("false"),
];

const LOG: &[Key] = &[Key::new(
    "access",
    Kind::Either(&[OFF, Kind::Map(ACCESS_LOG)]),
    "The access log of this listener: `off`, or any of the keys of `log.access`; those not named are the process's.",
)];
