//! What the far side sees of a line, above all of its end.
#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::fixture::{pair, tcp_pair};
use super::*;

#[tokio::test]
async fn an_end_is_clean_even_when_not_all_was_read() {
    let (mut line, mut theirs) = tcp_pair().await;
    theirs.write_all(b"hello, and more than anybody asked for").await.unwrap();
    assert!(line.more().await.unwrap());
    line.send(b"bye").await.unwrap();
    theirs.write_all(&[b'.'; 10_000]).await.unwrap();
    let server = async {
        let mut heard = String::new();
        theirs.read_to_string(&mut heard).await.unwrap();
        drop(theirs);
        heard
    };
    let (heard, ()) = tokio::join!(server, line.hang_up());
    assert_eq!(heard, "bye");
}

#[tokio::test(start_paused = true)]
async fn who_closes_by_itself_is_let_to() {
    let (mut line, mut theirs) = tcp_pair().await;
    line.after_you();
    let server = async move {
        let early = timeout(PARTING / 4, theirs.read(&mut [0])).await;
        assert!(early.is_err(), "the client ends first");
        theirs.shutdown().await.unwrap();
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
    };
    tokio::join!(server, line.hang_up());
}

#[tokio::test]
async fn a_server_that_never_ends_is_left() {
    for after_you in [false, true] {
        let (mut line, mut theirs) = tcp_pair().await;
        if after_you {
            line.after_you();
        }
        line.hang_up().await;
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        // A reset behind an end is told by this alone.
        assert!(theirs.take_error().unwrap().is_none(), "an end, and no reset");
    }
}

/// A timeout ends a handshake anywhere; the server has a right to an end of stream all the same.
#[tokio::test]
async fn a_handshake_that_was_given_up_is_ended_cleanly() {
    let (mut line, mut theirs) = tcp_pair().await;
    let client = tls::Client::unverified().unwrap();
    let given_up = timeout(Duration::from_millis(50), line.secure(&client, "x")).await;
    assert!(given_up.is_err() && !line.is_secure());
    let mut hello = Vec::new();
    let (read, ()) = tokio::join!(theirs.read_to_end(&mut hello), line.hang_up());
    assert!(read.unwrap() > 100, "a ClientHello");
    assert_eq!(hello[0], 22);
}

#[tokio::test]
async fn what_was_said_in_the_clear_never_passes_for_something_said_inside_tls() {
    let (mut line, mut theirs) = pair();
    theirs.write_all(b"+OK").await.unwrap();
    assert!(line.more().await.unwrap());
    let client = tls::Client::unverified().unwrap();
    let secured = timeout(Duration::from_secs(20), line.secure(&client, "x")).await.expect("no wait for an answer");
    let error = secured.unwrap_err();
    assert_eq!((error.result, error.words.as_str()), (ProbeResult::Tls, "`+OK` came before the handshake"));
}

#[tokio::test]
async fn many_small_segments_are_taken_in_by_few_looks() {
    let (mut line, mut theirs) = tcp_pair().await;
    for _ in 0..100 {
        theirs.write_all(b"x").await.unwrap();
    }
    theirs.write_all(&[b'y'; 10_000]).await.unwrap();
    let mut looks = 0;
    while line.seen().len() < 10_100 {
        assert!(line.more().await.unwrap());
        looks += 1;
    }
    assert!(looks < 20, "{looks} looks");
}

#[tokio::test]
async fn a_reset_behind_bytes_is_told_after_them() {
    let (mut line, mut theirs) = tcp_pair().await;
    theirs.write_all(b"-ERR").await.unwrap();
    crate::net::arm_reset(&theirs).unwrap();
    // Both are there before anything is read: the kernel tells the bytes, then once the reset, then an end of stream.
    drop(theirs);
    assert!(line.more().await.unwrap());
    assert_eq!(line.seen(), b"-ERR");
    let error = line.more().await.unwrap_err();
    assert!(error.words.starts_with("connection lost: "), "{error}");
}
