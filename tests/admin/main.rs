//! The admin and metrics endpoints, spoken to in raw bytes: what they show, and all they refuse.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod api;
mod bounds;
mod explain;
mod fixture;
mod page;
mod pages;
mod sites;
