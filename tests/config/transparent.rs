//! `bind: { transparent: true }` and `connect: { source: client }`.

use super::errors::refused;
use super::plan;

fn file(bind: &str, pool: &str) -> String {
    format!("listeners: {{ l: {{ bind: {bind}, pool: p }} }}\npools:\n  p:\n    {pool}\n")
}

#[test]
fn what_is_transparent_reaches_the_plan() {
    let own =
        plan(&file("[ '127.0.0.1:1', { address: '127.0.0.1:2-3', transparent: true } ]", "backends: '10.0.0.1:1'"));
    let binds: Vec<bool> = own.listeners[0].bind.iter().map(|bind| bind.transparent).collect();
    assert_eq!((binds, own.pools[0].connect.transparent), (vec![false, true, true], false));
    for source in ["client", "[client]", "{ client: {} }"] {
        let text =
            file("'127.0.0.1:1'", &format!("backends: 'h:1'\n    connect: {{ source: {source}, send_proxy: v1 }}"));
        let connect = &plan(&text).pools[0].connect;
        assert_eq!((connect.transparent, connect.source.len()), (true, 0), "{source}");
    }
}

#[test]
fn what_cannot_be_transparent_is_refused() {
    refused(&[
        (
            file("{ address: 'unix:/x', transparent: true }", "backends: '10.0.0.1:1'"),
            &[
                "1:47: listeners.l.bind.transparent: a unix socket has no addresses to be transparent about: leave it out",
            ],
        ),
        (
            file(
                "'127.0.0.1:1'",
                "backends: [ '10.0.0.1:1', { name: local, address: 'unix:/x' } ]\n    connect: { source: client }",
            ),
            &[
                "5:24: pools.p.connect.source: backend `local` is a unix socket, and nobody connects to one from an address: use `send_proxy` to tell it who the client is",
            ],
        ),
        (
            file("'127.0.0.1:1'", "backends: '10.0.0.1:1'\n    connect: { source: [10.0.0.9, client] }"),
            &[
                "5:35: pools.p.connect.source[1]: `client` stands alone: with addresses beside it nobody could say which of them is meant",
            ],
        ),
    ]);
}
