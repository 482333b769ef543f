//! What tests of the configuration read files with.

use super::{Catalogue, PolicyKind, Takes, TlsFiles};

/// One policy, and files of TLS that nobody reads.
pub(super) const CATALOGUE: Catalogue = Catalogue {
    policies: &[PolicyKind { name: "round_robin", summary: "", takes: Takes::Nothing }],
    tls: TlsFiles::UNREAD,
};
