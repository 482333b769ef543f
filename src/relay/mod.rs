//! Moving bytes: two directions in one task, and the truth about how they ended.
//!
//! An idle session holds no buffer and no pipe. Bytes are read into the worker's scratch buffer and
//! written straight out; memory is taken only for what the far side would not take at once.

mod bench;
mod flow;
mod pace;
mod tally;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::config::plan::RelayMode;
use crate::metrics::{Direction, Side};
use crate::net::Stream;

use flow::Flow;

pub use bench::{HELD_UP, MOST_PIPES, Workbench};
pub use tally::{Meter, Tally};

/// The two streams of a session.
#[derive(Debug)]
pub struct Ends {
    /// The peer that connected to us.
    pub client: Stream,
    /// The peer we connected to.
    pub backend: Stream,
    /// What was read of the client's bytes already; they go first.
    pub head: Vec<u8>,
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

/// Moves bytes both ways until both directions have ended or one side has failed.
///
/// Dropping the future, like every end but a finished one, resets both sockets.
pub async fn run(mut ends: Ends, mode: RelayMode, meter: &Meter<'_>, bench: &Workbench) -> End {
    let head = std::mem::take(&mut ends.head);
    let is_plain = ends.client.plain().is_some() && ends.backend.plain().is_some();
    let mode = if is_plain { mode } else { RelayMode::Copy };
    let mut relay = Relay {
        ends: &ends,
        up: Flow::new(Direction::Up, mode, head),
        down: Flow::new(Direction::Down, mode, Vec::new()),
        first: None,
        meter,
        bench,
    };
    let result = {
        let (mut client_failed, mut backend_failed) = (Failing::new(&ends.client), Failing::new(&ends.backend));
        poll_fn(|cx| relay.poll(cx, &mut client_failed, &mut backend_failed)).await
    };
    match result {
        Ok(first) => {
            ends.client.close_delivered();
            ends.backend.close_delivered();
            End::Finished { first }
        }
        Err(fault) => End::Failed(fault),
    }
}

/// Waits for a socket's failure. The wait is made when it is first needed, which for most sessions is
/// never, so that an idle session does not carry room for it.
struct Failing<'a> {
    stream: &'a Stream,
    wait: Option<Pin<Box<dyn Future<Output = i32> + Send + 'a>>>,
}

impl<'a> Failing<'a> {
    fn new(stream: &'a Stream) -> Self {
        Self { stream, wait: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<i32> {
        self.wait.get_or_insert_with(|| Box::pin(self.stream.failed())).as_mut().poll(cx)
    }
}

struct Relay<'a> {
    ends: &'a Ends,
    up: Flow,
    down: Flow,
    first: Option<Side>,
    meter: &'a Meter<'a>,
    bench: &'a Workbench,
}

impl Relay<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client_failed: &mut Failing<'_>,
        backend_failed: &mut Failing<'_>,
    ) -> Poll<Result<Side, Fault>> {
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
        if !self.up.is_reading(&self.ends.backend)
            && let Poll::Ready(result) = client_failed.poll(cx).map(fault(Side::Client))
        {
            return Poll::Ready(result);
        }
        if !self.down.is_reading(&self.ends.client)
            && let Poll::Ready(result) = backend_failed.poll(cx).map(fault(Side::Backend))
        {
            return Poll::Ready(result);
        }
        Poll::Pending
    }

    /// Moves what can be moved one way, and passes an end of stream on.
    fn turn(&mut self, cx: &mut Context<'_>, direction: Direction) -> Result<(), Fault> {
        let Ends { client, backend, .. } = self.ends;
        let (flow, back, from, to, side) = match direction {
            Direction::Up => (&mut self.up, &mut self.down, client, backend, Side::Client),
            Direction::Down => (&mut self.down, &mut self.up, backend, client, Side::Backend),
        };
        if flow.turn(cx, from, to, self.meter, self.bench)? {
            self.first.get_or_insert(side);
            self.meter.tally.finished(direction);
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
        let Ends { client, backend, .. } = self.ends;
        let (flow, from, to) = match fault.side {
            Side::Client => (&mut self.up, client, backend),
            _ => (&mut self.down, backend, client),
        };
        flow.last_words(from, to, self.meter, self.bench);
    }
}
