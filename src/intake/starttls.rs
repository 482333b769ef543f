//! The request for TLS that some protocols make in the clear, before the TLS itself.
//!
//! Nothing that came before the answer is ever taken for something that came inside TLS: bytes that stand behind the
//! request, which a client cannot have meant, end the session. (Servers and clients that kept them were open to whoever
//! could add some: CVE-2021-23214 and CVE-2021-23222.)

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::timeout_at;

use super::{Facts, Inbound, Turned};
use crate::config::plan::{ListenerTls, Starttls};
use crate::listener::ListenerLive;
use crate::net::{Stream, errno};
use crate::wire::Malformed;
use crate::wire::postgres::{Opening, UNWILLING, WILLING, opening};

/// Answers the request for TLS of a client that was accepted `at`, if its `listener` expects one. What the client says
/// then is left to be read; what it says instead is kept in `inbound`.
///
/// # Errors
/// It says nothing in time, or something that nobody who speaks the protocol would.
pub async fn prepare(inbound: &mut Inbound, listener: &ListenerLive, at: Instant) -> Result<(), Turned> {
    if !listener.asks.starttls() {
        return Ok(());
    }
    let settings = listener.settings();
    let Some(Starttls::Postgres) = settings.starttls else { return Ok(()) };
    let clear = Clear::of(settings.tls.as_ref());
    let tls = clear != Clear::Anything;
    let by = at + if tls { settings.timeouts.handshake } else { settings.timeouts.sniff };
    drop(settings);
    // Boxed, as a session that expects no request need not carry the room for the wait.
    let answering = Box::pin(timeout_at(by.into(), answer(inbound, clear)));
    match answering.await.unwrap_or(Err(Unanswered::Late)) {
        Ok(()) => Ok(()),
        Err(unanswered) => {
            unanswered.complain(listener);
            Err(unanswered.turned(tls))
        }
    }
}

/// What a client may say without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clear {
    /// Anything: there is no TLS here.
    Anything,
    /// That a query is to be cancelled: servers hear that from everybody, and clients before PostgreSQL 17 cannot say it
    /// otherwise. The key that it takes is the client's to send as it likes.
    Cancel,
    /// Nothing: every client must show its certificate.
    Nothing,
}

impl Clear {
    fn of(tls: Option<&ListenerTls>) -> Self {
        match tls.map(|tls| tls.client_auth.as_ref()) {
            None => Self::Anything,
            Some(Some(auth)) if !auth.optional => Self::Nothing,
            Some(_) => Self::Cancel,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
enum Unanswered {
    /// Nothing came, or too little.
    Late,
    /// The stream ended before anything was said.
    Left,
    /// The socket failed; the errno.
    Broken(i32),
    /// What came is not how the protocol begins.
    Malformed(Malformed),
}

impl Unanswered {
    fn turned(self, tls: bool) -> Turned {
        match self {
            Self::Late if tls => Turned::Late,
            Self::Late => Turned::Undecided,
            Self::Left => Turned::Left,
            Self::Broken(errno) => Turned::Broken(errno),
            Self::Malformed(_) => Turned::Unsecured,
        }
    }

    fn complain(&self, listener: &ListenerLive) {
        if let Self::Malformed(Malformed(error)) = self
            && let Some(unsaid) = listener.undecided.may_say(Instant::now())
        {
            tracing::warn!(listener = %listener.name, error, unsaid, "closed: it does not ask for TLS as PostgreSQL does");
        }
    }
}

/// Hears the client's requests, at most one of each kind, and answers them. Who goes on in the `clear`, as far as it may,
/// certainly says nothing in TLS.
async fn answer(inbound: &mut Inbound, clear: Clear) -> Result<(), Unanswered> {
    let Inbound { stream, head, facts, asked, .. } = inbound;
    let mut refused = false;
    loop {
        match poll_fn(|cx| hear(cx, stream, head, opening)).await? {
            Opening::Gss if !refused => {
                refused = true;
                only_request(head)?;
                say(stream, UNWILLING).await?;
            }
            Opening::Tls => {
                only_request(head)?;
                say(stream, WILLING).await?;
                // With TLS here, the backend has nothing to do with it.
                *asked = (clear == Clear::Anything).then_some(Starttls::Postgres);
                return Ok(());
            }
            Opening::Direct => return Ok(()),
            Opening::Clear | Opening::Cancel(_) if clear == Clear::Anything => {
                *facts = Some(Box::<Facts>::default());
                return Ok(());
            }
            Opening::Cancel(length) if clear == Clear::Cancel => {
                poll_fn(|cx| hear(cx, stream, head, |head| Ok((head.len() >= length).then_some(())))).await?;
                if head.len() > length {
                    return Err(malformed("bytes behind a request to cancel"));
                }
                *facts = Some(Box::<Facts>::default());
                return Ok(());
            }
            Opening::Cancel(_) => {
                return Err(malformed("a request to cancel in the clear, where each client must show a certificate"));
            }
            Opening::Clear => return Err(malformed("a session in the clear, where only TLS is served")),
            Opening::Gss => return Err(malformed("a second request for GSSAPI")),
        }
    }
}

fn malformed(what: &str) -> Unanswered {
    Unanswered::Malformed(Malformed(what.to_owned()))
}

/// Forgets the request that was heard; there must be nothing behind it.
fn only_request(head: &mut Vec<u8>) -> Result<(), Unanswered> {
    if head.len() > 8 {
        return Err(malformed("bytes behind a request for encryption that was not answered yet"));
    }
    head.clear();
    Ok(())
}

/// Reads until `judge` knows what the client wants, for which it needs a few bytes more than there are.
fn hear<T>(
    cx: &mut Context<'_>,
    stream: &Stream,
    head: &mut Vec<u8>,
    judge: impl Fn(&[u8]) -> Result<Option<T>, Malformed>,
) -> Poll<Result<T, Unanswered>> {
    loop {
        if let Some(kind) = judge(head).map_err(Unanswered::Malformed)? {
            return Poll::Ready(Ok(kind));
        }
        ready!(stream.poll_read_ready(cx)).map_err(|error| Unanswered::Broken(errno(&error)))?;
        let mut room = [0; 512];
        match stream.try_read(&mut room) {
            Ok(0) => return Poll::Ready(Err(ended(stream, head))),
            Ok(read) => head.extend(&room[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(Unanswered::Broken(errno(&error)))),
        }
    }
}

fn ended(stream: &Stream, head: &[u8]) -> Unanswered {
    match (stream.take_error(), head.is_empty()) {
        (Some(error), _) => Unanswered::Broken(errno(&error)),
        (None, true) => Unanswered::Left,
        (None, false) => malformed("a stream that ends within its first message"),
    }
}

async fn say(stream: &Stream, answer: u8) -> Result<(), Unanswered> {
    loop {
        poll_fn(|cx| stream.poll_write_ready(cx)).await.map_err(|error| Unanswered::Broken(errno(&error)))?;
        match stream.try_write(&[answer]) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(Unanswered::Broken(errno(&error))),
        }
    }
}
