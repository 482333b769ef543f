//! Judging backends by the sessions they have: who is ejected, who is not, and the way back.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Backend, Blackhole, Mood, Moody, Peer, Proxy, Service, Setup, eventually, who};

fn passive(more: &str) -> String {
    let span = if more.contains("eject_for") { "" } else { "eject_for: 1s" };
    let keys: Vec<_> = ["failures: 3", span, more].into_iter().filter(|keys| !keys.is_empty()).collect();
    format!("health: {{ passive: {{ {} }} }}", keys.join(", "))
}

#[track_caller]
fn ejections(proxy: &Proxy) -> f64 {
    proxy.metric("peerway_backend_ejections_total")
}

/// Sessions until the first backend is ejected; what the API tells of it then.
#[track_caller]
fn until_ejected(proxy: &Proxy, mut session: impl FnMut()) -> serde_json::Value {
    eventually("an ejection", || {
        session();
        let backend = proxy.backend(0);
        (backend["state"] == "ejected").then_some(backend)
    })
}

#[test]
fn one_that_refuses_is_ejected_tried_and_taken_back_and_no_client_sees_it() {
    let (ill, well) = (Moody::starting("ill", Mood::Dead), Moody::new("well"));
    let proxy = Setup::to([&ill, &well]).pool(&passive("")).start();
    let served = || assert_eq!(who(&mut proxy.connect()).unwrap(), "well");
    let told = until_ejected(&proxy, served);
    assert_eq!(told["reason"], "3 failures in a row; ejected for 1s");
    let scrape = proxy.scrape();
    let one_hot =
        |state: &str| scrape.get(&format!("peerway_backend_state{{backend=\"{}\",state=\"{state}\"}}", ill.address()));
    assert_eq!((one_hot("ejected"), one_hot("up"), one_hot("down")), (1.0, 0.0, 0.0));
    assert_eq!((scrape.get("peerway_backend_ejections_total"), scrape.get("peerway_backend_up")), (1.0, 1.0));
    proxy.logs("3 failures in a row");
    // Still ill when it is tried: out again, and for longer.
    proxy.logs("on trial");
    let again = eventually("another ejection", || {
        served();
        (ejections(&proxy) == 2.0).then(|| proxy.backend(0))
    });
    assert_eq!(again["reason"], "the trial failed; ejected for 2s");
    ill.is(Mood::Well);
    eventually("its return", || {
        who(&mut proxy.connect()).unwrap();
        (proxy.backend(0)["state"] == "up").then_some(())
    });
    assert_eq!(proxy.metric("peerway_backend_transitions_total{to=\"ejected\"}"), 1.0, "a trial is no return");
    let names: Vec<_> = (0..10).map(|_| who(&mut proxy.connect()).unwrap()).collect();
    assert_eq!(names.iter().filter(|name| *name == "ill").count(), 5, "{names:?}");
}

#[test]
fn a_trial_is_a_few_sessions() {
    let (ill, well) = (Moody::starting("ill", Mood::Dead), Moody::new("well"));
    let proxy = Setup::to([&ill, &well]).pool(&passive("")).start();
    until_ejected(&proxy, || drop(who(&mut proxy.connect())));
    // It takes them and says nothing: neither good nor bad.
    ill.is(Mood::Silent);
    proxy.logs("on trial");
    let started = Instant::now();
    let clients: Vec<Peer> = (0..60).map(|_| proxy.connect()).collect();
    let backends = || proxy.admin().json("/api/v1/pools")["pools"][0]["backends"].clone();
    let active = |index: usize| backends()[index]["active"].as_u64().unwrap();
    eventually("all have a backend", || (active(0) + active(1) == 60).then_some(()));
    let tried = active(0);
    let most = started.elapsed().as_secs() + 2;
    assert!((1..=most).contains(&tried), "{tried} of 60 on trial within {:?}", started.elapsed());
    assert_eq!(proxy.backend(0)["state"], "ejected");
    assert!(proxy.backend(0)["reason"].as_str().unwrap().starts_with("on trial after 3 failures in a row"));
    drop(clients);
}

