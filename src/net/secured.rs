//! A stream inside TLS, and how its end is told from a cut.
//!
//! Built on rustls' unbuffered connections, so that an idle session holds no buffer: records are read straight into
//! the reader's own memory and decrypted there, and what is written is kept only until the socket has taken it.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig};

use super::Plain;

mod outgoing;
mod records;
mod shake;
mod words;

use records::{Next, Records, Want};
use shake::Along;
pub use shake::Unsecured;
pub(crate) use words::words;

/// The most that one record carries.
const RECORD: usize = 16 * 1024;
/// Bytes taken by one write: all that one read of a relay brings, so that as few calls as can be go to the kernel, each
/// of which may wake the peer. With 64 KiB it costs a quarter more to move the same bytes.
const WRITE: usize = 16 * RECORD;
/// A reader with less room than this is served from memory taken for the occasion …
const LEAST_ROOM: usize = 2 * READ;
/// … of this size.
const READ: usize = 32 * 1024;
/// After so many bytes of records the reader lets others run, whatever came of them: a peer that sends tickets, new keys
/// and empty records one after another keeps it busy, and gives it nothing.
const TOIL: usize = 256 * 1024;

/// TLS over a socket, after its handshake.
#[derive(Debug)]
pub struct Secured {
    socket: Plain,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    records: Records,
    /// Decrypted, and not read yet: from this place on.
    plaintext: Vec<u8>,
    given: usize,
    /// The peer has said close_notify.
    ended: bool,
    /// We have.
    finished: bool,
    /// The stream is broken; an errno.
    failed: Option<i32>,
    /// Bytes received since others could run.
    toil: usize,
}

impl Secured {
    /// Waits for a client's handshake on `socket`, of which `head` was read already. No limit on time.
    ///
    /// # Errors
    /// There was none; the client was sent an alert if there is one for the reason.
    pub async fn accept(socket: Plain, head: Vec<u8>, config: Arc<ServerConfig>) -> Result<Self, Unsecured> {
        let session = UnbufferedServerConnection::new(config).map_err(Unsecured::Refused)?;
        Self::shake(socket, Records::server(session, head)).await
    }

    /// Shakes hands on `socket` with who is called `name`. No limit on time.
    ///
    /// # Errors
    /// The server refused, does not speak TLS, or is not who it should be.
    pub async fn connect(
        socket: Plain,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Unsecured> {
        let session = UnbufferedClientConnection::new(config, name).map_err(Unsecured::Refused)?;
        Self::shake(socket, Records::client(session)).await
    }

    async fn shake(socket: Plain, mut records: Records) -> Result<Self, Unsecured> {
        let Along { plaintext, ended } = shake::shake(&socket, &mut records).await?;
        let state = State { records, plaintext, given: 0, ended, finished: false, failed: None, toil: 0 };
        Ok(Self { socket, state: Mutex::new(state) })
    }

    /// The socket that the records go through.
    pub fn socket(&self) -> &Plain {
        &self.socket
    }

    /// What was agreed on in the handshake.
    pub fn agreed<R>(&self, look: impl FnOnce(&CommonState) -> R) -> R {
        look(self.lock().records.common())
    }

    /// See [`super::Stream::ends_both_ways`].
    pub fn ends_both_ways(&self) -> bool {
        self.agreed(|common| common.protocol_version() != Some(ProtocolVersion::TLSv1_3))
    }

    /// See [`super::Stream::poll_read_ready`].
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.toil >= TOIL {
            state.toil = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if state.has_news() { Poll::Ready(Ok(())) } else { self.socket.poll_read_ready(cx) }
    }

    /// Reads once with `receive`, which reads from the socket; 0 bytes mean that the peer has said close_notify.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing, or it took too long to find something; `ECONNRESET` when the stream was cut, which a socket's end without
    /// close_notify is; `EPROTO` when what came is not what was agreed on.
    pub fn read(&self, buffer: &mut [u8], receive: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut state = self.lock();
        if state.plaintext.is_empty() && buffer.len() >= LEAST_ROOM {
            return state.decrypt(&self.socket, buffer, receive);
        }
        state.refill(&self.socket, receive)?;
        Ok(state.give(buffer))
    }

    /// See [`super::Stream::peek`].
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lock();
        state.refill(&self.socket, |room| self.socket.try_read(room))?;
        Ok(state.show(buffer))
    }

