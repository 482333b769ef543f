//! A PROXY protocol header, read from a socket: all of it, nothing else, and in time.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::io::Errno;
use tokio::time::timeout_at;

use super::Turned;
use crate::listener::ListenerLive;
use crate::metrics::Refused;
use crate::net::{Peer, Stream, errno};
use crate::wire::Malformed;
use crate::wire::proxy::{Header, LONGEST, Tlvs, parse};

/// Why there is no header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// What came is none.
    Malformed(Malformed),
    /// It did not come in time.
    Late,
    /// Nothing came, and nothing will.
    Left,
    /// The socket failed; the errno.
    Broken(i32),
}

impl From<NoHeader> for Turned {
    fn from(error: NoHeader) -> Self {
        match error {
            NoHeader::Malformed(_) => Self::Away(Refused::ProxyInvalid),
            NoHeader::Late => Self::Late,
            NoHeader::Left => Self::Left,
            NoHeader::Broken(errno) => Self::Broken(errno),
        }
    }
}

impl NoHeader {
    /// Says what came instead of a header: mostly someone has connected two things that do not fit.
    pub(super) fn complain(&self, listener: &ListenerLive, peer: Peer) {
        if let Self::Malformed(Malformed(error)) = self
            && let Some(unsaid) = listener.invalid.may_say(Instant::now())
        {
            tracing::warn!(listener = %listener.name, %peer, error, unsaid, "refused: no valid PROXY header");
        }
    }
}

/// Reads the header that `stream` begins with, until `by` at the latest. What is there already is never too late.
///
/// # Errors
/// There is none. An end of stream in the midst of one is such an error too; before the first byte the client has left.
pub(super) async fn read(stream: &Stream, by: Instant) -> Result<(Header, Tlvs), NoHeader> {
    let mut reader = Reader::default();
    timeout_at(by.into(), poll_fn(|cx| reader.poll(cx, stream))).await.unwrap_or(Err(NoHeader::Late))
}

/// What has been taken off the socket: the beginning of a header that has not come whole. Mostly nothing.
#[derive(Default)]
struct Reader {
    taken: Vec<u8>,
}

impl Reader {
    fn poll(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<Result<(Header, Tlvs), NoHeader>> {
        loop {
            if let Err(error) = ready!(stream.poll_read_ready(cx)) {
                return Poll::Ready(Err(NoHeader::Broken(errno(&error))));
            }
            if let Some(result) = self.step(stream).transpose() {
                return Poll::Ready(result);
            }
        }
    }

    /// Looks at what there is, and takes of it what belongs to the header.
    ///
    /// Left on the socket, the beginning of a header would keep it readable, and waiting for the rest would spin.
    fn step(&mut self, stream: &Stream) -> Result<Option<(Header, Tlvs)>, NoHeader> {
        let mut room = [0; LONGEST];
        let known = self.taken.len();
        room[..known].copy_from_slice(&self.taken);
        let new = match stream.peek(&mut room[known..]) {
            Ok(0) => return Err(self.ended(stream)),
            Ok(new) => new,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(NoHeader::Broken(errno(&error))),
        };
        match parse(&room[..known + new]).map_err(NoHeader::Malformed)? {
            Some((header, length)) => {
                take(stream, &mut room[known..length])?;
                Ok(Some(header))
            }
            None => {
                take(stream, &mut room[known..known + new])?;
                self.taken.extend(&room[known..known + new]);
                Ok(None)
            }
        }
    }

    fn ended(&self, stream: &Stream) -> NoHeader {
        match (stream.take_error(), self.taken.len()) {
            (Some(error), _) => NoHeader::Broken(errno(&error)),
            (None, 0) => NoHeader::Left,
            (None, some) => NoHeader::Malformed(Malformed(format!("the stream ended after {some} bytes of a header"))),
        }
    }
}

/// Takes bytes off the socket that were seen there.
fn take(stream: &Stream, mut seen: &mut [u8]) -> Result<(), NoHeader> {
    while !seen.is_empty() {
        match stream.try_read(seen) {
            // They were there: only a reset takes them away.
            Ok(0) => return Err(NoHeader::Broken(Errno::CONNRESET.raw_os_error())),
            Ok(read) => seen = &mut seen[read..],
            Err(error) => return Err(NoHeader::Broken(errno(&error))),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests;
