//! Everything changes at once: reloads of all kinds, broken files and upgrades, under long and short sessions and a
//! scraper. Nobody who is connected, or connects, sees any of it.

use std::fmt::Write;
use std::time::Duration;

use crate::support::{
    Backend, Newcomers, Peer, Proxy, Service, Setup, Watcher, descriptors, eventually, free_port, is_gone, mix,
    resident_kib,
};

/// One upgrade ends each round.
const ROUNDS: u64 = 10;
const RELOADS: u64 = 20;
const BROKEN: u64 = 5;
const SESSIONS: u64 = 100;
/// Where other listeners may be, and other backends.
const OTHERS: usize = 3;

/// What the files are made of.
struct World {
    main: Service,
    spares: Vec<Service>,
    ports: Vec<u16>,
    taken: Backend,
}

impl World {
    fn new() -> Self {
        Self {
            main: Backend::new().echo(),
            spares: (0..OTHERS).map(|_| Backend::new().echo()).collect(),
            ports: (0..OTHERS).map(|_| free_port()).collect(),
            taken: Backend::new(),
        }
    }

    /// A good file, drawn from a seed.
    fn file(&self, seed: u64) -> String {
        let dice = |what: u64, sides: u64| mix(seed * 64 + what) % sides;
        let of = |what: u64, choices: &[&'static str]| choices[dice(what, choices.len() as u64) as usize];
        let access = of(0, &["off", "{ to: stdout }", "{ to: stdout, sample: 50% }"]);
        let mut yaml = format!(
            "admin: {{ listen: 127.0.0.1:0 }}\nreload: {{ watch: false }}\nworkers: {{ threads: 2 }}\n\
             upgrade: {{ max_old: 16 }}\nlog: {{ level: {}, access: {access} }}\nmax_connections: {}\n\
             defaults: {{ listener: {{ timeouts: {{ idle: {}m }} }} }}\nlisteners:\n",
            of(1, &["info", "peerway=info"]),
            4000 + dice(2, 2000),
            10 + dice(3, 50),
        );
        let relay = of(4, &["auto", "copy", "splice"]);
        let most = 3000 + dice(5, 1000);
        let _ = writeln!(
            yaml,
            "  front: {{ bind: '127.0.0.1:0', pool: back, relay: {relay}, admission: {{ max_connections: {most} }} }}"
        );
        let moved = dice(6, OTHERS as u64) as usize;
        for index in (0..OTHERS).filter(|index| dice(10 + *index as u64, 2) == 0) {
            let port = self.ports[(index + moved) % OTHERS];
            let _ = writeln!(yaml, "  extra{index}: {{ bind: '127.0.0.1:{port}', pool: back }}");
        }
        let policy = of(7, &["round_robin", "random", "least_connections", "p2c", "maglev", "peak_ewma"]);
        let _ = writeln!(
            yaml,
            "pools:\n  back:\n    policy: {policy}\n    connect: {{ timeout: {}s }}\n    backends:\n      \
             - {{ name: main, address: '{}', weight: {} }}",
            5 + dice(8, 5),
            self.main.address(),
            1 + dice(9, 5)
        );
        for index in (0..OTHERS).filter(|index| dice(20 + *index as u64, 2) == 0) {
            let (address, weight) = (self.spares[index].address(), 1 + dice(30 + index as u64, 5));
            let _ = writeln!(yaml, "      - {{ name: spare{index}, address: '{address}', weight: {weight} }}");
        }
        if dice(40, 2) == 0 {
            let _ = writeln!(yaml, "  more: {{ backends: [ '{}' ] }}", self.main.address());
        }
        yaml
    }

    /// One that must be refused.
    fn broken(&self, seed: u64) -> String {
        let good = self.file(seed);
        match mix(seed) % 6 {
            0 => good.replace("pools:", "pools: ["),
            1 => format!("{good}nonsense: 1\n"),
            2 => good.replace("pool: back, relay", "pool: nowhere, relay"),
            3 => good.replace(
                "listeners:\n",
                &format!("listeners:\n  x: {{ bind: '{}', pool: back }}\n", self.taken.address()),
            ),
            4 => good.replace("threads: 2", "threads: 3"),
            _ => good.replace("weight: ", "weight: -"),
        }
    }
}

/// Some words on one of the long sessions.
fn talk(client: &mut Peer) {
    client.say(500);
    client.hear(500);
}

/// Has the proxy take over good files and refuse bad ones, while its long sessions talk.
fn change(world: &World, proxy: &Proxy, round: u64, long: &mut [Peer]) {
    for step in 0..RELOADS {
        let seed = round * 1000 + step;
        proxy.change_to(&world.file(seed));
        if step % (RELOADS / BROKEN) == 0 {
            proxy.refuses(&world.broken(seed));
        }
        for client in long.iter_mut().skip(step as usize).step_by(RELOADS as usize) {
            talk(client);
        }
    }
    // What is upgraded reads the file as it is now.
    proxy.change_to(&world.file(round * 1000));
}

#[test]
fn reloads_broken_files_and_upgrades_under_load_are_seen_by_nobody() {
    let world = World::new();
    let mut proxy = Setup::file(world.file(0)).start();
    let to = proxy.address("front");
    // One round of the same kind, after which a process is what it will be at the end.
    let newcomers = Newcomers::of(to, 2, Duration::from_millis(10));
    change(&world, &proxy, ROUNDS, &mut []);
    let warm = proxy.upgrade();
    change(&world, &proxy, ROUNDS, &mut []);
    assert_eq!(proxy.exit_within(Duration::from_secs(20)).code(), Some(0));
    let (memory, open) = (resident_kib(warm), descriptors(warm));

    // What is always there.
    let wanted = |series: &str| !["extra", "spare", "more"].iter().any(|other| series.contains(other));
    let watching = Watcher::of(proxy.admin(), Duration::from_millis(50), wanted);
    let mut long = Vec::new();
    for round in 0..ROUNDS {
        for number in 0..SESSIONS {
            let seed = 10_000 + round * SESSIONS + number;
            // Some by another listener, if there is one now.
            let other = world.ports[number as usize % OTHERS];
            let by_other = (number % 10 == 0).then(|| Peer::try_connect(([127, 0, 0, 1], other).into()).ok());
            let mut client = by_other.flatten().unwrap_or_else(|| Peer::connect(to)).seeded(seed, seed);
            talk(&mut client);
            long.push(client);
        }
        change(&world, &proxy, round, &mut long);
        let before = newcomers.served();
        proxy.upgrade();
        newcomers.come_beyond(before + 5);
    }
    change(&world, &proxy, ROUNDS, &mut long);
    assert!(proxy.metric("peerway_listener_active_connections") >= (ROUNDS * SESSIONS) as f64);
    for mut client in long {
        talk(&mut client);
        client.finish();
        client.hear_end();
    }
    let served = newcomers.stop();
    assert!(watching.stop() > 50);
    proxy.metric_becomes("peerway_upgrade_old_processes", 0.0);
    proxy.metric_becomes("peerway_listener_active_connections", 0.0);
    let scrape = proxy.scrape();
    let closed = |labels: &str| scrape.get(&format!("peerway_sessions_closed_total{{listener=\"front\"{labels}}}"));
    assert_eq!(closed(",cause=\"finished\""), closed(""), "none ended in another way");
    assert!(closed("") >= (served + ROUNDS * SESSIONS * 9 / 10) as f64);
    let generations = proxy.generations();
    let (last, old) = generations.split_last().unwrap();
    old.iter().skip(1).for_each(|id| is_gone(*id));
    // Of glibc's arenas more or fewer may be in use, by whole chunks.
    eventually("memory and descriptors are what they were", || {
        let (now, files) = (resident_kib(*last), descriptors(*last));
        (now < memory * 3 / 2 + 8 * 1024 && files <= open + 4).then_some(())
    });
}
