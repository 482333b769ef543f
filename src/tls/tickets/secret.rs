//! What keys of tickets are derived from, and what tickets are bound to.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use sha2::{Digest as _, Sha256};

use super::{KEY, NAME};

/// What ticket keys are derived from.
#[derive(Clone)]
pub(in crate::tls) struct Secret(Prk);

impl Secret {
    /// From random bytes of a file.
    pub(in crate::tls) fn new(bytes: &[u8]) -> Self {
        Self(Salt::new(HKDF_SHA256, b"peerway session ticket 1").extract(bytes))
    }

    fn derive<const N: usize>(&self, parts: &[&[u8]]) -> Option<[u8; N]> {
        let mut out = [0; N];
        self.0.expand(parts, Length(N)).ok()?.fill(&mut out).ok()?;
        Some(out)
    }

    /// Which secret it is, to those that have it too.
    pub(super) fn name(&self, binding: &Binding) -> Option<[u8; NAME]> {
        self.derive(&[b"name", &binding.0])
    }

    /// The key of the one ticket that has this salt.
    pub(super) fn key(&self, binding: &Binding, salt: &[u8]) -> Option<LessSafeKey> {
        let key: [u8; KEY] = self.derive(&[b"key", &binding.0, salt])?;
        UnboundKey::new(&AES_256_GCM, &key).ok().map(LessSafeKey::new)
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Where a ticket is good: at one listener, with these demands on clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tls) struct Binding([u8; 32]);

impl Binding {
    /// Of all these parts.
    pub(in crate::tls) fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }

    pub(in crate::tls) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_binding_do_not_run_together() {
        let of = |parts: &[&'static [u8]]| Binding::new(parts.iter().copied());
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a"]), of(&[b"a", b""]));
        assert_eq!(of(&[b"a", b"b"]), of(&[b"a", b"b"]));
    }
}
