//! Both ends of TLS, and a peer whose records come as they please.
#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, RootCertStore, ServerConnection, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::net::Stream;

type Version = &'static SupportedProtocolVersion;

/// A server and a client that trusts it, of one version.
fn configs(version: Version) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let own = rcgen::generate_simple_self_signed(["x.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
    let server = builder.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let client = builder.with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("x.example").unwrap()
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

/// A server of ours and rustls' own, buffered client, each with its socket.
async fn ours_and_theirs(version: Version) -> (Stream, tokio_rustls::client::TlsStream<TcpStream>) {
    let (server, client) = configs(version);
    let (ours, theirs) = sockets().await;
    let connector = tokio_rustls::TlsConnector::from(client);
    let (ours, theirs) = tokio::join!(
        Secured::accept(Plain::try_from(ours).unwrap(), Vec::new(), server),
        connector.connect(name(), theirs)
    );
    (Stream::Tls(Box::new(ours.unwrap())), theirs.unwrap())
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("in time")
}

async fn read(stream: &Stream, room: &mut [u8]) -> io::Result<usize> {
    loop {
        within(poll_fn(|cx| stream.poll_read_ready(cx))).await?;
        match stream.try_read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

async fn read_all(stream: &Stream, room: usize) -> io::Result<Vec<u8>> {
    let (mut all, mut room) = (Vec::new(), vec![0; room]);
    loop {
        match read(stream, &mut room).await? {
            0 => return Ok(all),
            n => all.extend_from_slice(&room[..n]),
        }
    }
}

/// Repeats a call until the socket has room.
async fn persist<R>(stream: &Stream, mut call: impl FnMut() -> io::Result<R>) -> io::Result<R> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                within(poll_fn(|cx| stream.poll_write_ready(cx))).await?;
            }
            result => return result,
        }
    }
}

async fn write_all(stream: &Stream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = persist(stream, || stream.try_write(bytes)).await.unwrap();
        bytes = &bytes[taken..];
    }
}

async fn finish(stream: &Stream) {
    persist(stream, || stream.try_finish()).await.unwrap();
}

fn noise(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..len).map(|_| random.u8(..)).collect()
}

#[tokio::test]
async fn megabytes_go_both_ways_at_once_and_each_end_is_told_by_itself() {
    for (version, room) in [(&TLS13, 64 * 1024), (&TLS13, 1000), (&TLS12, 64 * 1024), (&TLS12, 1000)] {
        let (ours, theirs) = ours_and_theirs(version).await;
        let bytes = noise(3_000_000);
        let (mut mouth, mut ear) = {
            let (ear, mouth) = tokio::io::split(theirs);
            (mouth, ear)
        };
        let (up, down) = (bytes.clone(), bytes.clone());
        let speaking = async move {
            mouth.write_all(&up).await.unwrap();
            mouth.shutdown().await.unwrap();
        };
        let hearing = async move {
            let mut heard = Vec::new();
            ear.read_to_end(&mut heard).await.expect("a close_notify");
            heard
        };
        let answering = async {
            write_all(&ours, &down).await;
            finish(&ours).await;
        };
        let ((), heard, (), read) =
            within(async { tokio::join!(speaking, hearing, answering, read_all(&ours, room)) }).await;
        assert!(heard == bytes && read.unwrap() == bytes, "{version:?}, {room}");
        assert!(!ours.has_unsent());
    }
}

#[tokio::test]
async fn who_has_finished_still_hears_the_other() {
    let (ours, mut theirs) = ours_and_theirs(&TLS13).await;
    theirs.write_all(b"a question").await.unwrap();
    theirs.shutdown().await.unwrap();
    assert_eq!(read_all(&ours, 10).await.unwrap(), b"a question");
    assert!(!ours.ends_both_ways());
    assert!(ours_and_theirs(&TLS12).await.0.ends_both_ways());
    write_all(&ours, b"an answer").await;
    finish(&ours).await;
    let mut heard = String::new();
    within(theirs.read_to_string(&mut heard)).await.unwrap();
    assert_eq!(heard, "an answer");
}

