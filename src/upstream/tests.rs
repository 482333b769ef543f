//! Dialling by fake clock, through connectors that answer as they are told.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;
use crate::balance::CATALOGUE;
use crate::connect::Dial;
use crate::metrics::ConnectFailure;
use crate::pool::{Keeper, Tools};

const NOBODY: Caller<'_> = Caller {
    speaks: false,
    client: Peer::Unix,
    local: Peer::Unix,
    id: &"",
    unique_id: None,
    server_name: None,
    asked: None,
    alpn: None,
    ssl: None,
};

async fn pool(backends: &str, connect: &str) -> Arc<Pool> {
    let yaml = format!(
        "{{ listeners: {{ l: {{ bind: 127.0.0.1:0, pool: p }} }},
            pools: {{ p: {{ backends: {backends}, connect: {connect} }} }} }}"
    );
    let plan = crate::config::parse("test.yaml", &yaml, &CATALOGUE, &|_| None).expect("valid");
    let pool = Arc::new(Pool::new(plan.pools[0].clone()));
    Keeper::new(pool.clone(), Tools::alone(1)).start().await;
    pool
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Heard {
    fn note(&self, event: Event) {
        self.0.lock().expect("sound").push(event);
    }

    fn results(&self) -> Vec<AttemptResult> {
        let heard = self.0.lock().expect("sound");
        let result = |event: &Event| match event {
            Event::Attempted(attempt) => Some(attempt.result),
            Event::Queued | Event::Admitted(_) | Event::GaveUp(_) => None,
        };
        heard.iter().filter_map(result).collect()
    }
}

/// Answers as the port says: 1 connects at once, 2 refuses, 3 is a black hole, 4 connects after 300 ms.
fn by_port() -> Connector {
    Connector::new(|dial: Dial| async move {
        let Target::Ip(address) = dial.target else { panic!("not a port") };
        let refused = Err(ConnectError::new(ConnectFailure::Refused, Some(111)));
        let timed_out = Err(ConnectError::new(ConnectFailure::Timeout, None));
        match address.port() {
            1 => Ok(some_stream()),
            2 => refused,
            3 => {
                sleep(dial.timeout).await;
                timed_out
            }
            _ => {
                sleep(Duration::from_millis(300)).await;
                Ok(some_stream())
            }
        }
    })
}

fn some_stream() -> Stream {
    let (ours, _theirs) = tokio::net::UnixStream::pair().expect("a pair");
    Stream::try_from(ours).expect("room in the runtime")
}

