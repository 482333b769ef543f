//! Probes of real backends: how soon one that is ill is left alone and one that is well is used, and what probes cost.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    Backend, Blackhole, Clients, Crowd, MB, Mood, Moody, PING, Peer, Proxy, Setup, Wait, cpu_time, descriptors,
    eventually, resident_kib, who,
};

/// Probes with [`PING`] every 100 ms for at most 100 ms, two to go down and two to come up.
fn quickly(more: &str) -> String {
    format!(
        "health: {{ probe: {{ {PING} }}, interval: 100ms, fast_interval: 50ms, timeout: 100ms, fall: 2, rise: 2, {more} }}"
    )
}

/// `fall` × `interval` + `timeout` of that, with five-fold slack for a busy machine.
const SOON: Duration = Duration::from_millis(5 * (2 * 100 + 100));

#[test]
fn one_that_is_killed_hangs_or_is_ill_is_left_alone_in_time_and_used_again() {
    for mood in [Mood::Dead, Mood::Silent, Mood::Sick] {
        let (ill, well) = (Moody::new("ill"), Moody::new("well"));
        let proxy = Setup::to([&ill, &well]).pool(&quickly("")).start();
        let mut long = (0..4).map(|_| proxy.connect().seeded(9, 9)).collect::<Vec<_>>();
        // Those that live on the other one lose nothing, whatever happens here.
        long.retain_mut(|peer| who(peer).unwrap() == "well");
        assert!(!long.is_empty());
        let clients = Clients::of(&proxy);
        eventually("sessions there", || (ill.sessions().len() > 3).then_some(()));
        let fault = Instant::now();
        ill.is(mood);
        let down = proxy.backend_becomes(0, "down");
        thread::sleep(Duration::from_millis(100)); // who had chosen it just before
        let (settled, failed) = (ill.sessions().len(), clients.failed());
        let last = ill.sessions().last().map_or(Duration::ZERO, |last| last.saturating_duration_since(fault));
        assert!(last < SOON, "{mood:?}: a new session {last:?} after the fault");
        let reason = down["reason"].as_str().unwrap();
        assert!(reason.starts_with("probe: "), "{reason}");
        assert!(mood != Mood::Sick || reason.contains("-ERR"), "{reason}");
        for peer in &mut long {
            peer.say(MB / 10);
            peer.hear(MB / 10);
        }
        thread::sleep(Duration::from_millis(300));
        assert_eq!((ill.sessions().len(), clients.failed()), (settled, failed), "{mood:?}: it was left alone");
        ill.is(Mood::Well);
        let back = Instant::now();
        eventually("sessions there again", || (ill.sessions().len() > settled + 3).then_some(()));
        assert!(back.elapsed() < 2 * SOON, "{:?}", back.elapsed());
        assert!(clients.stop() > 10);
        let scrape = proxy.scrape();
        let of = |name: &str, more: &str| {
            scrape.get(&format!("peerway_backend_{name}{{backend=\"{}\"{more}}}", ill.address()))
        };
        assert_eq!((of("transitions_total", ",to=\"down\""), of("transitions_total", ",to=\"up\"")), (1.0, 1.0));
        let result = match mood {
            Mood::Dead => "refused",
            Mood::Silent => "timeout",
            _ => "unexpected",
        };
        assert!(of("probes_total", &format!(",result=\"{result}\"")) >= 2.0, "{mood:?}");
        assert!(of("probes_total", ",result=\"ok\"") >= 2.0 && of("probe_duration_seconds", "") > 0.0);
        assert_eq!((of("up", ""), of("state", ""), of("state", ",state=\"up\"")), (1.0, 1.0, 1.0), "one-hot");
        assert_eq!(scrape.get("peerway_sessions_closed_total{cause=\"backend_down\"}"), 0.0);
    }
}

