//! Where an admin endpoint is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What makes an address one of an endpoint with TLS.
const SECURE: &str = "https://";

/// Where an admin endpoint listens, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// TCP, `host:port`.
    Tcp(String),
    /// TLS over TCP, `host:port`.
    Tls(String),
    /// A unix socket.
    Unix(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err("unix: needs a path".into()) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(address) = text.strip_prefix(SECURE) {
            return host_and_port(address.strip_suffix('/').unwrap_or(address)).map(Self::Tls);
        }
        host_and_port(text).map(Self::Tcp)
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("expected IP:PORT, HOST:PORT, https://HOST:PORT or unix:PATH".into()),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Tls(address) => write!(f, "{SECURE}{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_or_unix_paths() {
        assert_eq!("unix:/run/x".parse(), Ok(Place::Unix("/run/x".into())));
        assert_eq!("https://h:1/".parse(), Ok(Place::Tls("h:1".into())));
        for good in ["127.0.0.1:9901", "[::1]:9901", "localhost:1", "https://a.example:9901", "https://[::1]:1"] {
            assert_eq!(good.parse::<Place>().unwrap().to_string(), good);
        }
        for bad in ["", "unix:", "127.0.0.1", ":9901", "host:port", "host:99999", "https://", "https://h", "http://h:1"]
        {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
