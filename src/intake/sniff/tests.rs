//! First bytes over real sockets: in pieces, too few, too many, too late.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::admission::{Gate, Permit};
use crate::balance::CATALOGUE;
use crate::config::plan::Overflow;
use crate::net::{Peer, arm_reset};

struct Stage {
    listener: Arc<ListenerLive>,
    inbound: Inbound,
    client: TcpStream,
}

async fn stage() -> Stage {
    let yaml = "listeners: { l: { bind: '127.0.0.1:0', pool: p } }\npools: { p: { backends: '127.0.0.1:1' } }";
    let plan = crate::config::parse("t.yaml", yaml, &CATALOGUE, &|_| None).unwrap();
    let listener = Arc::new(ListenerLive::new(plan.listeners[0].clone(), 1));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(socket.local_addr().unwrap()), socket.accept());
    let stream = Stream::try_from(accepted.unwrap().0).unwrap();
    let gate = Gate::new(9, Overflow::Refuse);
    let permit = Permit::take(&gate, &listener.entrance, Some(Peer::Unix), Instant::now()).await.unwrap();
    let inbound = Inbound {
        stream,
        head: Vec::new(),
        permit,
        destination: Peer::Unix,
        introduction: None,
        facts: None,
        asked: None,
    };
    Stage { listener, inbound, client: client.unwrap() }
}

impl Stage {
    async fn sniff<T>(&mut self, judge: impl Fn(&[u8], Option<&Facts>) -> Option<T>) -> Result<T, Turned> {
        self.sniff_for(Duration::from_secs(20), judge).await
    }

    async fn sniff_for<T>(
        &mut self,
        time: Duration,
        judge: impl Fn(&[u8], Option<&Facts>) -> Option<T>,
    ) -> Result<T, Turned> {
        sniff(&mut self.inbound, Instant::now() + time, &self.listener, judge).await
    }
}

/// A hello for `a.example`, in one record.
fn hello() -> Vec<u8> {
    let name = b"\0\x0c\0\0\x09a.example";
    let extension = [&[0, 0, 0, name.len() as u8][..], name].concat();
    let extensions = [&[0, extension.len() as u8][..], &extension].concat();
    let body = [&[3, 3][..], &[0; 32], &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, message.len() as u8][..], &message].concat()
}

fn known(_: &[u8], facts: Option<&Facts>) -> Option<Option<String>> {
    facts.map(|facts| facts.sni.as_ref().map(|name| name.to_string()))
}

#[tokio::test]
async fn a_hello_in_single_bytes_is_read_whole_and_kept() {
    let mut stage = stage().await;
    let (bytes, rest) = (hello(), b"and more");
    stage.client.set_nodelay(true).unwrap();
    let mut client = std::mem::replace(&mut stage.client, TcpStream::connect(peer_of_nobody().await).await.unwrap());
    let sent = [&bytes[..], rest].concat();
    let writer = tokio::spawn(async move {
        for byte in sent {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client
    });
    assert_eq!(stage.sniff(known).await, Ok(Some("a.example".to_owned())));
    assert!(stage.inbound.head.starts_with(&bytes) && stage.inbound.head.len() <= bytes.len() + rest.len());
    drop(writer.await.unwrap());
}

async fn peer_of_nobody() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { listener.accept().await });
    address
}

#[tokio::test]
async fn what_does_not_speak_tls_shows_nothing_and_is_known_to() {
    let mut stage = stage().await;
    stage.client.write_all(b"G").await.unwrap();
    assert_eq!(stage.sniff(known).await, Ok(None));
    assert_eq!(stage.inbound.head, b"G");
}

#[tokio::test]
async fn facts_of_a_handshake_that_ended_here_are_not_looked_for_again() {
    let mut stage = stage().await;
    stage.inbound.facts = Some(Box::new(Facts { sni: Some("shaken".into()), ..Facts::default() }));
    stage.client.write_all(&hello()).await.unwrap();
    assert_eq!(stage.sniff(known).await, Ok(Some("shaken".to_owned())));
}

#[tokio::test]
async fn what_stays_open_is_closed_and_never_decided() {
    for (sent, finish) in
        [(hello()[..50].to_vec(), true), (vec![b'x'; LONGEST + 1], false), (vec![22, 3, 1, 0, 0], false)]
    {
        let mut stage = stage().await;
        stage.client.write_all(&sent).await.unwrap();
        if finish {
            stage.client.shutdown().await.unwrap();
        }
        assert_eq!(stage.sniff(|_, _| None::<()>).await, Err(Turned::Undecided), "{} bytes", sent.len());
        assert!(stage.inbound.head.len() <= LONGEST);
    }
    let mut stage = stage().await;
    stage.client.write_all(&hello()[..50]).await.unwrap();
    assert_eq!(stage.sniff_for(Duration::from_millis(50), known).await, Err(Turned::Undecided));
    assert_eq!(stage.inbound.head, hello()[..50]);
}

#[tokio::test]
async fn who_leaves_without_a_byte_has_left_and_who_resets_is_heard() {
    let mut stage = stage().await;
    stage.client.shutdown().await.unwrap();
    assert_eq!(stage.sniff(known).await, Err(Turned::Left));
    let mut stage = self::stage().await;
    stage.client.write_all(b"\x16\x03").await.unwrap();
    let task = tokio::spawn(async move {
        let result = sniff(&mut stage.inbound, Instant::now() + Duration::from_secs(20), &stage.listener, known).await;
        (result, stage.inbound)
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    arm_reset(&stage.client).unwrap();
    drop(stage.client);
    let (result, _inbound) = task.await.unwrap();
    assert_eq!(result, Err(Turned::Broken(rustix::io::Errno::CONNRESET.raw_os_error())));
}

#[tokio::test]
async fn waiting_for_more_does_not_spin() {
    let mut stage = stage().await;
    stage.client.write_all(b"\x16\x03\x01").await.unwrap();
    let looks = std::cell::Cell::new(0);
    let judge = |_: &[u8], _: Option<&Facts>| {
        looks.set(looks.get() + 1);
        None::<()>
    };
    let _ = stage.sniff_for(Duration::from_millis(200), judge).await;
    assert!(looks.get() <= 3, "{}", looks.get());
}
