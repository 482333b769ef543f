//! TLS, by rustls.
//!
//! The provider of its cryptography is handed to each configuration; none is installed for the process.

mod client;

pub use client::{Client, HandshakeError, Secured};

#[cfg(test)]
pub(crate) mod fixture;
