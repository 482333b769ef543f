//! Session tickets: a client that has been here resumes its session with one, at any worker and any replica.
//!
//! rustls makes keys for tickets that die with the configuration and that each process has for itself. These outlive a
//! reload, may be shared with replicas, and are bound to where a ticket comes from: one that was made at another
//! listener, or before the authorities for clients changed, is not even recognised (as CVE-2025-23419 asks for).
//!
//! A ticket is `name (16) ‖ salt (32) ‖ AES-256-GCM (time of issue (8) ‖ state)`. Its key is HKDF-SHA-256 of the secret,
//! the binding and the random salt, so that no key encrypts twice and the nonce may be zero, however many tickets a
//! secret is used for. The name tells which secret made it.

mod own;
mod secret;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};
use rustls::server::ProducesTickets;

use super::files::now;

pub use own::{HandedSecrets, OwnSecrets};
pub(super) use secret::{Binding, Secret};

/// A ticket is good for so long: what a stolen secret can decrypt is bounded by that.
const LIFETIME: u32 = 12 * 60 * 60;

const NAME: usize = 16;
const SALT: usize = 32;
const TAG: usize = 16;
const TIME: usize = 8;
const KEY: usize = 32;

/// Makes and accepts the tickets of one listener.
pub(super) struct Tickets {
    secrets: Secrets,
    binding: Binding,
}

/// Where its secrets are.
pub(super) enum Secrets {
    /// In files: the first makes tickets.
    Shared(Vec<Secret>),
    /// In the process.
    Own(Arc<OwnSecrets>),
}

impl Tickets {
    pub(super) fn new(secrets: Secrets, binding: Binding) -> Self {
        Self { secrets, binding }
    }

    fn secrets(&self) -> Vec<Secret> {
        match &self.secrets {
            Secrets::Shared(secrets) => secrets.clone(),
            Secrets::Own(own) => own.at(Instant::now()),
        }
    }

    /// The names of secrets that were given; those of the process's own come and go.
    pub(super) fn names(&self) -> Vec<[u8; NAME]> {
        match &self.secrets {
            Secrets::Shared(secrets) => secrets.iter().filter_map(|secret| secret.name(&self.binding)).collect(),
            Secrets::Own(_) => Vec::new(),
        }
    }

    fn seal(&self, state: &[u8], now: i64) -> Option<Vec<u8>> {
        let secrets = self.secrets();
        let secret = secrets.first()?;
        let salt: [u8; SALT] = random()?;
        let mut sealed = [&now.to_be_bytes()[..], state].concat();
        let head = [&secret.name(&self.binding)?[..], &salt].concat();
        let key = secret.key(&self.binding, &salt)?;
        key.seal_in_place_append_tag(zero(), Aad::from(&head), &mut sealed).ok()?;
        Some([head, sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: i64) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(NAME + SALT).filter(|(_, rest)| rest.len() >= TIME + TAG)?;
        let (name, salt) = head.split_at(NAME);
        let secrets = self.secrets();
        let secret = secrets.iter().find(|secret| secret.name(&self.binding).is_some_and(|own| own == name))?;
        let mut opened = sealed.to_vec();
        let key = secret.key(&self.binding, salt)?;
        let opened = key.open_in_place(zero(), Aad::from(head), &mut opened).ok()?;
        let (issued, state) = opened.split_first_chunk::<TIME>()?;
        // A replica's clock may be ahead of this one.
        let age = now.saturating_sub(i64::from_be_bytes(*issued));
        (age <= i64::from(LIFETIME)).then(|| state.to_vec())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, now())
    }
}

/// Of a key that encrypts one ticket.
fn zero() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn shared(secrets: &[&[u8]], binding: &[u8]) -> Tickets {
        let secrets = secrets.iter().map(|bytes| Secret::new(bytes)).collect();
        Tickets::new(Secrets::Shared(secrets), Binding::new([binding]))
    }

    #[test]
    fn a_ticket_is_good_for_a_while_where_it_was_made() {
        let tickets = shared(&[&[1; 32]], b"front");
        let ticket = tickets.seal(b"state", NOW).unwrap();
        let last = NOW + i64::from(LIFETIME);
        for (at, good) in [(NOW, true), (NOW - 3600, true), (last, true), (last + 1, false), (i64::MAX, false)] {
            assert_eq!(tickets.open(&ticket, at).as_deref(), good.then_some(&b"state"[..]), "{at}");
        }
        assert_eq!(shared(&[&[1; 32]], b"other").open(&ticket, NOW), None);
        assert_eq!(shared(&[&[2; 32]], b"front").open(&ticket, NOW), None);
        assert_ne!(tickets.seal(b"state", NOW).unwrap()[NAME..], ticket[NAME..], "no key encrypts twice");
    }

    #[test]
    fn replicas_change_their_secret_in_three_steps_without_losing_a_ticket() {
        let (old, new): (&[u8], &[u8]) = (&[1; 80], &[2; 80]);
        let steps: [&[&[u8]]; 4] = [&[old], &[old, new], &[new, old], &[new]];
        for pair in steps.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|secrets| shared(secrets, b"front"));
            let [from_a, from_b] = [&a, &b].map(|tickets| tickets.seal(b"x", NOW).unwrap());
            assert!(b.open(&from_a, NOW).is_some() && a.open(&from_b, NOW).is_some());
        }
        let ticket = shared(&[old], b"front").seal(b"x", NOW).unwrap();
        assert!(shared(&[new], b"front").open(&ticket, NOW).is_none());
    }

    proptest! {
        #[test]
        fn what_is_not_a_ticket_is_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), at: usize, bit in 0u8..8) {
            let tickets = shared(&[&[1; 32]], b"front");
            prop_assert_eq!(tickets.open(&bytes, NOW), None);
            let mut ticket = tickets.seal(&bytes, NOW).unwrap();
            prop_assert_eq!(tickets.open(&ticket, NOW), Some(bytes.clone()));
            let length = ticket.len();
            ticket[at % length] ^= 1 << bit;
            prop_assert_eq!(tickets.open(&ticket, NOW), None);
            bytes = tickets.seal(&bytes, NOW).unwrap();
            prop_assert_eq!(tickets.open(&bytes[..at % bytes.len()], NOW), None);
        }
    }
}
