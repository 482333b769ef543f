//! Scripts against backends that are played byte by byte.
#![allow(clippy::unwrap_used)]

use regex::bytes::Regex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::fixture::{found, pair, says, survives_garbage, words};
use super::*;

fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().into())
}

fn expected(text: &str) -> Step {
    Step::Expect(text.as_bytes().into())
}

fn matching(pattern: &str) -> Step {
    Step::ExpectMatch(Pattern(Regex::new(pattern).unwrap()))
}

fn script(steps: impl Into<Arc<[Step]>>) -> Script {
    Script(steps.into())
}

#[tokio::test]
async fn steps_are_done_in_order_and_each_takes_what_it_expected() {
    let script = script([
        expected("220 "),
        matching("ready\r\n"),
        send("PING\r\n"),
        expected("+PO"),
        matching("^NG"),
        send("QUIT"),
    ]);
    let backend = async |mut theirs: tokio::net::UnixStream| {
        theirs.write_all(b"22").await.unwrap();
        tokio::task::yield_now().await;
        theirs.write_all(b"0 host is ready\r\n").await.unwrap();
        let mut heard = [0; 6];
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"PING\r\n");
        theirs.write_all(b"+PONG\r\n").await.unwrap();
        let mut rest = String::new();
        theirs.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "QUIT");
    };
    assert_eq!(found(&script, backend).await, Ok(()));
}

#[tokio::test]
async fn the_first_byte_that_differs_is_enough() {
    let script = script([send("PING\r\n"), expected("+PONG")]);
    // The backend says no more, and does not close either.
    let said = words(&script, async |mut theirs| {
        theirs.write_all(b"+PL").await.unwrap();
        theirs.read_to_end(&mut Vec::new()).await.unwrap();
    });
    assert_eq!(said.await, "step 2: expected `+PONG`, got `+PL`");
}

#[tokio::test]
async fn an_end_before_all_is_there_is_said() {
    let short = words(&script([expected("+PONG")]), async |theirs| says(theirs, b"+PO").await).await;
    assert_eq!(short, "step 1: expected `+PONG`, but it closed the connection after `+PO`");
    let nothing = words(&script([matching("x")]), async |theirs| says(theirs, b"").await).await;
    assert_eq!(nothing, "step 1: expected /x/, but it closed the connection");
}

#[tokio::test]
async fn a_pattern_sees_what_came_since_the_last_step_alone() {
    let script = script([expected("a"), matching("^b"), matching("^a")]);
    let said = words(&script, async |theirs| says(theirs, b"abc").await).await;
    assert_eq!(said, "step 3: expected /^a/, but it closed the connection after `c`");
}

#[tokio::test]
async fn a_pattern_matches_as_soon_as_it_can_however_slowly_it_comes() {
    let backend = async |mut theirs: tokio::net::UnixStream| {
        for byte in b"version 8.0.36, ready" {
            theirs.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.read_to_end(&mut Vec::new()).await.unwrap();
    };
    assert_eq!(found(&script([matching(r"^version 8\.\d+\..*ready")]), backend).await, Ok(()));
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let flood = vec![b'a'; 4 * MOST_SEEN];
    let (mut line, theirs) = pair();
    let script = script([matching("b")]);
    let flooding = tokio::spawn(async move { says(theirs, &flood).await });
    let error = script.check(&mut line).await.unwrap_err();
    assert_eq!(error.words, "step 1: /b/ matches nothing in the first 64 KiB of answer");
    assert_eq!(line.seen().len(), MOST_SEEN);
    line.hang_up().await;
    flooding.await.unwrap();
}

#[tokio::test]
async fn what_came_is_escaped_and_cut() {
    let noise = [b'\x1b'; 1000];
    let said = words(&script([expected("x")]), async move |theirs| says(theirs, &noise).await).await;
    assert!(said.starts_with(r"step 1: expected `x`, got `\x1b\x1b") && said.ends_with("…`"), "{said}");
    assert!(said.len() < 600, "{}", said.len());
}

#[test]
fn garbage_is_survived() {
    let steps = [expected("220 "), matching("[^\r]*\r\n"), send("QUIT\r\n"), expected("221")];
    survives_garbage(&script(steps), &[b"220 host ready\r\n221 bye\r\n", b"220 \r\n221"], async |_| {});
}
