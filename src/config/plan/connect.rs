//! How backends are reached.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// `connect`: the bounds on reaching a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Connect {
    /// One attempt.
    pub timeout: Duration,
    /// Attempts a session, at least 1.
    pub attempts: u32,
    /// All attempts and back-offs together.
    pub deadline: Duration,
    /// What may be spent on attempts beyond a session's first.
    pub retry_budget: RetryBudget,
    /// Pauses before the same backend is tried again.
    pub backoff: Backoff,
    /// When a second backend is raced against an attempt; `None` is never. Set only with at least two `attempts`.
    pub hedge_after: Option<Hedge>,
    /// Addresses of this machine to connect from, each in its turn. When there are any, some are of the family of each
    /// backend whose family is known here. Empty leaves it to the kernel.
    pub source: Arc<[IpAddr]>,
    /// `source: client`: sessions connect from their client's address instead. Never with unix sockets as backends.
    pub transparent: bool,
    /// Whether and how backends are told who the client is.
    pub send_proxy: Option<SendProxy>,
}

/// `connect.retry_budget`: how many retries and hedges the pool's sessions may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Retries for each recent session, 0.0 to 1.0: with 0.2 one for five.
    pub share: f64,
    /// Retries a second on top of that, whatever the sessions.
    pub min_per_second: f64,
}

/// `connect.hedge_after`: when a second backend is raced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hedge {
    /// When an attempt has taken so long; shorter than `connect.timeout`.
    After(Duration),
    /// When an attempt has taken longer than 95 % of the pool's recent ones.
    P95,
}

/// `connect.send_proxy`: the version of the PROXY protocol, and what the header says besides addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendProxy {
    /// Text.
    V1,
    /// Binary.
    V2 {
        /// The server name the client asked for, if it is known.
        authority: bool,
        /// The application protocol, if it is known.
        alpn: bool,
        /// What is known of the client's TLS.
        ssl: bool,
        /// The session's id.
        unique_id: bool,
        /// A checksum.
        crc32c: bool,
    },
}

/// `connect.backoff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub base: Duration,
    /// No pause is longer.
    pub max: Duration,
}
