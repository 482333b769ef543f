//! The connector of a running proxy: a socket, and what is said on it before the session's first byte.

use super::secure::Handshakes;
use super::source::Turns;
use super::{Connect, ConnectError, Connected, Connecting, Dial, preamble, socket, starttls};
use crate::net::{Stream, SystemCongestion};

/// Dials through the kernel.
#[derive(Debug)]
pub(super) struct System {
    turns: Turns,
    handshakes: Handshakes,
    congestion: SystemCongestion,
}

impl System {
    pub(super) fn new() -> Self {
        let (turns, handshakes) = (Turns::default(), Handshakes::default());
        Self { turns, handshakes, congestion: SystemCongestion::ask() }
    }
}

impl Connect for System {
    fn connect<'a>(&'a self, dial: &'a Dial) -> Connecting<'a> {
        Box::pin(async move {
            let connected = socket::connect(dial, &self.turns, self.congestion).await?;
            if !dial.greets() {
                return Ok(connected);
            }
            let Connected { stream, local } = connected;
            // Boxed, so that a connection in the clear does not carry the room that a handshake takes.
            let stream = Box::pin(self.greet(stream, dial)).await?;
            Ok(Connected { stream, local })
        })
    }
}

impl System {
    /// The steps before anyone else has the stream, each where it is wanted.
    async fn greet(&self, stream: Stream, dial: &Dial) -> Result<Stream, ConnectError> {
        if let Some(header) = &dial.preamble {
            preamble::send(&stream, header).await?;
        }
        if let Some(protocol) = dial.starttls {
            starttls::ask(&stream, protocol).await?;
        }
        match &dial.secure {
            Some(secure) => self.handshakes.shake(stream, secure, &dial.target).await,
            None => Ok(stream),
        }
    }
}
