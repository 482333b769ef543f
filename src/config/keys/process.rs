//! Keys of the process: the top level of the file and all that is not a listener or a pool.

use std::time::Duration;

use super::super::scalar::Scalar;
use super::shared::{ACCESS_LOG, AUTO, OFF, ZONE_NAME};
use super::{
    BACKEND_DEFAULTS, BOOL, CERTIFICATE, Choice, FACTOR, Key, Kind, LISTENER, MANY, NAME, PATH, PATHS, POOL,
    SOME_RATE_OR_OFF, SPAN, TIMEOUT, TIMEOUT_OR_OFF, count, duration,
};

/// The top level.
pub(in super::super) const ROOT: &[Key] = &[
    Key::new("version", count(1, 1), "The version of this format. There is only 1.").default("1"),
    Key::new(
        "include",
        PATHS,
        "More files whose `listeners` and `pools` are added to those here: a path, a pattern with `*` and `?`, or a list \
         of them. Paths are relative to this file; matches are taken in lexical order. A pattern may match nothing, a path \
         without wildcards must exist. Included files may not include others, and a name may appear only once in all.",
    )
    .example("conf.d/*.yaml"),
    Key::new(
        "workers",
        Kind::Either(&[AUTO, Kind::Map(WORKERS)]),
        "Threads that carry the traffic. `auto` is one for each CPU this process may use, not pinned. Changing it needs a \
         restart.",
    )
    .default("auto")
    .restart(),
    Key::new(
        "max_connections",
        Kind::Either(&[AUTO, count(1, MANY)]),
        "How many sessions may live at once in the whole process. `auto` is half of the descriptor limit after a reserve \
         for everything else, since a session needs two descriptors. It is never more than that, with a warning at start.",
    )
    .default("auto"),
    Key::new("overflow", OVERFLOW, "What happens to a connection beyond `max_connections`.").default("refuse"),
    Key::new(
        "max_rate",
        SOME_RATE_OR_OFF,
        "New connections a second in the whole process. As many as a second brings may come at once; those beyond are reset \
         and counted as `rate_process`, also with `overflow: wait`, which is about `max_connections` alone.",
    )
    .example("5000/s"),
    Key::new(
        "shutdown",
        Kind::Map(SHUTDOWN),
        "How the process ends on SIGTERM or SIGINT. /readyz fails at once, so that load balancers stop sending; after \
         `delay` nothing new is accepted; then sessions have `grace` to finish. Those without a byte for 5 s are reset \
         during the second half of it, the rest at its end. No cut session is ever told a clean end. A second signal \
         resets everything and exits within a second.",
    ),
    Key::new(
        "upgrade",
        Kind::Map(UPGRADE),
        "SIGUSR2 or `peerway upgrade` starts the program's file, as it is by then, with the listening sockets of the running \
         process. Once the new process serves, the old one accepts no more and lives until its last session has ended.",
    ),
    Key::new(
        "reload",
        Kind::Map(RELOAD),
        "How changes of these files take effect. SIGHUP and `peerway reload` always reload. All of a changed configuration \
         takes effect, or nothing of it; `peerway plan` says beforehand what would change.",
    ),
    Key::new(
        "state_file",
        PATH,
        "Where weights and drains set by an operator are kept, so that they survive a restart. The process writes it anew \
         with each of them; its folder must be there and writable.",
    )
    .example("/var/lib/peerway/state.json")
    .restart()
    .dormant(),
    Key::new(
        "zone",
        ZONE_NAME,
        "Where this instance runs, in words of your choice, such as a data centre. In every tier of a pool, backends of the \
         same `zone` come first; the others get the share of sessions that these lack usable weight for. Policies that hash \
         pay no heed to it. Without it zones do not matter.",
    )
    .example("a"),
    Key::new(
        "sandbox",
        SANDBOX,
        "Give up, before anything else is done, what the process needs no more of than this file says (Landlock): files, \
         executing other programs, sending signals to other processes. It can read in the folders of these files and of \
         certificates, keys and other files that they name, each with all below it, so keep them in folders of their own; of \
         links, in the folders of both ends. It can write in the folders of `state_file` and of access logs, and create \
         sockets in those of `unix:` addresses to listen on. Of the system it can read the trusted authorities, and `/etc` \
         while a backend has a host name, since looking that up takes files there. A reload that needs another folder fails \
         whole with `needs restart: PATH`; a restart opens it, and so does an upgrade. Ports and addresses are not \
         restricted: a reload may name any. The new process of an upgrade is started by a helper outside of the sandbox, a \
         second process of this program, which starts nothing else.",
    )
    .default("off")
    .restart(),
    Key::new(
        "admin",
        Kind::Map(ADMIN),
        "The endpoint for people and tools: /metrics, /healthz, /readyz and the API that `peerway pools`, `reload` and the \
         other commands use. Without it there is none. Changing it needs a restart.",
    )
    .restart(),
    Key::new(
        "metrics",
        Kind::Map(METRICS),
        "A second endpoint that a scraper may reach: only /metrics, /healthz and /readyz, never the API. The admin \
         endpoint serves these three too.",
    )
    .silent(),
    Key::new("ready_when", Kind::Map(READY_WHEN), "What /readyz waits for, besides being started and not shutting down.")
        .silent(),
    Key::new("log", Kind::Map(LOG), "The program's own log, which goes to standard error, and the access log."),
    Key::new(
        "defaults",
        Kind::Map(DEFAULTS),
        "Said once for all listeners, pools or backends. What they say themselves comes first: maps merge key by key, \
         lists and single values replace, `off` clears.",
    ),
    Key::new(
        "listeners",
        Kind::Named(LISTENER),
        "Where clients arrive. Each listener has a name of your choice; it appears in metrics and logs.",
    ),
    Key::new(
        "pools",
        Kind::Named(POOL),
        "Where connections go. Each pool has a name of your choice; listeners refer to it.",
    ),
];

