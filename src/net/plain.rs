//! A connected socket, and how its errors and its end are told apart.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};

use super::keepalive::keep_alive;
use super::{Peer, raw};
use crate::config::plan::Keepalive;

/// A connected socket whose close is a RST until [`Plain::deliver_rest`] says otherwise.
///
/// Its error is reported once by the kernel, to whichever call comes first, and reads after that return 0 as if the
/// peer had finished. Callers keep the first error they see of either direction, and ask [`Plain::take_error`] before
/// they believe a 0.
#[derive(Debug)]
pub struct Plain {
    socket: AsyncFd<OwnedFd>,
    family: Family,
}

/// What a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// TCP.
    Tcp,
    /// A unix stream socket. Closing one cannot say "reset" unless unread input is left in it.
    Unix,
}

impl Plain {
    /// A socket that is connected, or is about to be, and does not block.
    ///
    /// # Errors
    /// It cannot be registered with this thread's runtime.
    pub fn new(socket: OwnedFd, family: Family) -> io::Result<Self> {
        #[allow(deprecated, reason = "its successor asks for a promise, which an OwnedFd always keeps")]
        let register = AsyncFd::with_interest;
        // With urgent data a read ends where that begins, although there is more to read: see `try_read`.
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        Ok(Self { socket: register(socket, interest)?, family })
    }

    /// What it is.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Ready when a read would not block; the caller's task is woken by that and by errors.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_read_ready(cx).map_ok(drop)
    }

    /// Ready when a write would not block; the caller's task is woken by that and by errors.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx).map_ok(drop)
    }

    /// Reads once; `WouldBlock` when there is nothing. Interrupted calls are repeated.
    ///
    /// A read of TCP that leaves room in `buffer` has emptied the socket, which is therefore not asked in vain for more;
    /// unless the peer has finished, or has sent urgent data, at whose place every read stops. (A unix socket's stop also
    /// where descriptors were sent along.)
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        let mut read = 0;
        let result = self.try_io(Interest::READABLE, |fd| {
            read = again(|| recv(fd, &mut *buffer, RecvFlags::empty()).map(|(n, _)| n))?;
            let is_short = self.family == Family::Tcp && (1..room).contains(&read);
            // What clears the readiness, if no news of the socket has come since this call began.
            if is_short && !self.may_hide_more() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match result {
            Err(error) if read == 0 => Err(error),
            _ => Ok(read),
        }
    }

    /// Whether urgent data or the end of stream has been heard of: there may be more to read than one call brings. Ask
    /// after the call, inside [`Plain::try_io`].
    fn may_hide_more(&self) -> bool {
        self.socket.try_io(Interest::PRIORITY, |_| Ok(())).is_ok()
    }

    /// Whether the runtime has heard of an error, so that [`Plain::take_error`] has something to take unless someone took it.
    pub fn has_erred(&self) -> bool {
        self.socket.try_io(Interest::ERROR, |_| Ok(())).is_ok()
    }

    /// The same, asking the kernel without regard to what the runtime knows of the socket's readiness.
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        again(|| recv(self.as_fd(), &mut *buffer, RecvFlags::DONTWAIT).map(|(n, _)| n))
    }

    /// The same for a socket of which the runtime may not have heard yet; if it has, it learns what comes of this read.
    pub fn read_early(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_known = self.socket.try_io(Interest::READABLE, |_| Ok(())).is_ok();
        if is_known { self.try_read(buffer) } else { self.read_now(buffer) }
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

    /// The same for what will be followed at once by more, or by [`Plain::finish`]: a part of a packet may wait for that.
    pub fn try_write_before_more(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_io(Interest::WRITABLE, |fd| again(|| send(fd, bytes, SendFlags::NOSIGNAL | SendFlags::MORE)))
    }

    /// Runs one non-blocking call on the descriptor; its `WouldBlock` clears the readiness asked for.
    pub fn try_io<R>(&self, interest: Interest, call: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>) -> io::Result<R> {
        self.socket.try_io(interest, |socket| call(socket.as_fd()))
    }

    /// Whether there are bytes to read. Takes no error from the socket; an end of stream is no byte.
    pub fn has_unread(&self) -> bool {
        ioctl_fionread(self.as_fd()).is_ok_and(|bytes| bytes > 0)
    }

    /// Bytes that were written and that the peer has not acknowledged yet; when that cannot be known, more than there are.
    pub fn unacknowledged(&self) -> usize {
        raw::unacknowledged(self).unwrap_or(usize::MAX)
    }

    /// Waits until the socket has failed and says how: an errno.
    ///
    /// Works also while nobody reads or writes, and after either side's FIN. Never resolves otherwise.
    pub async fn failed(&self) -> i32 {
        let ready = self.socket.ready(Interest::ERROR).await.err();
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
        if self.family == Family::Tcp {
            // If it fails the socket is gone already, and then there is nothing left to keep.
            let _ = SockRef::from(self).set_linger(None);
        }
    }

    /// Has the kernel probe the peer whenever it has been silent for too long. A unix peer does not vanish in silence.
    pub fn keep_alive(&self, keepalive: &Keepalive) {
        if self.family == Family::Tcp {
            // The configuration has nothing that the kernel does not take, of a socket that has failed either.
            let _ = keep_alive(self, keepalive);
        }
    }

    /// The local address as logs show it: `IP:port` or `unix:`.
    pub fn local(&self) -> Peer {
        let address = || SockRef::from(self).local_addr().ok()?.as_socket();
        match self.family {
            Family::Tcp => address().map_or(Peer::Unix, Peer::tcp),
            Family::Unix => Peer::Unix,
        }
    }
}

