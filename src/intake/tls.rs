//! The TLS handshake with a client: in time, one of so many, and complete before anything else is heard.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;

use super::{Facts, Secure, Turned};
use crate::listener::ListenerLive;
use crate::metrics::HandshakeResult;
use crate::net::{Peer, Plain, Secured, Stream, Unsecured, errno};
use crate::tls::{Server, Shown, verdict, words};

/// The most names of a certificate that a session is remembered by, and the most bytes of them all. It keeps them for as
/// long as it lives.
const MOST_NAMES: usize = 64;
const MOST_NAME_BYTES: usize = 8 * 1024;
/// The first read of a client: room for nearly every hello.
const HELLO: usize = 2 * 1024;

/// A client that has connected, and speaks TLS.
pub(super) struct Newcomer<'a> {
    pub(super) socket: Plain,
    /// What was read of its hello already.
    pub(super) head: Vec<u8>,
    pub(super) listener: &'a ListenerLive,
    /// For the log: who connected.
    pub(super) peer: Peer,
    /// When it was accepted: from then on it has `timeouts.handshake`, whatever it does.
    pub(super) at: Instant,
}

/// Why there was no handshake.
enum NoHandshake {
    /// There were too many already.
    Overload,
    /// The client left before it had said a word.
    Left,
    /// Its socket failed; the errno.
    Broken(i32),
    /// It came to nothing.
    Failed(HandshakeResult, String),
}

/// Shakes hands with a client.
///
/// # Errors
/// It came to nothing, and was counted. The client was sent an alert if there is one for the reason.
pub(super) async fn shake(newcomer: Newcomer<'_>, server: Arc<Server>) -> Result<(Stream, Facts), Turned> {
    let Newcomer { listener, peer, at, .. } = newcomer;
    let by = at + listener.settings().timeouts.handshake;
    let mut begun = false;
    let outcome = timeout_at(by.into(), converse(newcomer, server, &mut begun)).await;
    let (result, turned) = match outcome {
        Ok(Ok((secured, shown))) => {
            listener.tls.count(HandshakeResult::Ok);
            return Ok((Stream::Tls(Box::new(secured)), facts(shown, at)));
        }
        Ok(Err(NoHandshake::Left)) => return Err(Turned::Left),
        Ok(Err(NoHandshake::Overload)) => (HandshakeResult::Overload, Turned::Overload),
        Ok(Err(NoHandshake::Broken(errno))) => (HandshakeResult::Protocol, Turned::Broken(errno)),
        Ok(Err(NoHandshake::Failed(result, error))) => {
            complain(listener, peer, &error);
            (result, Turned::Unsecured)
        }
        Err(_) => (HandshakeResult::Timeout, Turned::Late),
    };
    if begun {
        listener.tls.count(result);
    }
    Err(turned)
}

/// The handshake itself; says when it has `begun`, which is with the client's first byte.
async fn converse(
    newcomer: Newcomer<'_>,
    server: Arc<Server>,
    begun: &mut bool,
) -> Result<(Secured, Shown), NoHandshake> {
    let Newcomer { socket, mut head, listener, .. } = newcomer;
    if head.is_empty() {
        head = first_bytes(&socket).await?;
    }
    *begun = true;
    let _place = listener.tls.enter(server.max_handshakes()).ok_or(NoHandshake::Overload)?;
    let handshake = server.handshake();
    let secured = Secured::accept(socket, head, handshake.config()).await.map_err(|error| match error {
        Unsecured::Refused(error) => NoHandshake::Failed(verdict(&error), words(&error)),
        Unsecured::Left => {
            NoHandshake::Failed(HandshakeResult::Protocol, "the client left in the midst of the handshake".into())
        }
        Unsecured::Broken(error) => NoHandshake::Broken(errno(&error)),
    })?;
    let shown = secured.agreed(|session| handshake.shown(session));
    let shown = shown.map_err(|error| NoHandshake::Failed(verdict(&error), words(&error)))?;
    Ok((secured, shown))
}

/// Waits until the client says something. Who connects and leaves, as some health checks do, has begun no handshake.
async fn first_bytes(socket: &Plain) -> Result<Vec<u8>, NoHandshake> {
    loop {
        poll_fn(|cx| socket.poll_read_ready(cx)).await.map_err(|error| NoHandshake::Broken(errno(&error)))?;
        let mut head = vec![0; HELLO];
        match socket.try_read(&mut head) {
            Ok(0) => {
                return Err(socket.take_error().map_or(NoHandshake::Left, |error| NoHandshake::Broken(errno(&error))));
            }
            Ok(read) => {
                head.truncate(read);
                return Ok(head);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(NoHandshake::Broken(errno(&error))),
        }
    }
}

/// Says what is wrong with clients: mostly a certificate that one side has not heard of.
fn complain(listener: &ListenerLive, peer: Peer, error: &str) {
    if let Some(unsaid) = listener.tls.failures.may_say(Instant::now()) {
        tracing::warn!(listener = %listener.name, %peer, error, unsaid, "no TLS handshake");
    }
}

fn facts(shown: Shown, at: Instant) -> Facts {
    let Shown { server_name, protocol, session, certificate } = shown;
    let mut room = MOST_NAME_BYTES;
    let names = certificate.iter().flat_map(|certificate| certificate.names()).take(MOST_NAMES);
    let names = names.take_while(|name| {
        let fits = name.len() <= room;
        room = room.saturating_sub(name.len());
        fits
    });
    Facts {
        sni: server_name.map(Into::into),
        alpn: protocol.into_iter().map(Into::into).collect(),
        client_sans: names.map(Into::into).collect(),
        secure: Some(Secure {
            session,
            verified: certificate.is_some(),
            common_name: certificate.and_then(|certificate| certificate.common_name).map(Into::into),
            took: at.elapsed(),
        }),
    }
}
