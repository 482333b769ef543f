//! How a connection is turned away.

use std::pin::pin;
use std::time::Instant;

use tokio::time::sleep_until;

use super::gate::Held;
use crate::config::plan::RefuseWith;
use crate::net::{Stream, unless_failed};

/// Turns a client away.
///
/// With [`RefuseWith::Drop`] it is held until `until`, in the place that `hold` finds for it; without one it is reset at
/// once. [`RefuseWith::Close`] is an orderly end for a client that has not sent anything; one that has is reset by the
/// kernel right behind the end, since nobody reads what it sent.
pub fn turn_away(stream: Stream, manner: RefuseWith, until: Instant, hold: impl FnOnce() -> Option<Held>) {
    match manner {
        // Dropping a stream resets it: the client learns at once, and nothing lingers here.
        RefuseWith::Reset => drop(stream),
        RefuseWith::Close => {
            // Gone already, if that fails.
            let _ = stream.try_finish();
            stream.close_delivered();
        }
        RefuseWith::Drop => {
            if let Some(held) = hold() {
                tokio::spawn(keep_silent(stream, until, held));
            }
        }
    }
}

/// Holds a client, unread, until then or until it leaves by itself, and resets it.
async fn keep_silent(stream: Stream, until: Instant, held: Held) {
    let _ = unless_failed(&stream, pin!(sleep_until(until.into()))).await;
    drop((stream, held));
}
