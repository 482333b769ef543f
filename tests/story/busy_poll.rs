//! `workers.busy_poll`: a worker that looks again before it sleeps, when that pays, and never one without work.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, MB, Peer, Proxy, Setup, cpu_time, eventually, send_across};

/// Long enough that a client's pause of `PAUSE` lies within it on any machine.
const SPINNING: &str = "workers: { threads: 1, busy_poll: 10ms }";
const PAUSE: Duration = Duration::from_millis(1);
/// How long CPU time is looked at.
const WHILE: Duration = Duration::from_secs(2);

/// CPU time that the proxy takes for `WHILE`, in which this is done.
fn cpu_of(proxy: &Proxy, mut during: impl FnMut()) -> Duration {
    let (before, began) = (cpu_time(proxy.id()), Instant::now());
    while began.elapsed() < WHILE {
        during();
    }
    cpu_time(proxy.id()) - before
}

fn ask(client: &mut Peer) {
    client.say(64);
    client.hear(64);
}

/// Seconds that it looked with this result.
fn looked(proxy: &Proxy, result: &str) -> f64 {
    proxy.metric(&format!("peerway_worker_busy_poll_seconds_total{{worker=\"0\",result=\"{result}\"}}"))
}

#[test]
fn bytes_and_ends_are_right_while_workers_spin() {
    let backend = Backend::new();
    let setup = Setup::to([&backend]).process("workers: { threads: 2, busy_poll: 1ms }");
    let proxy = setup.listener("relay: auto").start();
    let mut pairs: Vec<_> = (0..8).map(|_| proxy.session(&backend)).collect();
    thread::scope(|scope| {
        for (client, server) in &mut pairs {
            scope.spawn(move || {
                for _ in 0..200 {
                    send_across(client, server, 100);
                    send_across(server, client, 100);
                }
                send_across(server, client, 20 * MB);
                send_across(client, server, 20 * MB);
            });
        }
    });
    for (mut client, mut server) in pairs {
        client.finish();
        server.hear_end();
        server.finish();
        client.hear_end();
    }
    proxy.metric_becomes("peerway_sessions_closed_total{cause=\"finished\"}", 8.0);
    proxy.metric_becomes("peerway_listener_active_connections", 0.0);
}

#[test]
fn a_worker_spins_while_that_pays_and_one_without_work_sleeps() {
    let echo = Backend::new().echo();
    let proxy = Setup::to([echo.address()]).process(SPINNING).start();
    let mut client = proxy.connect().seeded(7, 7);
    let mut asks = || {
        ask(&mut client);
        thread::sleep(PAUSE);
    };
    let spinning = cpu_of(&proxy, &mut asks);
    // Where others want the processor too, there are fewer answers in the same time.
    eventually("time that was spent well", || {
        (0..100).for_each(|_| asks());
        (looked(&proxy, "hit") > WHILE.as_secs_f64() / 5.0).then_some(())
    });
    let idle = cpu_of(&proxy, || thread::sleep(WHILE));
    assert!(idle < spinning / 5, "{idle:?} without work, {spinning:?} with");
}

#[test]
fn a_worker_gives_up_when_it_does_not_pay() {
    let echo = Backend::new().echo();
    let proxy = Setup::to([echo.address()]).process("workers: { threads: 1, busy_poll: 1ms }").start();
    let mut client = proxy.connect().seeded(7, 7);
    let mut seldom = || {
        thread::sleep(Duration::from_millis(20));
        client.say(64);
        thread::sleep(Duration::from_millis(20));
        client.hear(64);
    };
    // The credit that it begins with.
    (0..10).for_each(|_| seldom());
    let before = looked(&proxy, "miss");
    assert!(before > 0.0, "it tried");
    let began = Instant::now();
    let taken = cpu_of(&proxy, &mut seldom);
    let wasted = looked(&proxy, "miss") - before;
    assert!(wasted < 5.0 * 0.025 * began.elapsed().as_secs_f64(), "{wasted} s in vain of {:?}", began.elapsed());
    assert!(taken < WHILE / 5, "{taken:?}");
}

#[test]
fn without_it_nobody_looks_and_a_reload_cannot_change_that() {
    let echo = Backend::new().echo();
    let yaml = |workers: &str| {
        format!(
            "admin: {{ listen: 127.0.0.1:0 }}\nreload: {{ watch: false }}\n{workers}\n\
             listeners: {{ front: {{ bind: 127.0.0.1:0, pool: back }} }}\npools: {{ back: {{ backends: \"{}\" }} }}\n",
            echo.address()
        )
    };
    let proxy = Setup::file(yaml("workers: { threads: 1 }")).start();
    let mut client = proxy.connect().seeded(7, 7);
    (0..100).for_each(|_| ask(&mut client));
    assert_eq!((looked(&proxy, "hit"), looked(&proxy, "miss")), (0.0, 0.0));
    assert_eq!(proxy.refuses(&yaml("workers: { threads: 1, busy_poll: 50us }")), "needs restart: workers");
    ask(&mut client);
}