#[test]
fn with_start_down_nobody_is_served_before_a_good_probe() {
    let backend = Moody::starting("late", Mood::Silent);
    let proxy = Setup::to([&backend]).pool(&quickly("start: down")).start();
    proxy.is_turned_away();
    let state = proxy.backend(0)["state"].as_str().unwrap().to_owned();
    assert!(["unknown", "down"].contains(&&*state), "{state}");
    assert_eq!(proxy.admin().get("/readyz?pool=back").status, 503);
    backend.is(Mood::Well);
    proxy.backend_becomes(0, "up");
    assert_eq!(who(&mut proxy.connect()).unwrap(), "late");
    assert_eq!(proxy.admin().get("/readyz?pool=back").status, 200);
}

#[test]
fn probes_of_many_backends_are_spread_over_the_interval() {
    for start in ["up", "down"] {
        let crowd = Crowd::new(200);
        let setup = Setup::to(crowd.addresses().iter().copied());
        let proxy = setup.pool(&format!("health: {{ probe: tcp, interval: 1s, start: {start} }}")).start();
        thread::sleep(Duration::from_secs(2)); // with start: down they begin in a hurry
        crowd.arrivals();
        let since = Instant::now();
        thread::sleep(Duration::from_secs(4));
        let arrivals = crowd.arrivals();
        assert!((700..=900).contains(&arrivals.len()), "{} in four seconds, 800 were due", arrivals.len());
        let mut tenths = [0; 50];
        arrivals.iter().for_each(|at| tenths[(at.duration_since(since).as_millis() / 100).min(49) as usize] += 1);
        let evenly = tenths;
        tenths.sort_unstable();
        // Probes in step would crowd once a second, four times; a machine that stops for a moment does so once or twice.
        let most = tenths[tenths.len() - 3];
        assert!(most <= 45, "start: {start}: {most} in a tenth of a second, 20 would be even: {evenly:?}");
        drop(proxy);
    }
}

/// A backend that counts how many are there at once, and takes its time to answer.
fn slow(now: &Arc<AtomicU64>, most: &Arc<AtomicU64>) -> crate::support::Service {
    let (now, most) = (now.clone(), most.clone());
    Backend::new().serve(move |peer| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(50));
        now.fetch_sub(1, Ordering::SeqCst);
        let _ = (&peer.socket).write_all(b"+PONG\r\n");
        let _ = (&peer.socket).read(&mut [0; 64]);
    })
}

