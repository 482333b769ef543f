//! Keeping a direction to its bandwidth: it reads only what it may move by now, and sleeps until it may.
//!
//! What it may not move yet stays in the sender's socket, and so the sender is slowed down by its own kernel. A session
//! without limits pays two loads a read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::admission::{Bucket, Buckets, Rates, Share, turn};
use crate::metrics::Direction;

/// Other rates hold for one who waits for its turn from then on at the latest.
const LOOK: Duration = Duration::from_secs(1);

/// The pace of one direction.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// None while there is no limit.
    held: Option<Box<Held>>,
}

#[derive(Debug)]
struct Held {
    own: Bucket,
    together: Option<Arc<Buckets>>,
    turn: Option<Turn>,
    /// While it waits.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// What was taken of the buckets, at which rates.
#[derive(Debug, Clone, Copy)]
struct Turn {
    rates: Rates,
    bytes: u64,
    due: u64,
}

impl Pace {
    /// How many bytes may be read now. What is not used of them is to be [returned](Self::moved).
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, share: &Share<'_>, direction: Direction) -> Poll<usize> {
        let rates = share.rates();
        if rates == [None, None] {
            self.held = None;
            return Poll::Ready(usize::MAX);
        }
        let held = self.held.get_or_insert_with(|| Box::new(Held::new(share)));
        held.poll(cx, share, direction).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// So many of them were read.
    pub(super) fn moved(&mut self, direction: Direction, bytes: usize) {
        if let Some(held) = &mut self.held {
            held.moved(direction, bytes as u64);
        }
    }

    /// Whether it waits for its turn, with bytes there that it could read.
    pub(super) fn waits(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.sleep.is_some())
    }
}

impl Held {
    fn new(share: &Share<'_>) -> Self {
        Self { own: Bucket::default(), together: share.together(), turn: None, sleep: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>, share: &Share<'_>, direction: Direction) -> Poll<u64> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            let (rates, now) = (share.rates(), share.now());
            let turn = match self.turn {
                Some(turn) if turn.rates == rates => turn,
                _ => self.take(rates, direction, now),
            };
            if turn.due <= now {
                return Poll::Ready(turn.bytes);
            }
            let wait = Duration::from_nanos(turn.due - now).min(LOOK);
            self.sleep = Some(Box::pin(sleep_until(Instant::now() + wait)));
        }
    }

    fn take(&mut self, rates: Rates, direction: Direction, now: u64) -> Turn {
        let bytes = turn(rates);
        let dues = self.buckets(rates, direction).map(|(bucket, rate)| bucket.take(rate, bytes, now));
        let turn = Turn { rates, bytes, due: dues.max().unwrap_or(now) };
        self.turn = Some(turn);
        turn
    }

    fn moved(&mut self, direction: Direction, moved: u64) {
        let Some(turn) = self.turn.take() else { return };
        let unused = turn.bytes.saturating_sub(moved);
        self.buckets(turn.rates, direction).for_each(|(bucket, rate)| bucket.give_back(rate, unused));
    }

    /// The buckets that are limited, and their rates.
    fn buckets(&self, rates: Rates, direction: Direction) -> impl Iterator<Item = (&Bucket, std::num::NonZeroU64)> {
        let together = self.together.as_ref().map(|buckets| buckets.of(direction));
        let buckets = [Some(&self.own), together];
        buckets.into_iter().zip(rates).filter_map(|(bucket, rate)| Some((bucket?, rate?)))
    }
}
