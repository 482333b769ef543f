//! What can be wrong about health, and what is right, in exact words.

use peerway::config::plan::{Health, OnChange, Probe, ProbeAt, Role};

use super::errors::{pool, refused};
use super::plan;

fn health(text: &str) -> Health {
    plan(&pool(text)).pools.remove(0).health
}

#[test]
fn wrong_probes() {
    let probe = |text: &str| pool(&format!("health: {{ probe: {text} }}"));
    refused(&[
        (
            probe("pgsql"),
            &[
                "5:22: pools.p.health.probe: expected `off`, `tcp`, `tls`, `script`, `http`, `grpc`, `postgres`, `mysql` or `redis`, found `pgsql`",
            ],
        ),
        (
            probe("{ http: { path: healthz, method: 'GE T' } }"),
            &[
                "5:38: pools.p.health.probe.http.path: a path begins with `/`",
                "5:55: pools.p.health.probe.http.method: only visible ASCII characters may stand here, and no spaces",
            ],
        ),
        (
            probe("{ http: { path: '/<a>', status: 99 } }"),
            &[
                "5:38: pools.p.health.probe.http.path: a path may not have characters such as `<`, `>` and quotes: write them as `%3C`",
                "5:54: pools.p.health.probe.http.status: an answer's status code is 200 to 599, and here is 99",
            ],
        ),
        (
            probe("{ http: { status: [200, 299-200] } }"),
            &[
                "5:46: pools.p.health.probe.http.status[1]: the range 299-200 is empty: its first code is the higher one",
            ],
        ),
        (
            probe("{ http: { body_regex: '(' } }"),
            &["5:44: pools.p.health.probe.http.body_regex: not a regular expression: unclosed group"],
        ),
        (probe("{ script: [] }"), &["5:32: pools.p.health.probe.script: a script needs at least one step"]),
        (probe("script"), &["5:22: pools.p.health.probe: `script` needs a value: `{ script: … }`"]),
        (
            probe("{ script: [ { send: a, expect: b }, {}, { send_hex: abc }, { expect_hex: xy } ] }"),
            &[
                "5:34: pools.p.health.probe.script[0]: a step does one thing, and this has `send`, `expect`: make a step of each",
                "5:58: pools.p.health.probe.script[1]: a step needs one of `send`, `expect`, `send_hex`, `expect_hex` and `expect_regex`",
                "5:74: pools.p.health.probe.script[2].send_hex: a byte has two hex digits, and here are 3 digits in all",
                "5:95: pools.p.health.probe.script[3].expect_hex: expected bytes as hex digits in quotes, such as `\"0a0b\"`, found `xy`",
            ],
        ),
        (
            probe("{ postgres: { role: primary } }"),
            &["5:36: pools.p.health.probe.postgres.role: `role` needs a `user` to log in as"],
        ),
        (
            probe("{ mysql: { role: master, user: u } }"),
            &["5:39: pools.p.health.probe.mysql.role: expected `primary` or `replica`, found `master`"],
        ),
        (
            probe("{ redis: { password_file: /no/such/file } }"),
            &[
                "5:48: pools.p.health.probe.redis.password_file: cannot read /no/such/file: No such file or directory (os error 2)",
            ],
        ),
    ]);
}

#[test]
fn what_excludes_each_other() {
    refused(&[
        (
            pool("health: { probe: tcp, port: 9, address: '10.0.0.1:9' }"),
            &["5:36: pools.p.health.address: `address` says the port already: remove `port`, or this"],
        ),
        (
            pool("health: { probe: tcp, address: 'h:9' }"),
            &["5:36: pools.p.health.address: a host name is not looked up for probes: write its IP address"],
        ),
        (
            pool("single_active: true\nhealth: { probe: tcp, on_down: keep }"),
            &[
                "6:36: pools.p.health.on_down: `keep` and `single_active` exclude each other: sessions that stay on the backend they have keep the next one from being used; write `reset`, or `{ drain: 30s }`",
            ],
        ),
        (
            pool("single_active: true\nconnect: { hedge_after: 10ms }"),
            &[
                "6:16: pools.p.connect.hedge_after: `hedge_after` and `single_active` exclude each other: a hedge goes to a second backend",
            ],
        ),
        (
            pool("health: { passive: { eject_for: 1h } }"),
            &["5:37: pools.p.health.passive.eject_for: `eject_for` is longer than `max_eject_for`"],
        ),
    ]);
}

#[test]
fn what_is_not_said_has_its_meaning() {
    let silent = health("");
    assert_eq!((&silent.probe, &silent.passive, silent.on_down), (&None, &None, OnChange::Keep));
    assert_eq!(health("health: off"), silent);
    assert_eq!(health("health: { probe: off, passive: off }"), silent);
    let passive = health("health: { passive: {} }").passive.expect("named");
    assert_eq!((passive.failures, passive.first_byte_within), (5, None));
    let down = |text: &str| health(&format!("{text}\nhealth: {{ probe: tcp }}")).on_down;
    assert_eq!((down(""), down("single_active: true")), (OnChange::Keep, OnChange::Reset));
    assert_eq!(health("health: { probe: tcp, port: 7 }").at, ProbeAt::Port(7));
    match health("health: { probe: { postgres: { role: replica, user: u, database: d } } }").probe {
        Some(Probe::Postgres(login)) => {
            assert_eq!((login.role, login.database.as_deref()), (Some(Role::Replica), Some("d")))
        }
        other => panic!("{other:?}"),
    }
    match health("health: { probe: http }").probe {
        Some(Probe::Http(http)) => assert_eq!((&*http.path, &http.status[..]), ("/", &[(200, 299)][..])),
        other => panic!("{other:?}"),
    }
    match health("health: { probe: { script: [ { send: \"PING\\r\\n\" }, { expect_hex: \"2b\" } ] } }").probe {
        Some(Probe::Script(steps)) => assert_eq!(steps.len(), 2),
        other => panic!("{other:?}"),
    }
}