const WORKERS: &[Key] = &[
    Key::new(
        "threads",
        Kind::Either(&[AUTO, count(1, 4096)]),
        "How many. `auto` is one for each CPU this process may use.",
    )
    .default("auto"),
    Key::new("pin", BOOL, "Pin each thread to a CPU of its own.").default("false"),
    Key::new(
        "busy_poll",
        BUSY_POLL,
        "How long a thread that has run out of work looks at its sockets again before it sleeps. Being woken takes tens of \
         microseconds, twice in each round trip; where that is spared, a lone request has its answer in half the time or \
         less. It pays where peers answer within this span, as on one host or in one data centre, and where each thread has \
         a CPU of its own; `50us` is a good value. A thread looks only after work, so one without work sleeps, and it gives \
         up when what comes next mostly comes later; then it tries again now and then, which takes 2.5 % of a CPU at most. \
         While it pays, a thread with little to do may take all of its CPU: `peerway_worker_busy_poll_seconds_total` says \
         how long it looked, and how much of that was for nothing. Absent, or `off`: a thread sleeps at once.",
    )
    .example("50us"),
];

const BUSY_POLL: Kind = Kind::Either(&[OFF, duration(Duration::from_micros(1), Duration::from_millis(10))]);

const OVERFLOW: Kind = Kind::Choice(OVERFLOW_WORDS);
const OVERFLOW_WORDS: &[Choice] = &[
    Choice::word("refuse", "accept it, reset it, count it"),
    Choice::word("wait", "accept nothing more; the kernel's backlog holds what arrives"),
];

const SHUTDOWN: &[Key] = &[
    Key::new("delay", SPAN, "From /readyz failing to the end of accepting.").default("0s"),
    Key::new("grace", SPAN, "From the end of accepting to the end of the process.").default("30s"),
];

const UPGRADE: &[Key] = &[
    Key::new("grace", TIMEOUT_OR_OFF, "How long the old process may keep its sessions; `off` is without limit.")
        .default("off"),
    Key::new("max_old", count(1, 64), "How many old processes there may be; an upgrade beyond it is refused.")
        .default("4"),
];

const RELOAD: &[Key] = &[
    Key::new(
        "watch",
        BOOL,
        "Reload when a file changes: one named on the command line, or one that is included. Changes are noticed at once, and \
         on network file systems within some seconds.",
    )
    .default("true"),
    Key::new("debounce", SPAN, "Wait for so long without another change first, so that no half-written file is read.")
        .default("500ms"),
    Key::new(
        "guard",
        Kind::Either(&[OFF, TIMEOUT, Kind::Map(GUARD)]),
        "Watch connect failures, sessions without a backend and connect times for this long after a reload, compare them with \
         the minute before, and return to the old configuration when they get worse. The same files are not tried again \
         until they change, or until someone asks for it. `peerway reload --guard 60s` guards one reload.",
    )
    .default("off"),
];

