//! Finding addresses: host names, with bounds on what an answer may do.

mod host_name;

pub use host_name::{DiscoverError, Resolution, Resolver, System, keep_current, resolve};
