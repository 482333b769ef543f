//! A stream as libraries want it: owned, and read and written through tokio's traits.

use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;

/// One of several holders of a [`Stream`]: a protocol's library talks through one, and who has to end the stream keeps
/// another, also when the library was dropped in the middle of a word.
///
/// Shutting it down for writing sends FIN. The last one dropped closes the stream, which is an abort unless
/// [`Stream::deliver_rest`] was called.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Stream>);

impl Handle {
    /// The first holder.
    pub fn new(stream: Stream) -> Self {
        Self(Arc::new(stream))
    }

    /// Repeats `send` until the socket has room for it.
    fn poll_until_sent(&self, cx: &mut Context<'_>, send: impl Fn(&Stream) -> io::Result<()>) -> Poll<io::Result<()>> {
        loop {
            match send(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_write_ready(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }
}

impl Deref for Handle {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.0
    }
}

impl AsyncRead for Handle {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Readiness is asked for first, since that is what counts against the task's turn: who floods is interrupted.
        loop {
            ready!(self.poll_read_ready(cx))?;
            match self.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An error that another call has not told yet hides behind this end.
                Ok(0) => return Poll::Ready(self.take_error().map_or(Ok(()), Err)),
                Ok(read) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Handle {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            match self.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_until_sent(cx, Stream::try_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_until_sent(cx, Stream::try_finish)
    }
}
