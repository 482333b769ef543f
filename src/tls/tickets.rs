//! Session tickets: a client that has been here resumes its session with one, at any worker and any replica.
//!
//! rustls makes keys for tickets that die with the configuration and that each process has for itself. These outlive a
//! reload, may be shared with replicas, and are bound to where a ticket comes from: one that was made at another
//! listener, or before the authorities for clients changed, is not even recognised (as CVE-2025-23419 asks for).
//!
//! A ticket is `name (16) ‖ salt (32) ‖ AES-256-GCM (time of issue (8) ‖ state)`. Its key is HKDF-SHA-256 of the secret,
//! the binding and the random salt, so that no key encrypts twice and the nonce may be zero, however many tickets a
//! secret is used for. The name tells which secret made it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use rustls::server::ProducesTickets;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::files::now;

/// A secret of the process's own makes tickets for so long …
const TURN: Duration = Duration::from_secs(6 * 60 * 60);
/// … and a ticket is good for so long: what a stolen secret can decrypt is bounded by that.
const LIFETIME: u32 = 12 * 60 * 60;

const NAME: usize = 16;
const SALT: usize = 32;
const TAG: usize = 16;
const TIME: usize = 8;
const KEY: usize = 32;

/// What ticket keys are derived from.
#[derive(Clone)]
pub(super) struct Secret(Prk);

impl Secret {
    /// From random bytes of a file.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Salt::new(HKDF_SHA256, b"peerway session ticket 1").extract(bytes))
    }

    fn derive<const N: usize>(&self, parts: &[&[u8]]) -> Option<[u8; N]> {
        let mut out = [0; N];
        self.0.expand(parts, Length(N)).ok()?.fill(&mut out).ok()?;
        Some(out)
    }

    fn name(&self, binding: &Binding) -> Option<[u8; NAME]> {
        self.derive(&[b"name", &binding.0])
    }

    fn key(&self, binding: &Binding, salt: &[u8]) -> Option<LessSafeKey> {
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
pub(super) struct Binding([u8; 32]);

impl Binding {
    /// Of all these parts.
    pub(super) fn new<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The secrets of a process that has been given none. A listener keeps them for as long as it lives.
pub struct OwnSecrets(Mutex<Option<Turns>>);

impl OwnSecrets {
    /// None before the first ticket.
    pub fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// For the process that takes over; None if there was no ticket yet.
    pub fn hand_over(&self, now: Instant) -> Option<HandedSecrets> {
        let turns = self.lock();
        let Turns { since, current, before } = turns.as_ref()?;
        let age_seconds = now.saturating_duration_since(*since).as_secs();
        Some(HandedSecrets { current: current.bytes, before: before.as_ref().map(|own| own.bytes), age_seconds })
    }

    /// Goes on with what the process before has made tickets with.
    pub fn take_over(&self, handed: &HandedSecrets, now: Instant) {
        // Before the machine was started there was no turn.
        let since = now.checked_sub(Duration::from_secs(handed.age_seconds)).unwrap_or(now);
        let (current, before) = (OwnSecret::new(handed.current), handed.before.map(OwnSecret::new));
        *self.lock() = Some(Turns { since, current, before });
    }

    /// Those to use at `now`, the one that makes tickets first.
    fn at(&self, now: Instant) -> Vec<Secret> {
        let mut turns = self.lock();
        *turns = turns.take().map_or_else(|| Turns::first(now), |turns| turns.go_on(now));
        let all = turns.iter().flat_map(|turns| std::iter::once(&turns.current).chain(&turns.before));
        all.map(|own| own.secret.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Turns>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same on their way to another process, over a socket that only those two have.
#[derive(Clone, Serialize, Deserialize)]
pub struct HandedSecrets {
    current: [u8; KEY],
    before: Option<[u8; KEY]>,
    /// For how long the current one has made tickets.
    age_seconds: u64,
}

impl fmt::Debug for HandedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedSecrets").field("age_seconds", &self.age_seconds).finish_non_exhaustive()
    }
}

impl Default for OwnSecrets {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OwnSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnSecrets")
    }
}

/// The secret of this turn, and that of the turn before.
struct Turns {
    since: Instant,
    current: OwnSecret,
    before: Option<OwnSecret>,
}

/// A secret, and the bytes it is made of, which can be handed over.
struct OwnSecret {
    bytes: [u8; KEY],
    secret: Secret,
}

impl OwnSecret {
    fn new(bytes: [u8; KEY]) -> Self {
        Self { bytes, secret: Secret::new(&bytes) }
    }

    /// From the system's randomness, if there is any.
    fn random() -> Option<Self> {
        random().map(Self::new)
    }
}

impl Turns {
    fn first(now: Instant) -> Option<Self> {
        Some(Self { since: now, current: OwnSecret::random()?, before: None })
    }

    fn go_on(self, now: Instant) -> Option<Self> {
        let age = now.saturating_duration_since(self.since);
        if age < TURN {
            return Some(self);
        }
        let next = Self::first(now)?;
        Some(Self { before: (age < 2 * TURN).then_some(self.current), ..next })
    }
}

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
    fn parts_of_a_binding_do_not_run_together() {
        let of = |parts: &[&'static [u8]]| Binding::new(parts.iter().copied());
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a"]), of(&[b"a", b""]));
        assert_eq!(of(&[b"a", b"b"]), of(&[b"a", b"b"]));
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

    #[test]
    fn own_secrets_take_turns() {
        let (own, start) = (OwnSecrets::new(), Instant::now());
        let names = |after: Duration| -> Vec<_> {
            own.at(start + after).iter().map(|secret| secret.name(&Binding::new([])).unwrap()).collect()
        };
        let first = names(Duration::ZERO);
        assert_eq!(first.len(), 1);
        assert_eq!(names(TURN - Duration::from_secs(1)), first);
        let second = names(TURN);
        assert_eq!((second.len(), second[1]), (2, first[0]));
        assert_eq!(names(2 * TURN)[1], second[0]);
        assert_eq!(names(4 * TURN).len(), 1, "nobody came for two turns");
    }

    #[test]
    fn what_is_handed_over_goes_on_where_it_was() {
        let (own, start) = (OwnSecrets::new(), Instant::now());
        assert!(own.hand_over(start).is_none());
        let names = |own: &OwnSecrets, at: Instant| -> Vec<_> {
            own.at(at).iter().map(|secret| secret.name(&Binding::new([])).unwrap()).collect()
        };
        names(&own, start);
        let turn = start + TURN;
        let known = names(&own, turn);
        let later = turn + TURN / 2;
        let handed = own.hand_over(later).unwrap();
        assert_eq!(format!("{handed:?}"), format!("HandedSecrets {{ age_seconds: {}, .. }}", TURN.as_secs() / 2));
        let handed = serde_json::from_str(&serde_json::to_string(&handed).unwrap()).unwrap();
        let heir = OwnSecrets::new();
        heir.take_over(&handed, later);
        assert_eq!(names(&heir, later), known);
        let next = names(&heir, turn + TURN);
        assert_eq!((next.len(), next[1]), (2, known[0]), "its turn ends when it would have");
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
