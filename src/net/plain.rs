//! A connected socket, and how its errors and its end are told apart.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected socket whose close is a RST until [`Plain::deliver_rest`] says otherwise.
///
/// Its error is reported once by the kernel, to whichever call comes first, and reads after that return 0 as if the
/// peer had finished. Callers keep the first error they see of either direction, and ask [`Plain::take_error`] before
/// they believe a 0.
#[derive(Debug)]
pub enum Plain {
    /// TCP.
    Tcp(TcpStream),
    /// A unix stream socket. Closing one cannot say "reset" unless unread input is left in it.
    Unix(UnixStream),
}

/// Calls one method on whichever socket it is.
macro_rules! on_socket {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            Plain::Tcp($socket) => $call,
            Plain::Unix($socket) => $call,
        }
    };
}

impl Plain {
    /// Ready when a read would not block; the caller's task is woken by that and by errors.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => socket.poll_read_ready(cx))
    }

    /// Ready when a write would not block; the caller's task is woken by that and by errors.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_socket!(self, socket => socket.poll_write_ready(cx))
    }

    /// Reads once; `WouldBlock` when there is nothing. Interrupted calls are repeated.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = |fd: BorrowedFd<'_>| again(|| recv(fd, &mut *buffer, RecvFlags::empty()).map(|(n, _)| n));
        self.try_io(Interest::READABLE, read)
    }

    /// The same, asking the kernel without regard to what the runtime knows of the socket's readiness.
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        again(|| recv(self.as_fd(), &mut *buffer, RecvFlags::DONTWAIT).map(|(n, _)| n))
    }

    /// Looks at what is next to read, and leaves it there; 0 bytes mean that the peer has finished.
    ///
    /// # Errors
    /// `WouldBlock` when neither is known yet, or the socket's error, which is thereby taken from it.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let peek = |fd: BorrowedFd<'_>| again(|| recv(fd, &mut *buffer, RecvFlags::PEEK).map(|(n, _)| n));
        self.try_io(Interest::READABLE, peek)
    }

    /// Writes once; `WouldBlock` when there is no room. Interrupted calls are repeated.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_io(Interest::WRITABLE, |fd| again(|| send(fd, bytes, SendFlags::NOSIGNAL)))
    }

    /// Runs one non-blocking call on the descriptor; its `WouldBlock` clears the readiness asked for.
    pub fn try_io<R>(&self, interest: Interest, call: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        on_socket!(self, socket => socket.try_io(interest, || call(socket.as_fd())))
    }

    /// Waits until the socket has failed and says how: an errno.
    ///
    /// Works also while nobody reads or writes, and after either side's FIN. Never resolves otherwise.
    pub async fn failed(&self) -> i32 {
        let ready = on_socket!(self, socket => socket.ready(Interest::ERROR).await.err());
        match ready.or_else(|| self.take_error()) {
            // An error that another call has taken already is kept by that caller.
            None => rustix::io::Errno::CONNRESET.raw_os_error(),
            Some(error) => errno(&error),
        }
    }

    /// The socket's pending error, which is thereby taken from it.
    pub fn take_error(&self) -> Option<io::Error> {
        match sockopt::socket_error(self.as_fd()) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error.into()),
        }
    }

    /// Sends FIN after all that was written.
    pub fn finish(&self) -> io::Result<()> {
        shutdown(self.as_fd(), Shutdown::Write).map_err(Into::into)
    }

    /// From here on its close, whenever that is, aborts nothing: what the kernel still holds is delivered.
    pub fn deliver_rest(&self) {
        if matches!(self, Self::Tcp(_)) {
            // If it fails the socket is gone already, and then there is nothing left to keep.
            let _ = SockRef::from(self).set_linger(None);
        }
    }

    /// The local address as logs show it: `IP:port` or `unix:`.
    pub fn local(&self) -> super::Peer {
        match self {
            Self::Tcp(socket) => socket.local_addr().map_or(super::Peer::Unix, super::Peer::tcp),
            Self::Unix(_) => super::Peer::Unix,
        }
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        on_socket!(self, socket => socket.as_fd())
    }
}

/// The errno of an error; `EIO` for the few that carry none.
pub(crate) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error())
}

/// Repeats a call that a signal interrupted.
fn again<R>(mut call: impl FnMut() -> rustix::io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(Into::into),
        }
    }
}
