//! Every error in its exact words, at its exact place.

use super::{CATALOGUE, config, env};

const LISTENER: &str = "listeners: { l: { bind: '127.0.0.1:1', pool: p } }\n";
const POOL: &str = "pools: { p: { backends: '10.0.0.1:1' } }\n";

fn whole(text: &str) -> String {
    text.to_owned()
}

/// Before a listener and a pool without faults.
fn top(text: &str) -> String {
    format!("{text}\n{LISTENER}{POOL}")
}

fn before_pools(text: &str) -> String {
    format!("{text}{POOL}")
}

/// In a listener, from line 5, column 5.
fn listener(text: &str) -> String {
    let text = text.replace('\n', "\n    ");
    format!("listeners:\n  l:\n    bind: 127.0.0.1:1\n    pool: p\n    {text}\n{POOL}")
}

/// In a pool, from line 5, column 5.
pub(super) fn pool(text: &str) -> String {
    let text = text.replace('\n', "\n    ");
    format!("{LISTENER}pools:\n  p:\n    backends: 10.0.0.1:1\n    {text}\n")
}

/// As `backends`, from line 2, column 25.
fn backends(text: &str) -> String {
    format!("{LISTENER}pools: {{ p: {{ backends: {text} }} }}\n")
}

pub(super) fn refused(cases: &[(String, &[&str])]) {
    for (text, expected) in cases {
        let errors = match config::parse("t.yaml", text, &CATALOGUE, &env) {
            Ok(_) => panic!("accepted:\n{text}"),
            Err(errors) => errors.to_string(),
        };
        let expected: Vec<String> = expected.iter().map(|line| format!("t.yaml:{line}")).collect();
        assert_eq!(errors, expected.join("\n"), "\n{text}");
    }
}

#[test]
fn syntax_errors_stand_alone() {
    refused(&[
        (
            whole(""),
            &[
                "1:1: the file is empty: a configuration has at least `listeners` and `pools`, a part of one at least a comment",
            ],
        ),
        (
            whole("# only a comment\n"),
            &["1:1: the file is empty: a configuration has at least `listeners` and `pools`"],
        ),
        (whole("listeners: ["), &["1:12: not valid YAML: unclosed bracket '['"]),
        (whole("a: b: c\n"), &["1:5: not valid YAML: mapping values are not allowed in this context"]),
        (whole("- a\n- b\n"), &["1:1: expected a map with `listeners` and `pools`, found a list"]),
        (whole("just words\n"), &["1:1: expected a map with `listeners` and `pools`, found `just words`"]),
        (whole("listeners: *nowhere\n"), &["1:12: not valid YAML: reference to unknown value"]),
        (whole("a: \"open\n"), &["2:1: not valid YAML: invalid indentation in multiline quoted scalar"]),
        (whole("\tlisteners: {}\n"), &["1:1: no listeners: say where clients arrive under `listeners`"]),
        (
            whole("---\nversion: 1\n---\nversion: 1\n"),
            &["3:1: a second document starts here (`---`); one file holds one document"],
        ),
        (whole("a: &a [*a]\n"), &["1:8: not valid YAML: Recursive reference not allowed here"]),
        (
            whole("listeners:\n  l: { a: 1 }\n bad: 2\n"),
            &["3:2: not valid YAML: while parsing a block mapping, did not find expected key"],
        ),
        (
            whole("x-a: {$: ${A}}\n"),
            &[
                "1:11: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}' (inside `{ }` and \
               `[ ]`, variables need quotes: `\"${VAR}\"`)",
            ],
        ),
    ]);
}

#[test]
fn unknown_and_duplicate_keys() {
    refused(&[
        (top("listener: {}"), &["1:1: listener: unknown key (did you mean `listeners`?)"]),
        (top("max_conections: 5"), &["1:1: max_conections: unknown key (did you mean `max_connections`?)"]),
        (top("timeouts: {}"), &["1:1: timeouts: unknown key (did you mean `listeners.NAME.timeouts`?)"]),
        (listener("idle: 5s"), &["5:5: listeners.l.idle: unknown key (did you mean `timeouts.idle`?)"]),
        (listener("nodelay: true"), &["5:5: listeners.l.nodelay: unknown key (did you mean `tcp.nodelay`?)"]),
        (listener("bnd: x"), &["5:5: listeners.l.bnd: unknown key (did you mean `bind`?)"]),
        (
            listener("qqq: 1"),
            &[
                "5:5: listeners.l.qqq: unknown key; here may stand `bind`, `pool`, `routes`, `accept_proxy`, `starttls`, `tls`, `admission`, `timeouts`, `relay`, `on_remove`, `bandwidth`, `tcp` and `log`",
            ],
        ),
        (
            top("log: { lvl: info, foo: 1 }"),
            &[
                "1:8: log.lvl: unknown key; here may stand `level`, `format` and `access`",
                "1:19: log.foo: unknown key; here may stand `level`, `format` and `access`",
            ],
        ),
        (top("version: 1\nversion: 1"), &["2:1: version: duplicate key, first at line 1"]),
        (
            whole(
                "listeners: { l: { bind: '127.0.0.1:1', pool: p } }\npools:\n  p: { backends: '10.0.0.1:1' }\n  p: {}\n",
            ),
            &["4:3: pools.p: duplicate key, first at line 3"],
        ),
        (
            listener("timeouts: { idle: 1s, idle: 2s }"),
            &["5:27: listeners.l.timeouts.idle: duplicate key, first at line 5"],
        ),
        (top("version: 2"), &["1:10: version: expected 1, the only one there is, found 2"]),
        (top("version: one"), &["1:10: version: expected a whole number, found `one`"]),
        (
            top("'': 1"),
            &[
                r#"1:1: "": unknown key; here may stand `version`, `include`, `workers`, `max_connections`, `overflow`, `max_rate`, `shutdown`, `upgrade`, `reload`, `state_file`, `zone`, `sandbox`, `admin`, `metrics`, `ready_when`, `log`, `defaults`, `listeners` and `pools`"#,
            ],
        ),
        (
            top("1: 2"),
            &[
                "1:1: 1: unknown key; here may stand `version`, `include`, `workers`, `max_connections`, `overflow`, `max_rate`, `shutdown`, `upgrade`, `reload`, `state_file`, `zone`, `sandbox`, `admin`, `metrics`, `ready_when`, `log`, `defaults`, `listeners` and `pools`",
            ],
        ),
    ]);
}

