//! The first bytes of a client's stream, as many as its route depends on.
//!
//! They are read, not peeked at: a peek would neither see the end of the stream behind them nor find the next bytes
//! without spinning. Whoever serves the client passes them on before anything else.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::timeout_at;

use super::{Facts, Inbound, Turned};
use crate::listener::ListenerLive;
use crate::net::{Stream, errno};
use crate::wire::Malformed;
use crate::wire::client_hello::{Glimpse, Hello, LONGEST, client_hello};

/// Why the first bytes decide nothing.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// They are not enough, and no more will be looked at; or they have no meaning. The reason.
    Undecided(String),
    /// There are none, and there will be none.
    Left,
    /// The socket failed; the errno.
    Broken(i32),
}

impl From<Unread> for Turned {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Undecided(_) => Self::Undecided,
            Unread::Left => Self::Left,
            Unread::Broken(errno) => Self::Broken(errno),
        }
    }
}

/// Reads the client's first bytes until `judge` has decided, until `by` at the latest. What is there already is never
/// too late.
///
/// It judges all bytes that have come so far, and what they show: None while they may still show something, and nothing at
/// all if they are not TLS. Both are kept in `inbound`, the bytes behind those that are there already, [`LONGEST`] at most.
///
/// # Errors
/// It stays undecided: time is up, the stream ended, [`LONGEST`] bytes were not enough, or they begin with a TLS hello
/// that is malformed.
pub async fn sniff<T>(
    inbound: &mut Inbound,
    by: Instant,
    listener: &ListenerLive,
    judge: impl Fn(&[u8], Option<&Facts>) -> Option<T>,
) -> Result<T, Turned> {
    let Inbound { stream, head, facts, asked, .. } = inbound;
    let (promised, unseen) = (asked.is_some(), !head.is_empty());
    let mut sniffer = Sniffer { stream, head, facts, promised, unseen, judge };
    let decided = timeout_at(by.into(), poll_fn(|cx| sniffer.poll(cx))).await;
    let decided = decided.unwrap_or_else(|_| Err(Unread::Undecided("not in time".to_owned())));
    decided.map_err(|unread| {
        if let Unread::Undecided(error) = &unread
            && let Some(unsaid) = listener.undecided.may_say(Instant::now())
        {
            let bytes = inbound.head.len();
            tracing::info!(listener = %listener.name, bytes, error, unsaid, "closed: what it sent decides no route");
        }
        unread.into()
    })
}

struct Sniffer<'a, J> {
    stream: &'a Stream,
    head: &'a mut Vec<u8>,
    facts: &'a mut Option<Box<Facts>>,
    /// It has asked for TLS, so nothing else is heard from it.
    promised: bool,
    /// Bytes are there that were not looked at yet.
    unseen: bool,
    judge: J,
}

impl<J> Sniffer<'_, J> {
    fn poll<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Unread>>
    where
        J: Fn(&[u8], Option<&Facts>) -> Option<T>,
    {
        // What is there already may have been read by an earlier stage, and be all there is.
        if std::mem::take(&mut self.unseen)
            && let Some(result) = self.look().transpose()
        {
            return Poll::Ready(result);
        }
        loop {
            if let Err(error) = ready!(self.stream.poll_read_ready(cx)) {
                return Poll::Ready(Err(Unread::Broken(errno(&error))));
            }
            match self.read().and_then(|more| if more { self.look() } else { Ok(None) }) {
                Ok(None) => {}
                Ok(Some(verdict)) => return Poll::Ready(Ok(verdict)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Takes what there is off the stream; says whether that was anything.
    fn read(&mut self) -> Result<bool, Unread> {
        const STEP: usize = 2048;
        let mut room = [0; STEP];
        let most = STEP.min(LONGEST - self.head.len());
        match self.stream.try_read(&mut room[..most]) {
            Ok(0) => Err(self.ended()),
            Ok(read) => {
                self.head.extend(&room[..read]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(Unread::Broken(errno(&error))),
        }
    }

    /// Judges what has come; decided, undecided as yet, or undecided for good.
    fn look<T>(&mut self) -> Result<Option<T>, Unread>
    where
        J: Fn(&[u8], Option<&Facts>) -> Option<T>,
    {
        let mut malformed = None;
        if self.facts.is_none() {
            match client_hello(self.head) {
                Glimpse::NeedMore => {}
                Glimpse::NotTls if self.promised => {
                    return Err(Unread::Undecided("it asked for TLS and does not speak it".to_owned()));
                }
                Glimpse::NotTls => *self.facts = Some(Box::default()),
                Glimpse::Hello(hello) => *self.facts = Some(Box::new(hello.into())),
                Glimpse::Malformed(Malformed(error)) => malformed = Some(error),
            }
        }
        match ((self.judge)(self.head, self.facts.as_deref()), malformed) {
            (Some(verdict), _) => Ok(Some(verdict)),
            (None, Some(error)) => Err(Unread::Undecided(error)),
            (None, None) if self.head.len() >= LONGEST => {
                Err(Unread::Undecided(format!("{LONGEST} bytes were not enough")))
            }
            (None, None) => Ok(None),
        }
    }

    fn ended(&self) -> Unread {
        match (self.stream.take_error(), self.head.is_empty()) {
            (Some(error), _) => Unread::Broken(errno(&error)),
            (None, true) => Unread::Left,
            (None, false) => Unread::Undecided("the stream ended".to_owned()),
        }
    }
}

impl From<Hello> for Facts {
    fn from(hello: Hello) -> Self {
        Self { sni: hello.server_name, alpn: hello.alpn, ..Self::default() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests;