#[test]
fn no_more_probes_run_at_once_than_may() {
    let (now, most) = Default::default();
    let backends: Vec<_> = (0..20).map(|_| slow(&now, &most)).collect();
    let health = format!("health: {{ probe: {{ {PING} }}, interval: 200ms, timeout: 5s, concurrency: 3 }}");
    let proxy = Setup::to(&backends).pool(&health).start();
    eventually("three rounds of probes", || {
        (proxy.metric("peerway_backend_probes_total{result=\"ok\"}") > 60.0).then_some(())
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
    let scrape = proxy.scrape();
    assert_eq!(scrape.get("peerway_backend_probes_total"), scrape.get("peerway_backend_probes_total{result=\"ok\"}"));
}

#[test]
fn a_proxy_that_was_stopped_marks_nobody_down() {
    let (now, most) = Default::default();
    let backends: Vec<_> = (0..10).map(|_| slow(&now, &most)).collect();
    let health = format!("health: {{ probe: {{ {PING} }}, interval: 100ms, timeout: 600ms, fall: 1, rise: 1 }}");
    let proxy = Setup::to(&backends).pool(&health).start();
    for _ in 0..3 {
        proxy.signal(Signal::STOP);
        thread::sleep(Duration::from_secs(2));
        proxy.signal(Signal::CONT);
        thread::sleep(Duration::from_millis(700));
    }
    let scrape = proxy.scrape();
    assert_eq!(scrape.get("peerway_backend_transitions_total"), 0.0, "{:#?}", proxy.log());
    assert!(scrape.get("peerway_backend_probes_total{result=\"ok\"}") >= 50.0);
}

/// What the next probe at this listener says, and how it ends.
fn heard(backend: &Backend) -> Vec<u8> {
    let peer = backend.accept();
    let mut bytes = Vec::new();
    (&peer.socket).read_to_end(&mut bytes).expect("an end, and no reset");
    bytes
}

const TCP: &str = "health: { probe: tcp, interval: 100ms";

#[test]
fn probes_go_where_they_are_told_and_say_who_they_are() {
    let (backend, other) = (Backend::new(), Backend::new());
    let port = other.address().port();
    for at in [format!("port: {port}"), format!("address: '{}'", other.address())] {
        let proxy = Setup::to([&backend]).pool(&format!("{TCP}, {at} }}")).start();
        assert_eq!(heard(&other), b"");
        assert!(backend.accept_within(Wait::For(Duration::from_millis(200))).is_none(), "{at}");
        drop(proxy);
        while other.accept_within(Wait::For(Duration::from_millis(100))).is_some() {}
    }
    for (version, header) in [("v1", &b"PROXY UNKNOWN\r\n"[..]), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")] {
        let backend = Backend::new();
        let setup = Setup::to([&backend]).pool(&format!("connect: {{ send_proxy: {version} }}"));
        let _proxy = setup.pool(&format!("{TCP} }}")).start();
        assert_eq!(heard(&backend), header, "{version}");
    }
    let backend = Backend::new();
    let _proxy = Setup::to([&backend]).pool("connect: { source: 127.0.0.9 }").pool(&format!("{TCP} }}")).start();
    assert_eq!(backend.accept().remote().ip().to_string(), "127.0.0.9");
}

#[test]
fn probes_end_cleanly_and_leave_nothing_behind() {
    let ends: Arc<[AtomicU64; 2]> = Arc::default();
    let counts = ends.clone();
    // It greets, as many servers do, and waits for the client's end.
    let backend = Backend::new().serve(move |peer| {
        let _ = (&peer.socket).write_all(b"220 hello\r\n");
        let clean = (&peer.socket).read_to_end(&mut Vec::new()).is_ok();
        counts[usize::from(clean)].fetch_add(1, Ordering::SeqCst);
    });
    let proxy = Setup::to([&backend]).pool("health: { probe: tcp, interval: 20ms }").start();
    let before = descriptors(proxy.id());
    eventually("many probes", || (ends[1].load(Ordering::SeqCst) > 100).then_some(()));
    assert_eq!(ends[0].load(Ordering::SeqCst), 0, "resets");
    assert!(descriptors(proxy.id()) <= before + 20, "they pile up");
    assert_eq!(proxy.backend(0)["state"], "up");
    assert_eq!(proxy.metric("peerway_backend_connections_total"), 0.0, "probes are no sessions");
}

#[test]
fn a_backend_that_floods_harms_nobody() {
    let flooding = Backend::new().serve(|peer| {
        let junk = vec![b'x'; 64 * 1024];
        while (&peer.socket).write_all(&junk).is_ok() {}
    });
    let well = Moody::new("well");
    let setup = Setup::to::<String>([]).backend(&flooding).backend(&well);
    // One that looks for something in the answer has to look at all of it.
    let looking = quickly("").replace("expect:", "expect_regex:").replace("+PONG", "PONG");
    let proxy = setup.pool(&looking).start();
    let told = proxy.backend_becomes(0, "down");
    assert!(told["reason"].as_str().unwrap().contains("in the first 64 KiB"), "{told}");
    let (before, cpu, start) = (resident_kib(proxy.id()), cpu_time(proxy.id()), Instant::now());
    thread::sleep(Duration::from_secs(2));
    assert!(resident_kib(proxy.id()) < before + 8 * 1024);
    let share = (cpu_time(proxy.id()) - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share < 0.25, "{share}");
    let reason = proxy.backend(0)["reason"].as_str().unwrap().to_owned();
    assert!(reason.len() < 500, "{reason}");
    assert_eq!(who(&mut proxy.connect()).unwrap(), "well");
    // And to a probe that does not listen a flood is nothing.
    let proxy = Setup::to([&flooding]).pool("health: { probe: tcp, interval: 50ms, fall: 1 }").start();
    eventually("probes", || (proxy.metric("peerway_backend_probes_total{result=\"ok\"}") > 10.0).then_some(()));
    assert_eq!(proxy.metric("peerway_backend_transitions_total"), 0.0);
}

/// `count` sessions, each served once already.
fn sessions(proxy: &Proxy, count: u64) -> Vec<Peer> {
    let session = |number| {
        let mut client = proxy.connect().seeded(number, number);
        who(&mut client).unwrap();
        client
    };
    (100..100 + count).map(session).collect()
}

#[test]
fn when_a_backend_goes_down_its_sessions_stay_or_are_reset_as_is_said() {
    for on_down in ["keep", "reset"] {
        let (ill, well) = (Moody::new("ill"), Moody::new("well"));
        let proxy = Setup::to([&ill, &well]).pool(&quickly(&format!("on_down: {on_down}"))).start();
        let mut all = sessions(&proxy, 10);
        assert_eq!((ill.sessions().len(), well.sessions().len()), (5, 5));
        ill.is(Mood::Sick);
        proxy.backend_becomes(0, "down");
        let (of_ill, of_well): (Vec<_>, Vec<_>) = all.iter_mut().enumerate().partition(|(n, _)| n % 2 == 0);
        for (_, peer) in of_ill {
            match on_down {
                "keep" => {
                    peer.say(1000);
                    peer.hear(1000);
                }
                _ => peer.hear_reset(),
            }
        }
        for (_, peer) in of_well {
            peer.say(100_000);
            peer.hear(100_000);
        }
        if on_down == "reset" {
            assert_eq!(proxy.why(), "backend_down proxy data");
            proxy.metric_becomes("peerway_sessions_closed_total{cause=\"backend_down\",side=\"proxy\"}", 5.0);
        }
    }
}

#[test]
fn a_drain_is_spread_and_stops_when_the_backend_is_up_again() {
    let ill = Moody::new("ill");
    let proxy = Setup::to([&ill]).pool(&quickly("on_down: { drain: 4s }")).start();
    let all = sessions(&proxy, 20);
    ill.is(Mood::Sick);
    proxy.backend_becomes(0, "down");
    let ended = || proxy.metric("peerway_sessions_closed_total{cause=\"backend_down\"}");
    let start = Instant::now();
    let early = ended();
    eventually("half of them", || (ended() >= 10.0).then_some(()));
    let took = start.elapsed();
    assert!(early <= 4.0, "{early} at once");
    assert!(took > Duration::from_millis(1200) && took < Duration::from_secs(10), "{took:?}");
    ill.is(Mood::Well);
    proxy.backend_becomes(0, "up");
    let left = 20.0 - ended();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(20.0 - ended(), left, "it goes on though the backend is up");
    assert!(left >= 3.0, "{left}");
    drop(all);
}

#[test]
fn a_session_that_was_being_connected_when_its_backend_went_down_is_ended_too() {
    let (hole, probed) = (Blackhole::new(), Moody::new("probed"));
    let setup = Setup::to([hole.address()]).pool("connect: { timeout: 10s, attempts: 1 }");
    let proxy = setup.pool(&quickly(&format!("on_down: reset, address: '{}'", probed.address()))).start();
    let mut client = proxy.connect();
    eventually("a session", || (proxy.active() == 1.0).then_some(()));
    probed.is(Mood::Sick);
    proxy.backend_becomes(0, "down");
    let backend = hole.open();
    let mut server = backend.accept();
    client.hear_reset_within(Duration::from_secs(5));
    server.hear_reset();
    assert!(proxy.why().starts_with("backend_down proxy"));
}

#[test]
fn when_too_few_are_up_all_are_used_and_their_sessions_are_let_live() {
    let moody = ["a", "b", "c"].map(Moody::new);
    let proxy = Setup::to(&moody).pool(&quickly("on_down: reset, fail_open_below: 50%")).start();
    moody[0].is(Mood::Sick);
    proxy.backend_becomes(0, "down");
    assert_eq!(proxy.metric("peerway_pool_fail_open"), 0.0);
    moody[1].is(Mood::Sick);
    proxy.backend_becomes(1, "down");
    proxy.metric_becomes("peerway_pool_fail_open{pool=\"back\"}", 1.0);
    assert_eq!(proxy.admin().json("/api/v1/pools")["pools"][0]["fail_open"], true);
    proxy.logs("too few backends are up");
    let mut all = sessions(&proxy, 9);
    assert!(moody.iter().all(|one| one.sessions().len() == 3), "all are used");
    thread::sleep(Duration::from_millis(500)); // an order that still stood would have ended them by now
    for peer in &mut all {
        peer.say(1000);
        peer.hear(1000);
    }
    moody[1].is(Mood::Well);
    proxy.metric_becomes("peerway_pool_fail_open", 0.0);
    proxy.logs("enough backends are up again");
    let reset = eventually("those of the one that is down are reset now", || {
        (proxy.metric("peerway_sessions_closed_total{cause=\"backend_down\"}") == 3.0).then_some(3)
    });
    assert_eq!(reset, 3);
    let served: Vec<_> = (0..6).map(|_| who(&mut proxy.connect()).unwrap()).collect();
    assert!(!served.contains(&"a".into()), "{served:?}");
}

#[test]
fn a_thousand_backends_cost_little_and_fifty_scrapes_a_second_are_answered_meanwhile() {
    let crowd = Crowd::new(1000);
    let setup = Setup::to(crowd.addresses().iter().copied());
    let proxy = setup.pool("health: { probe: tcp, interval: 1s }").start();
    thread::sleep(Duration::from_secs(2));
    crowd.arrivals();
    let probing = Duration::from_secs(6);
    let cpu = cpu_time(proxy.id());
    thread::sleep(probing);
    let alone = (cpu_time(proxy.id()) - cpu).as_secs_f64() / probing.as_secs_f64();
    let probes = crowd.arrivals().len() as f64 / probing.as_secs_f64();
    let (cpu, start, mut scrapes) = (cpu_time(proxy.id()), Instant::now(), 0);
    let admin = proxy.admin();
    while start.elapsed() < Duration::from_secs(4) {
        assert_eq!(admin.get("/metrics").status, 200);
        scrapes += 1;
        thread::sleep((start + scrapes * Duration::from_millis(20)).saturating_duration_since(Instant::now()));
    }
    let scraped = (cpu_time(proxy.id()) - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let rate = f64::from(scrapes) / start.elapsed().as_secs_f64();
    let late = crowd.arrivals().len() as f64 / start.elapsed().as_secs_f64();
    eprintln!(
        "1000 backends: {probes:.0} probes/s at {:.1} % CPU; with {rate:.0} scrapes/s {late:.0} probes/s at {:.1} % CPU; {} KiB",
        alone * 100.0,
        scraped * 100.0,
        resident_kib(proxy.id())
    );
    assert!(probes > 800.0 && late > 600.0, "{probes} {late}");
    assert!(alone < 0.8, "{alone}");
    assert!(resident_kib(proxy.id()) < 100 * 1024);
    assert_eq!(proxy.metric("peerway_backend_transitions_total"), 0.0);
}

#[test]
fn an_idle_proxy_that_probes_three_backends_is_idle() {
    let moody = ["a", "b", "c"].map(Moody::new);
    let proxy = Setup::to(&moody).pool(&format!("health: {{ probe: {{ {PING} }} }}")).start();
    thread::sleep(Duration::from_secs(1));
    let (cpu, start) = (cpu_time(proxy.id()), Instant::now());
    thread::sleep(Duration::from_secs(6));
    let share = (cpu_time(proxy.id()) - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share < 0.02, "{share}");
    assert!(moody.iter().all(|one| one.probes() >= 2));
}