#[test]
fn connects_that_hang_and_resets_and_ends_before_the_first_byte_count() {
    let hole = Blackhole::new();
    let well = Moody::new("well");
    let setup = Setup::to([hole.address(), well.address()]).pool("connect: { timeout: 100ms }");
    let proxy = setup.pool(&passive("")).start();
    until_ejected(&proxy, || assert_eq!(who(&mut proxy.connect()).unwrap(), "well"));

    let rude = Moody::starting("rude", Mood::Rude);
    let proxy = Setup::to([&rude, &well]).pool(&passive("")).start();
    until_ejected(&proxy, || drop(who(&mut proxy.connect())));

    // It ends at once, and nobody has said anything.
    let closing = Backend::new().serve(|peer| peer.finish_and_wait());
    let proxy = Setup::to([closing.address(), well.address()]).pool(&passive("")).start();
    until_ejected(&proxy, || {
        let client = proxy.connect();
        thread::sleep(Duration::from_millis(20));
        drop(client);
    });
}

#[test]
fn one_that_lets_clients_wait_too_long_is_ejected_while_it_does() {
    let (ill, well) = (Moody::starting("ill", Mood::Silent), Moody::new("well"));
    let proxy = Setup::to([&ill, &well]).pool(&passive("first_byte_within: 500ms, eject_for: 1m")).start();
    let mut all: Vec<Peer> = (0..8).map(|seed| proxy.connect().seeded(seed, seed)).collect();
    all.iter_mut().for_each(|peer| peer.say(100));
    let told = proxy.backend_becomes(0, "ejected");
    assert!(told["reason"].as_str().unwrap().contains("failures in a row"), "{told}");
    assert_eq!(proxy.active(), 8.0, "and none of them was ended for it");
    // Its answer comes late, and is passed on all the same.
    ill.is(Mood::Well);
    all.iter_mut().for_each(|peer| peer.hear(100));
    // One that is late each time, but answers.
    let late = Backend::new().serve(|peer| {
        thread::sleep(Duration::from_millis(900));
        drop((&peer.socket).write_all(b"late\n"));
        thread::sleep(Duration::from_secs(5));
    });
    let proxy = Setup::to([late.address(), well.address()]).pool(&passive("first_byte_within: 500ms")).start();
    let _clients: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
    proxy.backend_becomes(0, "ejected");
}

#[test]
fn a_share_counts_once_there_are_enough() {
    let (ill, well) = (Moody::new("ill"), Moody::new("well"));
    let judged = "health: { passive: { failures: 1000, rate: 50%, min_volume: 10 } }";
    let proxy = Setup::to([&ill, &well]).pool(judged).start();
    thread::sleep(Duration::from_millis(1200)); // the first look is where counting begins
    // Of four sessions on it two fail, never two in a row.
    let turn = |mood| {
        ill.is(mood);
        for _ in 0..2 {
            let _ = who(&mut proxy.connect());
        }
    };
    for _ in 0..4 {
        turn(Mood::Rude);
        turn(Mood::Well);
    }
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(ejections(&proxy), 0.0, "eight are too few");
    turn(Mood::Rude);
    turn(Mood::Rude);
    let told = proxy.backend_becomes(0, "ejected");
    assert!(told["reason"].as_str().unwrap().starts_with("6 of 10 sessions failed in 10 s"), "{told}");
}

impl Peer {
    /// Finishes, and waits for the other side's end.
    fn finish_and_wait(mut self) {
        self.finish();
        let _ = self.hear_whatever();
    }
}

