//! What a backend is told before the client's first byte: a PROXY protocol header.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::ConnectError;
use crate::config::plan::{SendProxy, Starttls};
use crate::metrics::ConnectFailure;
use crate::net::{Peer, Stream};
use crate::wire::proxy::{ALPN, AUTHORITY, Header, SSL, Tlvs, UNIQUE_ID};

/// For whom a backend is dialled: what a header may tell of a session.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The session's one client address.
    pub client: Peer,
    /// Where the client wanted to go.
    pub local: Peer,
    /// The session's id, as logs spell it.
    pub id: &'a (dyn fmt::Display + Sync),
    /// The id that an earlier proxy gave the connection: it goes on under that one.
    pub unique_id: Option<&'a [u8]>,
    /// The host name it asked for.
    pub server_name: Option<&'a str>,
    /// What it asked for in the clear before its TLS, and what backends are asked in their turn.
    pub asked: Option<Starttls>,
    /// Whether bytes of it are there for the backend.
    pub speaks: bool,
    /// The application protocol that is in use.
    pub alpn: Option<&'a [u8]>,
    /// What is known of its TLS, as a header tells it.
    pub ssl: Option<&'a [u8]>,
}

impl Caller<'_> {
    /// The header that `send` asks for. One is made for a session, and each attempt sends it once.
    pub fn preamble(&self, send: SendProxy) -> Arc<[u8]> {
        let bytes = match send {
            SendProxy::V1 => self.header().v1(),
            SendProxy::V2 { authority, alpn, ssl, unique_id, crc32c } => {
                let mut tlvs = Tlvs::default();
                // Each of 1024 bytes at most, which has room in every header.
                if let Some(name) = self.server_name.filter(|_| authority) {
                    let _ = tlvs.push(AUTHORITY, name.as_bytes());
                }
                if let Some(protocol) = self.alpn.filter(|_| alpn) {
                    let _ = tlvs.push(ALPN, protocol);
                }
                if let Some(value) = self.ssl.filter(|_| ssl) {
                    let _ = tlvs.push(SSL, value);
                }
                if unique_id {
                    let own = || self.id.to_string().into_bytes();
                    // Sixteen digits have room in every header, and so has what came in one.
                    let _ = tlvs.push(UNIQUE_ID, &self.unique_id.map_or_else(own, <[u8]>::to_vec));
                }
                self.header().v2(&tlvs, crc32c)
            }
        };
        bytes.into()
    }

    /// A client on a unix socket has no address that means anything elsewhere. It is told as the proxy's own: that every
    /// server must accept, while "unknown" in version 2 is refused by some, HAProxy among them. A client that has an
    /// address keeps it also when the place it connected to has none.
    fn header(&self) -> Header {
        match (self.client, self.local) {
            (Peer::Ip(client), Peer::Ip(local)) => Header::tcp(client, local),
            (Peer::Ip(client), Peer::Unix) => Header::tcp(client, nowhere(client)),
            (Peer::Unix, _) => Header::Local,
        }
    }
}

