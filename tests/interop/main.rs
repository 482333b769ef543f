//! Real programs through a real proxy: a program that is missing is a failure.
//!
//! Behind the feature `interop`, since these programs must be installed; `tests/run` does both.
#![cfg(feature = "interop")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod deploy;
mod kernel;
mod network;
mod nginx;
mod openssh;
mod partition;
mod passthrough;
mod postgres;
mod probes;
mod probes_http;
mod probes_mysql;
mod probes_postgres;
mod probes_redis;
mod prometheus;
mod proxy_protocol;
mod redis;
mod roles;
mod stopped;
mod systemd;
mod tls;
mod tls_backends;
mod transparent;