#[test]
fn nobody_is_blamed_for_clients_that_leave_nor_for_silence() {
    let strict =
        "health: { passive: { failures: 1, rate: 1%, min_volume: 1, first_byte_within: 300ms, max_ejected: 100% } }";
    // Clients that leave: at once, by a reset, after a question.
    let silent = Backend::new().serve(|mut peer| drop(peer.hear_whatever()));
    let proxy = Setup::judged(&silent, strict);
    for _ in 0..5 {
        drop(proxy.connect());
        proxy.connect().reset();
        let mut asks = proxy.connect();
        asks.say(10);
        thread::sleep(Duration::from_millis(20));
        asks.reset();
    }
    // Sessions that say nothing for longer than a first byte may take.
    let _idle: Vec<_> = (0..5).map(|_| proxy.connect()).collect();
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(ejections(&proxy), 0.0, "{:#?}", proxy.log());
    drop(proxy);

    // One way up: it takes everything, says nothing, and ends when the client has.
    let sink = Backend::new().serve(|mut peer| drop(peer.hear_whatever()));
    let lenient = strict.replace(", first_byte_within: 300ms", "");
    let proxy = Setup::judged(&sink, &lenient);
    for _ in 0..5 {
        let mut client = proxy.connect();
        client.say(100_000);
        client.finish();
        client.hear_end();
    }
    // One way down, after a while and without being asked; the idle wait is the protocol's.
    let source = Backend::new().serve(|mut peer| {
        thread::sleep(Duration::from_millis(30));
        peer.say(10_000);
        peer.finish();
        let _ = peer.hear_whatever();
    });
    let down = Setup::judged(&source, &lenient);
    for _ in 0..5 {
        assert_eq!(down.connect().hear_all(), 10_000);
    }
    // A server that closes those who have been silent for long enough.
    let bored = Backend::new().serve(|peer| {
        thread::sleep(Duration::from_millis(1500));
        peer.finish_and_wait();
    });
    let bore = Setup::judged(&bored, &lenient);
    let mut idle: Vec<_> = (0..5).map(|_| bore.connect()).collect();
    idle.iter_mut().for_each(|peer| peer.hear_end());
    drop(idle);
    // One that only listens, and closes those that have sent nothing for long enough.
    let collector = Backend::new().serve(|mut peer| {
        peer.hear(100);
        thread::sleep(Duration::from_millis(6000));
        peer.finish_and_wait();
    });
    let collect = Setup::judged(&collector, &lenient);
    let mut sent: Vec<_> = (0..5).map(|_| collect.connect()).collect();
    sent.iter_mut().for_each(|peer| peer.say(100));
    sent.iter_mut().for_each(|peer| peer.hear_end());
    drop(sent);
    thread::sleep(Duration::from_millis(1200));
    for proxy in [proxy, down, bore, collect] {
        assert_eq!(ejections(&proxy), 0.0, "{:#?}", proxy.log());
    }
}

impl Setup {
    /// With these rules, and a spare of a lower tier: the last backend that is usable would not be ejected anyway.
    fn judged(one: &Service, rules: &str) -> Proxy {
        let spare = Moody::new("spare");
        let whole = format!(
            "admin: {{ listen: 127.0.0.1:0 }}\nlisteners: {{ front: {{ bind: 127.0.0.1:0, pool: back }} }}\n\
             pools:\n  back:\n    backends: [ '{}', {{ address: '{}', tier: 1 }} ]\n    {rules}\n",
            one.address(),
            spare.address()
        );
        std::mem::forget(spare); // it stays there for as long as the tests run
        Self::file(whole).start()
    }
}

#[test]
fn a_proxy_that_was_stopped_blames_nobody_for_late_first_bytes() {
    let slow = || {
        Backend::new().serve(|mut peer| {
            thread::sleep(Duration::from_millis(300));
            peer.say(10);
            let _ = peer.hear_whatever();
        })
    };
    let (a, b) = (slow(), slow());
    let rules = "health: { passive: { failures: 1, first_byte_within: 1500ms } }";
    let proxy = Setup::to([&a, &b]).pool(rules).start();
    let mut clients: Vec<_> = (0..10).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.say(10));
    thread::sleep(Duration::from_millis(100));
    proxy.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(4));
    proxy.signal(Signal::CONT);
    clients.iter_mut().for_each(|client| client.hear(10));
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(ejections(&proxy), 0.0, "{:#?}", proxy.log());
}

#[test]
fn no_more_are_ejected_than_may_and_never_the_last() {
    let moody: Vec<_> = (0..5).map(|n| Moody::starting(&n.to_string(), Mood::Rude)).collect();
    let proxy = Setup::to(&moody).pool(&passive("max_ejected: 40%, eject_for: 300ms")).start();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        let _ = who(&mut proxy.connect());
        let out = proxy.metric("peerway_backend_state{state=\"ejected\"}");
        assert!(out <= 2.0, "{out} of 5 are out");
    }
    assert!(ejections(&proxy) >= 3.0, "{}", ejections(&proxy));

    let pair = ["a", "b"].map(|name| Moody::starting(name, Mood::Rude));
    let proxy = Setup::to(&pair).pool(&passive("max_ejected: 100%")).start();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let _ = who(&mut proxy.connect());
        let up = proxy.metric("peerway_backend_up");
        assert!(up >= 1.0, "nobody is left");
    }
    assert!(ejections(&proxy) >= 1.0);
}
