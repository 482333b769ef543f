//! One direction: read, write, and what to do when the far side does not take it all.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;

use super::bench::{Pipe, SCRATCH, Workbench};
use super::pace::Pace;
use super::{Fault, Meter};
use crate::config::plan::RelayMode;
use crate::metrics::{Direction, Engine, Side};
use crate::net::{Stream, errno};

/// A direction moves so much and then lets the others run.
const TURN: usize = 256 * 1024;
/// One read at most, since what the far side does not take of it is kept; but for streams inside TLS, where larger ones
/// save a fifth of the work.
const PIECE: usize = 64 * 1024;
/// Reads this large are a stream worth splicing, or inside TLS reading in larger pieces …
const LARGE: usize = PIECE / 2;
/// … after so many of them in a row, since a single large reply is over before that pays …
const LARGE_READS: u8 = 4;
/// … and below this, splice costs more than copy …
const SMALL: usize = 16 * 1024;
/// … when so many in a row are.
const SMALL_READS: u8 = 8;

/// One direction of a session.
pub(super) struct Flow {
    direction: Direction,
    state: State,
    pace: Pace,
    mode: RelayMode,
    /// It is a stream: it is spliced if it may be, and inside TLS read in large pieces.
    streams: bool,
    /// Nobody wants what may still come: the far side has ended both directions.
    unwanted: bool,
    /// Reads in a row that speak for the other engine.
    streak: u8,
}

/// Where a direction stands. What it holds is boxed, since it rarely holds anything and every session has two of these.
enum State {
    /// What was read before there was a relay is passed on, no faster than what is read now.
    Beginning(Box<Rest>),
    /// Reads when there is something; holds nothing.
    Reading,
    /// The far side did not take all of a read: this is still to go.
    Holding(Box<Rest>),
    /// The far side did not take all that is in the pipe: so many bytes are still to go.
    Piped(Box<(Pipe, usize)>),
    /// The end of stream is to be passed on.
    Ending,
    /// It was.
    Ended,
}

/// Bytes that are to go, from this place on.
struct Rest {
    bytes: Box<[u8]>,
    from: usize,
}

impl Rest {
    fn boxed(bytes: impl Into<Box<[u8]>>) -> Box<Self> {
        Box::new(Self { bytes: bytes.into(), from: 0 })
    }

