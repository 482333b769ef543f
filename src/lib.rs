//! Peerway: a load-balancing TCP reverse proxy.

pub mod config;
