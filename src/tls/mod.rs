//! TLS, by rustls.
//!
//! The provider of its cryptography is handed to each configuration; none is installed for the process.

mod client;
mod files;
mod names;
mod server;
mod tickets;

pub use client::{Client, HandshakeError, Secured};
pub use files::{Expiry, FILES, Unusable};
pub use server::{Handshake, Server, Session, Shown, verdict, words};
pub use tickets::{HandedSecrets, OwnSecrets};

#[cfg(test)]
pub(crate) mod fixture;
