//! Moving bytes: two directions in one task, and the truth about how they ended.
//!
//! An idle session holds no buffer and no pipe. Bytes are read into the worker's scratch buffer and
//! written straight out; memory is taken only for what the far side would not take at once.

mod bench;
mod clock;
mod flow;
mod pace;
mod spin;
mod stir;
mod tally;

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::config::plan::RelayMode;
use crate::metrics::{Direction, Side};
use crate::net::Stream;

use flow::Flow;

pub use bench::{MOST_PIPES, Workbench};
pub use clock::IdleClock;
pub use tally::{Meter, Tally};

/// The two streams of a session.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// The peer that connected to us.
    pub client: &'a Stream,
    /// The peer we connected to.
    pub backend: &'a Stream,
}

/// How a relay ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both ends of stream were seen and delivered.
    Finished {
        /// Who sent FIN first.
        first: Side,
    },
    /// One side's socket failed; the other side sees a reset.
    Failed(Fault),
}

/// A socket's error. The kernel reports it once, so it is kept from the moment it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Whose socket.
    pub side: Side,
    /// What the kernel said.
    pub errno: i32,
}

/// Moves bytes both ways until both directions have ended or one side has failed. `head` was read of the client's bytes
/// already; it goes first.
///
/// Only after a finished end dropping the streams closes them; dropped after any other, or with this future, they are reset.
pub fn run<'a>(ends: Ends<'a>, head: Vec<u8>, mode: RelayMode, meter: &'a Meter<'a>) -> impl Future<Output = End> + 'a {
    let is_plain = ends.client.plain().is_some() && ends.backend.plain().is_some();
    let mode = if is_plain { mode } else { RelayMode::Copy };
    Relay {
        ends,
        up: Flow::new(Direction::Up, mode, head),
        down: Flow::new(Direction::Down, mode, Vec::new()),
        first: None,
        meter,
        failing: Failing(None),
    }
}

/// Waits for the sockets' failures. Each wait is made when it is first needed, which for most sessions is never, so that an
/// idle session carries one word for them.
struct Failing<'a>(Option<Box<[Option<Failure<'a>>; 2]>>);

type Failure<'a> = Pin<Box<dyn Future<Output = i32> + Send + 'a>>;

impl<'a> Failing<'a> {
    /// Whether what `direction` reads from has failed.
    fn poll(&mut self, direction: Direction, from: &'a Stream, cx: &mut Context<'_>) -> Poll<i32> {
        let failures = self.0.get_or_insert_default();
        failures[direction as usize].get_or_insert_with(|| Box::pin(from.failed())).as_mut().poll(cx)
    }
}

struct Relay<'a> {
    ends: Ends<'a>,
    up: Flow,
    down: Flow,
    first: Option<Side>,
    meter: &'a Meter<'a>,
    failing: Failing<'a>,
}

impl Future for Relay<'_> {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        if self.meter.tally.hears_that_it_lasts() {
            self.keep_alive();
        }
        self.advance(cx).map(|result| match result {
            Ok(first) => {
                self.ends.client.deliver_rest();
                self.ends.backend.deliver_rest();
                End::Finished { first }
            }
            Err(fault) => End::Failed(fault),
        })
    }
}

impl Relay<'_> {
    /// What was put off when the backend was dialled; as its pool has it now.
    fn keep_alive(&self) {
        if let Some(keepalive) = &self.meter.place.pool().settings().tcp.keepalive {
            self.ends.backend.keep_alive(keepalive);
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Side, Fault>> {
        let moved = self.turn(cx, Direction::Up).and_then(|()| self.turn(cx, Direction::Down));
        if let Err(fault) = moved {
            self.last_words(fault);
            return Poll::Ready(Err(fault));
        }
        if let (Some(first), true, true) = (self.first, self.up.has_ended(), self.down.has_ended()) {
            return Poll::Ready(Ok(first));
        }
        // A socket that is being read tells of its failure by itself. One whose direction is paused
        // or finished does not.
        let fault = |side| move |errno| Err(Fault { side, errno });
        let Ends { client, backend } = self.ends;
        if !self.up.is_reading(backend)
            && let Poll::Ready(result) = self.failing.poll(Direction::Up, client, cx).map(fault(Side::Client))
        {
            return Poll::Ready(result);
        }
        if !self.down.is_reading(client)
            && let Poll::Ready(result) = self.failing.poll(Direction::Down, backend, cx).map(fault(Side::Backend))
        {
            return Poll::Ready(result);
        }
        Poll::Pending
    }

    /// Moves what can be moved one way, and passes an end of stream on.
    fn turn(&mut self, cx: &mut Context<'_>, direction: Direction) -> Result<(), Fault> {
        let Ends { client, backend } = self.ends;
        let (flow, back, from, to, side) = match direction {
            Direction::Up => (&mut self.up, &mut self.down, client, backend, Side::Client),
            Direction::Down => (&mut self.down, &mut self.up, backend, client, Side::Backend),
        };
        if flow.turn(cx, from, to, self.meter, back.has_ended())? {
            self.first.get_or_insert(side);
            self.meter.finished(direction);
            if from.ends_both_ways() && !back.has_ended() {
                back.wind_up();
                cx.waker().wake_by_ref();
            }
        }
        Ok(())
    }

    /// A server that refuses a request often says why and closes with input unread: its words arrive
    /// together with a reset, and the write that met the reset comes first here. What can still be
    /// read is passed on before the other side is reset, as it would be without a proxy between.
    fn last_words(&mut self, fault: Fault) {
        let Ends { client, backend } = self.ends;
        let (flow, from, to) = match fault.side {
            Side::Client => (&mut self.up, client, backend),
            _ => (&mut self.down, backend, client),
        };
        flow.last_words(from, to, self.meter, self.meter.bench);
    }
}