#[tokio::test(start_paused = true)]
async fn a_slow_attempt_is_raced_and_the_loser_is_nobodys_failure() {
    let pool = pool("[ '127.0.0.1:3', '127.0.0.1:1' ]", "{ attempts: 2, hedge_after: 50ms }").await;
    let started = Instant::now();
    for _ in 0..10 {
        let dialed = dial(&pool, &by_port(), &NOBODY, |_| {}).await.expect("one answers");
        assert_eq!(&*dialed.lease.backend().name, "127.0.0.1:1");
    }
    assert!(started.elapsed() <= Duration::from_millis(600), "{:?}", started.elapsed());
    assert!(pool.cells.hedges_won.get() >= 1);
    let black_hole = pool.snapshot().members[0].backend.clone();
    assert_eq!(black_hole.active(), 0);
    assert!(black_hole.cells.failures.iter().all(|count| count.get() == 0));
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_was_not_needed_is_lost() {
    let pool = pool("[ '127.0.0.1:4', '127.0.0.1:3' ]", "{ attempts: 2, hedge_after: 50ms }").await;
    let dialed = dial(&pool, &by_port(), &NOBODY, |_| {}).await.expect("one answers");
    assert_eq!(&*dialed.lease.backend().name, "127.0.0.1:4");
    assert_eq!((pool.cells.hedges_won.get(), pool.cells.hedges_lost.get()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn of_three_backends_a_bad_one_is_seen_by_no_client_and_costs_few_retries() {
    let backends = "[ '127.0.0.1:1', '127.0.0.1:2', '127.0.0.2:1' ]";
    let pool = pool(backends, "{ attempts: 2, retry_budget: { share: 0%, min: 10/s } }").await;
    for _ in 0..10_000 {
        dial(&pool, &by_port(), &NOBODY, |_| {}).await.expect("a good one is left");
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    // Ten seconds of a thousand sessions a second: a third of them would be 3 333.
    assert!(pool.cells.retries.get() < 20, "{} retries", pool.cells.retries.get());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied() {
    let connect = "{ attempts: 5, backoff: { base: 1ms, max: 1ms }, retry_budget: { share: 20%, min: 1/s } }";
    let pool = pool("[ '127.0.0.1:2', '127.0.0.2:2' ]", connect).await;
    for _ in 0..2000 {
        assert!(dial(&pool, &by_port(), &NOBODY, |_| {}).await.is_err());
    }
    let retries = pool.cells.retries.get();
    assert!((300..=450).contains(&retries), "{retries} retries of 2000 sessions");
    assert!(pool.cells.unavailable[Unavailable::Budget as usize].get() > 1000);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_order_and_nobody_overtakes() {
    let backends = "{ address: '127.0.0.1:1', max_connections: 1 }";
    let pool = pool(backends, "{ attempts: 1 }, queue: { max: 2, timeout: 10s }").await;
    let held = dial(&pool, &by_port(), &NOBODY, |_| {}).await.expect("free");
    let order: Arc<Mutex<Vec<u32>>> = Arc::default();
    let wait = |number: u32| {
        let (pool, order) = (pool.clone(), order.clone());
        tokio::spawn(async move {
            let dialed = dial(&pool, &by_port(), &NOBODY, |_| {}).await;
            order.lock().expect("sound").push(number);
            sleep(Duration::from_secs(1)).await;
            drop(dialed);
        })
    };
    let first = wait(1);
    tokio::task::yield_now().await;
    let second = wait(2);
    tokio::task::yield_now().await;
    assert_eq!(pool.queue_length(), 2);
    let full = dial(&pool, &by_port(), &NOBODY, |_| {}).await;
    assert_eq!(full.err(), Some(DialError::Queue(QueueError::Full)));
    drop(held);
    let third = wait(3);
    for waiter in [first, second, third] {
        waiter.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("sound"), [1, 2, 3]);
    assert_eq!((pool.queue_length(), pool.snapshot().members[0].backend.active()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_its_timeout_and_leaves_the_line() {
    let backends = "{ address: '127.0.0.1:1', max_connections: 1 }";
    let pool = pool(backends, "{ attempts: 1 }, queue: { max: 2, timeout: 3s }").await;
    let _held = dial(&pool, &by_port(), &NOBODY, |_| {}).await.expect("free");
    let started = Instant::now();
    let late = dial(&pool, &by_port(), &NOBODY, |_| {}).await;
    assert_eq!(late.err(), Some(DialError::Queue(QueueError::Timeout)));
    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(pool.queue_length(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_next_tier_is_for_those_who_tried_all_of_the_first() {
    let backends = "[ '127.0.0.1:2', { address: '127.0.0.1:1', tier: 1 } ]";
    let pool = pool(backends, "{ attempts: 2 }").await;
    let heard = Heard::default();
    let dialed = dial(&pool, &by_port(), &NOBODY, |event| heard.note(event)).await.expect("the second tier");
    assert_eq!(&*dialed.lease.backend().name, "127.0.0.1:1");
    assert_eq!(heard.results().len(), 2);
}

/// Refuses every attempt after `takes`, and writes down when each came and where to.
fn refusing(takes: Duration, seen: Arc<Mutex<Vec<(tokio::time::Instant, Target)>>>) -> Connector {
    Connector::new(move |dial: Dial| {
        seen.lock().expect("sound").push((tokio::time::Instant::now(), dial.target.clone()));
        async move {
            match tokio::time::timeout(dial.timeout, sleep(takes)).await {
                Ok(()) => Err(ConnectError::new(ConnectFailure::Refused, Some(111))),
                Err(_) => Err(ConnectError::new(ConnectFailure::Timeout, None)),
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn every_attempt_goes_elsewhere_while_there_is_an_elsewhere() {
    let pool = pool("[ '127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3' ]", "{ attempts: 3 }").await;
    let seen = Arc::default();
    let heard = Heard::default();
    let result = dial(&pool, &refusing(Duration::ZERO, Arc::clone(&seen)), &NOBODY, |event| heard.note(event)).await;
    assert_eq!(result.err(), Some(DialError::Failed(Side::Backend, Some(111))));
    assert_eq!(heard.results(), [AttemptResult::Failed(ConnectFailure::Refused); 3]);
    let seen = seen.lock().expect("sound");
    assert_eq!(seen.iter().map(|(_, target)| target.to_string()).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(seen[0].0, seen[2].0, "no pause before a backend that was not tried yet");
    assert_eq!(pool.cells.retries.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_backend_is_tried_again_only_after_a_pause() {
    let pool = pool("'127.0.0.1:1'", "{ attempts: 3, backoff: { base: 100ms, max: 1s } }").await;
    let seen = Arc::default();
    let result = dial(&pool, &refusing(Duration::ZERO, Arc::clone(&seen)), &NOBODY, |_| {}).await;
    assert_eq!(result.err(), Some(DialError::Failed(Side::Backend, Some(111))));
    let seen = seen.lock().expect("sound");
    let pauses = [seen[1].0 - seen[0].0, seen[2].0 - seen[1].0].map(|pause| pause.as_millis());
    assert!((50..=101).contains(&pauses[0]) && (100..=201).contains(&pauses[1]), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_attempts_and_pauses_together() {
    let pool = pool("[ '127.0.0.1:1', '127.0.0.1:2' ]", "{ attempts: 9, timeout: 2s, deadline: 5s }").await;
    let started = tokio::time::Instant::now();
    let result = dial(&pool, &refusing(Duration::from_secs(60), Arc::default()), &NOBODY, |_| {}).await;
    assert_eq!(result.err(), Some(DialError::Failed(Side::Backend, None)));
    let took = started.elapsed().as_millis();
    assert!((5000..=5010).contains(&took), "{took} ms");
    assert_eq!(pool.cells.unavailable[Unavailable::Deadline as usize].get(), 1);
    assert_eq!(pool.cells.retries.get(), 2, "one at 2 s, one at 4 s, and none of no time");
}

#[tokio::test]
async fn a_pool_without_backends_says_which_kind_of_without() {
    for (backends, reason) in
        [("[]", Unavailable::Empty), ("{ address: '127.0.0.1:1', disabled: true }", Unavailable::Down)]
    {
        let pool = pool(backends, "{ attempts: 1 }").await;
        let result = dial(&pool, &refusing(Duration::ZERO, Arc::default()), &NOBODY, |_| {}).await;
        assert_eq!(result.err(), Some(DialError::Unavailable(reason)));
        assert_eq!(pool.cells.unavailable[reason as usize].get(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_attempt_is_told_and_not_blamed() {
    let pool = pool("'127.0.0.1:1'", "{ attempts: 1 }").await;
    let heard = Heard::default();
    let connector = refusing(Duration::from_secs(60), Arc::default());
    let dialing = dial(&pool, &connector, &NOBODY, |event| heard.note(event));
    let _ = tokio::time::timeout(Duration::from_secs(1), dialing).await;
    assert_eq!(heard.results(), [AttemptResult::Abandoned]);
    let backend = pool.snapshot().members[0].backend.clone();
    assert_eq!(backend.active(), 0, "its place was given back");
    assert!(backend.cells.failures.iter().all(|count| count.get() == 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_in_the_queue_of_a_pool_that_is_down() {
    let yaml = "{ listeners: { l: { bind: 127.0.0.1:0, pool: p } },
                  pools: { p: { backends: [ { address: '127.0.0.1:1', max_connections: 1, disabled: true } ],
                                queue: { max: 5, timeout: 60s } } } }";
    let plan = crate::config::parse("test.yaml", yaml, &CATALOGUE, &|_| None).expect("valid");
    let pool = Arc::new(Pool::new(plan.pools[0].clone()));
    Keeper::new(pool.clone(), Tools::alone(1)).start().await;
    let started = Instant::now();
    let refused = dial(&pool, &by_port(), &NOBODY, |_| {}).await.err();
    assert_eq!(refused, Some(DialError::Unavailable(Unavailable::Down)));
    assert_eq!(started.elapsed(), Duration::ZERO);
}
