//! Peerway: a load-balancing TCP reverse proxy.
//!
//! A client that connects is let in at a [`listener`] (under the limits of [`admission`]), its story is
//! told in [`session`]: [`route`] says which [`pool`] it goes to, the pool's policy ([`balance`]) picks
//! a [`backend`], [`upstream`] reaches it through [`connect`], [`relay`] moves the bytes both ways, and
//! [`ledger`] writes down the one way it ended. Around that, [`config`] turns YAML into a plan,
//! [`discover`] finds addresses, [`metrics`] names all that is counted, [`admin`] shows it, [`drain`]
//! ends it, and [`app`] puts it together.

pub mod admission;
pub mod backend;
pub mod balance;
pub mod connect;
pub mod ledger;
pub mod listener;
pub mod pool;
pub mod relay;
pub mod route;
pub mod session;
pub mod upstream;

pub mod backoff;
pub mod config;
pub mod discover;
pub mod drain;

pub mod admin;
pub mod app;
pub mod cli;
pub mod metrics;
pub mod net;
pub mod sink;