#[test]
fn wrong_values_of_the_process() {
    refused(&[
        (
            top("workers: 4"),
            &["1:10: workers: expected `auto` or a map, found the number 4; did you mean `{ threads: … }`?"],
        ),
        (top("workers: many"), &["1:10: workers: expected `auto` or a map, found `many`"]),
        (top("workers: { threads: 0 }"), &["1:21: workers.threads: 0 is out of range: 1 to 4096"]),
        (top("workers: { threads: -1 }"), &["1:21: workers.threads: expected a whole number, found the number -1"]),
        (
            top("workers: { threads: 1.5, pin: yes }"),
            &[
                "1:21: workers.threads: expected `auto` or a whole number, found the number 1.5",
                "1:31: workers.pin: expected true or false, found `yes`; write `true`",
            ],
        ),
        (
            top("workers: { pin: 'true' }"),
            &["1:17: workers.pin: expected true or false, found `true`; remove the quotes"],
        ),
        (
            top("workers: { busy_poll: 50 }"),
            &["1:23: workers.busy_poll: a duration needs a unit: write `50s` or `50ms` (or `off`)"],
        ),
        (top("workers: { busy_poll: 0s }"), &["1:23: workers.busy_poll: 0s is out of range: 1us to 10ms (or `off`)"]),
        (top("workers: { busy_poll: 1s }"), &["1:23: workers.busy_poll: 1s is out of range: 1us to 10ms (or `off`)"]),
        (
            top("workers: { busy_poll: true }"),
            &["1:23: workers.busy_poll: expected `off` or a duration such as `30s`, found `true`"],
        ),
        (top("workers: [auto]"), &["1:10: workers: expected `auto` or a map, found a list"]),
        (top("max_connections: 0"), &["1:18: max_connections: 0 is out of range: 1 to 1000000000"]),
        (
            top("max_connections: '5'"),
            &["1:18: max_connections: expected a whole number, found text: write 5 without quotes"],
        ),
        (top("max_connections: lots"), &["1:18: max_connections: expected `auto` or a whole number, found `lots`"]),
        (
            top("max_connections: 99999999999999999999999999"),
            &["1:18: max_connections: expected `auto` or a whole number, found the number 100000000000000000000000000"],
        ),
        (top("max_connections:"), &["1:16: max_connections: expected `auto` or a whole number, found nothing"]),
        (top("overflow: drop"), &["1:11: overflow: expected `refuse` or `wait`, found `drop`"]),
        (top("overflow: { refuse: now }"), &["1:21: overflow.refuse: `refuse` takes no value"]),
        (top("overflow: [refuse]"), &["1:11: overflow: expected `refuse` or `wait`, found a list"]),
        (
            top("overflow: { refuse: {}, wait: {} }"),
            &["1:11: overflow: expected `refuse` or `wait`, found a map with 2 keys"],
        ),
        (top("shutdown: 5s"), &["1:11: shutdown: expected a map with `delay` or `grace`, found `5s`"]),
        (top("shutdown: { grace: 30 }"), &["1:20: shutdown.grace: a duration needs a unit: write `30s` or `30ms`"]),
        (
            top("shutdown: { grace: 30 s }"),
            &[
                "1:20: shutdown.grace: `30 s` is not a duration: whole numbers with units us, ms, s, m, h, d, as in `250ms` or `1m30s`",
            ],
        ),
        (
            top("shutdown: { grace: 1s1m }"),
            &["1:20: shutdown.grace: the units of `1s1m` are not in order: longest first, each once, as in `1m30s`"],
        ),
        (
            top("shutdown: { grace: 1.5s }"),
            &[
                "1:20: shutdown.grace: `1.5s` is not a duration: whole numbers with units us, ms, s, m, h, d, as in `250ms` or `1m30s`",
            ],
        ),
        (top("shutdown: { grace: 99999999999d }"), &["1:20: shutdown.grace: `99999999999d` is longer than ten years"]),
        (
            top("shutdown: { grace: '' }"),
            &["1:20: shutdown.grace: expected a duration such as `30s`, found empty text"],
        ),
        (
            top("shutdown: { grace: -5s }"),
            &[
                "1:20: shutdown.grace: `-5s` is not a duration: whole numbers with units us, ms, s, m, h, d, as in `250ms` or `1m30s`",
            ],
        ),
        (top("shutdown: { grace: [5s] }"), &["1:20: shutdown.grace: expected a duration such as `30s`, found a list"]),
        (
            top("log: { level: inof }"),
            &[
                "1:15: log.level: `inof` is not a log level (did you mean `info`?); write error, warn, info, debug, trace or off, or as `info,peerway::relay=debug`",
            ],
        ),
        (
            top("log: { level: 'info,peerway=loud' }"),
            &[
                r#"1:15: log.level: `info,peerway=loud` is not a log filter (error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5); write error, warn, info, debug, trace or off, or as `info,peerway::relay=debug`"#,
            ],
        ),
        (
            top("log: { level: WARNING }"),
            &[
                "1:15: log.level: `WARNING` is not a log level (did you mean `warn`?); write error, warn, info, debug, trace or off, or as `info,peerway::relay=debug`",
            ],
        ),
        (
            top("log: { level: 'info, peerway::relay' }"),
            &[
                "1:15: log.level: `peerway::relay` is not a log level; write error, warn, info, debug, trace or off, or as `info,peerway::relay=debug`",
            ],
        ),
        (top("log: { level: 5 }"), &["1:15: log.level: expected a log filter such as `info`, found the number 5"]),
        (top("log: { format: xml }"), &["1:16: log.format: expected `json` or `text`, found `xml`"]),
        (
            top("log: { access: { sample: 120% } }"),
            &["1:26: log.access.sample: `120%` is not a share: a percentage from 0% to 100%, as in `20%`"],
        ),
        (top("log: { access: { sample: 20 } }"), &["1:26: log.access.sample: a share is a percentage: write `20%`"]),
        (
            top("log: { access: { sample: 0.5 } }"),
            &["1:26: log.access.sample: expected a share such as `20%`, found the number 0.5"],
        ),
        (
            top("log: { access: { when: [end, never] } }"),
            &["1:30: log.access.when[1]: expected `start`, `end` or `interval 60s`, found `never`"],
        ),
        (
            top("log: { access: { when: interval 60 } }"),
            &["1:24: log.access.when: a duration needs a unit: write `60s` or `60ms`"],
        ),
        (top("log: { access: { when: interval 1ms } }"), &["1:24: log.access.when: 1ms is out of range: 1s to 3650d"]),
        (top("log: { access: { skip: full } }"), &["1:24: log.access.skip: expected `empty`, found `full`"]),
        (top("log: { access: stdout }"), &["1:16: log.access: expected `off` or a map, found `stdout`"]),
        (
            top("log: { access: { to: stdot } }"),
            &[
                "1:22: log.access.to: `stdot` is not stdout, stderr or off (did you mean `stdout`?); a file of that name is `./stdot`",
            ],
        ),
        (
            top("log: { access: { to: 5 } }"),
            &[
                "1:22: log.access.to: expected a path, found the number 5; put it in quotes (or `stdout`, `stderr` or `off`)",
            ],
        ),
        (top("listeners"), &["2:10: not valid YAML: mapping values are not allowed in this context"]),
        (before_pools("listeners: []\n"), &["1:12: listeners: expected a map from names to settings, found a list"]),
        (
            before_pools("listeners: { l: [] }\n"),
            &[
                "1:17: listeners.l: expected a map with `bind`, `pool`, `routes`, `accept_proxy`, `starttls`, `tls`, `admission`, `timeouts`, `relay`, `on_remove`, `bandwidth`, `tcp` or `log`, found a list",
            ],
        ),
        (
            before_pools(
                "listeners: { 'a b': { bind: '127.0.0.1:1', pool: p }, 'c/d': {bind: '127.0.0.1:2', pool: p} }\n",
            ),
            &[
                "1:14: listeners.a b: a name may not contain `/`, spaces or control characters",
                "1:55: listeners.c/d: a name may not contain `/`, spaces or control characters",
            ],
        ),
    ]);
}

