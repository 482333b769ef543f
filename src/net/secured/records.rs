//! Records in, records out: rustls' session and the bytes it has not dealt with. No I/O of its own.

use std::fmt;
use std::io;

use rustix::io::Errno;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{CommonState, Error, ProtocolVersion};

use super::RECORD;
use super::outgoing::Outgoing;

/// What a record adds to the bytes it carries, at most: header, explicit nonce, content type, tag.
const OVERHEAD: usize = 5 + 8 + 1 + 16;

/// A session's two streams of records.
pub(super) struct Records {
    session: Session,
    /// Came, and is not dealt with: mostly the beginning of a record.
    incoming: Vec<u8>,
    /// Nobody has looked at it yet.
    fresh: bool,
    outgoing: Outgoing,
}

enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What is to be sent.
#[derive(Clone, Copy)]
pub(super) enum Want<'a> {
    /// Nothing but what the protocol asks for.
    Nothing,
    /// These bytes.
    Send(&'a [u8]),
    /// close_notify.
    Finish,
}

/// Where a session stands after a step.
#[derive(Debug)]
pub(super) enum Next {
    /// There is more to be done.
    Again,
    /// It waits for bytes from the peer, and what was wanted is done if that is possible now.
    More,
    /// The peer has said close_notify.
    Ended,
    /// It is broken.
    Failed(Error),
}

impl Records {
    /// A server's session with a client that has sent `head` so far.
    pub(super) fn server(session: UnbufferedServerConnection, head: Vec<u8>) -> Self {
        Self::new(Session::Server(session), head)
    }

    /// A client's session.
    pub(super) fn client(session: UnbufferedClientConnection) -> Self {
        Self::new(Session::Client(session), Vec::new())
    }

    fn new(session: Session, head: Vec<u8>) -> Self {
        Self { session, incoming: head, fresh: true, outgoing: Outgoing::default() }
    }

    pub(super) fn common(&self) -> &CommonState {
        match &self.session {
            Session::Server(session) => session,
            Session::Client(session) => session,
        }
    }

