//! Keys of TLS with clients.

use super::{Choice, Key, Kind, MANY, PATH, PATHS, TEXTS, count};

/// `listeners.NAME.tls`.
pub(in super::super) const TLS: &[Key] = &[
    Key::new(
        "certificates",
        Kind::List(&Kind::Map(CERTIFICATE)),
        "Certificates, one or a list. A client that asks for a name gets the one that has it among its alternative names: \
         as it is, else with `*.` for its first label. Common names do not count. A client that asks for another name, or \
         for none, gets the first. Certificates with keys of different kinds may share a name; the first that a client can \
         use counts.",
    )
    .required(),
    Key::new("client_auth", Kind::Map(CLIENT_AUTH), "Ask clients for a certificate."),
    Key::new("min_version", MIN_VERSION, "The oldest TLS version accepted.").default("\"1.2\""),
    Key::new(
        "alpn",
        TEXTS,
        "Application protocols, the preferred one first. A client that offers some, and none of these, is refused; one that \
         offers none is served.",
    )
    .example("[h2, http/1.1]"),
    Key::new(
        "max_handshakes",
        count(1, MANY),
        "Handshakes at once. A connection beyond them is reset, and counted as `overload`.",
    )
    .default("256"),
    Key::new(
        "ticket_keys",
        PATHS,
        "Files with secrets for session tickets, so that clients can resume their sessions at each replica, and after a \
         restart. Each holds 32 to 4096 random bytes (`openssl rand 80 > k1`). New tickets are made with the first, those \
         of all are accepted: to change it, add the new one last everywhere, then put it first, then drop the old one. \
         Without files the process makes its own, a new one every six hours. A ticket is good for twelve hours, and only at \
         a listener of the same name with the same `client_auth`, down to the bytes of its files.",
    )
    .example("[k1, k2]"),
];

/// A certificate and its key.
pub(in super::super) const CERTIFICATE: &[Key] = &[
    Key::new("cert", PATH, "The certificate, then its chain, PEM.").example("a.pem").required(),
    Key::new("key", PATH, "Its key, PEM, without a password.").example("a.key").required(),
];

const CLIENT_AUTH: &[Key] = &[
    Key::new("ca", PATH, "The authorities whose certificates are accepted, PEM.").example("clients.pem").required(),
    Key::new("mode", AUTH_MODE, "Whether a certificate must be shown.").default("required"),
    Key::new(
        "crl",
        PATHS,
        "Lists of revoked certificates, PEM or DER. With any, there must be one of each authority on the way from the \
         client's certificate to one in `ca`: a certificate about which no list speaks counts as revoked.",
    )
    .example("[c.crl]"),
    Key::new("crl_expired", CRL_EXPIRED, "What a list means whose next update is overdue.").default("refuse"),
];

const AUTH_MODE: Kind = Kind::Choice(AUTH_MODE_WORDS);
const AUTH_MODE_WORDS: &[Choice] = &[
    Choice::word("required", "no session without one"),
    Choice::word("optional", "verified when one is shown, and refused when it is not good"),
];

const CRL_EXPIRED: Kind = Kind::Choice(CRL_EXPIRED_WORDS);
const CRL_EXPIRED_WORDS: &[Choice] = &[
    Choice::word("refuse", "no client of that authority is accepted"),
    Choice::word("accept", "the old list is used, and the log says so"),
];

const MIN_VERSION: Kind = Kind::Choice(MIN_VERSION_WORDS);
const MIN_VERSION_WORDS: &[Choice] = &[Choice::word("1.2", "TLS 1.2"), Choice::word("1.3", "TLS 1.3")];
