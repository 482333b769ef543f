//! A probe and a backend that is played by hand, at the two ends of a line.
#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Line, Probe, ProbeError};
use crate::config::plan::{Congestion, StreamTcp};
use crate::connect::Dial;
use crate::metrics::ProbeResult;
use crate::net::{Stream, Target, arm_reset};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What dials a port of this machine in the clear, and has so long for it.
pub(super) fn dial(port: u16, timeout: Duration) -> Dial {
    Dial {
        target: Target::Ip(([127, 0, 0, 1], port).into()),
        source: [].into(),
        transparent: None,
        preamble: None,
        starttls: None,
        secure: None,
        speaks: false,
        tcp: StreamTcp { nodelay: true, keepalive: None, user_timeout: None, congestion: Congestion::System },
        timeout,
    }
}

/// A line and its far end.
pub(super) fn pair() -> (Line, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Line::new(Stream::try_from(ours).unwrap(), "127.0.0.1:80".into()), theirs)
}

/// The same over TCP, with a close that is a reset unless the line is ended well, as the connector makes them.
pub(super) async fn tcp_pair() -> (Line, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let ours = ours.unwrap();
    arm_reset(&ours).unwrap();
    (Line::new(Stream::try_from(ours).unwrap(), address.to_string()), theirs.unwrap().0)
}

/// What `probe` finds when `backend` plays the far end; the line is ended as a caller does.
pub(super) async fn found<F: Future<Output = ()>>(
    probe: &dyn Probe,
    backend: impl FnOnce(UnixStream) -> F,
) -> Result<(), ProbeError> {
    let (mut line, theirs) = pair();
    let asking = async {
        let found = probe.check(&mut line).await;
        line.hang_up().await;
        found
    };
    timeout(PATIENCE, async { tokio::join!(asking, backend(theirs)).0 }).await.expect("in time")
}

/// The words in which `probe` says that `backend` is not as expected.
pub(super) async fn words<F: Future<Output = ()>>(probe: &dyn Probe, backend: impl FnOnce(UnixStream) -> F) -> String {
    let error = found(probe, backend).await.expect_err("a backend that is not well");
    assert_eq!(error.result, ProbeResult::Unexpected, "{error}");
    error.words
}

/// Says `answer` at once and closes after the client has.
pub(super) async fn says(mut theirs: UnixStream, answer: &[u8]) {
    // Who has heard enough leaves in the middle of it.
    let _ = theirs.write_all(answer).await;
    let _ = theirs.shutdown().await;
    let mut rest = Vec::new();
    let _ = theirs.read_to_end(&mut rest).await;
}

/// Whatever `probe` is told after `first`, random bytes or `good` answers that were tampered with, it comes to an end,
/// without panics, and its words are short.
pub(super) fn survives_garbage(probe: &dyn Probe, good: &[&[u8]], first: impl AsyncFn(&mut UnixStream)) {
    let good: Vec<Vec<u8>> = good.iter().map(|good| good.to_vec()).collect();
    let mutated = (proptest::sample::select(good), any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    let mutated = mutated.prop_map(|(mut bytes, at, byte, cut)| {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        bytes
    });
    let bytes = prop_oneof![1 => proptest::collection::vec(any::<u8>(), 0..200), 4 => mutated];
    let first = &first;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    proptest!(|(bytes in bytes)| {
        let found = runtime.block_on(found(probe, |mut theirs| async move {
            first(&mut theirs).await;
            says(theirs, &bytes).await;
        }));
        if let Err(error) = found {
            prop_assert!(error.words.len() < 1200, "{}", error.words);
            prop_assert!(error.words.chars().all(|c| c == '…' || c == ' ' || c.is_ascii_graphic()), "{}", error.words);
        }
    });
}