#[test]
fn wrong_endpoints() {
    refused(&[
        (top("admin:"), &["1:1: admin: `listen` is missing, such as `listen: 127.0.0.1:9901`"]),
        (top("admin: {}"), &["1:1: admin: `listen` is missing, such as `listen: 127.0.0.1:9901`"]),
        (
            top("admin: 127.0.0.1:9901"),
            &["1:8: admin: expected a map with `listen`, `token_file`, `protect` or `tls`, found `127.0.0.1:9901`"],
        ),
        (
            top("admin: { listen: 9901 }"),
            &[
                "1:18: admin.listen: `9901` has no address: write `127.0.0.1:9901` for this machine alone, `0.0.0.0:9901` for every IPv4 address or `[::]:9901` for every IPv6 address",
            ],
        ),
        (
            top("admin: { listen: '127.0.0.1' }"),
            &[
                "1:18: admin.listen: `127.0.0.1` is not an address to listen on: write `IP:port`, such as `127.0.0.1:8080`, or `unix:/path`",
            ],
        ),
        (
            top("admin: { listen: '127.0.0.1:9000-9001' }"),
            &["1:18: admin.listen: `127.0.0.1:9000-9001` is a range of ports; one is needed here"],
        ),
        (
            top("admin: { listen: 'unix:' }"),
            &["1:18: admin.listen: `unix:` needs a path, as in `unix:/run/peerway.sock`"],
        ),
        (
            top("admin: { listen: 127.0.0.1:9901, protect: all }"),
            &["1:43: admin.protect: `all` needs a token: name its file in `admin.token_file`"],
        ),
        (
            top("admin: { listen: 127.0.0.1:9901, protect: reads }"),
            &["1:43: admin.protect: expected `writes` or `all`, found `reads`"],
        ),
        (
            top("admin: { listen: 127.0.0.1:9901, token_file: 5 }"),
            &["1:46: admin.token_file: expected a path, found the number 5; put it in quotes"],
        ),
        (
            top(
                "admin: { listen: unix:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx }",
            ),
            &["1:18: admin.listen: the path of a unix socket may be 107 bytes long, this one has 120"],
        ),
        (
            top("metrics: { listen: unix:/x }"),
            &[
                "1:20: metrics.listen: `unix:/x` is not an address to listen on: write `IP:port`, such as `127.0.0.1:8080`, or `unix:/path`",
            ],
        ),
        (
            top("metrics: { listen: '::1:9902' }"),
            &["1:20: metrics.listen: `::1:9902`: put an IPv6 address in brackets, as in `[::1]:9902`"],
        ),
        (
            top("metrics: { backend_histograms: 1 }"),
            &["1:32: metrics.backend_histograms: expected true or false, found the number 1"],
        ),
        (
            top("ready_when: { pools: [p, q] }"),
            &["1:26: ready_when.pools[1]: there is no pool `q` (did you mean `p`?)"],
        ),
        (top("ready_when: { pools: pp }"), &["1:22: ready_when.pools: there is no pool `pp` (did you mean `p`?)"]),
        (top("ready_when: [p]"), &["1:13: ready_when: expected a map with `pools`, found a list"]),
    ]);
}

