//! Before a client is routed: who it is, and what it said of itself.
//!
//! Nothing here keeps a byte of the client's stream: what is read is the header in front of it, exactly.

mod facts;
mod proxy_protocol;
mod sniff;
mod starttls;
mod tls;

use std::time::Instant;

use crate::admission::{Permit, turn_away};
use crate::config::plan::Starttls;
use crate::listener::{Accepted, ListenerLive};
use crate::metrics::Refused;
use crate::net::{Peer, Stream};
use crate::wire::client_hello::host_name;
use crate::wire::proxy::{AUTHORITY, Header, Tlvs};

pub use facts::{Facts, Secure};
pub use sniff::sniff;
pub use starttls::prepare;

/// A client that may be routed. In this order: its places are free only when the socket is closed, which is dropped first.
#[derive(Debug)]
pub struct Inbound {
    /// Its stream.
    pub stream: Stream,
    /// What was read of it already, to route it by: the backend gets these bytes first.
    pub head: Vec<u8>,
    /// Its places under the limits of the process, the listener and the client.
    pub permit: Permit,
    /// Where it wanted to go: our side of its socket, or what a header says.
    pub destination: Peer,
    /// What a header says of it, if it says something.
    pub introduction: Option<Introduction>,
    /// What it shows of what it wants, if that is known.
    pub facts: Option<Box<Facts>>,
    /// The request for TLS that it made in the clear and that was granted, if the backend is to grant it as well.
    pub asked: Option<Starttls>,
}

/// What a trusted peer says of the client for whom it connects. Sessions keep it for as long as they live.
#[derive(Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The client.
    pub client: Peer,
    /// What else is said of it; nearly always nothing.
    pub fields: Option<Box<Tlvs>>,
}

impl Introduction {
    /// The host name the client asked for, as all names are spelled; None if it is not known, or none.
    pub fn authority(&self) -> Option<String> {
        host_name(str::from_utf8(self.fields.as_ref()?.get(AUTHORITY)?).ok()?)
    }
}

/// Why a client is not routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turned {
    /// It is refused.
    Away(Refused),
    /// It did not say in time who it is.
    Late,
    /// It closed its direction before it said anything.
    Left,
    /// What it sent does not decide where it goes.
    Undecided,
    /// Its socket failed; the errno.
    Broken(i32),
    /// The TLS handshake came to nothing.
    Unsecured,
    /// There were too many TLS handshakes under way.
    Overload,
}

/// Learns who the client is.
///
/// # Errors
/// It did not say so as it must, or it has gone.
pub async fn receive(accepted: Accepted) -> Result<Inbound, Turned> {
    let Accepted { mut permit, stream, peer, local, listener, header_by, at } = accepted;
    let (destination, introduction) = match header_by {
        None => (local, None),
        Some(by) => {
            // Boxed, as a session that expects no header need not carry the room for the wait.
            let (header, fields) = Box::pin(proxy_protocol::read(&stream, by)).await.map_err(|error| {
                error.complain(&listener, peer);
                Turned::from(error)
            })?;
            let told = introduce(&header, fields, peer, local);
            let client = told.1.as_ref().map_or(peer, |introduction| introduction.client);
            // The second gate. Whoever said nothing of itself has passed it at accept.
            if let Err(reason) = permit.introduce(client, Instant::now()) {
                listener.complain(reason, peer, client, Instant::now());
                let until = at + listener.settings().timeouts.handshake;
                turn_away(stream, listener.entrance.refuse_with(), until, || permit.hold());
                return Err(Turned::Away(reason));
            }
            told
        }
    };
    Ok(Inbound { stream, head: Vec::new(), permit, destination, introduction, facts: None, asked: None })
}

/// Shakes hands with a client, if its `listener` speaks TLS with it; `peer` connected, and was accepted `at`.
///
/// # Errors
/// It came to nothing.
pub async fn secure(inbound: Inbound, listener: &ListenerLive, peer: Peer, at: Instant) -> Result<Inbound, Turned> {
    // Of who may speak in the clear it is known already that it shows nothing in TLS.
    let clear = inbound.facts.is_some();
    let (server, socket) = match (listener.tls.server(), inbound.stream) {
        (Some(server), Stream::Plain(socket)) if !clear => (server, socket),
        (_, stream) => return Ok(Inbound { stream, ..inbound }),
    };
    let newcomer = tls::Newcomer { socket, head: inbound.head, listener, peer, at };
    // Boxed, so that an hour-long relay does not carry the room that the handshake took.
    let (stream, facts) = Box::pin(tls::shake(newcomer, server)).await?;
    Ok(Inbound { stream, head: Vec::new(), facts: Some(Box::new(facts)), ..inbound })
}

/// Where the client wanted to go, and who it is, if that is not just the socket's two ends.
fn introduce(header: &Header, fields: Tlvs, peer: Peer, local: Peer) -> (Peer, Option<Introduction>) {
    let (client, destination) = match header {
        Header::Local | Header::Unknown => (peer, local),
        Header::V4 { src, dst } => (Peer::tcp((*src).into()), Peer::tcp((*dst).into())),
        Header::V6 { src, dst } => (Peer::tcp((*src).into()), Peer::tcp((*dst).into())),
        Header::Unix { .. } => (Peer::Unix, Peer::Unix),
    };
    let fields = (!fields.is_empty()).then(|| Box::new(fields));
    let news = client != peer || fields.is_some();
    (destination, news.then_some(Introduction { client, fields }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proxy::{UNIQUE_ID, UnixPath};

    fn ip(text: &str) -> Peer {
        Peer::Ip(text.parse().expect("an address"))
    }

    #[test]
    fn a_header_that_names_nobody_leaves_the_socket_s_own_ends() {
        let (peer, local) = (ip("10.0.0.1:1"), ip("10.0.0.2:2"));
        for header in [Header::Local, Header::Unknown] {
            assert_eq!(introduce(&header, Tlvs::default(), peer, local), (local, None));
        }
        let mut fields = Tlvs::default();
        fields.push(UNIQUE_ID, b"id").expect("room");
        let (to, introduction) = introduce(&Header::Unknown, fields.clone(), peer, local);
        assert_eq!((to, introduction), (local, Some(Introduction { client: peer, fields: Some(Box::new(fields)) })));
    }

    #[test]
    fn a_header_s_addresses_are_the_client_s_in_one_spelling() {
        let (peer, local) = (ip("10.0.0.1:1"), ip("10.0.0.2:2"));
        let v6 = |text: &str| text.parse().expect("an address");
        let mapped = Header::V6 { src: v6("[::ffff:192.0.2.1]:5"), dst: v6("[2001:db8::1]:6") };
        let (to, introduction) = introduce(&mapped, Tlvs::default(), peer, local);
        assert_eq!(to, ip("[2001:db8::1]:6"));
        assert_eq!(introduction, Some(Introduction { client: ip("192.0.2.1:5"), fields: None }));
        let path = UnixPath::new(b"/x").expect("short");
        let (to, introduction) = introduce(&Header::Unix { src: path, dst: path }, Tlvs::default(), peer, local);
        assert_eq!((to, introduction), (Peer::Unix, Some(Introduction { client: Peer::Unix, fields: None })));
    }
}
