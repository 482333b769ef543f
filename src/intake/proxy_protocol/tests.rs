//! Headers over sockets: whole, in pieces, cut, late, and always exactly.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::yield_now;

use super::*;
use crate::net::arm_reset;
use crate::wire::proxy::UNIQUE_ID;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";

/// The shortest there is, in version 1.
const SHORT: &[u8] = b"PROXY UNKNOWN\r\n";

fn binary() -> Vec<u8> {
    let mut fields = Tlvs::default();
    fields.push(UNIQUE_ID, b"an id").unwrap();
    Header::tcp("[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap()).v2(&fields, true)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let client = client.unwrap();
    client.set_nodelay(true).unwrap();
    (client, Stream::try_from(accepted.unwrap().0).unwrap())
}

/// What is left to read after a header was read.
async fn rest(stream: &Stream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut room = [0; 64];
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await.unwrap();
        match stream.try_read(&mut room) {
            Ok(0) => return all,
            Ok(read) => all.extend(&room[..read]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

#[tokio::test]
async fn the_payload_that_is_glued_to_a_header_stays_where_it_is() {
    for header in [LINE.to_vec(), SHORT.to_vec(), binary()] {
        let (mut client, stream) = pair().await;
        let payload = b"PROXY TCP4 is what a client may say, too\r\n";
        client.write_all(&[&header[..], payload].concat()).await.unwrap();
        drop(client);
        assert_eq!(
            read(&stream, soon()).await,
            parse(&header).map(|parsed| parsed.unwrap().0).map_err(|_| NoHeader::Late)
        );
        assert_eq!(rest(&stream).await, payload);
    }
}

#[tokio::test]
async fn a_header_may_be_split_at_each_byte_and_cut_after_each() {
    for header in [LINE.to_vec(), binary()] {
        let whole = parse(&header).unwrap().unwrap().0;
        for at in 0..header.len() {
            let (mut client, server) = UnixStream::pair().unwrap();
            let stream = Stream::try_from(server).unwrap();
            client.write_all(&header[..at]).await.unwrap();
            let mut reading = Box::pin(read(&stream, soon()));
            let early = tokio::select! { biased; early = &mut reading => Some(early), () = yield_now() => None };
            assert_eq!(early, None, "{at}");
            if at % 2 == 0 {
                client.write_all(&[&header[at..], b"!"].concat()).await.unwrap();
                assert_eq!(reading.await.as_ref(), Ok(&whole), "{at}");
                drop(client);
                assert_eq!(rest(&stream).await, b"!", "{at}");
            } else {
                drop(client);
                let Err(NoHeader::Malformed(Malformed(error))) = reading.await else { panic!("{at}") };
                assert_eq!(error, format!("the stream ended after {at} bytes of a header"));
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_without_a_word_has_left() {
    let (client, stream) = pair().await;
    drop(client);
    assert_eq!(read(&stream, soon()).await, Err(NoHeader::Left));
}

#[tokio::test]
async fn a_client_that_resets_is_heard_in_the_midst_of_its_header() {
    for sent in [0, 10] {
        let (mut client, stream) = pair().await;
        client.write_all(&LINE[..sent]).await.unwrap();
        arm_reset(&client).unwrap();
        drop(client);
        assert_eq!(read(&stream, soon()).await, Err(NoHeader::Broken(Errno::CONNRESET.raw_os_error())), "{sent}");
    }
}

/// A process that was stopped reads late what came in time.
#[tokio::test]
async fn time_is_up_for_a_header_that_has_not_come_and_for_no_other() {
    let (mut client, stream) = pair().await;
    let now = Instant::now();
    client.write_all(&LINE[..LINE.len() - 1]).await.unwrap();
    assert_eq!(read(&stream, now + Duration::from_millis(50)).await, Err(NoHeader::Late));
    let (mut client, stream) = pair().await;
    client.write_all(LINE).await.unwrap();
    poll_fn(|cx| stream.poll_read_ready(cx)).await.unwrap();
    assert!(read(&stream, now).await.is_ok());
}

/// The beginning of a header keeps nobody awake: it is off the socket while the rest is awaited.
#[tokio::test]
async fn waiting_for_the_rest_does_not_spin() {
    let (mut client, stream) = pair().await;
    client.write_all(&LINE[..10]).await.unwrap();
    let mut reader = Reader::default();
    let mut polls = 0;
    let wait = poll_fn(|cx| {
        polls += 1;
        reader.poll(cx, &stream)
    });
    assert!(tokio::time::timeout(Duration::from_millis(200), wait).await.is_err());
    assert!(polls < 20, "{polls}");
    assert_eq!(reader.taken, LINE[..10]);
}