/// The unspecified address of the same family.
fn nowhere(like: SocketAddr) -> SocketAddr {
    let ip = match like.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

/// Sends an attempt's preamble, whole.
pub(super) async fn send(stream: &Stream, preamble: &[u8]) -> Result<(), ConnectError> {
    write_all(stream, preamble).await.map_err(unsent)
}

fn unsent(error: io::Error) -> ConnectError {
    ConnectError::new(ConnectFailure::Proxy, error.raw_os_error())
}

pub(super) async fn write_all(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(wrote) => bytes = &bytes[wrote..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| stream.poll_write_ready(cx)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::time::timeout;

    use super::*;
    use crate::net::arm_reset;

    const NOBODY: Caller<'_> = Caller {
        speaks: false,
        client: Peer::Unix,
        local: Peer::Unix,
        id: &"id",
        unique_id: None,
        server_name: None,
        asked: None,
        alpn: None,
        ssl: None,
    };

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn header(client: Peer, local: Peer) -> Header {
        Caller { client, local, ..NOBODY }.header()
    }

    #[test]
    fn every_pair_of_ends_has_a_header() {
        let [v4, other] = ["192.0.2.1:5", "192.0.2.2:6"].map(address);
        let v6 = address("[2001:db8::1]:7");
        assert_eq!(header(Peer::Ip(v4), Peer::Ip(other)), Header::tcp(v4, other));
        assert_eq!(header(Peer::Ip(v4), Peer::Unix), Header::tcp(v4, address("0.0.0.0:0")));
        assert_eq!(header(Peer::Ip(v6), Peer::Unix), Header::tcp(v6, address("[::]:0")));
        assert_eq!(header(Peer::Unix, Peer::Unix), Header::Local);
        assert_eq!(header(Peer::Unix, Peer::Ip(v4)), Header::Local);
    }

    #[test]
    fn fields_are_there_when_they_are_asked_for() {
        let caller = Caller { id: &"0123456789abcdef", ..NOBODY };
        let v2 = |unique_id, crc32c| {
            caller.preamble(SendProxy::V2 { authority: true, alpn: true, ssl: true, unique_id, crc32c })
        };
        assert_eq!(*caller.preamble(SendProxy::V1), *b"PROXY UNKNOWN\r\n");
        assert_eq!(*v2(false, false), *b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
        assert_eq!(*v2(true, false), *b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x13\x05\x00\x100123456789abcdef");
        let known = Caller { unique_id: Some(b"theirs"), server_name: Some("a.x"), alpn: Some(b"h2"), ..caller };
        let told = |authority, alpn, unique_id| {
            known.preamble(SendProxy::V2 { authority, alpn, ssl: false, unique_id, crc32c: false })[16..].to_vec()
        };
        assert_eq!(told(false, false, true), *b"\x05\x00\x06theirs");
        assert_eq!(told(true, false, false), *b"\x02\x00\x03a.x");
        assert_eq!(told(true, true, false), *b"\x02\x00\x03a.x\x01\x00\x02h2");
        assert_eq!((v2(false, true).len(), v2(true, true).len()), (16 + 7, 16 + 19 + 7));
    }

    /// Fills what the kernel holds for `stream`; returns how much that was.
    async fn fill(stream: &Stream) -> usize {
        poll_fn(|cx| stream.poll_write_ready(cx)).await.expect("connected");
        let mut filled = 0;
        while let Ok(wrote) = stream.try_write(&[b'.'; 4096]) {
            filled += wrote;
        }
        filled
    }

    #[tokio::test]
    async fn a_preamble_that_does_not_fit_at_once_goes_out_whole_and_once() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let ours = Stream::try_from(ours).expect("room in the runtime");
        let filled = fill(&ours).await;
        let preamble: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let expected = preamble.clone();
        let reader = tokio::spawn(async move {
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.expect("readable");
            assert!(heard[filled..] == expected, "{} bytes after {filled}", heard.len() - filled);
        });
        timeout(Duration::from_secs(20), send(&ours, &preamble)).await.expect("in time").expect("sent");
        drop(ours);
        reader.await.expect("as expected");
    }

    #[tokio::test]
    async fn a_backend_that_resets_instead_of_listening_is_a_proxy_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("bound");
        let (ours, accepted) = tokio::join!(TcpStream::connect(to), listener.accept());
        let (ours, (theirs, _)) = (ours.expect("connected"), accepted.expect("accepted"));
        arm_reset(&theirs).expect("an option");
        drop(theirs);
        ours.readable().await.expect("the reset has arrived");
        let ours = Stream::try_from(ours).expect("room in the runtime");
        let error = send(&ours, b"PROXY").await.expect_err("a dead socket");
        assert_eq!(error.reason, ConnectFailure::Proxy);
        assert!(error.errno.is_some());
    }
}
