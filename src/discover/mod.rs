//! Finding addresses: host names, with bounds on what an answer may do.

mod host_name;

pub use host_name::{DiscoverError, Resolver, System, keep_current, resolve};
