//! How a pool chooses among its backends.

/// A policy by name, and its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySpec {
    /// A name the catalogue knows.
    pub name: &'static str,
    /// What a policy that hashes does so with; `None` for the others.
    pub hash: Option<HashSpec>,
}

/// The parameters of a policy that hashes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HashSpec {
    /// What is hashed.
    pub key: HashKey,
    /// How many leading bits of an IPv6 address of a client count.
    pub prefix_v6: u8,
    /// How many times its share of sessions a backend may have, at least 1.0; `None` is `off`.
    pub bounded_load: Option<f64>,
}

impl Default for HashSpec {
    /// As if nothing were said.
    fn default() -> Self {
        Self { key: HashKey::ClientIp, prefix_v6: 64, bounded_load: None }
    }
}

/// `key`: sessions of equal keys go to the same backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashKey {
    /// The client's IP address.
    #[default]
    ClientIp,
    /// The client's IP address and port.
    ClientIpPort,
    /// The server name the client asked for.
    ServerName,
    /// The address and port the client connected to.
    Destination,
}

impl HashKey {
    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientIp => "client_ip",
            Self::ClientIpPort => "client_ip_port",
            Self::ServerName => "server_name",
            Self::Destination => "destination",
        }
    }
}