    /// See [`super::Stream::try_write_in`].
    pub fn write(&self, bytes: &[u8], lent: &mut Vec<u8>) -> io::Result<usize> {
        let mut state = self.lock();
        state.flush(&self.socket)?;
        let taken = bytes.len().min(WRITE);
        match state.pass_on(&bytes[..taken], lent, &self.socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// See [`super::Stream::has_unsent`].
    pub fn has_unsent(&self) -> bool {
        self.lock().records.has_unsent()
    }

    /// See [`super::Stream::try_flush`].
    pub fn flush(&self) -> io::Result<()> {
        self.lock().flush(&self.socket)
    }

    /// Says close_notify after all that was written, and then FIN; `WouldBlock` while something is left to send.
    pub fn finish(&self) -> io::Result<()> {
        let mut state = self.lock();
        if !state.finished {
            state.seal_end()?;
            state.finished = true;
        }
        // It goes with the FIN in one packet.
        state.records.flush(|bytes| self.socket.try_write_before_more(bytes))?;
        self.socket.finish()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a read has something to say without asking the socket.
    fn has_news(&self) -> bool {
        !self.plaintext.is_empty() || self.ended || self.failed.is_some() || self.records.is_fresh()
    }

    /// Sees to it that there is plaintext, or the end.
    fn refill(&mut self, socket: &Plain, receive: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        if !self.plaintext.is_empty() {
            return Ok(());
        }
        let mut room = vec![0; LEAST_ROOM];
        let read = self.decrypt(socket, &mut room, receive)?;
        room.truncate(read);
        self.plaintext = room;
        self.given = 0;
        Ok(())
    }

    fn show(&self, buffer: &mut [u8]) -> usize {
        let left = &self.plaintext[self.given..];
        let shown = left.len().min(buffer.len());
        buffer[..shown].copy_from_slice(&left[..shown]);
        shown
    }

    fn give(&mut self, buffer: &mut [u8]) -> usize {
        let given = self.show(buffer);
        self.given += given;
        if self.given == self.plaintext.len() {
            (self.plaintext, self.given) = (Vec::new(), 0);
        }
        given
    }

    /// Receives and decrypts into `buffer` until there is something to read there, or it is the others' turn.
    fn decrypt(
        &mut self,
        socket: &Plain,
        buffer: &mut [u8],
        mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            self.intact()?;
            if self.ended {
                return Ok(0);
            }
            let toil = &mut self.toil;
            let (read, next) = self.records.open(buffer, |room| receive(room).inspect(|received| *toil += received))?;
            // What rustls has to say of its own accord: an alert, or new keys. If there is no room for it now, it goes
            // before whatever is written next. A socket that fails here says so to the next read: by its end.
            let _ = self.flush(socket);
            self.minded(&next);
            if read > 0 {
                return Ok(read);
            }
            if self.toil >= TOIL {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Makes the last record.
    fn seal_end(&mut self) -> io::Result<()> {
        self.intact()?;
        let next = self.records.seal(Want::Finish, &mut self.plaintext);
        self.minded(&next).map_or(Ok(()), Err)
    }

    /// Makes records of `bytes`, in memory that is `lent`, and sends them.
    fn pass_on(&mut self, bytes: &[u8], lent: &mut Vec<u8>, socket: &Plain) -> io::Result<()> {
        self.intact()?;
        let (next, sent) = self.records.pass_on(bytes, &mut self.plaintext, lent, |bytes| socket.try_write(bytes));
        self.minded(&next).map_or(sent, Err)
    }

    fn intact(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    /// Keeps what a session's step says of the stream for good.
    fn minded(&mut self, next: &Next) -> Option<io::Error> {
        match next {
            Next::More | Next::Again => return None,
            Next::Ended => {
                self.ended = true;
                return None;
            }
            Next::Failed(error) => tracing::debug!(error = words(error), "a stream inside TLS is broken"),
        }
        self.failed = Some(Errno::PROTO.raw_os_error());
        Some(Errno::PROTO.into())
    }

    fn flush(&mut self, socket: &Plain) -> io::Result<()> {
        self.records.flush(|bytes| socket.try_write(bytes))
    }
}

#[cfg(test)]
mod tests;
