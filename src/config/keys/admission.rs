//! Keys of who may come in, and how many.

use super::super::scalar::Scalar;
use super::listener::FROM_UNIX;
use super::shared::OFF;
use super::{Choice, Key, Kind, MANY, SOME_RATE_OR_OFF, count};

pub(super) const ADMISSION: &[Key] = &[
    Key::new(
        "allow",
        NETWORKS,
        "Networks that may connect, one or a list of them. With any of them, whoever is in neither list is refused. The \
         longest prefix that holds the client decides, and `deny` wins a tie. Long lists cost no more than short ones. The \
         word `unix` stands for peers on a unix socket, who have no address.",
    )
    .example("[10.0.0.0/8]"),
    Key::new("deny", NETWORKS, "Networks that may not, likewise. They are refused as `denied`.").example("[10.1.0.0/16]"),
    Key::new(
        "max_connections",
        SOME_OR_OFF,
        "Sessions at once. Those beyond it are refused as `max_connections_listener`, whatever `overflow` says.",
    )
    .example("10000"),
    Key::new(
        "max_rate",
        SOME_RATE_OR_OFF,
        "New connections a second. As many as a second brings may come at once; those beyond are refused as \
         `rate_listener`.",
    )
    .example("1000/s"),
    Key::new(
        "per_client",
        Kind::Either(&[OFF, Kind::Map(PER_CLIENT)]),
        "The same for each client address. All peers on unix sockets together are one client.",
    ),
    Key::new(
        "refuse_with",
        REFUSE_WITH,
        "How connections are turned away for any of the above. Those that the process has no room for, and those without a \
         valid PROXY header, are always reset.",
    )
    .default("reset"),
];

const PER_CLIENT: &[Key] = &[
    Key::new(
        "max_connections",
        SOME_OR_OFF,
        "Sessions at once. Those beyond it are refused as `max_connections_client`.",
    )
    .example("100"),
    Key::new(
        "rate",
        SOME_RATE_OR_OFF,
        "New connections a second. As many as a second brings may come at once; those beyond are refused as `rate_client`. \
         Clients without a session are remembered for at most a second, and at most 65536 of them: a flood from more \
         addresses than that within a second makes Peerway forget early who left first.",
    )
    .example("50/s"),
    Key::new("prefix_v6", count(1, 128), "IPv6 addresses that share so many leading bits count as one client.")
        .default("64"),
];

const SOME_OR_OFF: Kind = Kind::Either(&[OFF, count(1, MANY)]);
const NETWORKS: Kind = Kind::Either(&[OFF, Kind::List(&Kind::Either(&[FROM_UNIX, Kind::Scalar(Scalar::Network)]))]);

const REFUSE_WITH: Kind = Kind::Choice(REFUSE_WITH_WORDS);
const REFUSE_WITH_WORDS: &[Choice] = &[
    Choice::word("reset", "a reset"),
    Choice::word("close", "an orderly end; a client that has sent something already is reset right behind it"),
    Choice::word(
        "drop",
        "silence: hold the socket unread until `timeouts.handshake`, then reset. At most 1 % of `max_connections` of the \
         process are held, at least one, each in the place of a session; those beyond are reset at once",
    ),
];
