//! Reloading costs no memory, however often it is done.

use crate::support::{Backend, Setup, TOP, descriptors, eventually, free_port, mix, resident_kib, send_across};

/// As many as a busy control plane makes in a day; all of them cost nothing that stays.
const ROUNDS: u64 = 900;

#[test]
fn hundreds_of_reloads_cost_no_memory_and_no_descriptors() {
    let backend = Backend::new();
    let ports: Vec<u16> = (0..2).map(|_| free_port()).collect();
    let yaml = |round: u64| {
        let dice = mix(round);
        let idle = 100 + dice % 1000;
        let (port, weight) = (ports[(dice >> 10) as usize % 2], 1 + (dice >> 20) % 9);
        // Each has a backend and a listener that no other has.
        format!(
            "{TOP}listeners:\n  front: {{ bind: '127.0.0.1:0', pool: back, timeouts: {{ idle: {idle}s }} }}\n  \
             other{round}: {{ bind: '127.0.0.1:{port}', pool: back }}\npools:\n  back:\n    backends: [ \
             {{ name: main, address: '{}', weight: {weight} }}, {{ name: b{round}, address: '127.0.0.2:{}', disabled: true }} ]\n  \
             pool{round}: {{ backends: [ '127.0.0.3:1' ] }}\n",
            backend.address(),
            1 + round % 60_000,
        )
    };
    let rounds = std::env::var("PEERWAY_TEST_RELOADS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let proxy = Setup::file(yaml(0)).start();
    let (mut client, mut server) = proxy.session(&backend);
    let files = descriptors(proxy.id());
    let mut seen = Vec::new();
    for round in 1..=rounds {
        proxy.change_to(&yaml(round));
        if round % 20 == 0 {
            seen.push(resident_kib(proxy.id()));
        }
    }
    send_across(&mut client, &mut server, 1000);
    let third = seen.len() / 3;
    let mean = |part: &[u64]| part.iter().sum::<u64>() / part.len() as u64;
    let (first, last) = (mean(&seen[..third]), mean(&seen[2 * third..]));
    eprintln!("{rounds} reloads: {first} KiB in the first third, {last} KiB in the last");
    assert!(last < first * 11 / 10 + 1024, "{seen:?}");
    // Listeners that were removed a moment ago are still closing.
    eventually("no more descriptors than before", || (descriptors(proxy.id()) <= files).then_some(()));
}
