//! A connection that cannot be held open by a client that does not read, nor reset by one that writes
//! too much.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A response that is not taken in by then is not wanted.
const RESPONSE: Duration = Duration::from_secs(10);
/// How long, and how much, a client may go on sending after the last response. Closing with unread
/// bytes is a reset, which would take the response with it.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 4 * 1024 * 1024;

/// Bounds on what the client may make us wait for.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    /// Runs from the first byte of a response until all of it is with the kernel.
    response: Option<Pin<Box<Sleep>>>,
    /// Runs once we have said all, and counts what is still read.
    farewell: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, response: None, farewell: None }
    }

    /// Turns waiting into an error once the response has taken too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let response = self.response.get_or_insert_with(|| Box::pin(sleep(RESPONSE)));
        match result {
            Poll::Pending => response.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            ready => ready,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.in_time(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when nothing is left to write.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if result.is_ready() {
            self.response = None;
        }
        result
    }

    /// Sends FIN, then reads for a while what the client still has to say.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        let Self { stream, farewell, .. } = &mut *self;
        let (until, read) = farewell.get_or_insert_with(|| (Box::pin(sleep(FAREWELL)), 0));
        let mut scratch = [0; 4096];
        while *read < FAREWELL_BYTES && until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            let result = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf));
            if result.is_err() || buf.filled().is_empty() {
                break;
            }
            *read += buf.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up() {
        let (_client, server) = duplex(10);
        let mut server = Bounded::new(server);
        let error = server.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn each_response_has_its_own_time() {
        let (mut client, server) = duplex(10);
        let mut server = Bounded::new(server);
        for _ in 0..3 {
            let reading = async {
                sleep(RESPONSE / 2).await;
                client.read_exact(&mut [0; 20]).await
            };
            tokio::try_join!(server.write_all(&[0; 20]), reading).unwrap();
            server.flush().await.unwrap();
            sleep(RESPONSE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_is_heard_for_a_while_only() {
        let (mut client, server) = duplex(10);
        let began = tokio::time::Instant::now();
        let mut server = Bounded::new(server);
        server.shutdown().await.unwrap();
        assert_eq!(began.elapsed().as_secs(), FAREWELL.as_secs());
        client.write_all(b"still").await.unwrap();
    }
}
