//! Asking a backend for TLS the way its protocol has it, in the clear, before the TLS itself.

use std::future::poll_fn;
use std::io::{self, ErrorKind};

use super::ConnectError;
use super::preamble::write_all;
use crate::config::plan::Starttls;
use crate::metrics::ConnectFailure;
use crate::net::Stream;
use crate::wire::Malformed;
use crate::wire::postgres::{SSL_REQUEST, answer};

/// Asks for TLS the way of `protocol`; Ok says that the backend is willing, and waits for the handshake.
pub(super) async fn ask(stream: &Stream, protocol: Starttls) -> Result<(), ConnectError> {
    match protocol {
        Starttls::Postgres => postgres(stream).await,
    }
}

async fn postgres(stream: &Stream) -> Result<(), ConnectError> {
    write_all(stream, &SSL_REQUEST).await.map_err(broken)?;
    match answer(byte(stream).await.map_err(broken)?) {
        Ok(true) => only_answer(stream),
        Ok(false) => Err(unwilling("it does not speak TLS: it answered N to the request for it")),
        Err(Malformed(error)) => Err(unwilling(&error)),
    }
}

/// What stands behind the answer would be taken for something inside TLS, and anybody may have put it there
/// (CVE-2021-23222).
fn only_answer(stream: &Stream) -> Result<(), ConnectError> {
    match stream.peek(&mut [0]) {
        Ok(_) => Err(unwilling("its answer to the request for TLS was followed by something else")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(broken(error)),
    }
}

/// The next byte, and no more than that.
async fn byte(stream: &Stream) -> io::Result<u8> {
    let mut byte = [0];
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        match stream.try_read(&mut byte) {
            Ok(0) => return Err(stream.take_error().unwrap_or_else(|| ErrorKind::UnexpectedEof.into())),
            Ok(_) => return Ok(byte[0]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn broken(error: io::Error) -> ConnectError {
    ConnectError::new(ConnectFailure::Tls, error.raw_os_error())
}

fn unwilling(words: &str) -> ConnectError {
    ConnectError { words: Some(words.into()), ..ConnectError::new(ConnectFailure::Tls, None) }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    /// What comes of asking a backend that answers so; None if it is given the stream.
    async fn asked(answer: &[u8]) -> Option<ConnectError> {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let stream = Stream::try_from(ours).expect("room in the runtime");
        theirs.write_all(answer).await.expect("sent");
        let closes = answer.is_empty();
        let server = tokio::spawn(async move {
            let mut request = [0; 8];
            theirs.read_exact(&mut request).await.expect("a request");
            assert_eq!(request, SSL_REQUEST);
            (!closes).then_some(theirs)
        });
        let result = ask(&stream, Starttls::Postgres).await;
        drop(server.await.expect("asked"));
        result.err()
    }

    #[tokio::test]
    async fn only_the_one_answer_leads_on() {
        assert_eq!(asked(b"S").await, None);
        for answer in [&b"N"[..], b"E", b"SX", b"\x15", b""] {
            let error = asked(answer).await.expect("no stream");
            assert_eq!(error.reason, ConnectFailure::Tls, "{answer:?}");
        }
    }
}