impl TryFrom<TcpStream> for Plain {
    type Error = io::Error;

    fn try_from(socket: TcpStream) -> io::Result<Self> {
        Self::new(socket.into_std()?.into(), Family::Tcp)
    }
}

impl TryFrom<UnixStream> for Plain {
    type Error = io::Error;

    fn try_from(socket: UnixStream) -> io::Result<Self> {
        Self::new(socket.into_std()?.into(), Family::Unix)
    }
}

impl AsFd for Plain {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    fn pair() -> (Plain, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        SockRef::from(&ours).set_out_of_band_inline(true).unwrap();
        (Plain::new(ours.into(), Family::Tcp).unwrap(), theirs)
    }

    #[tokio::test]
    async fn what_the_peer_does_not_take_is_known() {
        let (ours, theirs) = pair();
        assert_eq!(ours.unacknowledged(), 0);
        SockRef::from(&theirs).set_recv_buffer_size(4096).unwrap();
        let mut written = 0;
        while let Ok(n) = send(ours.as_fd(), &[7; 4096], SendFlags::NOSIGNAL) {
            written += n;
        }
        assert!((1..=written).contains(&ours.unacknowledged()), "{} of {written}", ours.unacknowledged());
    }

    #[tokio::test]
    async fn bytes_that_wait_are_known_and_an_end_is_none() {
        let (ours, mut theirs) = pair();
        assert!(!ours.has_unread());
        theirs.write_all(b"a").unwrap();
        tokio::time::timeout(Duration::from_secs(5), poll_fn(|cx| ours.poll_read_ready(cx))).await.unwrap().unwrap();
        assert!(ours.has_unread());
        assert_eq!(read(&ours).await, b"a");
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(read(&ours).await, b"");
        assert!(!ours.has_unread());
    }

    async fn read(socket: &Plain) -> Vec<u8> {
        let mut buffer = [0; 100];
        loop {
            let ready = poll_fn(|cx| socket.poll_read_ready(cx));
            tokio::time::timeout(Duration::from_secs(5), ready).await.expect("there is more to read").unwrap();
            match socket.try_read(&mut buffer) {
                Ok(read) => return buffer[..read].to_vec(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    /// All of it is there before the runtime hears of the first byte, so that nothing tells of the rest later.
    #[tokio::test]
    async fn a_read_that_stops_at_urgent_data_is_not_the_last() {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"before").unwrap();
        rustix::net::send(&theirs, b"!", SendFlags::OOB).unwrap();
        theirs.write_all(b"after").unwrap();
        let mut heard = Vec::new();
        while heard.len() < b"before!after".len() {
            heard.extend(read(&ours).await);
        }
        assert_eq!(heard, b"before!after");
    }

    #[tokio::test]
    async fn the_end_behind_bytes_is_heard() {
        let (ours, mut theirs) = pair();
        theirs.write_all(b"bye").unwrap();
        drop(theirs);
        assert_eq!((read(&ours).await, read(&ours).await), (b"bye".to_vec(), Vec::new()));
    }

    #[tokio::test]
    async fn a_socket_that_a_read_has_emptied_is_not_ready() {
        let (ours, mut theirs) = pair();
        for word in [b"one", b"two"] {
            theirs.write_all(word).unwrap();
            assert_eq!(read(&ours).await, word);
            let ready = poll_fn(|cx| Poll::Ready(ours.poll_read_ready(cx).is_ready())).await;
            assert!(!ready, "it would be asked in vain");
        }
    }
}
