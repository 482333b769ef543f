//! Workers on a clock of their own: what they spend on looking, and what they find by it.

use proptest::prelude::*;

use super::*;

const BUDGET: Duration = Duration::from_micros(50);
/// What a look takes.
const LOOK: Duration = Duration::from_nanos(700);

/// A worker of nothing but a clock.
struct Worker {
    spin: Spin,
    began: Instant,
    now: Instant,
    next: Next,
    /// Spans that paid and that were in vain, and what these took.
    hits: u32,
    misses: u32,
    hit: Duration,
    missed: Duration,
    /// When the last work was done.
    worked: Instant,
}

impl Worker {
    fn new(budget: Duration) -> Self {
        let now = Instant::now();
        let [hit, missed] = [Duration::ZERO; 2];
        Self {
            spin: Spin::new(budget),
            began: now,
            now,
            next: Next::Sleep,
            hits: 0,
            misses: 0,
            hit,
            missed,
            worked: now,
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.began
    }

    fn turn(&mut self, worked: bool) {
        let (next, ended) = self.spin.turn(self.now, worked);
        self.next = next;
        match ended {
            Some(Span { result: BusyPoll::Hit, took }) => (self.hits, self.hit) = (self.hits + 1, self.hit + took),
            Some(Span { result: BusyPoll::Miss, took }) => {
                (self.misses, self.missed) = (self.misses + 1, self.missed + took);
            }
            None => {}
        }
        if worked {
            self.worked = self.now;
        }
    }

    /// Work comes after `gap`. Says whether it came to a worker that slept.
    fn wait(&mut self, gap: Duration) -> bool {
        let comes = self.now + gap;
        while self.next == Next::Look && self.now < comes {
            self.now += LOOK;
            if self.now < comes {
                self.turn(false);
            }
        }
        let slept = self.next == Next::Sleep;
        self.now = self.now.max(comes);
        self.turn(true);
        slept
    }

    /// Work comes every `gap`, so often; how often it came to a worker that slept.
    fn waits(&mut self, gap: Duration, times: usize) -> usize {
        (0..times).filter(|_| self.wait(gap)).count()
    }

    /// The share of a time that went into spans in vain.
    fn waste_since(&self, (then, missed): (Instant, Duration)) -> f64 {
        (self.missed - missed).as_secs_f64() / (self.now - then).as_secs_f64()
    }
}

#[test]
fn what_comes_soon_is_met_awake() {
    let mut worker = Worker::new(BUDGET);
    assert_eq!(worker.waits(BUDGET / 2, 1000), 1, "the first one, before which there was no work");
    assert_eq!((worker.hits, worker.misses), (999, 0));
    assert!(worker.hit > worker.elapsed() / 2 && worker.hit <= worker.elapsed(), "{:?}", worker.hit);
}

#[test]
fn a_worker_without_work_sleeps_and_is_not_to_be_roused_by_less() {
    let mut worker = Worker::new(BUDGET);
    worker.turn(false);
    assert_eq!(worker.next, Next::Sleep, "nothing has come yet");
    worker.turn(true);
    while worker.next == Next::Look {
        worker.now += LOOK;
        worker.turn(false);
    }
    assert!(worker.now - worker.worked < BUDGET + 2 * LOOK, "{:?}", worker.now - worker.worked);
    for _ in 0..1000 {
        worker.now += Duration::from_millis(250);
        worker.turn(false);
        assert_eq!(worker.next, Next::Sleep);
    }
    assert_eq!((worker.hits, worker.misses), (0, 1));
}

#[test]
fn it_gives_up_when_what_comes_comes_later_and_tries_ever_more_seldom() {
    for gap in [BUDGET * 2, BUDGET * 20, Duration::from_millis(20)] {
        let mut worker = Worker::new(BUDGET);
        worker.waits(gap, MOST_CREDIT as usize + 1);
        assert_eq!((worker.hits, worker.misses), (0, MOST_CREDIT), "{gap:?}");
        let given_up = (worker.now, worker.missed);
        let times = (Duration::from_secs(20).as_nanos() / gap.as_nanos()) as usize;
        worker.waits(gap, times);
        assert!(worker.misses > MOST_CREDIT + 10, "{gap:?}: it does try");
        let waste = worker.waste_since(given_up);
        assert!(waste < 0.001, "{gap:?}: {waste}");
    }
}

#[test]
fn it_notices_soon_that_it_would_pay_again() {
    let mut worker = Worker::new(BUDGET);
    worker.waits(Duration::from_millis(5), 10_000);
    let (then, hits) = (worker.now, worker.hits);
    while worker.hits < hits + 100 {
        worker.wait(BUDGET / 2);
        assert!(worker.now - then < 2 * LONGEST_REST, "after {:?}", worker.now - then);
    }
    assert_eq!(worker.waits(BUDGET / 2, 1000), 0, "and then goes on as before");
}

#[test]
fn one_that_comes_late_among_many_that_do_not_changes_nothing() {
    let mut worker = Worker::new(BUDGET);
    worker.wait(BUDGET / 2);
    for _ in 0..100 {
        assert_eq!(worker.waits(BUDGET / 2, 9), 0);
        // Within the rest that it would take if it gave up.
        assert!(worker.wait(BUDGET * REST / 2));
    }
}

#[test]
fn however_long_all_paid_it_gives_up_and_rests_as_at_first() {
    let mut worker = Worker::new(BUDGET);
    worker.waits(Duration::from_millis(5), 1000);
    worker.waits(BUDGET / 2, 20_000);
    let misses = worker.misses;
    worker.waits(BUDGET * 4, 30);
    let in_vain = worker.misses - misses;
    assert!((MOST_CREDIT..MOST_CREDIT + 3).contains(&in_vain), "{in_vain}");
    let (then, hits) = (worker.now, worker.hits);
    while worker.hits == hits {
        worker.wait(BUDGET / 2);
        assert!(worker.now - then < BUDGET * REST * 4, "after {:?}", worker.now - then);
    }
}

#[test]
fn work_that_is_always_there_teaches_nothing() {
    let mut worker = Worker::new(BUDGET);
    // Bursts in which no look finds nothing, far between: nothing is won by looking.
    for _ in 0..1000 {
        worker.waits(Duration::ZERO, 30);
        worker.wait(Duration::from_millis(2));
    }
    assert_eq!(worker.hits, 0);
    assert!(worker.misses < 30, "{} of 1000", worker.misses);
}

/// Gaps of all sizes, those near the budget and stretches of one kind among them.
fn gaps() -> impl Strategy<Value = Vec<(u64, usize)>> {
    let nanos = prop_oneof![0u64..2_000, 40_000u64..60_000, 60_000u64..3_000_000, 1_000_000u64..400_000_000];
    prop::collection::vec((nanos, 1usize..60), 1..60)
}

proptest! {
    /// Whatever comes when: it looks within the budget of work alone, and what it spends in vain is at most as many spans
    /// as paid, the credit that it began with, and its tries, which are a fortieth of the time.
    #[test]
    fn what_is_spent_in_vain_is_bounded(budget_us in 1u64..200, gaps in gaps()) {
        let budget = Duration::from_micros(budget_us);
        let mut worker = Worker::new(budget);
        for (nanos, times) in gaps {
            for _ in 0..times {
                let looked = worker.hit + worker.missed;
                let slept = worker.wait(Duration::from_nanos(nanos));
                let looked = worker.hit + worker.missed - looked;
                prop_assert!(looked <= budget + 2 * LOOK, "{looked:?} after one piece of work");
                prop_assert!(slept || nanos <= (budget + 2 * LOOK).as_nanos() as u64, "awake for {nanos} ns");
            }
        }
        let tries = worker.elapsed().as_nanos() / (budget * REST).as_nanos() + 1;
        let most = u128::from(worker.hits + MOST_CREDIT) + tries;
        prop_assert!(u128::from(worker.misses) <= most, "{} in vain, {} paid, {tries} tries", worker.misses, worker.hits);
        prop_assert!(worker.hit + worker.missed <= worker.elapsed() + budget);
    }

    /// A worker for which nothing ever pays spends a fortieth of its time at most, and mostly far less.
    #[test]
    fn a_worker_for_which_nothing_pays_stays_within_its_share(gap_us in 52u64..5_000, seconds in 1u64..4) {
        let mut worker = Worker::new(BUDGET);
        worker.waits(Duration::from_micros(gap_us), MOST_CREDIT as usize + 1);
        let given_up = (worker.now, worker.missed);
        while worker.now - given_up.0 < Duration::from_secs(seconds) {
            worker.wait(Duration::from_micros(gap_us));
        }
        prop_assert!(worker.waste_since(given_up) < 1.0 / f64::from(REST));
    }
}
