//! A line as hyper and h2 want it, and how a conversation goes along with the connection that carries it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Line;
use crate::wire::LONGEST_SHOWN;

/// A line lent to a library. It remembers how the answer began, for the case that the library cannot make sense of it.
///
/// Nothing is heard on it before something was said: to a library, what stands there already when it is about to ask is
/// no answer, and whether it stands there would depend on who was faster.
pub(super) struct Tap<'a> {
    line: &'a mut Line,
    heard: &'a mut Vec<u8>,
    /// Whether something was said already, and who waits for that.
    said: bool,
    waits: Option<Waker>,
}

impl<'a> Tap<'a> {
    /// Lends `line`; the first bytes that come on it are put into `heard` too.
    pub(super) fn new(line: &'a mut Line, heard: &'a mut Vec<u8>) -> Self {
        Self { line, heard, said: false, waits: None }
    }
}

impl AsyncRead for Tap<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.said {
            this.waits = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let result = this.line.poll_read(cx, buffer);
        let wanted = LONGEST_SHOWN + 1 - this.heard.len();
        this.heard.extend(buffer.filled()[before..].iter().take(wanted));
        result
    }
}

impl AsyncWrite for Tap<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.said = true;
        if let Some(waits) = this.waits.take() {
            waits.wake();
        }
        this.line.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().line.poll_flush(cx)
    }

    /// Whoever lent the line ends it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

/// Works on `conversation` and on the connection that carries it, in one task, until the conversation is over. What
/// breaks the connection is told to the conversation.
pub(super) async fn carried_by<C: Future, T>(connection: &mut Carrier<C>, conversation: impl Future<Output = T>) -> T {
    let mut conversation = pin!(conversation);
    poll_fn(|cx| {
        let _ = connection.poll(cx);
        conversation.as_mut().poll(cx)
    })
    .await
}

/// A connection that is worked on for as long as it lives.
pub(super) struct Carrier<C>(Option<Pin<Box<C>>>);

impl<C: Future> Carrier<C> {
    /// Nothing happens on `connection` yet.
    pub(super) fn new(connection: C) -> Self {
        Self(Some(Box::pin(connection)))
    }

    /// Waits for the connection's own end.
    pub(super) async fn ended(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.0 else { return Poll::Ready(()) };
        let ended = connection.as_mut().poll(cx).map(drop);
        if ended.is_ready() {
            self.0 = None;
        }
        ended
    }
}
