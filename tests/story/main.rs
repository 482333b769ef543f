//! Sessions through a real proxy, told from both ends: what one peer does, the other must see.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod api;
mod bandwidth;
mod busy_poll;
mod bytes;
mod command;
mod dial;
mod ends;
mod engines;
mod harness;
mod health;
mod keepalive;
mod limits;
mod logs;
mod mixed;
mod operate;
mod passive;
mod places;
mod pools;
mod proxy_in;
mod proxy_out;
mod reload;
mod resets;
mod routes;
mod sandbox;
mod shutdown;
mod starttls;
mod storm;
mod systemd;
mod tiers;
mod timeouts;
mod tls;
mod upgrade;