#[tokio::test]
async fn an_end_without_close_notify_is_a_cut() {
    for version in [&TLS12, &TLS13] {
        let (ours, mut theirs) = ours_and_theirs(version).await;
        theirs.write_all(b"half a senten").await.unwrap();
        theirs.get_mut().0.shutdown().await.unwrap();
        let mut room = [0; 100];
        assert_eq!(read(&ours, &mut room).await.unwrap(), 13);
        for _ in 0..2 {
            assert_eq!(read(&ours, &mut room).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    }
}

#[tokio::test]
async fn what_is_not_a_record_breaks_the_stream_and_the_peer_is_told() {
    let (ours, mut theirs) = ours_and_theirs(&TLS13).await;
    theirs.write_all(b"true").await.unwrap();
    theirs.get_mut().0.write_all(b"\x17\x03\x03\x00\x20 thirty-two bytes signed by nobody").await.unwrap();
    let mut room = [0; 100];
    assert_eq!(read(&ours, &mut room).await.unwrap(), 4, "what was signed is read");
    for _ in 0..2 {
        let error = read(&ours, &mut room).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::PROTO.raw_os_error()));
    }
    assert!(ours.try_write(b"x").is_err());
    let error = within(theirs.read(&mut room)).await.unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[tokio::test]
async fn a_look_takes_nothing_away() {
    let (ours, mut theirs) = ours_and_theirs(&TLS13).await;
    assert_eq!(ours.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    theirs.write_all(b"seen").await.unwrap();
    within(poll_fn(|cx| ours.poll_read_ready(cx))).await.unwrap();
    let mut room = [0; 9];
    while let Err(error) = ours.peek(&mut room) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        within(poll_fn(|cx| ours.poll_read_ready(cx))).await.unwrap();
    }
    assert_eq!(&room[..4], b"seen");
    theirs.shutdown().await.unwrap();
    assert_eq!(read_all(&ours, 3).await.unwrap(), b"seen");
    assert_eq!(ours.peek(&mut room).unwrap(), 0);
}

#[tokio::test]
async fn what_the_socket_has_no_room_for_is_kept_and_sent_later() {
    let (ours, mut theirs) = ours_and_theirs(&TLS13).await;
    let mut taken = 0;
    let bytes = noise(64 * 1024);
    while let Ok(n) = ours.try_write(&bytes[taken % bytes.len()..]) {
        taken += n;
    }
    assert!(ours.has_unsent(), "{taken} bytes fill a socket");
    assert_eq!(ours.try_finish().unwrap_err().kind(), ErrorKind::WouldBlock);
    let hearing = async {
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.map(|_| heard)
    };
    let ((), heard) = tokio::join!(finish(&ours), within(hearing));
    let heard = heard.expect("a close_notify");
    assert_eq!(heard.len(), taken);
    assert!(heard.iter().zip(bytes.iter().cycle()).all(|(heard, said)| heard == said));
}

/// rustls' own session over a transcript, so that a test decides what arrives when.
fn wire(session: &mut impl FnMut(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    session(&mut out);
    out
}

#[tokio::test]
async fn records_may_come_a_byte_at_a_time() {
    let (server, client) = configs(&TLS13);
    let (ours, mut theirs) = sockets().await;
    theirs.set_nodelay(true).unwrap();
    let accepting = tokio::spawn(Secured::accept(Plain::try_from(ours).unwrap(), Vec::new(), server));
    let mut session = ClientConnection::new(client, name()).unwrap();
    let mut room = [0; 4096];
    while session.is_handshaking() || session.wants_write() {
        for byte in wire(&mut |out| while session.wants_write() && session.write_tls(out).unwrap() > 0 {}) {
            theirs.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        if session.is_handshaking() {
            let read = within(theirs.read(&mut room)).await.unwrap();
            session.read_tls(&mut &room[..read]).unwrap();
            session.process_new_packets().unwrap();
        }
    }
    let ours = Stream::Tls(Box::new(within(accepting).await.unwrap().unwrap()));
    io::Write::write_all(&mut session.writer(), b"slow").unwrap();
    session.send_close_notify();
    let bytes = wire(&mut |out| while session.wants_write() && session.write_tls(out).unwrap() > 0 {});
    let dribbling = async {
        for byte in bytes {
            theirs.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let ((), read) = tokio::join!(dribbling, read_all(&ours, 64 * 1024));
    assert_eq!(read.unwrap(), b"slow");
}

#[tokio::test]
async fn what_was_read_before_and_what_came_along_is_not_lost() {
    let (server, client) = configs(&TLS13);
    let (ours, mut theirs) = sockets().await;
    let mut session = ClientConnection::new(client, name()).unwrap();
    let hello = wire(&mut |out| while session.wants_write() && session.write_tls(out).unwrap() > 0 {});
    let accepting = tokio::spawn(Secured::accept(Plain::try_from(ours).unwrap(), hello, server));
    let mut room = [0; 16384];
    while session.is_handshaking() {
        let read = within(theirs.read(&mut room)).await.unwrap();
        session.read_tls(&mut &room[..read]).unwrap();
        session.process_new_packets().unwrap();
    }
    // The client's last word of the handshake, its first bytes and its end in one segment.
    io::Write::write_all(&mut session.writer(), b"at once").unwrap();
    session.send_close_notify();
    let bytes = wire(&mut |out| while session.wants_write() && session.write_tls(out).unwrap() > 0 {});
    theirs.write_all(&bytes).await.unwrap();
    let ours = Stream::Tls(Box::new(within(accepting).await.unwrap().unwrap()));
    assert_eq!(read_all(&ours, 64 * 1024).await.unwrap(), b"at once");
}

#[tokio::test]
async fn keys_may_be_changed_on_the_way() {
    let (server, client) = configs(&TLS13);
    let (ours, theirs) = sockets().await;
    let connector = tokio_rustls::TlsConnector::from(client);
    let (ours, theirs) = tokio::join!(
        Secured::accept(Plain::try_from(ours).unwrap(), Vec::new(), server),
        connector.connect(name(), theirs)
    );
    let (ours, mut theirs) = (Stream::Tls(Box::new(ours.unwrap())), theirs.unwrap());
    for round in 0..3_u8 {
        theirs.get_mut().1.refresh_traffic_keys().unwrap();
        theirs.write_all(&[round]).await.unwrap();
        let mut room = [0; 8];
        assert_eq!(read(&ours, &mut room).await.unwrap(), 1);
        write_all(&ours, &[round]).await;
        assert_eq!(within(theirs.read(&mut room)).await.unwrap(), 1);
        assert_eq!(room[0], round);
    }
}

/// A client that has nothing to read may close without reading, and must not reset thereby what it has said.
#[tokio::test]
async fn tickets_wait_for_the_first_words_or_the_end() {
    for words in [&b"an answer"[..], b""] {
        let (ours, mut theirs) = ours_and_theirs(&TLS13).await;
        let waiting = rustix::net::recv(theirs.get_ref().0, &mut [0; 9][..], rustix::net::RecvFlags::DONTWAIT);
        assert_eq!(waiting.err(), Some(Errno::AGAIN), "nothing but the handshake was sent");
        assert!(!ours.has_unsent());
        write_all(&ours, words).await;
        finish(&ours).await;
        let mut heard = Vec::new();
        within(theirs.read_to_end(&mut heard)).await.unwrap();
        assert_eq!((heard.as_slice(), theirs.get_ref().1.tls13_tickets_received()), (words, 2));
    }
}

#[tokio::test]
async fn our_client_meets_rustls_own_server() {
    for version in [&TLS12, &TLS13] {
        let (server, client) = configs(version);
        let (ours, theirs) = sockets().await;
        let acceptor = tokio_rustls::TlsAcceptor::from(server);
        let (ours, theirs) =
            tokio::join!(Secured::connect(Plain::try_from(ours).unwrap(), client, name()), acceptor.accept(theirs));
        let (ours, mut theirs) = (Stream::Tls(Box::new(ours.unwrap())), theirs.unwrap());
        write_all(&ours, b"ping").await;
        finish(&ours).await;
        let mut heard = String::new();
        within(theirs.read_to_string(&mut heard)).await.unwrap();
        theirs.write_all(b"pong").await.unwrap();
        theirs.shutdown().await.unwrap();
        assert_eq!((heard.as_str(), read_all(&ours, 100).await.unwrap()), ("ping", b"pong".to_vec()));
    }
}

#[tokio::test]
async fn both_sides_know_why_there_is_no_handshake() {
    let ((server, _), (_, stranger)) = (configs(&TLS13), configs(&TLS13));
    let (ours, theirs) = sockets().await;
    let (accepted, connected) = tokio::join!(
        Secured::accept(Plain::try_from(ours).unwrap(), Vec::new(), server.clone()),
        Secured::connect(Plain::try_from(theirs).unwrap(), stranger, name())
    );
    assert!(matches!(connected, Err(Unsecured::Refused(rustls::Error::InvalidCertificate(_)))), "{connected:?}");
    assert!(matches!(accepted, Err(Unsecured::Refused(rustls::Error::AlertReceived(_)))), "{accepted:?}");

    let (ours, mut theirs) = sockets().await;
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let accepted = within(Secured::accept(Plain::try_from(ours).unwrap(), Vec::new(), server.clone())).await;
    assert!(matches!(accepted, Err(Unsecured::Refused(rustls::Error::InvalidMessage(_)))), "{accepted:?}");

    let (ours, theirs) = sockets().await;
    drop(theirs);
    let accepted = within(Secured::accept(Plain::try_from(ours).unwrap(), Vec::new(), server)).await;
    assert!(matches!(accepted, Err(Unsecured::Left)), "{accepted:?}");
}

#[tokio::test]
async fn a_handshake_without_end_is_cut_short() {
    let (server, _) = configs(&TLS13);
    let (ours, mut theirs) = sockets().await;
    let accepting = tokio::spawn(Secured::accept(Plain::try_from(ours).unwrap(), Vec::new(), server));
    // Records of a handshake message that says to be as long as one may be, and then another one.
    let mut record = vec![0x16, 3, 1, 0x40, 0];
    record.extend([1, 0, 0xff, 0xf0]);
    record.resize(5 + 0x4000, 0);
    for _ in 0..64 {
        if theirs.write_all(&record).await.is_err() {
            break;
        }
    }
    let accepted = within(accepting).await.unwrap();
    assert!(matches!(accepted, Err(Unsecured::Refused(_))), "{accepted:?}");
}

/// Nothing but what a peer said is ever read, however its records are cut; and nothing of it twice.
#[tokio::test]
async fn any_cut_of_the_stream_of_records_gives_the_same_bytes() {
    let (server, client) = configs(&TLS13);
    let bytes = noise(100_000);
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (ours, mut theirs) = sockets().await;
        let mut session = ServerConnection::new(server.clone()).unwrap();
        let connecting = tokio::spawn(Secured::connect(Plain::try_from(ours).unwrap(), client.clone(), name()));
        let mut room = [0; 16384];
        while session.is_handshaking() {
            let read = within(theirs.read(&mut room)).await.unwrap();
            session.read_tls(&mut &room[..read]).unwrap();
            session.process_new_packets().unwrap();
            let out = wire(&mut |out| while session.wants_write() && session.write_tls(out).unwrap() > 0 {});
            theirs.write_all(&out).await.unwrap();
        }
        let ours = Stream::Tls(Box::new(within(connecting).await.unwrap().unwrap()));
        session.set_buffer_limit(None);
        let mut left = &bytes[..];
        while !left.is_empty() {
            let (record, rest) = left.split_at(random.usize(1..=left.len().min(20_000)));
            io::Write::write_all(&mut session.writer(), record).unwrap();
            left = rest;
        }
        session.send_close_notify();
        let out = wire(&mut |out| while session.wants_write() && session.write_tls(out).unwrap() > 0 {});
        let sending = async {
            let mut left = &out[..];
            while !left.is_empty() {
                let (piece, rest) = left.split_at(random.usize(1..=left.len().min(30_000)));
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
                left = rest;
            }
        };
        let ((), read) = tokio::join!(sending, read_all(&ours, [64 * 1024, 100, 20_000][seed as usize % 3]));
        assert!(read.unwrap() == bytes, "seed {seed}");
    }
}
