//! A stream inside TLS whose peer, before or after a handshake as it should be, sends what it likes. The peer has the
//! keys of its own, so that what it sends may be signed and still be nonsense.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use peerway::net::{Plain, Secured};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, RootCertStore, ServerConfig, ServerConnection,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Types of records.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
pub(crate) const DATA: u8 = 23;

/// Whose side a stream of ours is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ours {
    Server,
    Client,
}

static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let own = rcgen::generate_simple_self_signed(["x.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_256_GCM_SHA384];
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let mut server = builder.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    // They would be on the socket, and what the peer says himself comes by another way.
    server.send_tls13_tickets = 0;
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    (server.enable_secret_extraction, client.enable_secret_extraction) = (true, true);
    (server.into(), client.into())
});

/// A stream of ours, and its peer, who has gone on by himself after the handshake.
pub(crate) struct Pair {
    pub(crate) ours: Secured,
    pub(crate) forge: Forge,
    /// Nobody reads from here.
    _theirs: UnixStream,
}

/// What the peer signs his records with.
pub(crate) struct Forge {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Forge {
    /// The next record of this kind, as RFC 8446 has them (section 5.2).
    pub(crate) fn record(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
        self.sequence += 1;
        let mut sealed = [body, &[kind]].concat();
        let length = (sealed.len() + AES_256_GCM.tag_len()) as u16;
        let header = [&[DATA, 3, 3][..], &length.to_be_bytes()].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut sealed).unwrap();
        [header, sealed].concat()
    }
}

/// Runs what needs sockets.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap().block_on(work)
}

/// Two that have shaken hands.
pub(crate) async fn pair(side: Ours) -> Pair {
    let (near, mut theirs) = UnixStream::pair().unwrap();
    let peer = async {
        let mut peer: Connection = match side {
            Ours::Server => ClientConnection::new(CONFIGS.1.clone(), name()).unwrap().into(),
            Ours::Client => ServerConnection::new(CONFIGS.0.clone()).unwrap().into(),
        };
        let mut room = [0; 16 * 1024];
        while peer.is_handshaking() || peer.wants_write() {
            let mut out = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut out).unwrap();
            }
            theirs.write_all(&out).await.unwrap();
            if peer.is_handshaking() {
                let read = theirs.read(&mut room).await.unwrap();
                peer.read_tls(&mut &room[..read]).unwrap();
                peer.process_new_packets().unwrap();
            }
        }
        peer.dangerous_extract_secrets().unwrap().tx
    };
    let ((sequence, secrets), ours) = tokio::join!(peer, shake(side, near, Vec::new()));
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher") };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    let forge = Forge { key, iv: iv.as_ref().try_into().unwrap(), sequence };
    Pair { ours: ours.expect("a handshake"), forge, _theirs: theirs }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("x.example").unwrap()
}

async fn shake(side: Ours, near: UnixStream, head: Vec<u8>) -> Result<Secured, peerway::net::Unsecured> {
    match side {
        Ours::Server => {
            Secured::accept(Plain::try_from(near).expect("room in the runtime"), head, CONFIGS.0.clone()).await
        }
        Ours::Client => {
            Secured::connect(Plain::try_from(near).expect("room in the runtime"), CONFIGS.1.clone(), name()).await
        }
    }
}

/// Whatever stands in `bytes`: nothing panics, nobody waits for ever, what is read was signed as data, in its order, and
/// an end is an end.
pub(crate) fn tls_records(bytes: &[u8]) {
    let Some((how, script)) = bytes.split_first() else { return };
    let side = if how & 1 == 0 { Ours::Server } else { Ours::Client };
    match how & 2 {
        0 => run(afterwards(side, script)),
        _ => run(instead(side, script)),
    }
}

/// Instead of a handshake, or of what follows a hello that was read already.
async fn instead(side: Ours, bytes: &[u8]) {
    let (near, mut theirs) = UnixStream::pair().unwrap();
    let (head, rest) = bytes.split_at(bytes.len() / 2);
    let head = if side == Ours::Server { head } else { &[] };
    theirs.write_all(rest).await.unwrap();
    theirs.shutdown().await.unwrap();
    assert!(shake(side, near, head.to_vec()).await.is_err(), "nobody has shown a key");
}

/// After a handshake. The script has chunks of three bytes and a body: what it is, its length, and how often it comes.
async fn afterwards(side: Ours, mut script: &[u8]) {
    let Pair { ours, mut forge, _theirs } = pair(side).await;
    let (mut wire, mut data, mut only_data) = (Vec::new(), Vec::new(), true);
    let cut = script.first().map_or(1, |byte| usize::from(*byte) * 97 + 1);
    while let Some(([what, length, times], rest)) = script.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min((*length).into()));
        script = rest;
        let body = body.repeat(1 + usize::from(times % 4));
        let kind = match what % 8 {
            0..=3 => DATA,
            4 => HANDSHAKE,
            5 => ALERT,
            6 => what / 8,
            _ => {
                wire.extend(&body);
                only_data = false;
                continue;
            }
        };
        // Thirty-three empty ones in a row are too many.
        only_data &= kind == DATA && !body.is_empty();
        data.extend(body.iter().filter(|_| kind == DATA));
        wire.extend(forge.record(kind, &body));
    }
    let (heard, ended) = hear(&ours, &wire, cut).await;
    assert!(data.starts_with(&heard), "{} bytes that are not those of {}", heard.len(), data.len());
    assert!(!only_data || heard == data && ended == Err(rustix::io::Errno::CONNRESET.raw_os_error()), "{ended:?}");
    if ended != Err(rustix::io::Errno::CONNRESET.raw_os_error()) {
        let again = ours.read(&mut [0; 100], |_| panic!("it is at its end"));
        let again = again.map_err(|error| error.raw_os_error().unwrap_or_default());
        assert_eq!(again, ended.map(|()| 0));
    }
}

/// All there is to hear of what comes over the wire in pieces of that size, and how it ends.
pub(crate) async fn hear(ours: &Secured, mut wire: &[u8], cut: usize) -> (Vec<u8>, Result<(), i32>) {
    let (mut heard, mut room) = (Vec::new(), vec![0; [1000, 64 * 1024][cut % 2]]);
    let mut turns = wire.len() + 100;
    loop {
        turns -= 1;
        assert!(turns > 0, "it spins");
        let received = ours.read(&mut room, |room| {
            let (piece, rest) = wire.split_at(wire.len().min(cut).min(room.len()));
            room[..piece.len()].copy_from_slice(piece);
            wire = rest;
            Ok(piece.len())
        });
        match received {
            Ok(0) => return (heard, Ok(())),
            Ok(read) => heard.extend(&room[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => yielded(ours).await.expect("not the socket's"),
            Err(error) => return (heard, Err(error.raw_os_error().unwrap_or_default())),
        }
    }
}

/// It is the others' turn: the next look says so, and wakes.
async fn yielded(ours: &Secured) -> io::Result<()> {
    let first = poll_fn(|cx| Poll::Ready(ours.poll_read_ready(cx))).await;
    assert!(first.is_pending(), "nobody else had a turn");
    Ok(())
}
