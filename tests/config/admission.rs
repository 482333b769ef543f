//! `admission` and `max_rate`: what they mean, and what is refused.

use std::fmt::Write;
use std::num::NonZeroU64;
use std::time::Duration;

use peerway::config::plan::{Admission, Bandwidth, PerClient, RefuseWith};

use super::errors::refused;
use super::{plan, processor_time};

fn rate(rate: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(rate)
}

/// In a listener, from line 5, column 5.
fn listener(text: &str) -> String {
    format!(
        "listeners:\n  l:\n    bind: 127.0.0.1:1\n    pool: p\n    {}\npools: {{ p: {{ backends: '10.0.0.1:1' }} }}\n",
        text.replace('\n', "\n    ")
    )
}

fn admission(text: &str) -> Admission {
    plan(&listener(text)).listeners[0].admission.clone()
}

#[test]
fn every_key_reaches_the_plan() {
    let read = admission(
        "admission:
  allow: [10.0.0.0/8, unix]
  deny: 10.1.0.0/16
  max_connections: 10000
  max_rate: 1000/s
  per_client: { max_connections: 100, rate: 50/s, prefix_v6: 56 }
  refuse_with: drop",
    );
    let allows = |client: &str| read.access.as_ref().unwrap().allows(client.parse().ok());
    assert_eq!(["10.0.0.1", "10.1.0.1", "192.0.2.1", "unix"].map(allows), [true, false, false, true]);
    assert_eq!((read.max_connections, read.max_rate), (Some(10_000), rate(1000)));
    assert_eq!(read.per_client, PerClient { max_connections: Some(100), rate: rate(50), prefix_v6: 56 });
    assert_eq!(read.refuse_with, RefuseWith::Drop);
    let plan = plan(&format!("max_rate: 5000/s\n{}", listener("timeouts: { handshake: 7s }")));
    assert_eq!((plan.max_rate, plan.listeners[0].timeouts.handshake), (rate(5000), Duration::from_secs(7)));
}

#[test]
fn nothing_said_is_no_limit() {
    assert_eq!(admission("relay: auto"), Admission::default());
    assert_eq!(admission("admission: off"), Admission::default());
    assert_eq!(
        admission("admission: { deny: [], max_connections: off, max_rate: off, per_client: off, allow: off }"),
        Admission::default()
    );
    let plan = plan(&format!("max_rate: off\n{}", listener("relay: auto")));
    assert_eq!((plan.max_rate, plan.listeners[0].timeouts.handshake), (None, Duration::from_secs(5)));
}

#[test]
fn defaults_are_merged_by_key_and_off_clears_them() {
    let plan = plan(
        "defaults: { listener: { pool: p, admission: { deny: 10.0.0.0/8, max_rate: 10/s, per_client: { rate: 5/s } } } }
listeners:
  a: { bind: 127.0.0.1:1 }
  b: { bind: 127.0.0.1:2, admission: { max_rate: off, per_client: { max_connections: 3 } } }
  c: { bind: 127.0.0.1:3, admission: { deny: off, per_client: off } }
  d: { bind: 127.0.0.1:4, admission: off }
pools: { p: { backends: '10.0.0.1:1' } }
",
    );
    let of = |index: usize| {
        let admission = &plan.listeners[index].admission;
        let PerClient { max_connections, rate, .. } = admission.per_client;
        (admission.access.is_some(), admission.max_rate, max_connections, rate)
    };
    assert_eq!(of(0), (true, rate(10), None, rate(5)));
    assert_eq!(of(1), (true, None, Some(3), rate(5)));
    assert_eq!(of(2), (false, rate(10), None, None));
    assert_eq!(of(3), (false, None, None, None));
}

#[test]
fn bandwidth_is_bytes_a_second() {
    let read = |text: &str| plan(&listener(text)).listeners[0].bandwidth;
    let all = Bandwidth { per_connection: rate(10 << 20), per_client: rate(50 << 20) };
    assert_eq!(read("bandwidth: { per_connection: 10MiB/s, per_client: 50MiB/s }"), all);
    for none in
        ["relay: auto", "bandwidth: off", "bandwidth: { per_connection: off, per_client: off }", "bandwidth: {}"]
    {
        assert_eq!(read(none), Bandwidth::default(), "{none}");
    }
    refused(&[(
        listener("bandwidth:\n  per_connection: 0B/s\n  per_client: 10MB/s\n  per_pool: 1B/s"),
        &[
            "6:23: listeners.l.bandwidth.per_connection: a bandwidth of 0 would move nothing; without the key there is no limit (or `off`)",
            "7:19: listeners.l.bandwidth.per_client: `10MB/s` is not a bandwidth: a size a second, as in `10MiB/s` (or `off`)",
            "8:7: listeners.l.bandwidth.per_pool: unknown key; here may stand `per_connection` and `per_client`",
        ],
    )]);
}

#[test]
fn wrong_admission() {
    let zero =
        "a rate of 0/s would let nobody in; the lowest is `1/s`, and without the key there is no limit (or `off`)";
    refused(&[
        (format!("max_rate: 0/s\n{}", listener("relay: auto")), &[format!("1:11: max_rate: {zero}").leak()]),
        (
            listener(
                "admission:\n  max_rate: 100\n  max_connections: 0\n  per_client: { rate: 0/s, prefix_v6: 0, max: 1 }\n  refuse_with: rst",
            ),
            &[
                "6:17: listeners.l.admission.max_rate: a rate needs its unit: write `100/s` (or `off`)",
                "7:24: listeners.l.admission.max_connections: 0 is out of range: 1 to 1000000000 (or `off`)",
                format!("8:27: listeners.l.admission.per_client.rate: {zero}").leak(),
                "8:43: listeners.l.admission.per_client.prefix_v6: 0 is out of range: 1 to 128",
                "8:46: listeners.l.admission.per_client.max: unknown key; here may stand `max_connections`, `rate` and `prefix_v6`",
                "9:20: listeners.l.admission.refuse_with: expected `reset`, `close` or `drop`, found `rst`",
            ],
        ),
        (
            listener("admission: { allow: [10.0.0.1, office], deny: [] }"),
            &[
                "5:26: listeners.l.admission.allow[0]: `10.0.0.1` has no prefix length: write `10.0.0.1/32` for that one address",
                "5:36: listeners.l.admission.allow[1]: expected `unix` or a network such as `10.0.0.0/8`, found `office`",
            ],
        ),
        (
            listener("admission: { allow: [] }"),
            &[
                "5:25: listeners.l.admission.allow: an empty list lets nobody in, or everybody: name networks, or write `deny: [0.0.0.0/0, ::/0]`, or leave the key out",
            ],
        ),
    ]);
}

/// Lists such as one can download: the limits of a tree are for bombs, not for these.
#[test]
fn a_list_may_have_a_hundred_thousand_networks() {
    let list = (0..100_000_u32).fold(String::new(), |mut list, n| {
        let _ = writeln!(list, "    - {}.{}.{}.0/24", n >> 14, n >> 6 & 255, n << 2 & 255);
        list
    });
    let before = processor_time();
    let read = admission(&format!("admission:\n  deny:\n{}", list.trim_end()));
    let took = processor_time() - before;
    assert!(took < Duration::from_secs(20), "took {took:?}");
    let access = read.access.unwrap();
    let denied = |ip: &str| !access.allows(ip.parse().ok());
    assert_eq!(["0.0.0.7", "6.26.124.9", "0.0.1.7", "6.26.128.0"].map(denied), [true, true, false, false]);
}