    /// Whether there may be something to read in what has come already.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh && !self.incoming.is_empty()
    }

    /// Whether there are records to send now.
    pub(super) fn has_unsent(&self) -> bool {
        self.outgoing.is_pressing()
    }

    /// Receives once, decrypts what is whole, and says how many bytes stand at the front of `buffer` now, which is
    /// large enough for a few records.
    ///
    /// Records are received behind a gap as large as the largest of them, so that what is decrypted never catches up
    /// with what is not.
    ///
    /// # Errors
    /// The one of `receive`, or `ECONNRESET` at an end without close_notify.
    pub(super) fn open(
        &mut self,
        buffer: &mut [u8],
        mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<(usize, Next)> {
        let mut filled = RECORD + self.incoming.len();
        if !self.is_fresh() {
            let Some(room) = buffer.get_mut(filled..).filter(|room| !room.is_empty()) else {
                return Ok((0, Next::Failed(Error::General("a message is too long".into()))));
            };
            match receive(room)? {
                0 => return Err(Errno::CONNRESET.into()),
                received => filled += received,
            }
        }
        self.fresh = false;
        buffer[RECORD..RECORD + self.incoming.len()].copy_from_slice(&self.incoming);
        let (mut at, mut out) = (RECORD, 0);
        let next = loop {
            let (front, rest) = buffer[..filled].split_at_mut(at);
            let (used, next) = self.step(rest, Want::Nothing, |payload| {
                front[out..out + payload.len()].copy_from_slice(payload);
                out += payload.len();
            });
            at += used;
            if !matches!(next, Next::Again) {
                break next;
            }
        };
        if let Next::Failed(_) = &next {
            self.last_words(&mut buffer[at..filled]);
        }
        self.incoming = buffer[at..filled].to_vec();
        Ok((out, next))
    }

    /// Deals with what has come and makes records of what is wanted; what is decrypted goes to `plaintext`.
    pub(super) fn seal(&mut self, want: Want<'_>, plaintext: &mut Vec<u8>) -> Next {
        let mut incoming = std::mem::take(&mut self.incoming);
        self.fresh = false;
        let mut at = 0;
        let mut ended = false;
        let next = loop {
            let (used, next) = self.step(&mut incoming[at..], want, |payload| plaintext.extend_from_slice(payload));
            at += used;
            match next {
                Next::Again => {}
                // It is said once; what is wanted can still be sent.
                Next::Ended => ended = true,
                Next::More if ended => break Next::Ended,
                next => break next,
            }
        };
        if let Next::Failed(_) = &next {
            self.last_words(&mut incoming[at..]);
        }
        incoming.drain(..at);
        incoming.shrink_to_fit();
        self.incoming = incoming;
        next
    }

    /// What came from the peer, for the next [`Records::seal`] to deal with.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
        self.fresh = true;
    }

    /// Lets a server's tickets, the only thing that it makes after a handshake of TLS 1.3, wait for what is said next.
    /// A send of their own costs a twentieth of a short session, and a client that has asked for nothing may not want to
    /// read: what it leaves unread when it closes, resets what it has said before.
    pub(super) fn let_tickets_wait(&mut self) {
        let is_server = matches!(self.session, Session::Server(_));
        if is_server && self.common().protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            self.outgoing.wait();
        }
    }

    /// Sends what is made, until all is gone or `send` fails.
    pub(super) fn flush(&mut self, send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        self.outgoing.flush(send)?;
        self.outgoing.tidy();
        Ok(())
    }

    /// Makes records of `bytes` and sends them, all in memory that is `lent`: only what `send` does not take is kept.
    pub(super) fn pass_on(
        &mut self,
        bytes: &[u8],
        plaintext: &mut Vec<u8>,
        lent: &mut Vec<u8>,
        send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> (Next, io::Result<()>) {
        self.outgoing.borrow(lent);
        let next = self.seal(Want::Send(bytes), plaintext);
        let sent = self.outgoing.flush(send);
        self.outgoing.give_back(lent);
        (next, sent)
    }

    /// Makes the records that are still to tell the peer what was wrong, and not a step more: rustls panics if it has
    /// to refuse the same bytes twice.
    fn last_words(&mut self, rest: &mut [u8]) {
        while self.common().wants_write() {
            self.step(&mut *rest, Want::Nothing, |_| {});
        }
    }

    /// One step; says how many of the bytes in front of `incoming` are dealt with.
    fn step(&mut self, incoming: &mut [u8], want: Want<'_>, plaintext: impl FnMut(&[u8])) -> (usize, Next) {
        let outgoing = &mut self.outgoing;
        match &mut self.session {
            Session::Server(session) => advance(session.process_tls_records(incoming), want, plaintext, outgoing),
            Session::Client(session) => advance(session.process_tls_records(incoming), want, plaintext, outgoing),
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (incoming, unsent) = (self.incoming.len(), self.outgoing.len());
        f.debug_struct("Records").field("incoming", &incoming).field("unsent", &unsent).finish_non_exhaustive()
    }
}

fn advance<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    want: Want<'_>,
    mut plaintext: impl FnMut(&[u8]),
    outgoing: &mut Outgoing,
) -> (usize, Next) {
    let mut used = status.discard;
    let next = match status.state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Next::Again,
                Some(Err(error)) => break Next::Failed(error),
                Some(Ok(record)) => {
                    used += record.discard;
                    plaintext(record.payload);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, outgoing),
        Ok(ConnectionState::TransmitTlsData(sending)) => {
            // Everything is sent in the order it was made in, so for rustls this is as good as sent.
            sending.done();
            Next::Again
        }
        Ok(ConnectionState::WriteTraffic(traffic)) => write(traffic, want, outgoing),
        Ok(ConnectionState::PeerClosed) => Next::Ended,
        Ok(ConnectionState::Closed | ConnectionState::BlockedHandshake) => Next::More,
        Ok(_) => Next::Failed(Error::General("early data, which nobody was offered".into())),
        Err(error) => Next::Failed(error),
    };
    (used, next)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Outgoing) -> Next {
    let size = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        _ => 0,
    };
    match data.encode(outgoing.room(size)) {
        Ok(made) => {
            outgoing.made(made);
            Next::Again
        }
        Err(error) => Next::Failed(Error::General(error.to_string())),
    }
}

fn write<Data>(mut traffic: WriteTraffic<'_, Data>, want: Want<'_>, outgoing: &mut Outgoing) -> Next {
    let mut size = match want {
        Want::Nothing => return Next::More,
        Want::Send(bytes) => sealed(bytes.len()),
        Want::Finish => 2 + OVERHEAD,
    };
    loop {
        let made = match want {
            Want::Send(bytes) => traffic.encrypt(bytes, outgoing.room(size)),
            _ => traffic.queue_close_notify(outgoing.room(size)),
        };
        match made {
            Ok(made) => {
                outgoing.made(made);
                return Next::More;
            }
            Err(EncryptError::InsufficientSize(needed)) if needed.required_size > size => size = needed.required_size,
            Err(error) => return Next::Failed(Error::General(error.to_string())),
        }
    }
}

/// The most that so many bytes take up as records.
fn sealed(bytes: usize) -> usize {
    bytes + (bytes / RECORD + 1) * OVERHEAD
}