const GUARD: &[Key] = &[
    Key::new("for", TIMEOUT, "How long to watch.").default("60s"),
    Key::new("failures_over", FACTOR, "Return when connect failures rise above so many times what they were.")
        .default("2x"),
    Key::new("p99_over", FACTOR, "Return when the 99th percentile of connect time rises above so many times.")
        .default("2x"),
    Key::new("min_events", count(1, MANY), "Judge nothing by fewer connections than these.").default("50"),
];

const SANDBOX: Kind = Kind::Choice(SANDBOX_WORDS);
const SANDBOX_WORDS: &[Choice] = &[
    Choice::word("off", "no sandbox"),
    Choice::word("on", "as much as this kernel can do; the log says what it cannot"),
    Choice::word("strict", "refuse to start on a kernel that cannot do all of it: Linux 6.12 and later can"),
];

const ADMIN: &[Key] = &[
    Key::new(
        "listen",
        Kind::Scalar(Scalar::Endpoint),
        "Where it listens: `IP:port`, or `unix:/path` for a socket that only its owner may use (mode 0600).",
    )
    .example("127.0.0.1:9901")
    .required(),
    Key::new(
        "token_file",
        PATH,
        "A file whose content, without surrounding white space, is the token that requests must carry \
         (`Authorization: Bearer …`). Requests that change something need it unless `listen` is a loopback address or a \
         unix socket; with `protect: all` every request but /healthz and /readyz needs it.",
    )
    .example("token")
    .dormant(),
    Key::new("protect", PROTECT, "Which requests need the token.").default("writes"),
    Key::new(
        "tls",
        Kind::Map(CERTIFICATE),
        "Serve it over TLS, and not without. The files are watched, and what changes is used for new connections. \
         `peerway`'s own commands reach it with `--admin https://HOST:PORT`, where HOST is a name or an address that the \
         certificate has; they verify it by the system's authorities, or by those of `--ca FILE` (`PEERWAY_CA`). Requests \
         may be for an IP address, for `localhost`, or for a host name that the certificate has in full; those for any \
         other name are refused, also under a wildcard, since a foreign site may have pointed it here. Without TLS only \
         addresses and `localhost` will do.",
    )
    .dormant(),
];

const PROTECT: Kind = Kind::Choice(PROTECT_WORDS);
const PROTECT_WORDS: &[Choice] = &[
    Choice::word("writes", "those that change something"),
    Choice::word("all", "all but /healthz and /readyz; needs `token_file`"),
];

const METRICS: &[Key] = &[
    Key::new("listen", Kind::Scalar(Scalar::Ip), "Where it listens: `IP:port`. Without it only the admin endpoint serves metrics. Changing it needs a restart.")
        .example("127.0.0.1:9902")
        .restart(),
    Key::new(
        "backend_histograms",
        BOOL,
        "Count connect times of each backend in a histogram of its own. It costs a dozen series for each backend; without \
         it there is one histogram for each pool, and an average for each backend.",
    )
    .default("false"),
];

const READY_WHEN: &[Key] = &[Key::new(
    "pools",
    Kind::List(&NAME),
    "Pools that must have a usable backend. For one pool alone ask `/readyz?pool=NAME`.",
)
.default("[]")
.example("[web]")];

const LOG: &[Key] = &[
    Key::new(
        "level",
        Kind::Scalar(Scalar::Filter),
        "What the program logs about itself: error, warn, info, debug, trace or off, or a filter for single modules such \
         as `info,peerway::health=debug`.",
    )
    .default("info"),
    Key::new("format", LOG_FORMAT, "The form of both logs.").default("json"),
    Key::new(
        "access",
        Kind::Either(&[OFF, Kind::Map(ACCESS_LOG)]),
        "The access log: what is written about each session. A listener may say otherwise.",
    ),
];

const LOG_FORMAT: Kind = Kind::Choice(LOG_FORMAT_WORDS);
const LOG_FORMAT_WORDS: &[Choice] =
    &[Choice::word("json", "one JSON object a line"), Choice::word("text", "`key=value` pairs, text in quotes")];

const DEFAULTS: &[Key] = &[
    Key::new("listener", Kind::Map(LISTENER), "For every listener.").default("{}"),
    Key::new("pool", Kind::Map(POOL), "For every pool.").default("{}"),
    Key::new("backend", Kind::Map(BACKEND_DEFAULTS), "For every backend, unless its pool says otherwise in `backend`.")
        .default("{}"),
];
