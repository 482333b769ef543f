//! When and where is probed, by a clock that the test moves.

use std::sync::Mutex;

use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::connect::ConnectError;
use crate::health::build;
use crate::health::fixture::dial;
use crate::metrics::ProbeResult;
use crate::net::{Stream, Target};

const SECOND: Duration = Duration::from_secs(1);

/// When and where backends were dialled.
type Seen = Arc<Mutex<Vec<(Instant, u16)>>>;

/// Connects to everybody after `takes`.
fn connector(takes: Duration, seen: &Seen) -> Connector {
    let seen = seen.clone();
    Connector::new(move |dial: Dial| {
        let Target::Ip(address) = dial.target else { panic!("not a port") };
        seen.lock().expect("sound").push((Instant::now(), address.port()));
        async move {
            sleep(takes).await;
            Ok::<_, ConnectError>(
                Stream::try_from(tokio::net::UnixStream::pair().expect("a pair").0).expect("room in the runtime"),
            )
        }
    })
}

fn schedule(jitter: f64) -> Option<Schedule> {
    let probe = build(&crate::config::plan::Probe::Tcp).into();
    Some(Schedule { interval: SECOND, fast_interval: SECOND / 5, jitter, concurrency: 1000, probe })
}

fn subject(id: u32, port: u16, hurry: bool) -> (BackendId, Dial, bool) {
    (BackendId(id), dial(port, SECOND), hurry)
}

/// Takes reports in for so long; all are good and nobody is in transition.
async fn run(monitor: &mut Monitor, span: Duration) -> Vec<BackendId> {
    let mut reports = Vec::new();
    let taking = async {
        loop {
            let report = monitor.next().await;
            monitor.again(report.id, false);
            reports.push(report.id);
        }
    };
    let _: Result<(), _> = timeout(span, taking).await;
    reports
}

/// The most that were dialled within a tenth of a second, from `since` on.
fn most_in_a_tenth(seen: &Seen, since: Instant) -> usize {
    let seen = seen.lock().expect("sound");
    let tenth = |at: Instant| (at - since).as_millis() / 100;
    let tenths: Vec<u128> = seen.iter().filter(|(at, _)| *at >= since).map(|(at, _)| tenth(*at)).collect();
    (0..100).map(|n| tenths.iter().filter(|tenth| **tenth == n).count()).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn those_that_were_asked_in_a_hurry_are_spread_afterwards() {
    let seen = Seen::default();
    let mut monitor = Monitor::new(connector(Duration::ZERO, &seen), Arc::default());
    monitor.follow(schedule(0.0), (0..200).map(|id| subject(id, 1, true)).collect());
    run(&mut monitor, 2 * SECOND).await;
    let since = Instant::now();
    let asked = run(&mut monitor, 5 * SECOND).await.len();
    assert!((995..=1005).contains(&asked), "{asked} probes of 200 in five seconds");
    let most = most_in_a_tenth(&seen, since);
    assert!(most <= 45, "{most} in a tenth of a second where 20 would be even");
}

#[tokio::test(start_paused = true)]
async fn after_this_process_was_stopped_probes_are_spread_and_not_put_off_for_ever() {
    let seen = Seen::default();
    let mut monitor = Monitor::new(connector(Duration::ZERO, &seen), Arc::default());
    monitor.follow(schedule(0.0), (0..200).map(|id| subject(id, 1, false)).collect());
    run(&mut monitor, 2 * SECOND).await;
    advance(30 * SECOND).await;
    let since = Instant::now();
    let asked = run(&mut monitor, 3 * SECOND).await.len();
    assert!(asked >= 400, "{asked}");
    let most = most_in_a_tenth(&seen, since);
    assert!(most <= 45, "{most} in a tenth of a second where 20 would be even");
    // Starved all the time: each look comes two seconds late, and still everybody is asked in the end.
    seen.lock().expect("sound").clear();
    for _ in 0..4 {
        advance(2 * SECOND).await;
        run(&mut monitor, Duration::from_millis(1)).await;
    }
    assert!(seen.lock().expect("sound").len() >= 200);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_where_a_backend_was_is_not_reported() {
    let seen = Seen::default();
    let mut monitor = Monitor::new(connector(SECOND / 2, &seen), Arc::default());
    monitor.follow(schedule(0.0), vec![subject(0, 1, true), subject(1, 1, true)]);
    assert!(run(&mut monitor, SECOND / 4).await.is_empty(), "both are being asked");
    monitor.follow(schedule(0.0), vec![subject(0, 2, true)]);
    let started = Instant::now();
    assert_eq!(monitor.next().await.id, BackendId(0));
    assert!(started.elapsed() >= SECOND / 2, "that was the answer of the other port");
    assert_eq!(seen.lock().expect("sound").last().map(|(_, port)| *port), Some(2));
}

/// Whatever is put in place of the system is dialled through, and given up in time.
#[tokio::test(start_paused = true)]
async fn a_connector_that_hangs_is_given_up_in_time() {
    let mut monitor = Monitor::new(Connector::new(|_| std::future::pending()), Arc::default());
    monitor.follow(schedule(0.0), vec![subject(0, 1, true)]);
    let report = timeout(2 * SECOND, monitor.next()).await.expect("within its limit");
    let error = report.result.expect_err("nobody answered");
    assert_eq!((error.result, &*error.words), (ProbeResult::Timeout, "no connection in time"));
}
