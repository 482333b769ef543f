//! The proxies, each as its users run it: an access log in a file, metrics, health checks and idle timers.

mod envoy;
mod haproxy;
mod nginx;
mod peerway;
mod process;
mod traefik;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use process::Proxy;

use crate::certificates::Files;
use crate::shape::Shape;

/// How a proxy is configured and started.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    /// The variable that names its program, and the program otherwise.
    program: (&'static str, &'static str),
    version: &'static [&'static str],
    /// What is on, in words.
    pub features: &'static str,
    file: &'static str,
    config: fn(&Places) -> String,
    arguments: fn(&Path) -> Vec<String>,
}

/// Where things are, and what is wanted.
struct Places {
    shape: Shape,
    /// One a listener.
    listens: Vec<SocketAddr>,
    /// Those that speak TLS, if the shape has it so.
    backends: Vec<SocketAddr>,
    admin: SocketAddr,
    dir: String,
    files: Files,
}

/// The one whose ratios are shown.
pub const OURS: &str = "peerway";

pub const KINDS: &[Kind] = &[peerway::KIND, haproxy::KIND, nginx::KIND, envoy::KIND, traefik::KIND];

impl Kind {
    pub fn is_ours(&self) -> bool {
        self.name == OURS
    }

    fn program(&self) -> PathBuf {
        let (variable, name) = self.program;
        std::env::var_os(variable).map_or_else(|| name.into(), PathBuf::from)
    }
}

/// Lines made of each of these by its number.
fn each<T>(of: &[T], line: impl Fn(usize, &T) -> String) -> String {
    of.iter().enumerate().map(|(index, one)| line(index, one)).collect()
}