#[test]
fn wrong_listeners() {
    refused(&[
        (
            listener("tcp: { keepalive: { idle: 1500ms } }"),
            &["5:31: listeners.l.tcp.keepalive.idle: 1.5s is not whole seconds, and the kernel counts in those"],
        ),
        (before_pools(""), &["1:1: no listeners: say where clients arrive under `listeners`"]),
        (before_pools("listeners: {}\n"), &["1:1: no listeners: say where clients arrive under `listeners`"]),
        (
            before_pools("listeners: { l: }\n"),
            &[
                r#"1:14: listeners.l: `bind` is missing, such as `bind: [127.0.0.1:8080, "[::1]:8080"]`"#,
                "1:14: listeners.l: `pool` is missing, such as `pool: web`",
            ],
        ),
        (
            before_pools("listeners: { l: { pool: p } }\n"),
            &[r#"1:14: listeners.l: `bind` is missing, such as `bind: [127.0.0.1:8080, "[::1]:8080"]`"#],
        ),
        (
            before_pools("listeners: { l: { bind: '127.0.0.1:1' } }\n"),
            &["1:14: listeners.l: `pool` is missing, such as `pool: web`"],
        ),
        (
            before_pools("listeners: { l: { bind: [], pool: p } }\n"),
            &["1:25: listeners.l.bind: a listener needs an address, such as `127.0.0.1:8080`"],
        ),
        (
            before_pools("listeners: { l: { bind: , pool: p } }\n"),
            &["1:23: listeners.l.bind: expected a list, found nothing (write `[]` for an empty one)"],
        ),
        (
            before_pools("listeners: { l: { bind: 5432, pool: p } }\n"),
            &[
                "1:25: listeners.l.bind: `5432` has no address: write `127.0.0.1:5432` for this machine alone, `0.0.0.0:5432` for every IPv4 address or `[::]:5432` for every IPv6 address",
            ],
        ),
        (
            before_pools("listeners: { l: { bind: ':5432', pool: p } }\n"),
            &[
                "1:25: listeners.l.bind: `:5432` has no address: write `127.0.0.1:5432` for this machine alone, `0.0.0.0:5432` for every IPv4 address or `[::]:5432` for every IPv6 address",
            ],
        ),
        (
            before_pools("listeners: { l: { bind: '*:80', pool: p } }\n"),
            &[
                "1:25: listeners.l.bind: `*:80` has no address: write `127.0.0.1:80` for this machine alone, `0.0.0.0:80` for every IPv4 address or `[::]:80` for every IPv6 address",
            ],
        ),
        (
            before_pools("listeners: { l: { bind: 'localhost:80', pool: p } }\n"),
            &["1:25: listeners.l.bind: `localhost:80`: listening needs an address, not a name: write `127.0.0.1:80`"],
        ),
        (
            before_pools("listeners: { l: { bind: '::1:80', pool: p } }\n"),
            &["1:25: listeners.l.bind: `::1:80`: put an IPv6 address in brackets, as in `[::1]:80`"],
        ),
        (
            before_pools("listeners: { l: { bind: '10.0.0.1', pool: p } }\n"),
            &[
                "1:25: listeners.l.bind: `10.0.0.1` is not an address to listen on: write `IP:port`, such as `127.0.0.1:8080`, or `unix:/path`",
            ],
        ),
        (
            before_pools("listeners: { l: { bind: '10.0.0.1:99999', pool: p } }\n"),
            &[
                "1:25: listeners.l.bind: `10.0.0.1:99999` is not an address to listen on: write `IP:port`, such as `127.0.0.1:8080`, or `unix:/path`",
            ],
        ),
        (
            before_pools("listeners: { l: { bind: '10.0.0.1:90-80', pool: p } }\n"),
            &["1:25: listeners.l.bind: `10.0.0.1:90-80` is an inverted range: write `10.0.0.1:80-90`"],
        ),
        (
            before_pools("listeners: { l: { bind: '10.0.0.1:0-80', pool: p } }\n"),
            &["1:25: listeners.l.bind: `10.0.0.1:0-80`: a range starts at port 1 or higher"],
        ),
        (
            before_pools("listeners: { l: { bind: '[::ffff:10.0.0.1]:80', pool: p } }\n"),
            &["1:25: listeners.l.bind: `[::ffff:10.0.0.1]:80` is an IPv4 address: write `10.0.0.1:80`"],
        ),
        (
            before_pools("listeners: { l: { bind: nonsense, pool: p } }\n"),
            &[
                "1:25: listeners.l.bind: expected an address such as `0.0.0.0:5432` or `unix:/path` or a map, found `nonsense`",
            ],
        ),
        (
            before_pools("listeners: { l: { bind: ['127.0.0.1:1', {mode: '0600'}], pool: p } }\n"),
            &["1:41: listeners.l.bind[1]: `address` is missing, such as `address: unix:peerway.sock`"],
        ),
        (
            before_pools("listeners: { l: { bind: { address: '127.0.0.1:1', mode: '0600' }, pool: p } }\n"),
            &["1:51: listeners.l.bind.mode: only a unix socket has permission bits"],
        ),
        (
            before_pools("listeners: { l: { bind: { address: unix:x, mode: 660 }, pool: p } }\n"),
            &[
                r#"1:50: listeners.l.bind.mode: expected permission bits as octal digits in quotes, such as `"0660"`, found the number 660"#,
            ],
        ),
        (
            before_pools("listeners: { l: { bind: { address: unix:x, mode: '0999' }, pool: p } }\n"),
            &[
                r#"1:50: listeners.l.bind.mode: expected permission bits as octal digits in quotes, such as `"0660"`, found `0999`"#,
            ],
        ),
        (
            before_pools("listeners: { l: { bind: '127.0.0.1:1', pool: q } }\n"),
            &["1:46: listeners.l.pool: there is no pool `q` (did you mean `p`?)"],
        ),
        (
            before_pools("listeners: { l: { bind: '127.0.0.1:1', pool: 5 } }\n"),
            &["1:46: listeners.l.pool: expected a name, found the number 5; put it in quotes"],
        ),
        (
            before_pools("listeners: { l: { bind: '127.0.0.1:1', pool: [p] } }\n"),
            &["1:46: listeners.l.pool: expected a name, found a list"],
        ),
        (
            listener("timeouts: { idle: 0s }"),
            &["5:23: listeners.l.timeouts.idle: 0s is out of range: 1ms to 3650d (or `off`)"],
        ),
        (
            listener("timeouts: { idle: 5 }"),
            &["5:23: listeners.l.timeouts.idle: a duration needs a unit: write `5s` or `5ms` (or `off`)"],
        ),
        (
            listener("timeouts: { idle: none }"),
            &["5:23: listeners.l.timeouts.idle: expected `off` or a duration such as `30s`, found `none`"],
        ),
        (
            listener("timeouts:\n  half_closed: of\n  session: 1h 5m"),
            &[
                "6:20: listeners.l.timeouts.half_closed: expected `off` or a duration such as `30s`, found `of` (did you mean `off`?)",
                "7:16: listeners.l.timeouts.session: `1h 5m` is not a duration: whole numbers with units us, ms, s, m, h, d, as in `250ms` or `1m30s` (or `off`)",
            ],
        ),
        (
            listener("timeouts: off"),
            &[
                "5:15: listeners.l.timeouts: expected a map with `handshake`, `sniff`, `idle`, `half_closed` or `session`, found `off`",
            ],
        ),
        (listener("relay: fast"), &["5:12: listeners.l.relay: expected `auto`, `copy` or `splice`, found `fast`"]),
        (listener("relay: { copy: 1 }"), &["5:20: listeners.l.relay.copy: `copy` takes no value"]),
        (
            listener("tcp: { backlog: 0, nodelay: off, keepalive: true }"),
            &[
                "5:21: listeners.l.tcp.backlog: 0 is out of range: 1 to 1000000",
                "5:33: listeners.l.tcp.nodelay: expected true or false, found `off`; write `false`",
                "5:49: listeners.l.tcp.keepalive: expected `off` or a map, found `true`",
            ],
        ),
        (
            listener("tcp: { congestion_control: off }"),
            &[
                "5:32: listeners.l.tcp.congestion_control: expected `auto`, `system` or the name of an algorithm such as `cubic`, found `off`",
            ],
        ),
        (
            listener("tcp: { congestion_control: sixteen_of_these }"),
            &[
                "5:32: listeners.l.tcp.congestion_control: expected `auto`, `system` or the name of an algorithm such as `cubic`, found `sixteen_of_these`",
            ],
        ),
        (
            listener(
                "tcp:\n  keepalive: { idle: 500ms, interval: 1m30s, probes: 200 }\n  user_timeout: 0s\n  fast_open: true\n  defer_accept: 2h\n  freebind: 1",
            ),
            &[
                "6:26: listeners.l.tcp.keepalive.idle: 0.5s is out of range: 1s to 32767s",
                "6:58: listeners.l.tcp.keepalive.probes: 200 is out of range: 1 to 127",
                "7:21: listeners.l.tcp.user_timeout: 0s is out of range: 1ms to 24d (or `off`)",
                "8:18: listeners.l.tcp.fast_open: expected `off` or a whole number, found `true`",
                "9:21: listeners.l.tcp.defer_accept: 7200s is out of range: 1s to 3600s (or `off`)",
                "10:17: listeners.l.tcp.freebind: expected true or false, found the number 1",
            ],
        ),
        (
            listener("log: { access: { to: '' } }"),
            &["5:26: listeners.l.log.access.to: expected `stdout`, `stderr`, `off` or a path, found empty text"],
        ),
        (listener("log: off"), &["5:10: listeners.l.log: expected a map with `access`, found `off`"]),
    ]);
}

#[test]
fn wrong_trust_in_proxy_headers() {
    let from = |from: &str| listener(&format!("accept_proxy: {{ from: {from} }}"));
    let at = |column: u32, index: &str, message: &str| {
        let path = format!("listeners.l.accept_proxy.from{index}");
        format!("5:{column}: {path}: {message}").leak() as &str
    };
    refused(&[
        (listener("accept_proxy: on"), &["5:19: listeners.l.accept_proxy: expected `off` or a map, found `on`"]),
        (
            listener("accept_proxy: {}"),
            &["5:5: listeners.l.accept_proxy: `from` is missing, such as `from: [10.0.0.0/8]`"],
        ),
        (
            from("[]"),
            &[at(
                27,
                "",
                "expected at least one network, such as `10.0.0.0/8`, or `unix`; for no headers at all, write `accept_proxy: off`",
            )],
        ),
        (
            from("[10.1.2.3/8, '2001:db8::1/32']"),
            &[
                at(
                    28,
                    "[0]",
                    "`10.1.2.3/8` has bits set behind its first 8: write `10.0.0.0/8` for the network, `10.1.2.3/32` for that one address",
                ),
                at(
                    40,
                    "[1]",
                    "`2001:db8::1/32` has bits set behind its first 32: write `2001:db8::/32` for the network, `2001:db8::1/128` for that one address",
                ),
            ],
        ),
        (from("10.1.2.3"), &[at(27, "", "`10.1.2.3` has no prefix length: write `10.1.2.3/32` for that one address")]),
        (
            from("10.0.0.0/33"),
            &[at(27, "", "`10.0.0.0/33`: the prefix length of such an address is 0 to 32, not `33`")],
        ),
        (from("'::ffff:10.0.0.0/104'"), &[at(27, "", "`::ffff:10.0.0.0/104` are IPv4 addresses: write `10.0.0.0/8`")]),
        (
            from("lb-1.example"),
            &[at(
                27,
                "",
                "`lb-1.example` is not a network: write `IP/prefix`, such as `10.0.0.0/8` or `2001:db8::/32`",
            )],
        ),
        (from("any"), &[at(27, "", "expected `unix` or a network such as `10.0.0.0/8`, found `any`")]),
        (from("['unix:']"), &[at(28, "[0]", "`unix:`: for peers on unix sockets, write `unix`")]),
        (from("[10.0.0.0/8, 10.0.0.0/8]"), &[at(40, "[1]", "`10.0.0.0/8` is in the list already")]),
        (
            listener("accept_proxy:\n  from: 10.0.0.0/8\n  others: drop\n  timeout: 0s\n  tls: on"),
            &[
                "7:15: listeners.l.accept_proxy.others: expected `refuse` or `plain`, found `drop`",
                "8:16: listeners.l.accept_proxy.timeout: 0s is out of range: 1ms to 3650d",
                "9:7: listeners.l.accept_proxy.tls: unknown key; here may stand `from`, `others` and `timeout`",
            ],
        ),
        (
            before_pools("listeners: { l: { bind: 'unix:/x', pool: p, accept_proxy: { from: 10.0.0.0/8 } } }\n"),
            &[
                "1:67: listeners.l.accept_proxy.from: this listener has unix sockets alone, and nobody there has an address: to take headers from them, add `unix`",
            ],
        ),
    ]);
}

#[test]
fn overlapping_addresses() {
    refused(&[
        (
            before_pools("listeners:\n  a: { bind: 0.0.0.0:80, pool: p }\n  b: { bind: 127.0.0.1:80, pool: p }\n"),
            &["3:14: listeners.b.bind: `127.0.0.1:80` overlaps `0.0.0.0:80` of listeners.a.bind at t.yaml:2:14"],
        ),
        (
            before_pools("listeners:\n  a: { bind: 127.0.0.1:80, pool: p }\n  b: { bind: 0.0.0.0:80, pool: p }\n"),
            &["3:14: listeners.b.bind: `0.0.0.0:80` overlaps `127.0.0.1:80` of listeners.a.bind at t.yaml:2:14"],
        ),
        (
            before_pools("listeners:\n  a: { bind: ['127.0.0.1:80', '127.0.0.2:80', '127.0.0.1:80'], pool: p }\n"),
            &["2:47: listeners.a.bind[2]: `127.0.0.1:80` is taken by listeners.a.bind[0] at t.yaml:2:15"],
        ),
        (
            before_pools(
                "listeners:\n  a: { bind: 127.0.0.1:80-90, pool: p }\n  b: { bind: 127.0.0.1:85-95, pool: p }\n",
            ),
            &["3:14: listeners.b.bind: `127.0.0.1:85` is taken by listeners.a.bind at t.yaml:2:14"],
        ),
        (
            before_pools(
                "listeners:\n  a: { bind: unix:/run/a, pool: p }\n  b: { bind: { address: unix:/run/a, mode: '0600' }, pool: p }\n",
            ),
            &["3:25: listeners.b.bind.address: `unix:/run/a` is taken by listeners.a.bind at t.yaml:2:14"],
        ),
        (
            before_pools(
                "admin: { listen: 127.0.0.1:80 }\nmetrics: { listen: 0.0.0.0:80 }\nlisteners:\n  a: { bind: '[::]:80', pool: p }\n  b: { bind: '[::1]:80', pool: p }\n",
            ),
            &[
                "2:20: metrics.listen: `0.0.0.0:80` overlaps `127.0.0.1:80` of admin.listen at t.yaml:1:18",
                "5:14: listeners.b.bind: `[::1]:80` overlaps `[::]:80` of listeners.a.bind at t.yaml:4:14",
            ],
        ),
    ]);
}

#[test]
fn wrong_pools() {
    refused(&[
        (backends("[]x"), &["2:27: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'"]),
        (
            backends("10.0.0.1"),
            &[
                "2:25: pools.p.backends: `10.0.0.1` is not an address: write `IP:port`, `host:port` or `unix:/path`, with a port from 1 to 65535",
            ],
        ),
        (backends("'10.0.0.1:0'"), &["2:25: pools.p.backends: `10.0.0.1:0`: a backend has a port from 1 to 65535"]),
        (
            backends("10.0.0.300:80"),
            &[
                "2:25: pools.p.backends: `10.0.0.300:80` is not an address: write `IP:port`, `host:port` or `unix:/path`, with a port from 1 to 65535",
            ],
        ),
        (
            backends("'::1:80'"),
            &["2:25: pools.p.backends: `::1:80`: put an IPv6 address in brackets, as in `[2001:db8::1]:5432`"],
        ),
        (
            backends("host"),
            &[
                "2:25: pools.p.backends: expected an address such as `10.0.0.1:5432`, `host:5432` or `unix:/path` or a map, found `host`",
            ],
        ),
        (
            backends("-bad_host:80"),
            &[
                "2:25: pools.p.backends: `-bad_host:80` is not an address: write `IP:port`, `host:port` or `unix:/path`, with a port from 1 to 65535",
            ],
        ),
        (
            backends("a..b:80"),
            &[
                "2:25: pools.p.backends: `a..b:80` is not an address: write `IP:port`, `host:port` or `unix:/path`, with a port from 1 to 65535",
            ],
        ),
        (backends("unix:"), &["2:29: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'"]),
        (backends("{ name: a }"), &["2:25: pools.p.backends: `address` is missing, such as `address: 10.0.0.2:8080`"]),
        (
            backends("{ address: h:1, name: 5 }"),
            &["2:47: pools.p.backends.name: expected a name, found the number 5; put it in quotes"],
        ),
        (
            backends("{ address: h:1, name: 'a b' }"),
            &["2:47: pools.p.backends.name: a name may not contain `/`, spaces or control characters"],
        ),
        (
            backends("{ address: h:1, weight: 0 }"),
            &[
                "2:49: pools.p.backends.weight: a weight is 1 to 65535: to send nothing to a backend, write `disabled: true`",
            ],
        ),
        (
            backends("{ address: h:1, weight: 70000, disabled: 1 }"),
            &[
                "2:49: pools.p.backends.weight: 70000 is out of range: 1 to 65535",
                "2:66: pools.p.backends.disabled: expected true or false, found the number 1",
            ],
        ),
        (
            backends("[h:1, h:1]"),
            &["2:31: pools.p.backends[1]: there is a backend `h:1` already at t.yaml:2:26; a `name` tells them apart"],
        ),
        (
            backends("[{name: a, address: h:1}, {name: a, address: h:2}]"),
            &[
                "2:58: pools.p.backends[1].name: there is a backend `a` already at t.yaml:2:33; a `name` tells them apart",
            ],
        ),
        (
            backends("[h:1, {name: h:1, address: h:2}]"),
            &[
                "2:38: pools.p.backends[1].name: there is a backend `h:1` already at t.yaml:2:26; a `name` tells them apart",
            ],
        ),
        (backends(""), &["2:23: pools.p.backends: expected a list, found nothing (write `[]` for an empty one)"]),
        (
            backends("[[h:1]]"),
            &[
                "2:26: pools.p.backends[0]: expected an address such as `10.0.0.1:5432`, `host:5432` or `unix:/path` or a map, found a list",
            ],
        ),
        (
            backends("[8080]"),
            &[
                "2:26: pools.p.backends[0]: expected an address such as `10.0.0.1:5432`, `host:5432` or `unix:/path`, found the number 8080",
            ],
        ),
        (pool("policy: fastest"), &["5:13: pools.p.policy: unknown policy `fastest`"]),
        (pool("policy: randm"), &["5:13: pools.p.policy: unknown policy `randm` (did you mean `random`?)"]),
        (
            pool("policy: { maglev: { key: server_name, prefix_v4: 48, prefix_v6: 129, bounded_load: 0.9 } }"),
            &[
                "5:43: pools.p.policy.maglev.prefix_v4: unknown key (did you mean `prefix_v6`?)",
                "5:69: pools.p.policy.maglev.prefix_v6: 129 is out of range: 1 to 128",
                "5:88: pools.p.policy.maglev.bounded_load: 0.9 is out of range: 1 to 100 (or `off`)",
            ],
        ),
        (
            pool("policy: { maglev: { key: client_up, bounded_load: '1.5' } }"),
            &[
                "5:30: pools.p.policy.maglev.key: expected `client_ip`, `client_ip_port`, `server_name` or `destination`, found `client_up` (did you mean `client_ip`?)",
                "5:55: pools.p.policy.maglev.bounded_load: expected a number, found text: write 1.5 without quotes (or `off`)",
            ],
        ),
        (
            pool("policy: { maglev: 5 }"),
            &[
                "5:23: pools.p.policy.maglev: expected a map with `key`, `prefix_v6` or `bounded_load`, found the number 5",
            ],
        ),
        (pool("policy: { random: 5 }"), &["5:23: pools.p.policy.random: `random` has no parameters"]),
        (pool("policy: maglov"), &["5:13: pools.p.policy: unknown policy `maglov` (did you mean `maglev`?)"]),
        (
            pool("policy: { random: { key: client_ip } }"),
            &["5:25: pools.p.policy.random.key: `random` has no parameters"],
        ),
        (
            pool("policy: { random: {}, maglev: {} }"),
            &[
                "5:13: pools.p.policy: expected `round_robin`, `random`, `least_connections` or `maglev`, found a map with 2 keys",
            ],
        ),
        (
            pool("policy: []"),
            &["5:13: pools.p.policy: expected `round_robin`, `random`, `least_connections` or `maglev`, found a list"],
        ),
        (
            pool("policy: 5"),
            &[
                "5:13: pools.p.policy: expected `round_robin`, `random`, `least_connections` or `maglev`, found the number 5",
            ],
        ),
        (
            pool("connect: { timeout: 0s, attempts: 0, deadline: off }"),
            &[
                "5:25: pools.p.connect.timeout: 0s is out of range: 1ms to 3650d",
                "5:39: pools.p.connect.attempts: 0 is out of range: 1 to 100",
                "5:52: pools.p.connect.deadline: `off` is not a duration: whole numbers with units us, ms, s, m, h, d, as in `250ms` or `1m30s`",
            ],
        ),
        (
            pool("connect: { attempts: 101, backoff: { base: 2s } }"),
            &[
                "5:26: pools.p.connect.attempts: 101 is out of range: 1 to 100",
                "5:48: pools.p.connect.backoff.base: `base`, 2s, is longer than `max`, 1s",
            ],
        ),
        (
            pool("connect:\n  backoff:\n    max: 10ms"),
            &["7:14: pools.p.connect.backoff.max: `base`, 50ms, is longer than `max`, 10ms"],
        ),
        (
            pool("connect: { source: [10.0.0.9:80, '[::1]', web, 0.0.0.0, '::ffff:10.0.0.9', 224.0.0.1, 5] }"),
            &[
                "5:25: pools.p.connect.source[0]: `10.0.0.9:80`: write the IP address alone, `10.0.0.9`",
                "5:38: pools.p.connect.source[1]: `[::1]`: write the IP address alone, `::1`",
                "5:47: pools.p.connect.source[2]: expected `client` or an IP address such as `10.0.0.9`, found `web`",
                "5:52: pools.p.connect.source[3]: `0.0.0.0` is no machine's address; to leave the choice to the kernel, write `off`",
                "5:61: pools.p.connect.source[4]: `::ffff:10.0.0.9` is an IPv4 address: write `10.0.0.9`",
                "5:80: pools.p.connect.source[5]: `224.0.0.1` is the address of many machines, and nothing can connect from it",
                "5:91: pools.p.connect.source[6]: expected an IP address such as `10.0.0.9`, found the number 5",
            ],
        ),
        (
            pool("connect: { source: [] }"),
            &[
                "5:24: pools.p.connect.source: expected at least one address; to leave the choice to the kernel, write `off`",
            ],
        ),
        (
            pool("connect: { source: [10.0.0.9, 10.0.0.8, 10.0.0.9] }"),
            &["5:45: pools.p.connect.source[2]: `10.0.0.9` is in the list already"],
        ),
        (
            pool("connect: { source: '2001:db8::9' }"),
            &["5:24: pools.p.connect.source: backend `10.0.0.1:1` needs an IPv4 address here, and there is none"],
        ),
        (
            whole(
                "defaults: { pool: { connect: { source: 10.0.0.9 } } }\nlisteners: { a: { bind: 127.0.0.1:1, pool: p } }\npools: { p: { backends: [h:1, 'unix:/a', { name: six, address: '[::1]:1' }] } }\n",
            ),
            &["1:40: defaults.pool.connect.source: backend `six` needs an IPv6 address here, and there is none"],
        ),
        (
            pool("connect: { send_proxy: v3 }"),
            &["5:28: pools.p.connect.send_proxy: expected `off`, `v1` or `v2`, found `v3` (did you mean `v1`?)"],
        ),
        (
            pool("connect: { send_proxy: { v1: crc32c } }"),
            &["5:34: pools.p.connect.send_proxy.v1: `v1` takes no value"],
        ),
        (
            pool("connect: { send_proxy: { v2: [authority, alpn, ssl, unique_id, crc32] } }"),
            &[
                "5:68: pools.p.connect.send_proxy.v2[4]: expected `authority`, `alpn`, `ssl`, `unique_id` or `crc32c`, found `crc32` (did you mean `crc32c`?)",
            ],
        ),
        (
            pool("connect: { backoff: 50ms }"),
            &["5:25: pools.p.connect.backoff: expected a map with `base` or `max`, found `50ms`"],
        ),
        (
            pool("backend: { weight: 0 }"),
            &[
                "5:24: pools.p.backend.weight: a weight is 1 to 65535: to send nothing to a backend, write `disabled: true`",
            ],
        ),
        (
            pool("backend: { address: h:1 }"),
            &[
                "5:16: pools.p.backend.address: unknown key; here may stand `weight`, `tier`, `zone` and `max_connections`",
            ],
        ),
        (
            pool("timeouts: { idle: 0s, session: 1h }"),
            &[
                "5:23: pools.p.timeouts.idle: 0s is out of range: 1ms to 3650d (or `off`)",
                "5:27: pools.p.timeouts.session: unknown key; here may stand `idle`",
            ],
        ),
        (
            pool("tcp: { backlog: 5 }"),
            &[
                "5:12: pools.p.tcp.backlog: unknown key; here may stand `keepalive`, `user_timeout`, `nodelay` and `congestion_control`",
            ],
        ),
    ]);
}

#[test]
fn wrong_tiers_zones_and_limits_of_backends() {
    refused(&[
        (top("zone: 5"), &["1:7: zone: expected text, found the number 5; put it in quotes (or `off`)"]),
        (top("zone: ''"), &["1:7: zone: expected `off` or text, found empty text"]),
        (top("zone: [a]"), &["1:7: zone: expected `off` or text, found a list"]),
        (
            backends("{ address: h:1, tier: 256, zone: 1, max_connections: 0 }"),
            &[
                "2:47: pools.p.backends.tier: 256 is out of range: 0 to 255",
                "2:58: pools.p.backends.zone: expected text, found the number 1; put it in quotes (or `off`)",
                "2:78: pools.p.backends.max_connections: 0 is out of range: 1 to 1000000000 (or `off`)",
            ],
        ),
        (
            pool("backend: { tier: -1, zone: {}, max_connections: lots }"),
            &[
                "5:22: pools.p.backend.tier: expected a whole number, found the number -1",
                "5:32: pools.p.backend.zone: expected `off` or text, found a map",
                "5:53: pools.p.backend.max_connections: expected `off` or a whole number, found `lots`",
            ],
        ),
        (pool("tier_spill_below: 20"), &["5:23: pools.p.tier_spill_below: a share is a percentage: write `20%`"]),
        (
            pool("tier_spill_below: 101%\nslow_start: 5"),
            &[
                "5:23: pools.p.tier_spill_below: `101%` is not a share: a percentage from 0% to 100%, as in `20%`",
                "6:17: pools.p.slow_start: a duration needs a unit: write `5s` or `5ms`",
            ],
        ),
    ]);
}

#[test]
fn wrong_queues() {
    refused(&[
        (
            pool("queue: { max: 0, timeout: 0s }"),
            &[
                "5:19: pools.p.queue.max: 0 is out of range: 1 to 1000000000",
                "5:31: pools.p.queue.timeout: 0s is out of range: 1ms to 3650d",
            ],
        ),
        (
            pool("queue: 1000"),
            &["5:12: pools.p.queue: expected `off` or a map, found the number 1000; did you mean `{ max: … }`?"],
        ),
        (pool("queue: on"), &["5:12: pools.p.queue: expected `off` or a map, found `on`"]),
        (
            pool("queue: { length: 5 }"),
            &["5:14: pools.p.queue.length: unknown key; here may stand `max` and `timeout`"],
        ),
    ]);
}

#[test]
fn wrong_retry_budgets_and_hedges() {
    refused(&[
        (
            pool("connect: { retry_budget: off }"),
            &[
                "5:30: pools.p.connect.retry_budget: there is no `off` here: write `{ share: 100% }` to allow as many further attempts as sessions",
            ],
        ),
        (
            pool("connect: { retry_budget: 20% }"),
            &["5:30: pools.p.connect.retry_budget: expected a map with `share` or `min`, found `20%`"],
        ),
        (
            pool("connect: { retry_budget: { share: 20, min: 10 } }"),
            &[
                "5:39: pools.p.connect.retry_budget.share: a share is a percentage: write `20%`",
                "5:48: pools.p.connect.retry_budget.min: a rate needs its unit: write `10/s`",
            ],
        ),
        (
            pool("connect: { hedge_after: p99 }"),
            &[
                "5:29: pools.p.connect.hedge_after: `p99` is not a duration: whole numbers with units us, ms, s, m, h, d, as in `250ms` or `1m30s` (or `p95` or `off`)",
            ],
        ),
        (
            pool("connect: { hedge_after: 50 }"),
            &["5:29: pools.p.connect.hedge_after: a duration needs a unit: write `50s` or `50ms` (or `p95` or `off`)"],
        ),
        (
            pool("connect: { hedge_after: 0s }"),
            &["5:29: pools.p.connect.hedge_after: 0s is out of range: 1ms to 3650d (or `p95` or `off`)"],
        ),
        (
            pool("connect: { attempts: 1, hedge_after: p95 }"),
            &[
                "5:42: pools.p.connect.hedge_after: a hedge is a second attempt, and `attempts` at t.yaml:5:26 is 1: make it at least 2, or this `off`",
            ],
        ),
        (
            pool("connect: { hedge_after: 2s }"),
            &[
                "5:29: pools.p.connect.hedge_after: a hedge after 2s would never start: an attempt ends at its `timeout`, 2s; make this shorter, or `off`",
            ],
        ),
        (
            pool("connect: { timeout: 40ms, hedge_after: 50ms }"),
            &[
                "5:44: pools.p.connect.hedge_after: a hedge after 50ms would never start: an attempt ends at its `timeout` at t.yaml:5:25, 40ms; make this shorter, or `off`",
            ],
        ),
        (
            whole(
                "defaults: { pool: { connect: { hedge_after: 1s } } }\nlisteners: { a: { bind: 127.0.0.1:1, pool: p } }\npools: { p: { backends: h:1 }, q: { backends: h:1, connect: { attempts: 1 } }, r: { backends: h:1, connect: { timeout: 1s } } }\n",
            ),
            &[
                "1:45: defaults.pool.connect.hedge_after: a hedge after 1s would never start: an attempt ends at its `timeout` at t.yaml:3:120, 1s; make this shorter, or `off`",
                "1:45: defaults.pool.connect.hedge_after: a hedge is a second attempt, and `attempts` at t.yaml:3:73 is 1: make it at least 2, or this `off`",
            ],
        ),
    ]);
}

#[test]
fn variables_that_cannot_be_expanded() {
    refused(&[
        (top("max_connections: ${MAX}"), &["1:18: max_connections: expected `auto` or a whole number, found `many`"]),
        (
            top("log: { level: '${UNSET}' }"),
            &["1:15: log.level: the environment variable `UNSET` is not set (`${UNSET:-default}` gives it a default)"],
        ),
        (
            top("log: { level: '${UNSET:-info' }"),
            &["1:15: log.level: `${` without `}` (a dollar sign itself is written `$$`)"],
        ),
        (
            top("log: { level: '${1X}' }"),
            &["1:15: log.level: `1X` is not a variable name (a dollar sign itself is written `$$`)"],
        ),
        (
            top("log: { level: '${A:-${B}}' }"),
            &["1:15: log.level: the default of `${A}` may not contain another variable"],
        ),
        (top("max_connections: ${WORD}"), &["1:18: max_connections: expected `auto` or a whole number, found `word`"]),
        (
            listener("timeouts: { idle: '${TEN}' }"),
            &["5:23: listeners.l.timeouts.idle: a duration needs a unit: write `10s` or `10ms` (or `off`)"],
        ),
        (
            before_pools("listeners: { l: { bind: ['127.0.0.1:1', '${UNSET}'], pool: '${UNSET}' } }\n"),
            &[
                "1:41: listeners.l.bind[1]: the environment variable `UNSET` is not set (`${UNSET:-default}` gives it a default)",
                "1:60: listeners.l.pool: the environment variable `UNSET` is not set (`${UNSET:-default}` gives it a default)",
            ],
        ),
        (
            top("max_connections: '${EMPTY}'"),
            &["1:18: max_connections: expected `auto` or a whole number, found empty text"],
        ),
        (
            top("log: { access: { to: '${LINES}' } }"),
            &["1:22: log.access.to: a path may not contain control characters (or `stdout`, `stderr` or `off`)"],
        ),
        (top("workers: { pin: '${WORD}' }"), &["1:17: workers.pin: expected true or false, found `word`"]),
    ]);
}

#[test]
fn errors_in_defaults_are_reported_once_and_there() {
    refused(&[
        (
            before_pools(
                "defaults: { listener: { timeouts: { idle: 5 }, bnd: 1 }, pool: { policy: maglov }, backend: { weight: 0, name: x } }\nlisteners:\n  a: { bind: 127.0.0.1:1, pool: p }\n  b: { bind: 127.0.0.1:2, pool: p }\n",
            ),
            &[
                "1:43: defaults.listener.timeouts.idle: a duration needs a unit: write `5s` or `5ms` (or `off`)",
                "1:48: defaults.listener.bnd: unknown key (did you mean `bind`?)",
                "1:74: defaults.pool.policy: unknown policy `maglov` (did you mean `maglev`?)",
                "1:103: defaults.backend.weight: a weight is 1 to 65535: to send nothing to a backend, write `disabled: true`",
                "1:106: defaults.backend.name: unknown key; here may stand `weight`, `tier`, `zone` and `max_connections`",
            ],
        ),
        (
            before_pools(
                "defaults:\n  listener:\n    pool: nowhere\nlisteners:\n  a: { bind: 127.0.0.1:1 }\n  b: { bind: 127.0.0.1:2 }\n",
            ),
            &["3:11: defaults.listener.pool: there is no pool `nowhere`"],
        ),
        (
            whole(
                "defaults: { pool: { connect: { backoff: { base: 5s } } } }\nlisteners: { a: { bind: 127.0.0.1:1, pool: p } }\npools: { p: { backends: h:1 }, q: { backends: h:1, connect: { backoff: { max: 6s } } } }\n",
            ),
            &["1:49: defaults.pool.connect.backoff.base: `base`, 5s, is longer than `max`, 1s"],
        ),
        (
            before_pools("defaults: { listeners: {} }\nlisteners: { l: { bind: '127.0.0.1:1', pool: p } }\n"),
            &["1:13: defaults.listeners: unknown key (did you mean `listener`?)"],
        ),
        (
            before_pools("defaults: []\nlisteners: { l: { bind: '127.0.0.1:1', pool: p } }\n"),
            &["1:11: defaults: expected a map with `listener`, `pool` or `backend`, found a list"],
        ),
        (
            before_pools("defaults: { listener: off }\nlisteners: { l: { bind: '127.0.0.1:1', pool: p } }\n"),
            &[
                "1:23: defaults.listener: expected a map with `bind`, `pool`, `routes`, `accept_proxy`, `starttls`, `tls`, `admission`, `timeouts`, `relay`, `on_remove`, `bandwidth`, `tcp` or `log`, found `off`",
            ],
        ),
    ]);
}

#[test]
fn errors_behind_anchors_are_reported_where_they_are_written() {
    refused(&[
        (
            before_pools(
                "x-t: &t { idle: 5s, idle: 6s }\nlisteners:\n  a: { bind: 127.0.0.1:1, pool: p, timeouts: *t }\n",
            ),
            &["1:21: listeners.a.timeouts.idle: duplicate key, first at line 1"],
        ),
        (
            before_pools(
                "x-t: &t { idle: 5 }\nlisteners:\n  a: { bind: 127.0.0.1:1, pool: p, timeouts: *t }\n  b: { bind: 127.0.0.1:2, pool: p, timeouts: *t }\n",
            ),
            &["1:17: listeners.a.timeouts.idle: a duration needs a unit: write `5s` or `5ms` (or `off`)"],
        ),
        (
            before_pools(
                "x-t: &t { idle: 5s, sesion: off }\nlisteners:\n  a: { bind: 127.0.0.1:1, pool: p, timeouts: { <<: *t, idle: 6 } }\n",
            ),
            &[
                "1:21: listeners.a.timeouts.sesion: unknown key (did you mean `session`?)",
                "3:62: listeners.a.timeouts.idle: a duration needs a unit: write `6s` or `6ms` (or `off`)",
            ],
        ),
        (
            before_pools(
                "x-t: &t { idle: 5s }\nlisteners:\n  a: { bind: 127.0.0.1:1, pool: p, timeouts: { <<: *t, idle: 6s, idle: 7s } }\n",
            ),
            &["3:66: listeners.a.timeouts.idle: duplicate key, first at line 3"],
        ),
    ]);
}

#[test]
fn places_are_right_in_every_style() {
    refused(&[
        (
            before_pools("listeners:\r\n  l:\r\n    bind: 5\r\n    pool: p\r\n"),
            &[
                "3:11: listeners.l.bind: `5` has no address: write `127.0.0.1:5` for this machine alone, `0.0.0.0:5` for every IPv4 address or `[::]:5` for every IPv6 address",
            ],
        ),
        (
            before_pools("\u{feff}listeners: { l: { bind: 5, pool: p } }\n"),
            &[
                "1:25: listeners.l.bind: `5` has no address: write `127.0.0.1:5` for this machine alone, `0.0.0.0:5` for every IPv4 address or `[::]:5` for every IPv6 address",
            ],
        ),
        (
            before_pools("listeners: { \"ü\": { bind: 5, pool: p } } # é\n"),
            &[
                "1:27: listeners.ü.bind: `5` has no address: write `127.0.0.1:5` for this machine alone, `0.0.0.0:5` for every IPv4 address or `[::]:5` for every IPv6 address",
            ],
        ),
        (
            before_pools("listeners:\n  日本: { bind: '127.0.0.1:1', pool: q }\n"),
            &["2:36: listeners.日本.pool: there is no pool `q` (did you mean `p`?)"],
        ),
        (
            before_pools("listeners:\n  l:\n    bind:\n      - 127.0.0.1:1\n      -   5\n    pool: >-\n      q\n"),
            &[
                "5:11: listeners.l.bind[1]: `5` has no address: write `127.0.0.1:5` for this machine alone, `0.0.0.0:5` for every IPv4 address or `[::]:5` for every IPv6 address",
                "7:7: listeners.l.pool: there is no pool `q` (did you mean `p`?)",
            ],
        ),
        (
            before_pools("listeners:\n  ? l\n  : bind: 5\n    pool: p\n"),
            &[
                "3:11: listeners.l.bind: `5` has no address: write `127.0.0.1:5` for this machine alone, `0.0.0.0:5` for every IPv4 address or `[::]:5` for every IPv6 address",
            ],
        ),
        (
            before_pools("listeners:\n  \"l\\nx\": {}\n"),
            &[
                "2:3: listeners.l\\nx: `bind` is missing, such as `bind: [127.0.0.1:8080, \"[::1]:8080\"]`",
                "2:3: listeners.l\\nx: `pool` is missing, such as `pool: web`",
                "2:3: listeners.l\\nx: a name may not contain `/`, spaces or control characters",
            ],
        ),
    ]);
}

/// `tracing` takes a word that it does not know for the name of a module, and shows nothing of all others.
#[test]
fn a_word_alone_in_a_log_filter_is_a_level() {
    let of = |level: &str| {
        let text = top(&format!("log: {{ level: '{level}' }}"));
        config::parse("t.yaml", &text, &CATALOGUE, &env).map_err(|errors| errors.to_string())
    };
    let known =
        ["off", "error", "warn", "info", "debug", "trace", "WARN", "Info", "info,", "info,peerway::relay=debug"];
    for level in known.into_iter().chain(["peerway=warn", "info,peerway[session{id}]=trace"]) {
        assert!(of(level).is_ok(), "{level}: {:?}", of(level).map(drop));
    }
    let meant = [("warning", "warn"), ("err", "error"), ("fatal", "error"), ("none", "off"), ("verbose", "debug")];
    for (level, meant) in meant {
        let error = of(level).unwrap_err();
        assert!(error.contains(&format!("(did you mean `{meant}`?)")), "{error}");
    }
    for level in ["loud", "info,loud", "peerway", "3", "info debug"] {
        let error = of(level).unwrap_err();
        assert!(error.contains("is not a log level"), "{error}");
    }
}

#[test]
fn an_address_has_no_scheme() {
    refused(&[
        (
            backends("'http://h:1'"),
            &["2:25: pools.p.backends: `http://h:1`: an address has no scheme such as `http://`: write `h:1`"],
        ),
        (
            backends("'http://h/x'"),
            &["2:25: pools.p.backends: `http://h/x`: an address has no scheme such as `http://`: write `host:port`"],
        ),
        (
            top("admin: { listen: 'tcp://127.0.0.1:9901' }"),
            &[
                "1:18: admin.listen: `tcp://127.0.0.1:9901`: an address has no scheme such as `tcp://`: write `127.0.0.1:9901`",
            ],
        ),
    ]);
}

#[test]
fn variables_are_text() {
    let text = top("log: { level: '${BYTES:-info}' }");
    refused(&[(text, &["1:15: log.level: the environment variable `BYTES` is not UTF-8 text"])]);
}

#[test]
fn a_part_that_is_always_there_cannot_be_off() {
    refused(&[
        (top("shutdown: off"), &["1:11: shutdown: expected a map with `delay` or `grace`, found `off`"]),
        (
            listener("routes: { match: { port: off }, action: drop }"),
            &["5:30: listeners.l.routes.match.port: expected a whole number, found `off`"],
        ),
    ]);
}

/// Two listeners that share a file would share, or steal, each other's clients.
#[test]
fn a_unix_socket_has_many_names() {
    let two = |admin: &str, bind: &str| format!("{admin}\nlisteners: {{ l: {{ bind: {bind}, pool: p }} }}\n{POOL}");
    refused(&[
        (
            two("", "['unix:a', 'unix:./a']"),
            &[
                "2:36: listeners.l.bind[1]: `unix:./a` is the same socket as `unix:a` of listeners.l.bind[0] at t.yaml:2:26",
            ],
        ),
        (
            two("admin: { listen: 'unix:x/../a' }", "'unix:a'"),
            &["2:25: listeners.l.bind: `unix:a` is the same socket as `unix:x/../a` of admin.listen at t.yaml:1:18"],
        ),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(at("real")).unwrap();
    std::os::unix::fs::symlink(at("real"), at("alias")).unwrap();
    let text = two("", &format!("['unix:{}', 'unix:{}']", at("real/x"), at("alias/x")));
    let errors = config::parse("t.yaml", &text, &CATALOGUE, &env).map(drop).unwrap_err().to_string();
    assert!(errors.contains("is the same socket as"), "{errors}");
}
