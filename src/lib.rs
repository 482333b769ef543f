//! Peerway: a load-balancing TCP reverse proxy.
//!
//! A client that connects is let in at a [`listener`] (under the limits of [`admission`]), its story is
//! told in [`session`]: [`intake`] learns who it is, [`route`] says which [`pool`] it goes to, the pool's policy ([`balance`]) picks
//! a [`backend`], [`upstream`] reaches it through [`connect`] ([`tls`] encrypts), [`relay`] moves the bytes both ways, and
//! [`ledger`] writes down the one way it ended. Around that, [`config`] turns YAML into a plan,
//! [`discover`] finds addresses, [`health`] finds out who is well, [`metrics`] names all that is counted, [`admin`] shows it, [`drain`]
//! ends it, and [`app`] puts it together. [`net`] has the truth about sockets, [`wire`] formats of bytes, [`sink`]
//! writes lines that may get stuck without stalling anyone.

pub mod listener;
pub mod admission;
pub mod session;
pub mod intake;
pub mod route;
pub mod pool;
pub mod balance;
pub mod backend;
pub mod upstream;
pub mod connect;
pub mod tls;
pub mod relay;
pub mod ledger;

pub mod config;
pub mod discover;
pub mod health;
pub mod metrics;
pub mod admin;
pub mod drain;
pub mod app;
pub mod cli;

pub mod wire;
pub mod net;
pub mod sink;
pub mod backoff;
