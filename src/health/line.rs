//! A connected line to a backend, for the length of one probe.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::ProbeError;
use crate::metrics::ProbeResult;
use crate::net::{Family, Handle, Stream};
use crate::tls;
use crate::wire::{Parsed, quoted};

/// A connection on which a probe talks: what has come and was not taken yet, and the socket, perhaps inside TLS.
///
/// The socket is kept apart from the TLS on it, so that the line can be ended politely also when a handshake was
/// given up half way.
#[derive(Debug)]
pub struct Line {
    socket: Handle,
    secured: Option<Box<tls::Secured<Handle>>>,
    /// Whether it is known who is at the other end of that TLS.
    pub(super) verified: bool,
    /// What was read and not yet taken.
    seen: Vec<u8>,
    /// Whether the far side has finished.
    ended: bool,
    /// What broke the line behind the bytes that were read last. A socket tells it once.
    broken: Option<io::Error>,
    /// Whether the far side ends the connection of its own accord, once it has said all.
    after_you: bool,
    /// The address that was dialled, for protocols that name it.
    address: String,
}

/// No probe needs more of an answer; a server that floods is cut off here.
pub(super) const MOST_SEEN: usize = 64 * 1024;
/// A server that says goodbye, or does not, takes no longer to be left.
pub(super) const PARTING: Duration = Duration::from_millis(200);

impl Line {
    /// A line over a stream that was just connected to `address`.
    pub fn new(stream: Stream, address: String) -> Self {
        Self {
            socket: Handle::new(stream),
            secured: None,
            verified: false,
            seen: Vec::new(),
            ended: false,
            broken: None,
            after_you: false,
            address,
        }
    }

    /// The address that was dialled: `IP:port` or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether nobody in between can read what is said: over a unix socket there is no between, and TLS counts when it
    /// was verified who is at its other end.
    pub fn is_private(&self) -> bool {
        self.socket.plain().is_some_and(|socket| socket.family() == Family::Unix) || self.verified
    }

    /// Whether what is said on the line is encrypted.
    pub fn is_secure(&self) -> bool {
        self.secured.is_some() || self.socket.plain().is_none()
    }

    /// Puts the line inside TLS, with who is called `host`; see [`tls::Client::handshake`]. A line that is there
    /// already stays as it is.
    ///
    /// # Errors
    /// There is no handshake to be had, or the backend has spoken before it.
    pub async fn secure(&mut self, client: &tls::Client, host: &str) -> Result<(), ProbeError> {
        let failed = |words| Err(ProbeError { result: ProbeResult::Tls, words });
        if self.is_secure() {
            return Ok(());
        }
        if !self.seen.is_empty() {
            // What was said in the clear must never pass for something that was said inside.
            return failed(format!("{} came before the handshake", quoted(&self.seen)));
        }
        match client.handshake(host, self.socket.clone()).await {
            Ok(secured) => {
                self.secured = Some(Box::new(secured));
                self.verified = client.verifies();
                Ok(())
            }
            Err(error) => failed(error.0),
        }
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The backend has closed or reset the connection.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), ProbeError> {
        while !bytes.is_empty() {
            let wrote = poll_fn(|cx| self.poll_write(cx, bytes)).await.map_err(lost)?;
            bytes = &bytes[wrote..];
        }
        poll_fn(|cx| self.poll_flush(cx)).await.map_err(lost)
    }

    /// What has come and was not taken yet.
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Takes the first `count` bytes off what has come.
    pub fn take(&mut self, count: usize) {
        self.seen.drain(..count);
    }

