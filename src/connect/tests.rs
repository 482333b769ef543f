//! Attempts that are given up in time, and connectors that tests put in place of the system's.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Weak;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::config::plan::Congestion;
use crate::wire::postgres::SSL_REQUEST;

/// Nothing here takes nearly as long, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn plain(target: SocketAddr) -> Dial {
    Dial {
        target: Target::Ip(target),
        source: Arc::default(),
        transparent: None,
        preamble: None,
        starttls: None,
        secure: None,
        speaks: false,
        tcp: StreamTcp { nodelay: true, keepalive: None, user_timeout: None, congestion: Congestion::System },
        timeout: Duration::from_millis(100),
    }
}

fn some_tls() -> Arc<Secure> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("a.test").expect("a name");
    Arc::new(Secure { config: Arc::new(ArcSwap::from_pointee(config)), name, verifies: true })
}

/// A server that takes one connection and reads so many bytes of it, which it returns with the connection.
async fn server(reads: usize) -> (SocketAddr, JoinHandle<(Vec<u8>, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let serves = async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut heard = vec![0; reads];
        stream.read_exact(&mut heard).await.expect("so many bytes");
        (heard, stream)
    };
    (address, tokio::spawn(serves))
}

async fn error_of(dial: &Dial) -> ConnectError {
    let attempt = system();
    let attempt = attempt.dial(dial, Instant::now());
    timeout(PATIENCE, attempt).await.expect("given up in time").expect_err("it does not come about")
}

fn timed_out() -> ConnectError {
    ConnectError::new(ConnectFailure::Timeout, None)
}

#[tokio::test]
async fn the_limit_covers_the_socket() {
    // One connection is all that its queue takes; the handshakes of others go unanswered.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    full.listen(0).expect("a listener");
    let address = full.local_addr().expect("bound").as_socket().expect("an address");
    let _first = TcpStream::connect(address).await.expect("connected");
    assert_eq!(error_of(&plain(address)).await, timed_out());
}

#[tokio::test]
async fn the_limit_covers_the_header() {
    let (address, server) = server(1).await;
    let more_than_the_kernel_holds = vec![b'.'; 64 << 20];
    let dial = Dial { preamble: Some(more_than_the_kernel_holds.into()), ..plain(address) };
    assert_eq!(error_of(&dial).await, timed_out());
    server.await.expect("it was connected");
}

#[tokio::test]
async fn the_limit_covers_the_request_for_tls() {
    let (address, server) = server(SSL_REQUEST.len()).await;
    let dial = Dial { starttls: Some(Starttls::Postgres), ..plain(address) };
    assert_eq!(error_of(&dial).await, timed_out());
    assert_eq!(server.await.expect("it was asked").0, SSL_REQUEST);
}

#[tokio::test]
async fn the_limit_covers_the_handshake() {
    const HANDSHAKE: u8 = 22;
    let (address, server) = server(1).await;
    let dial = Dial { secure: Some(some_tls()), ..plain(address) };
    assert_eq!(error_of(&dial).await, timed_out());
    assert_eq!(server.await.expect("it was asked").0, [HANDSHAKE]);
}

#[tokio::test]
async fn what_is_wanted_is_said_in_its_order() {
    let said = b"PROXY UNKNOWN\r\n";
    let (address, server) = server(said.len() + SSL_REQUEST.len()).await;
    let (preamble, starttls, secure) = (Some(said[..].into()), Some(Starttls::Postgres), Some(some_tls()));
    let dial = Dial { preamble, starttls, secure, timeout: PATIENCE, ..plain(address) };
    let refuses = async {
        let (heard, mut stream) = server.await.expect("it was asked");
        assert_eq!(heard, [&said[..], &SSL_REQUEST].concat());
        stream.write_all(b"N").await.expect("sent");
        stream
    };
    let (error, _server) = tokio::join!(error_of(&dial), refuses);
    assert_eq!(error.reason, ConnectFailure::Tls);
}

#[tokio::test]
async fn nothing_is_said_where_nothing_is_wanted() {
    let (address, server) = server(0).await;
    let connected = system().dial(&plain(address), Instant::now()).await.expect("connected");
    let (_, mut theirs) = server.await.expect("it was connected");
    assert_eq!(connected.local, Peer::tcp(theirs.peer_addr().expect("connected")));
    connected.stream.close_delivered();
    let mut heard = Vec::new();
    theirs.read_to_end(&mut heard).await.expect("a clean end");
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn the_limit_covers_whatever_is_put_in_place_of_the_system() {
    let hangs = Connector::new(|_| pending());
    let (now, dial) = (Instant::now(), plain(([127, 0, 0, 1], 9).into()));
    assert_eq!(hangs.dial(&dial, now).await.err(), Some(timed_out()));
    assert!((100..=102).contains(&now.elapsed().as_millis()), "{:?}", now.elapsed());
}

#[tokio::test]
async fn an_attempt_that_is_dropped_goes_on_no_more() {
    let (held, seen) = std::sync::mpsc::channel::<Weak<()>>();
    let hangs = Connector::new(move |_| {
        let socket = Arc::new(());
        held.send(Arc::downgrade(&socket)).expect("the test lives");
        async move {
            pending::<()>().await;
            drop(socket);
            Err(timed_out())
        }
    });
    let dial = Dial { timeout: PATIENCE, ..plain(([127, 0, 0, 1], 9).into()) };
    let mut attempt = Box::pin(hangs.dial(&dial, Instant::now()));
    assert!(timeout(Duration::from_millis(10), &mut attempt).await.is_err());
    let socket = seen.recv().expect("it has begun");
    assert_eq!(socket.strong_count(), 1);
    drop(attempt);
    assert_eq!(socket.strong_count(), 0);
}
