//! `routes`: what they mean, and what is refused.

use std::time::Duration;

use peerway::config::plan::{Destination, HashKey, NamePattern, Route, SendProxy, Split, Starttls, Words};

use super::errors::refused;
use super::plan;

/// Routes from line 6, column 7.
fn routes(text: &str) -> String {
    with("", text)
}

/// The same below other lines of the listener, which has a certificate for its clients.
fn with(listener: &str, text: &str) -> String {
    let text = text.replace('\n', "\n      ");
    format!(
        "listeners:\n  l:\n    bind: [ '127.0.0.1:1', '127.0.0.1:2' ]\n    pool: p\n    routes:\n      {text}\n{listener}\
         pools: {{ p: {{ backends: '10.0.0.1:1' }}, q: {{ backends: '10.0.0.1:2' }} }}\n"
    )
}

fn read(text: &str) -> Vec<Route> {
    plan(text).listeners[0].routes.clone()
}

#[test]
fn every_key_reaches_the_plan() {
    let text = "\
- { match: { sni: [ DB.Example., '*.x' ], alpn: h2, source: [ 10.0.0.0/8 ], port: [ 1, 2 ] }, pool: q }
- { match: { prefix: \"S\\r\", regex: '^S', regex_limit: 2KiB, authority: '*' }, action: drop }
- { match: { port: 1 }, split: { to: { p: 90, q: 10 }, sticky: client_ip } }
- { match: {}, action: reject }";
    let routes = read(&with("    accept_proxy: { from: unix }\n", text));
    let when = &routes[0].when;
    assert_eq!(when.sni, [NamePattern::Name("db.example".into()), NamePattern::Child("x".into())]);
    assert_eq!((&when.alpn[..], &when.port[..]), (&[b"h2".as_slice().into()][..], &[1, 2][..]));
    assert_eq!((when.source[0].to_string(), &routes[0].to), ("10.0.0.0/8".to_owned(), &Destination::Pool("q".into())));
    let when = &routes[1].when;
    assert_eq!((when.prefix.as_deref(), &when.authority[..]), (Some(&b"S\r"[..]), &[NamePattern::Any][..]));
    assert_eq!(format!("{:?}", when.regex.as_ref().unwrap()), "/^S/ within 2048");
    assert_eq!(routes[1].to, Destination::Drop);
    let to = vec![("p".into(), 90), ("q".into(), 10)];
    assert_eq!(routes[2].to, Destination::Split(Split { to, sticky: true }));
    assert_eq!((routes[3].when == Default::default(), &routes[3].to), (true, &Destination::Reject));
}

#[test]
fn what_is_not_said_has_its_meaning() {
    let text = with("    timeouts: { sniff: 7s }\n", "- { match: { regex: x }, split: { to: { p: 0, q: 1 } } }");
    let plan = plan(&text.replace("    pool: p\n", ""));
    let listener = &plan.listeners[0];
    assert_eq!((&listener.pool, listener.timeouts.sniff), (&None, Duration::from_secs(7)));
    assert_eq!(format!("{:?}", listener.routes[0].when.regex.as_ref().unwrap()), "/x/ within 1024");
    assert_eq!(listener.pools().map(|name| &**name).collect::<Vec<_>>(), ["p", "q"]);
    let bare = super::plan(&routes("[]"));
    assert_eq!((bare.listeners[0].routes.len(), bare.listeners[0].timeouts.sniff), (0, Duration::from_secs(3)));
}

#[test]
fn pools_may_go_by_what_clients_show_and_tell_it() {
    let text = "listeners: { l: { bind: '127.0.0.1:1', pool: p } }\npools: { p: { backends: 'h:1', policy: \
                { maglev: { key: server_name } }, connect: { send_proxy: { v2: [ authority, alpn ] } } } }\n";
    let pool = &plan(text).pools[0];
    assert_eq!(pool.policy.hash.unwrap().key, HashKey::ServerName);
    let expected = SendProxy::V2 { authority: true, alpn: true, ssl: false, unique_id: false, crc32c: false };
    assert_eq!(pool.connect.send_proxy, Some(expected));
}

#[test]
fn a_client_s_names_may_be_asked_for_where_it_shows_some() {
    assert_eq!(Words("spiffe://prod/*".into()), Words("spiffe://prod/*".into()));
    refused(&[(
        routes("- { match: { client_san: 'spiffe://prod/*' }, pool: q }"),
        &[
            "6:20: listeners.l.routes[0].match.client_san: clients show no certificate here: ask them for one with `tls.client_auth` of this listener",
        ],
    )]);
}

#[test]
fn routes_that_lead_nowhere_or_to_two_places() {
    refused(&[
        (
            routes("- { match: {} }"),
            &["6:9: listeners.l.routes[0]: the route leads nowhere: give it a `pool`, a `split` or an `action`"],
        ),
        (
            routes("- { match: {}, pool: q, action: reject }"),
            &["6:31: listeners.l.routes[0].action: a route leads to one place: remove `action`, or `pool`"],
        ),
        (
            routes("- { match: {}, pool: r }"),
            &["6:28: listeners.l.routes[0].pool: there is no pool `r` (did you mean `p`?)"],
        ),
        (
            routes("- { match: {}, split: { to: { q: 1, r: 2 } } }"),
            &["6:43: listeners.l.routes[0].split.to.r: there is no pool `r` (did you mean `p`?)"],
        ),
        (
            routes("- { match: {}, split: { to: { p: 0 } } }"),
            &[
                "6:35: listeners.l.routes[0].split.to: nobody gets a session: give some pool a share above 0, such as `{ blue: 90, green: 10 }`",
            ],
        ),
        (
            routes("- { match: {}, split: {} }"),
            &["6:22: listeners.l.routes[0].split: `to` is missing, such as `to: { blue: 90, green: 10 }`"],
        ),
        (routes("- { pool: q }"), &["6:9: listeners.l.routes[0]: `match` is missing"]),
        (routes("[]").replace("    pool: p\n", ""), &["2:3: listeners.l: `pool` is missing, such as `pool: web`"]),
    ]);
}

#[test]
fn routes_that_are_never_reached() {
    refused(&[
        (
            routes("- { match: {}, pool: q }\n- { match: { sni: a.x }, pool: p }"),
            &[
                "7:9: listeners.l.routes[1]: this route is never reached: `routes[0]` takes every session that it would; move it before that one",
            ],
        ),
        (
            routes(
                "- { match: { alpn: h2 }, pool: q }\n- { match: { sni: '*.x' }, pool: q }\n- { match: { sni: a.X, port: 1 }, pool: p }",
            ),
            &[
                "8:9: listeners.l.routes[2]: this route is never reached: `routes[1]` takes every session that it would; move it before that one",
            ],
        ),
        // What is wrong asks for more than it seems to.
        (
            routes("- { match: { snii: a.x }, pool: q }\n- { match: { sni: a.x }, pool: p }"),
            &["6:20: listeners.l.routes[0].match.snii: unknown key (did you mean `sni`?)"],
        ),
        (
            routes("- { match: { source: 10.0.0.0 }, pool: q }\n- { match: { sni: a.x }, pool: p }"),
            &[
                "6:28: listeners.l.routes[0].match.source: `10.0.0.0` has no prefix length: write `10.0.0.0/32` for that one address",
            ],
        ),
    ]);
}

#[test]
fn matches_that_nobody_could_meet() {
    let name = |name: &str| {
        format!(
            "`{name}` is no host name: write one such as `db.example.com`, `*.example.com` for any that has one label more, or `*` for any name at all"
        )
    };
    let of = |what: &str| routes(&format!("- {{ match: {{ {what} }}, pool: q }}"));
    let at = |rest: &str| format!("listeners.l.routes[0].match.{rest}");
    let cases = [
        (of("sni: []"), format!("6:25: {}", at("sni: an empty list takes nobody: leave out `sni` to take everybody"))),
        (of("sni: [ a.x, 10.0.0.1 ]"), format!("6:32: {}", at(&format!("sni[1]: {}", name("10.0.0.1"))))),
        (of("sni: a*.x"), format!("6:25: {}", at(&format!("sni: {}", name("a*.x"))))),
        (of("sni: '*.*.x'"), format!("6:25: {}", at(&format!("sni: {}", name("*.*.x"))))),
        (of("port: 3"), format!("6:26: {}", at("port: nobody arrives there: `bind` has no port 3"))),
        (
            of("authority: a.x"),
            format!(
                "6:20: {}",
                at(
                    "authority: nobody says for whom a session is: `authority` is a field of PROXY protocol, which this listener reads with `accept_proxy` alone"
                )
            ),
        ),
        (of("regex: '('"), format!("6:27: {}", at("regex: not a regular expression: unclosed group"))),
        (
            of("regex: 'a$'"),
            format!(
                "6:27: {}",
                at(
                    "regex: `$`, `\\z` and `\\b` depend on bytes that may not have come yet: write out what must follow, such as `\\r\\n`"
                )
            ),
        ),
        (
            of("regex: '.*.{12}[ab].{18}'"),
            format!(
                "6:27: {}",
                at(
                    "regex: the regular expression is too large when compiled: classes such as `\\w` hold all of Unicode, `[a-z]` or `(?-u:\\w)` does not"
                )
            ),
        ),
        (
            of("regex: a, regex_limit: 5KiB"),
            format!(
                "6:43: {}",
                at(
                    "regex_limit: 5KiB is out of range: 1B to 4KiB, as all of it is kept for each session and looked at again when more comes"
                )
            ),
        ),
        (
            of("prefix: a, regex_limit: 1KiB"),
            format!(
                "6:31: {}",
                at("regex_limit: there is no `regex` that could look at so many bytes: add one, or remove this")
            ),
        ),
    ];
    for (text, expected) in cases {
        refused(&[(text, &[&expected])]);
    }
}

#[test]
fn requests_for_tls_in_the_clear() {
    let of = |listener: &str, pool: &str| {
        format!(
            "listeners:\n  l:\n    bind: 127.0.0.1:1\n    pool: p\n    {listener}\npools:\n  p:\n    backends: '10.0.0.1:1'\n    {pool}\n"
        )
    };
    let read = plan(&of("starttls: postgres", "tls: off\n    starttls: off"));
    assert_eq!((read.listeners[0].starttls, read.pools[0].starttls), (Some(Starttls::Postgres), None));
    let read = plan(&of("starttls: off", "tls: { verify: false }\n    starttls: postgres"));
    assert_eq!((read.listeners[0].starttls, read.pools[0].starttls), (None, Some(Starttls::Postgres)));
    refused(&[
        (
            of("starttls: postgres", "tls: { verify: false }"),
            &[
                "5:5: listeners.l.starttls: without `tls` here the client's TLS is passed on, and the pool `p` would wrap it in another: remove `tls` there, or add it here",
            ],
        ),
        (
            of("relay: auto", "starttls: postgres"),
            &[
                "9:5: pools.p.starttls: the backend would wait for TLS that nobody begins: add `tls`; for TLS of clients that is passed on, say `starttls` at the listener",
            ],
        ),
    ]);
}

#[test]
fn a_name_cannot_be_waited_for_where_the_server_speaks_first() {
    let of = |listener: &str, pool: &str| {
        format!(
            "listeners:\n  l:\n    bind: 127.0.0.1:1\n    pool: p\n    {listener}\npools:\n  p:\n    backends: '10.0.0.1:1'\n    {pool}\n"
        )
    };
    let cannot = "5:15: listeners.l.starttls: `mysql` cannot be: a MySQL server speaks first, and its salt, which is part of the login, is in what it says, so that a backend must be chosen before the name that a client asks for can be known; route by address or port";
    refused(&[
        (of("starttls: mysql", ""), &[cannot]),
        (of("starttls: { mysql: {} }", ""), &[cannot]),
        (
            of(
                "routes: [ { match: { port: 1 }, pool: p }, { match: { sni: x.example }, action: reject } ]",
                "health: { probe: mysql }",
            ),
            &[
                "5:59: listeners.l.routes[1].match.sni: sessions would wait for a name that nobody says: the pool `p` is MySQL, as its probe says, whose server speaks first, so that a backend must be chosen before a client says anything; route by address or port",
            ],
        ),
    ]);
    let before = "routes: [ { match: { port: 1 }, pool: p }, { match: { sni: x.example }, pool: q } ]";
    let text = of(before, "health: { probe: mysql }\n  q: { backends: '10.0.0.2:1' }").replace("    pool: p\n", "");
    assert_eq!(plan(&text).listeners[0].routes.len(), 2, "who goes there is decided before the name counts");
    for known in ["port: 1", "source: 10.0.0.0/8"] {
        let routes = format!("routes: [ {{ match: {{ {known}, sni: x.example }}, pool: p }} ]");
        plan(&of(&routes, "health: { probe: mysql }"));
    }
}
