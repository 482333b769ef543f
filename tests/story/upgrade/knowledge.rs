//! What is known of backends passes to the new process.

use serde_json::Value;

use crate::support::{Backend, Peer, Proxy, Setup, TOP, eventually};

fn backends(proxy: &Proxy) -> Vec<Value> {
    proxy.admin().json("/api/v1/pools")["pools"][0]["backends"].as_array().unwrap().clone()
}

#[test]
fn who_is_down_stays_down_and_what_was_said_stays_said() {
    let (good, other) = (Backend::new(), Backend::new());
    let down = Backend::refusing();
    let yaml = format!(
        "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back }}\npools:\n  back:\n    \
         backends: [ \"{}\", {{ name: other, address: \"{}\" }}, {{ name: down, address: \"{down}\" }} ]\n    \
         health: {{ probe: tcp, interval: 1h, fast_interval: 50ms, fall: 1 }}\n",
        good.address(),
        other.address()
    );
    // Probed a first time within the interval; so a short one finds out, and the long one of the next process does not.
    let proxy = Setup::file(yaml.replace("interval: 1h", "interval: 300ms")).start();
    eventually("it is down", || (backends(&proxy)[2]["state"] == "down").then_some(()));
    assert_eq!(proxy.said(&["drain", "back/other"]).0, Some(0));
    assert_eq!(proxy.said(&["weight", &format!("back/{}", good.address()), "7"]).0, Some(0));
    let before = backends(&proxy);
    let transitions = proxy.metric("peerway_backend_transitions_total");
    proxy.write(&yaml);
    proxy.upgrade();
    let after = backends(&proxy);
    assert_eq!(
        (&after[2]["state"], &after[1]["state"], &after[0]["weight"]),
        (&"down".into(), &"draining".into(), &7.into())
    );
    assert_eq!(after[2]["since"], before[2]["since"]);
    assert_eq!(after[2]["reason"], before[2]["reason"]);
    assert_eq!(after[2]["last_probe"]["error"], before[2]["last_probe"]["error"]);
    assert_eq!(proxy.metric("peerway_backend_transitions_total"), transitions, "nothing has changed");
    for _ in 0..6 {
        let _client = proxy.connect();
        good.accept();
    }
    // And on to the one after that.
    proxy.upgrade();
    assert_eq!(backends(&proxy)[2]["state"], "down");
    assert_eq!(backends(&proxy)[1]["state"], "draining");
}

#[test]
fn who_is_ejected_stays_out_for_the_time_left() {
    let (good, bad) = (Backend::new().echo(), Backend::new().serve(|peer| peer.reset()));
    let yaml = format!(
        "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back }}\npools:\n  back:\n    \
         backends: [ {{ name: good, address: \"{}\" }}, {{ name: bad, address: \"{}\" }} ]\n    \
         health: {{ passive: {{ failures: 2, eject_for: 1h, max_eject_for: 2h, max_ejected: 100% }} }}\n",
        good.address(),
        bad.address()
    );
    let proxy = Setup::file(yaml).start();
    eventually("it is ejected", || {
        // The reset of the bad one may be there before the connect returns.
        if let Ok(client) = Peer::try_connect(proxy.address("front")) {
            let mut client = client.seeded(9, 9);
            let _ = client.try_say(10);
            let _ = client.hear_whatever_within(std::time::Duration::from_millis(20));
        }
        (backends(&proxy)[1]["state"] == "ejected").then_some(())
    });
    let reason = backends(&proxy)[1]["reason"].clone();
    proxy.upgrade();
    let after = &backends(&proxy)[1];
    assert_eq!((&after["state"], &after["reason"]), (&"ejected".into(), &reason));
    let before = bad.accepted();
    for seed in 0..6 {
        let mut client = proxy.connect().seeded(seed, seed);
        client.say(100);
        client.hear(100);
    }
    assert_eq!(bad.accepted(), before);
    assert_eq!(proxy.metric("peerway_backend_ejections_total"), 1.0);
}

#[test]
fn after_a_failover_the_tier_that_serves_goes_on_doing_so() {
    let spare = Backend::new().echo();
    let first = Backend::new();
    let address = first.address();
    let yaml = format!(
        "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back }}\npools:\n  back:\n    failback: manual\n    \
         backends: [ {{ name: first, address: \"{address}\" }}, {{ name: spare, address: \"{}\", tier: 1 }} ]\n    \
         health: {{ probe: tcp, interval: 100ms, fall: 1, rise: 1 }}\n",
        spare.address()
    );
    let proxy = Setup::file(yaml).start();
    drop(first);
    eventually("it is down", || (backends(&proxy)[0]["state"] == "down").then_some(()));
    let _first = Backend::at(address);
    eventually("it is up", || (backends(&proxy)[0]["state"] == "up").then_some(()));
    proxy.upgrade();
    let first = &backends(&proxy)[0];
    assert!(first["reason"].as_str().unwrap_or_default().contains("standing by"), "{first}");
    let mut client = proxy.connect().seeded(3, 3);
    client.say(100);
    client.hear(100);
}
