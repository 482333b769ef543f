//! A connected stream: a socket, or TLS over one.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::{Peer, Plain, Secured};
use crate::config::plan::Keepalive;

/// A connected stream whose close is a RST until [`Stream::close_delivered`] says otherwise.
///
/// Callers keep the first error they see of either direction, and ask [`Stream::take_error`] before they believe a
/// read of 0: see [`Plain`].
#[derive(Debug)]
pub enum Stream {
    /// What the peer sends is what is read.
    Plain(Plain),
    /// Inside TLS. Reads and writes are of what it carries; its end of stream is a close_notify, and a socket that
    /// ends without one has failed.
    Tls(Box<Secured>),
}

impl From<Plain> for Stream {
    fn from(socket: Plain) -> Self {
        Self::Plain(socket)
    }
}

impl TryFrom<TcpStream> for Stream {
    type Error = io::Error;

    fn try_from(socket: TcpStream) -> io::Result<Self> {
        Plain::try_from(socket).map(Self::Plain)
    }
}

impl TryFrom<UnixStream> for Stream {
    type Error = io::Error;

    fn try_from(socket: UnixStream) -> io::Result<Self> {
        Plain::try_from(socket).map(Self::Plain)
    }
}

impl Stream {
    /// Ready when a read would not block; the caller's task is woken by that and by errors.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(secured) => secured.poll_read_ready(cx),
        }
    }

    /// Ready when a write, a flush or a finish would not block; the caller's task is woken by that and by errors.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_write_ready(cx)
    }

    /// Reads once; `WouldBlock` when there is nothing. Interrupted calls are repeated.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_read(buffer),
            Self::Tls(secured) => secured.read(buffer, |room| secured.socket().try_read(room)),
        }
    }

    /// The same, asking the kernel without regard to what the runtime knows of the socket's readiness.
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read_now(buffer),
            Self::Tls(secured) => secured.read(buffer, |room| secured.socket().read_now(room)),
        }
    }

    /// Looks at what is next to read, and leaves it there; 0 bytes mean that the peer has finished.
    ///
    /// # Errors
    /// `WouldBlock` when neither is known yet, or the socket's error, which is thereby taken from it.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.peek(buffer),
            Self::Tls(secured) => secured.peek(buffer),
        }
    }

    /// Writes once; `WouldBlock` when there is no room. Interrupted calls are repeated.
    ///
    /// TLS may take bytes for which the socket has no room yet: see [`Stream::has_unsent`].
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_in(bytes, &mut Vec::new())
    }

    /// The same with memory that is lent for as long as it takes: in it TLS makes its records. It grows to what is needed,
    /// and should be kept for the next write of whichever stream.
    pub fn try_write_in(&self, bytes: &[u8], lent: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(bytes),
            Self::Tls(secured) => secured.write(bytes, lent),
        }
    }

    /// Whether the peer has sent something that was not read yet. Of a stream inside TLS that may be a record without bytes.
    pub fn has_unread(&self) -> bool {
        self.socket().has_unread()
    }

    /// Whether bytes were taken for which the socket had no room: whoever writes calls [`Stream::try_flush`] whenever
    /// the stream is ready for writing, until there are none.
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(secured) => secured.has_unsent(),
        }
    }

    /// Sends what was taken before; `WouldBlock` while there is some left.
    pub fn try_flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(secured) => secured.flush(),
        }
    }

    /// Sends the end of stream after all that was written; `WouldBlock` when it cannot be sent yet, and then the call
    /// is to be repeated.
    pub fn try_finish(&self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.finish(),
            Self::Tls(secured) => secured.finish(),
        }
    }

    /// The same for a stream that is closed next, with [`Stream::close_delivered`] or [`Stream::deliver_rest`], and from
    /// which all was read: a socket's close ends the stream by itself.
    pub fn try_finish_by_close(&self) -> io::Result<()> {
        match self {
            // It may have failed under a write just now, of which the runtime has not heard.
            Self::Plain(socket) => socket.take_error().map_or(Ok(()), Err),
            Self::Tls(secured) => secured.finish(),
        }
    }

    /// Runs one non-blocking call on the descriptor of a plain stream; its `WouldBlock` clears the readiness asked for.
    ///
    /// # Errors
    /// The call's, or `EOPNOTSUPP`: what goes over the socket of a TLS stream is not what it carries.
    pub fn try_io<R>(&self, interest: Interest, call: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Plain(socket) => socket.try_io(interest, call),
            Self::Tls(_) => Err(Errno::OPNOTSUPP.into()),
        }
    }

    /// Waits until the socket has failed and says how: an errno. See [`Plain::failed`].
    pub async fn failed(&self) -> i32 {
        self.socket().failed().await
    }

    /// The error that hides behind a read of 0, if one was heard of; it is thereby taken from the socket. One that comes
    /// later is told by [`Stream::failed`].
    pub fn error_behind_end(&self) -> Option<io::Error> {
        match self {
            Self::Plain(socket) if !socket.has_erred() => None,
            _ => self.take_error(),
        }
    }

    /// The error that the socket has, if it has one; it is thereby taken from it.
    pub fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Plain(socket) => socket.take_error(),
            // That end was signed by the peer; whatever became of the socket since, the stream is whole.
            Self::Tls(_) => None,
        }
    }

    /// Closes a stream whose two directions have ended: what the kernel still holds is delivered.
    ///
    /// Dropping the stream instead is an abort, which the peer sees as RST.
    pub fn close_delivered(self) {
        self.deliver_rest();
    }

    /// The same for a stream that has other holders: from here on its close, whenever that is, aborts nothing.
    pub fn deliver_rest(&self) {
        self.socket().deliver_rest();
    }

    /// Has the kernel probe the peer whenever it has been silent for too long; see [`Plain::keep_alive`].
    pub fn keep_alive(&self, keepalive: &Keepalive) {
        self.socket().keep_alive(keepalive);
    }

    /// The local address as logs show it: `IP:port` or `unix:`.
    pub fn local(&self) -> Peer {
        self.socket().local()
    }

    /// The socket, if its bytes can go through `splice(2)` unseen.
    pub fn plain(&self) -> Option<&Plain> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(_) => None,
        }
    }

    /// Whether no more than so many bytes are on their way to the peer: those that it has not acknowledged.
    pub fn has_at_most_on_the_way(&self, bytes: usize) -> bool {
        self.socket().unacknowledged() <= bytes
    }

    /// Whether an end of stream from this peer ends both directions: so it is in TLS 1.2, where who says close_notify
    /// throws away what comes after it.
    pub fn ends_both_ways(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(secured) => secured.ends_both_ways(),
        }
    }

    /// The socket that everything goes through.
    fn socket(&self) -> &Plain {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secured) => secured.socket(),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

/// Runs `work` until it is done or the stream fails, whichever is first.
pub async fn unless_failed<T>(stream: &Stream, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, i32> {
    let mut failed = pin!(stream.failed());
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending => failed.as_mut().poll(cx).map(Err),
    })
    .await
}
