//! Upgrade: another process takes over, and nobody who is connected, or connects, sees any of it.

pub(crate) mod counts;
mod ends;
mod failures;
mod knowledge;
mod load;
mod orders;
mod single;
mod sockets;

use crate::support::{Backend, Proxy, Setup, TOP};

/// A file: `front` on a free port, with more lines at the top and in the pool.
fn file(backend: &Backend, top: &str, pool: &str) -> String {
    let address = backend.address();
    format!(
        "{TOP}{top}\nlisteners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back }}\n\
         pools:\n  back: {{ backends: [ \"{address}\" ]{pool} }}\n"
    )
}

/// A proxy of that file.
fn proxy(backend: &Backend, top: &str) -> Proxy {
    Setup::file(file(backend, top, "")).start()
}
