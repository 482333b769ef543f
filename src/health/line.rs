//! A connected line to a backend, for the length of one probe.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::ProbeError;
use crate::metrics::ProbeResult;
use crate::net::Stream;
use crate::wire::Parsed;

/// A connection on which a probe talks: what has come and was not taken yet, and the socket.
#[derive(Debug)]
pub struct Line {
    stream: Stream,
    /// What was read and not yet taken.
    seen: Vec<u8>,
    /// Whether the far side has finished.
    ended: bool,
    /// The address that was dialled, for protocols that name it.
    address: String,
}

/// No probe needs more of an answer; a server that floods is cut off here.
const MOST_SEEN: usize = 64 * 1024;
/// A server that says goodbye, or does not, takes no longer to be left.
const PARTING: Duration = Duration::from_millis(200);

impl Line {
    /// A line over a stream that was just connected to `address`.
    pub fn new(stream: Stream, address: String) -> Self {
        Self { stream, seen: Vec::new(), ended: false, address }
    }

    /// The address that was dialled: `IP:port` or `unix:PATH`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether nobody in between can read what is said: over a unix socket there is no between.
    pub fn is_private(&self) -> bool {
        matches!(self.stream, Stream::Unix(_)) || !self.stream.is_plain()
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The backend has closed or reset the connection.
    pub async fn send(&mut self, mut bytes: &[u8]) -> Result<(), ProbeError> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(wrote) => bytes = &bytes[wrote..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.stream.poll_write_ready(cx)).await.map_err(lost)?;
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    /// What has come and was not taken yet.
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Takes the first `count` bytes off what has come.
    pub fn take(&mut self, count: usize) {
        self.seen.drain(..count);
    }

    /// Waits for more bytes; false when the backend has finished and none will come.
    ///
    /// # Errors
    /// The connection was reset, or there is more than any probe needs.
    pub async fn more(&mut self) -> Result<bool, ProbeError> {
        if self.seen.len() >= MOST_SEEN {
            return Err(ProbeError::unexpected(format!("more than {} KiB of answer", MOST_SEEN / 1024)));
        }
        let mut buffer = [0; 4096];
        while !self.ended {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(read) => {
                    self.seen.extend_from_slice(&buffer[..read]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| self.stream.poll_read_ready(cx)).await.map_err(lost)?;
                }
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(false)
    }

    /// Reads until `parse` has what it wants, and takes that off.
    ///
    /// # Errors
    /// What came is not what `parse` knows, or the backend closed before all of it was there.
    pub async fn read<T>(&mut self, mut parse: impl FnMut(&[u8]) -> Parsed<T>) -> Result<T, ProbeError> {
        loop {
            if let Some((value, taken)) = parse(&self.seen)? {
                self.take(taken);
                return Ok(value);
            }
            if !self.more().await? {
                return Err(ProbeError::unexpected(match self.seen.is_empty() {
                    true => "it closed the connection".to_owned(),
                    false => format!("it closed the connection after {}", crate::wire::quoted(&self.seen)),
                }));
            }
        }
    }

    /// Ends the line as a client does that has finished: the server sees an end of stream and no error.
    pub async fn hang_up(self) {
        let parting = async {
            self.stream.finish()?;
            // Closing while there is unread input would be a reset.
            let mut buffer = [0; 4096];
            // Who talks on and on is not listening.
            for _ in 0..MOST_SEEN / buffer.len() {
                match self.stream.try_read(&mut buffer) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        poll_fn(|cx| self.stream.poll_read_ready(cx)).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        // A server that waits for more is told no less by this: it has our end of stream.
        let _: Result<io::Result<()>, _> = timeout(PARTING, parting).await;
        self.stream.close_delivered();
    }
}

fn lost(error: io::Error) -> ProbeError {
    ProbeError { result: ProbeResult::Unexpected, words: format!("connection lost: {error}") }
}
