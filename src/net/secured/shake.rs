//! The handshake, on either side.

use std::future::poll_fn;
use std::io::{self, ErrorKind};

use super::records::{Next, Records, Want};
use crate::net::Plain;

/// One read at most, so that of what follows the handshake only little is read along with it.
const PIECE: usize = 4 * 1024;
/// More than any handshake needs: the longest message that rustls takes is 64 KiB.
const MOST: usize = 128 * 1024;

/// Why there was no handshake.
#[derive(Debug)]
pub enum Unsecured {
    /// One side did not like what the other said.
    Refused(rustls::Error),
    /// The peer finished in the midst of it.
    Left,
    /// Its socket failed.
    Broken(io::Error),
}

/// What the peer sent right after its handshake, and was read along with it.
#[derive(Debug, Default)]
pub(super) struct Along {
    pub(super) plaintext: Vec<u8>,
    /// It said close_notify already.
    pub(super) ended: bool,
}

/// Shakes hands.
pub(super) async fn shake(socket: &Plain, records: &mut Records) -> Result<Along, Unsecured> {
    let mut along = Along::default();
    let mut received = 0;
    let mut piece = vec![0; PIECE];
    loop {
        match records.seal(Want::Nothing, &mut along.plaintext) {
            Next::Failed(error) => {
                // The alert, if there is one and room for it; the peer is not worth a wait any more.
                let _ = records.flush(|bytes| socket.try_write(bytes));
                return Err(Unsecured::Refused(error));
            }
            Next::Ended if records.common().is_handshaking() => return Err(Unsecured::Left),
            Next::Ended => along.ended = true,
            Next::More | Next::Again => {}
        }
        if !records.common().is_handshaking() {
            records.let_tickets_wait();
        }
        flush(socket, records).await.map_err(Unsecured::Broken)?;
        if !records.common().is_handshaking() {
            return Ok(along);
        }
        let read = receive(socket, &mut piece).await.map_err(Unsecured::Broken)?;
        if read == 0 {
            return Err(socket.take_error().map_or(Unsecured::Left, Unsecured::Broken));
        }
        records.received(&piece[..read]);
        received += read;
        if received > MOST {
            return Err(Unsecured::Refused(rustls::Error::General("the handshake is too long".into())));
        }
    }
}

async fn flush(socket: &Plain, records: &mut Records) -> io::Result<()> {
    loop {
        match records.flush(|bytes| socket.try_write(bytes)) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll_fn(|cx| socket.poll_write_ready(cx)).await?;
            }
            result => return result,
        }
    }
}

async fn receive(socket: &Plain, room: &mut [u8]) -> io::Result<usize> {
    loop {
        poll_fn(|cx| socket.poll_read_ready(cx)).await?;
        match socket.try_read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}
