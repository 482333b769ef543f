//! The `peerway` program.

fn main() {}