    /// Waits for more bytes; false when the backend has finished and none will come.
    ///
    /// Everything that is there is taken in at once, so that what looks at all that has come so far does so once for
    /// many small segments.
    ///
    /// # Errors
    /// The connection was reset, or there is more than any probe needs.
    pub async fn more(&mut self) -> Result<bool, ProbeError> {
        if self.seen.len() >= MOST_SEEN {
            return Err(ProbeError::unexpected(format!("more than {} KiB of answer", MOST_SEEN / 1024)));
        }
        poll_fn(|cx| self.poll_more(cx)).await.map_err(lost)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let before = self.seen.len();
        let mut buffer = [0; 4096];
        while !self.ended && self.seen.len() < MOST_SEEN {
            let room = buffer.len().min(MOST_SEEN - self.seen.len());
            let mut part = ReadBuf::new(&mut buffer[..room]);
            match self.poll_read(cx, &mut part) {
                Poll::Ready(Ok(())) => {
                    self.ended = part.filled().is_empty();
                    self.seen.extend_from_slice(part.filled());
                }
                Poll::Ready(Err(error)) if self.seen.len() == before => return Poll::Ready(Err(error)),
                Poll::Ready(Err(error)) => {
                    self.broken = Some(error);
                    break;
                }
                Poll::Pending if self.seen.len() == before => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(self.seen.len() > before))
    }

    /// Reads until `parse` has what it wants, and takes that off.
    ///
    /// # Errors
    /// What came is not what `parse` knows, or the backend closed before all of it was there.
    pub async fn read<T>(&mut self, mut parse: impl FnMut(&[u8]) -> Parsed<T>) -> Result<T, ProbeError> {
        loop {
            if let Some((value, taken)) = parse(&self.seen)? {
                self.take(taken);
                return Ok(value);
            }
            if !self.more().await? {
                return Err(self.closed());
            }
        }
    }

    /// Why there is no more to come.
    pub(super) fn closed(&self) -> ProbeError {
        ProbeError::unexpected(match self.seen.is_empty() {
            true => "it closed the connection".to_owned(),
            false => format!("it closed the connection after {}", quoted(&self.seen)),
        })
    }

    /// Lets the far side have its say to the end when the line is ended, as it was asked to close by itself.
    pub(super) fn after_you(&mut self) {
        self.after_you = true;
    }

    /// Reads past what [`Line::seen`] shows, for a library that keeps what it reads.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.secured {
            None => Pin::new(&mut self.socket).poll_read(cx, buffer),
            Some(secured) => Pin::new(secured).poll_read(cx, buffer),
        }
    }

    /// Writes some of `bytes`; what is said inside TLS is on its way after [`Line::poll_flush`] alone.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.secured {
            None => Pin::new(&mut self.socket).poll_write(cx, bytes),
            Some(secured) => Pin::new(secured).poll_write(cx, bytes),
        }
    }

    /// Sends on what was written and is held back.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.secured {
            None => Pin::new(&mut self.socket).poll_flush(cx),
            Some(secured) => Pin::new(secured).poll_flush(cx),
        }
    }

    /// Ends the line as a client does that has finished: the server sees an end of stream and no error.
    pub async fn hang_up(mut self) {
        if self.after_you {
            let _: Result<io::Result<()>, _> = timeout(PARTING, self.drain()).await;
        }
        let parting = async {
            // With TLS a close_notify goes before the end of stream.
            poll_fn(|cx| self.poll_finish(cx)).await?;
            self.drain().await
        };
        // A server that waits for more is told no less by this: it has our end of stream.
        let _: Result<io::Result<()>, _> = timeout(PARTING, parting).await;
        self.socket.deliver_rest();
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.secured {
            None => Pin::new(&mut self.socket).poll_shutdown(cx),
            Some(secured) => Pin::new(secured).poll_shutdown(cx),
        }
    }

    /// Reads what is left, since closing while there is unread input would be a reset.
    async fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        // Who talks on and on is not listening.
        for _ in 0..MOST_SEEN / buffer.len() {
            let mut part = ReadBuf::new(&mut buffer);
            poll_fn(|cx| Pin::new(&mut self.socket).poll_read(cx, &mut part)).await?;
            if part.filled().is_empty() {
                break;
            }
        }
        Ok(())
    }
}

fn lost(error: io::Error) -> ProbeError {
    ProbeError::unexpected(format!("connection lost: {error}"))
}

#[cfg(test)]
mod tests;
