//! `admission`: who may come in, how many, and how often.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::AccessList;

/// `admission` of a listener. Whatever is `None` is without limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// `allow` and `deny`.
    pub access: Option<Arc<AccessList>>,
    /// Sessions at once.
    pub max_connections: Option<usize>,
    /// New connections a second.
    pub max_rate: Option<NonZeroU64>,
    /// What each client may have of it.
    pub per_client: PerClient,
    /// How connections are turned away.
    pub refuse_with: RefuseWith,
}

/// `admission.per_client`: limits of each client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerClient {
    /// Sessions at once.
    pub max_connections: Option<u32>,
    /// New connections a second.
    pub rate: Option<NonZeroU64>,
    /// How many leading bits of an IPv6 address tell one client from another, 1 to 128.
    pub prefix_v6: u8,
}

/// `bandwidth`: bytes a second of each direction, after TLS and PROXY headers. `None` is without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// Of each session.
    pub per_connection: Option<NonZeroU64>,
    /// Of all sessions of one client together.
    pub per_client: Option<NonZeroU64>,
}

/// `admission.refuse_with`: how connections are turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefuseWith {
    /// RST.
    Reset,
    /// FIN.
    Close,
    /// Silence for a while, then RST.
    Drop,
}

impl Default for PerClient {
    /// As if nothing were said.
    fn default() -> Self {
        Self { max_connections: None, rate: None, prefix_v6: 64 }
    }
}

impl Default for Admission {
    /// As if nothing were said.
    fn default() -> Self {
        let (access, max_connections, max_rate) = (None, None, None);
        Self { access, max_connections, max_rate, per_client: PerClient::default(), refuse_with: RefuseWith::Reset }
    }
}