    fn left(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

/// What one look at the source brought.
enum Got {
    Scratch(usize),
    Pipe(Pipe, usize),
    End,
    Nothing,
}

impl Got {
    fn bytes(&self) -> usize {
        match self {
            Self::Scratch(n) | Self::Pipe(_, n) => *n,
            Self::End | Self::Nothing => 0,
        }
    }
}

impl Flow {
    /// A direction that begins with `head`, which was read already.
    pub(super) fn new(direction: Direction, mode: RelayMode, head: Vec<u8>) -> Self {
        let state = if head.is_empty() { State::Reading } else { State::Beginning(Rest::boxed(head)) };
        let (pace, streams) = (Pace::default(), mode == RelayMode::Splice);
        Self { direction, state, pace, mode, streams, unwanted: false, streak: 0 }
    }

    /// What was read goes out, and then the end of stream.
    pub(super) fn wind_up(&mut self) {
        self.unwanted = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Whether the source is asked for bytes, and so for its failure too. It is not while `to` has bytes to send that it
    /// took before.
    pub(super) fn is_reading(&self, to: &Stream) -> bool {
        matches!(self.state, State::Reading) && !self.pace.waits() && !to.has_unsent()
    }

    /// Moves bytes until one side has no more to give or to take, or the turn is over; the task is
    /// then woken when that changes. True when this call passed on the end of stream, or left that to the close which
    /// follows, if `is_last`: the other direction has ended.
    ///
    /// # Errors
    /// Either socket failed. Its error is now taken from the kernel, so it must be kept.
    pub(super) fn turn(
        &mut self,
        cx: &mut Context<'_>,
        from: &Stream,
        to: &Stream,
        meter: &Meter<'_>,
        is_last: bool,
    ) -> Result<bool, Fault> {
        let mut left = TURN;
        let bench = meter.bench;
        loop {
            match &self.state {
                State::Ended => return Ok(false),
                State::Ending => {
                    match if is_last { to.try_finish_by_close() } else { to.try_finish() } {
                        Ok(()) => {
                            self.state = State::Ended;
                            return Ok(true);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => return Err(self.unsent(to, error)),
                    }
                    if self.is_pending(to.poll_write_ready(cx), self.sink())? {
                        return Ok(false);
                    }
                }
                State::Reading if to.has_unsent() => {
                    if self.is_pending(to.poll_write_ready(cx), self.sink())? {
                        return Ok(false);
                    }
                    match to.try_flush() {
                        Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(self.unsent(to, error)),
                        _ => {}
                    }
                }
                State::Reading if self.unwanted => {
                    if std::mem::take(&mut self.pace).waits() {
                        self.tell_paced(false, meter);
                    }
                    self.state = State::Ending;
                }
                State::Reading => {
                    if left == 0 {
                        cx.waker().wake_by_ref();
                        return Ok(false);
                    }
                    if self.is_pending(from.poll_read_ready(cx), self.source())? {
                        return Ok(false);
                    }
                    let Some(most) = self.allowed(cx, meter) else { return Ok(false) };
                    match self.read(from, to, most, bench)? {
                        Got::Nothing => {}
                        Got::Scratch(n) => {
                            left = left.saturating_sub(n);
                            self.write_scratch(n, to, meter, bench)?;
                        }
                        Got::Pipe(pipe, n) => {
                            left = left.saturating_sub(n);
                            self.drain_pipe(pipe, n, to, meter, bench)?;
                        }
                        // A failed socket reads 0 too, once its error has been reported.
                        Got::End => match from.error_behind_end() {
                            Some(error) => return Err(Fault { side: self.source(), errno: errno(&error) }),
                            None => self.state = State::Ending,
                        },
                    }
                }
                State::Beginning(..) => {
                    if self.is_pending(to.poll_write_ready(cx), self.sink())? {
                        return Ok(false);
                    }
                    let Some(most) = self.allowed(cx, meter) else { return Ok(false) };
                    self.begin(most, to, meter)?;
                }
                State::Holding(..) | State::Piped(..) => {
                    if self.is_pending(to.poll_write_ready(cx), self.sink())? {
                        return Ok(false);
                    }
                    self.write_held(to, meter, bench)?;
                }
            }
        }
    }

    /// Passes on what is left to read of a socket that has failed; stops at the first obstacle.
    ///
    /// The kernel is asked, not the readiness: of bytes that came just before the reset, both met in
    /// the midst of a turn, the runtime has not heard yet.
    pub(super) fn last_words(&mut self, from: &Stream, to: &Stream, meter: &Meter<'_>, bench: &Workbench) {
        let mut left = TURN;
        while left > 0 && matches!(self.state, State::Reading) {
            let read = from.read_now(&mut bench.scratch()[..PIECE]);
            let Ok(n @ 1..) = read else { return };
            if self.write_scratch(n, to, meter, bench).is_err() {
                return;
            }
            left = left.saturating_sub(n);
        }
    }

    /// How many bytes may be read now; None is none yet, and the task is woken when there are.
    fn allowed(&mut self, cx: &mut Context<'_>, meter: &Meter<'_>) -> Option<usize> {
        let waited = self.pace.waits();
        let allowed = match self.pace.poll(cx, &meter.share, self.direction) {
            Poll::Ready(most) => Some(most),
            Poll::Pending => None,
        };
        if waited != self.pace.waits() {
            self.tell_paced(!waited, meter);
        }
        allowed
    }

    /// Begins or ends a wait for its share. It was not idle meanwhile, and its idleness does not begin before the end.
    fn tell_paced(&self, paced: bool, meter: &Meter<'_>) {
        if !paced {
            meter.tally.stir(meter.bench.idle_clock().now());
        }
        meter.tally.paced(self.direction, paced);
    }

    fn source(&self) -> Side {
        match self.direction {
            Direction::Up => Side::Client,
            Direction::Down => Side::Backend,
        }
    }

    fn sink(&self) -> Side {
        match self.direction {
            Direction::Up => Side::Backend,
            Direction::Down => Side::Client,
        }
    }

    fn is_pending(&self, ready: Poll<io::Result<()>>, side: Side) -> Result<bool, Fault> {
        match ready {
            Poll::Pending => Ok(true),
            Poll::Ready(Ok(())) => Ok(false),
            Poll::Ready(Err(error)) => Err(Fault { side, errno: errno(&error) }),
        }
    }

    /// Why the far side cannot be told; its socket may know better than the call that failed.
    fn unsent(&self, to: &Stream, error: io::Error) -> Fault {
        Fault { side: self.sink(), errno: errno(&to.take_error().unwrap_or(error)) }
    }

    fn read(&mut self, from: &Stream, to: &Stream, most: usize, bench: &Workbench) -> Result<Got, Fault> {
        let splices = self.streams && self.mode != RelayMode::Copy;
        let got = match if splices { bench.take_pipe() } else { None } {
            Some(pipe) => self.read_pipe(pipe, from, most, bench),
            None => {
                let most = most.min(self.piece(from, to));
                let read = from.try_read(&mut bench.scratch()[..most]);
                read.map(|n| if n == 0 { Got::End } else { Got::Scratch(n) })
            }
        };
        self.pace.moved(self.direction, got.as_ref().map_or(0, Got::bytes));
        match got {
            Ok(got) => {
                self.choose_engine(&got);
                Ok(got)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Got::Nothing),
            Err(error) => Err(Fault { side: self.source(), errno: errno(&error) }),
        }
    }

    /// How much to read at once by copying. Streams inside TLS are read in larger pieces; but where the far side does not
    /// keep up most of such a piece would have to be kept for it.
    fn piece(&self, from: &Stream, to: &Stream) -> usize {
        let is_secure = || from.plain().is_none() || to.plain().is_none();
        if self.streams && is_secure() && to.has_at_most_on_the_way(PIECE) { SCRATCH } else { PIECE }
    }

    /// Splices into an empty pipe, so that EAGAIN cannot mean "pipe full".
    fn read_pipe(&self, pipe: Pipe, from: &Stream, most: usize, bench: &Workbench) -> io::Result<Got> {
        let mut pipe = Some(pipe);
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let got = from.try_io(Interest::READABLE, |fd: BorrowedFd<'_>| {
            let Some(empty) = &pipe else {
                return Ok(Got::Nothing);
            };
            match repeat(|| splice(fd, None, &empty.write, None, most.min(TURN), flags)) {
                Ok(n @ 1..) => Ok(pipe.take().map_or(Got::Nothing, |full| Got::Pipe(full, n))),
                // Splice stops at urgent data for good: it says EAGAIN, or 0 once a FIN is behind it.
                // Only recv knows whether there is really nothing, and whether this is the end.
                Ok(0) | Err(Errno::AGAIN | Errno::INVAL) => {
                    let (n, _) = repeat(|| recv(fd, &mut bench.scratch()[..most.min(PIECE)], RecvFlags::empty()))?;
                    Ok(if n == 0 { Got::End } else { Got::Scratch(n) })
                }
                Err(error) => Err(error.into()),
            }
        });
        if let Some(empty) = pipe {
            bench.put_pipe(empty);
        }
        got
    }

    /// Writes some of what was read before; keeps the rest.
    fn begin(&mut self, most: usize, to: &Stream, meter: &Meter<'_>) -> Result<(), Fault> {
        let State::Beginning(rest) = &self.state else { return Ok(()) };
        let left = rest.left();
        let (length, written) = (left.len(), self.write(&left[..left.len().min(most)], to, meter)?);
        self.pace.moved(self.direction, written);
        match &mut self.state {
            State::Beginning(rest) if written < length => rest.from += written,
            state => *state = State::Reading,
        }
        Ok(())
    }

    /// Writes what was just read into the scratch buffer; keeps what the far side does not take.
    fn write_scratch(&mut self, n: usize, to: &Stream, meter: &Meter<'_>, bench: &Workbench) -> Result<(), Fault> {
        let scratch = bench.scratch();
        let written = self.write(&scratch[..n], to, meter)?;
        if written < n {
            self.state = State::Holding(Rest::boxed(&scratch[written..n]));
        }
        Ok(())
    }

    fn write_held(&mut self, to: &Stream, meter: &Meter<'_>, bench: &Workbench) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, State::Reading) {
            State::Holding(mut rest) => {
                rest.from += self.write(rest.left(), to, meter)?;
                if !rest.left().is_empty() {
                    self.state = State::Holding(rest);
                }
                Ok(())
            }
            State::Piped(piped) => self.drain_pipe(piped.0, piped.1, to, meter, bench),
            state => {
                self.state = state;
                Ok(())
            }
        }
    }

    /// Writes until all is out or the far side takes no more; says how much went.
    fn write(&self, bytes: &[u8], to: &Stream, meter: &Meter<'_>) -> Result<usize, Fault> {
        let mut done = 0;
        while done < bytes.len() {
            let left = &bytes[done..];
            // Only TLS makes anything of it first.
            let written = match to.plain() {
                Some(socket) => socket.try_write(left),
                None => to.try_write_in(left, &mut meter.bench.records()),
            };
            match written {
                Ok(n) => {
                    meter.moved(self.direction, Engine::Copy, n);
                    done += n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    return Err(Fault { side: self.sink(), errno: errno(&error) });
                }
            }
        }
        Ok(done)
    }

    /// Splices out what is in the pipe; keeps the pipe if the far side does not take it all.
    fn drain_pipe(
        &mut self,
        pipe: Pipe,
        mut n: usize,
        to: &Stream,
        meter: &Meter<'_>,
        bench: &Workbench,
    ) -> Result<(), Fault> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        while n > 0 {
            let out =
                to.try_io(Interest::WRITABLE, |fd| Ok(repeat(|| splice(pipe.read.as_fd(), None, fd, None, n, flags))?));
            match out {
                Ok(moved) => {
                    meter.moved(self.direction, Engine::Splice, moved);
                    n -= moved;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.state = State::Piped(Box::new((pipe, n)));
                    return Ok(());
                }
                Err(error) => {
                    return Err(Fault { side: self.sink(), errno: errno(&error) });
                }
            }
        }
        bench.put_pipe(pipe);
        Ok(())
    }

    /// A stream's large pieces win for large reads and lose for small ones; a few in a row decide.
    fn choose_engine(&mut self, got: &Got) {
        let (Got::Scratch(n) | Got::Pipe(_, n)) = got else {
            return;
        };
        if self.mode == RelayMode::Splice {
            return;
        }
        let (for_change, needed) = match self.streams {
            true => (*n < SMALL, SMALL_READS),
            false => (*n >= LARGE, LARGE_READS),
        };
        self.streak = if for_change { self.streak + 1 } else { 0 };
        if self.streak == needed {
            self.streams = !self.streams;
            self.streak = 0;
        }
    }
}

/// Repeats a call that a signal interrupted.
fn repeat<R>(mut call: impl FnMut() -> rustix::io::Result<R>) -> rustix::io::Result<R> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(mode: RelayMode, reads: &[usize]) -> bool {
        let mut flow = Flow::new(Direction::Down, mode, Vec::new());
        for read in reads {
            flow.choose_engine(&Got::Scratch(*read));
        }
        flow.streams
    }

    #[test]
    fn a_few_reads_of_a_kind_in_a_row_make_a_stream_and_end_it() {
        let large = [LARGE; LARGE_READS as usize];
        let ends = [&large[..], &[SMALL - 1; SMALL_READS as usize]].concat();
        for mode in [RelayMode::Auto, RelayMode::Copy] {
            assert!(!after(mode, &[]) && !after(mode, &large[1..]) && after(mode, &large) && !after(mode, &ends));
            assert!(!after(mode, &[LARGE, LARGE, LARGE, LARGE - 1, LARGE]), "not in a row");
        }
        assert!(after(RelayMode::Splice, &ends), "as it was told");
    }
}
