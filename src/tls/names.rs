//! Which certificate a client gets: by the name it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::Pair;

/// Certificates of one name, with keys of different kinds.
type Kinds = Vec<Arc<CertifiedKey>>;

/// The certificates of one listener.
#[derive(Debug)]
pub(super) struct Certificates {
    /// By whole name.
    exact: BTreeMap<String, Kinds>,
    /// By what follows `*.`, which stands for one label.
    wildcard: BTreeMap<String, Kinds>,
    /// For all other names, and for clients that ask for none.
    default: Kinds,
}

impl Certificates {
    /// In the order of the configuration.
    pub(super) fn new(pairs: &[Pair]) -> Self {
        let (mut exact, mut wildcard) = (BTreeMap::<_, Kinds>::new(), BTreeMap::<_, Kinds>::new());
        for pair in pairs {
            for name in &pair.names {
                let kinds = match name.strip_prefix("*.") {
                    Some(parent) => wildcard.entry(parent.to_owned()).or_default(),
                    None => exact.entry(name.clone()).or_default(),
                };
                kinds.push(pair.certified.clone());
            }
        }
        // Those with the very names of the first are its other kinds.
        let first = pairs.first();
        let same = pairs.iter().filter(|pair| first.is_some_and(|first| first.names == pair.names));
        let default = same.map(|pair| pair.certified.clone()).collect();
        Self { exact, wildcard, default }
    }

    /// Whether one is for this very host name. One for all names of a domain does not count.
    pub(super) fn have(&self, name: &str) -> bool {
        self.exact.contains_key(&name.to_ascii_lowercase())
    }

    /// Those for a name, the best first.
    fn of(&self, name: Option<&str>) -> &Kinds {
        let Some(name) = name else { return &self.default };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(wildcard).unwrap_or(&self.default)
    }

    /// The first that can sign in a way that the client understands; or else the first, so that it hears why not.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let kinds = self.of(name);
        kinds.iter().find(|kind| kind.key.choose_scheme(schemes).is_some()).or(kinds.first()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture;
    use super::*;

    fn chosen(certificates: &Certificates, pairs: &[Pair], name: Option<&str>, schemes: &[SignatureScheme]) -> usize {
        let chosen = certificates.choose(name, schemes).unwrap();
        pairs.iter().position(|pair| Arc::ptr_eq(&pair.certified, &chosen)).unwrap()
    }

    #[test]
    fn the_name_decides() {
        let names: [&[&str]; 4] =
            [&["default.example"], &["*.example", "example"], &["a.example"], &["*.b.example", "b.example"]];
        let pairs = names.map(|names| fixture::pair(names, &rcgen::PKCS_ECDSA_P256_SHA256));
        let certificates = Certificates::new(&pairs);
        for (name, index) in [
            (None, 0),
            (Some("default.example"), 0),
            (Some("a.example"), 2),
            (Some("A.Example."), 2),
            (Some("c.example"), 1),
            (Some("example"), 1),
            (Some("b.example"), 3),
            (Some("x.b.example"), 3),
            (Some("x.a.example"), 0),
            (Some("y.x.b.example"), 0),
            (Some("elsewhere"), 0),
            (Some("*.example"), 1),
            (Some(""), 0),
            (Some("."), 0),
            (Some(".example"), 1),
        ] {
            let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
            assert_eq!(chosen(&certificates, &pairs, name, &schemes), index, "{name:?}");
        }
    }

    #[test]
    fn the_kind_of_key_is_one_that_the_client_understands() {
        let kinds = [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P256_SHA256];
        let pairs = kinds.map(|kind| fixture::pair(&["a.example"], kind));
        let certificates = Certificates::new(&pairs);
        let p256 = SignatureScheme::ECDSA_NISTP256_SHA256;
        for name in [None, Some("a.example"), Some("elsewhere")] {
            for (schemes, index) in [(&[p256][..], 1), (&[p256, SignatureScheme::ED25519], 0), (&[], 0)] {
                assert_eq!(chosen(&certificates, &pairs, name, schemes), index, "{name:?} {schemes:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_name_gets_one(name in "\\PC{0,300}") {
            let pair = [fixture::pair(&["*.example"], &rcgen::PKCS_ED25519)];
            prop_assert!(Certificates::new(&pair).choose(Some(&name), &[]).is_some());
        }
    }
}
