//! SCRAM-SHA-256 without channel binding (RFC 5802, RFC 7677): both sides show that they know the password, and
//! neither says it.
//!
//! Passwords are used as they are. A server prepares them by SASLprep (RFC 4013), which leaves ASCII alone; one with
//! other letters must be written in normal form KC, which is how nearly all keyboards write it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::wire::{Malformed, quoted};

/// The name of the mechanism.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// A server that asks for more work than this is refused; PostgreSQL asks for 4096 unless told otherwise.
pub const MOST_ITERATIONS: u32 = 1_000_000;

/// What was said so far, and what must come back.
#[derive(Debug)]
pub struct Exchange {
    nonce: String,
    first_bare: String,
}

impl Exchange {
    /// Begins as `user`; PostgreSQL knows it already and wants it empty. `nonce` must be printable, without a comma,
    /// and one that nobody can guess: else a stranger could repeat what a server once said.
    pub fn new(user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { nonce: nonce.to_owned(), first_bare: format!("n={user},r={nonce}") }
    }

    /// The first words: no channel binding, who we are, our nonce.
    pub fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Takes the server's first words.
    ///
    /// # Errors
    /// They are not an answer to ours, or ask for more than [`MOST_ITERATIONS`].
    pub fn challenged(self, server_first: &[u8]) -> Result<Challenge, Malformed> {
        let strange = || Malformed(format!("not an answer of SCRAM: {}", quoted(server_first)));
        let text = std::str::from_utf8(server_first).map_err(|_| strange())?;
        // An extension that must be understood would stand first, and is refused by that.
        let mut fields = text.split(',');
        let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name)).ok_or_else(strange);
        let (nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Malformed("its nonce does not go on from ours: it answers somebody else".to_owned()));
        }
        let iterations = match iterations.parse() {
            Ok(iterations @ 1..=MOST_ITERATIONS) => iterations,
            _ => return Err(Malformed(format!("it wants {} iterations", quoted(iterations.as_bytes())))),
        };
        Ok(Challenge {
            salt: BASE64_STANDARD.decode(salt).map_err(|_| strange())?,
            iterations,
            // `biws` is the channel binding of the first words, `n,,`, in base 64.
            final_bare: format!("c=biws,r={nonce}"),
            said: format!("{},{text},c=biws,r={nonce}", self.first_bare),
        })
    }
}

/// A server's challenge.
#[derive(Debug)]
pub struct Challenge {
    salt: Vec<u8>,
    iterations: u32,
    final_bare: String,
    /// What both sides sign.
    said: String,
}

impl Challenge {
    /// Begins the work that the server asks for.
    pub fn salting(&self, password: &[u8]) -> Salting {
        let keyed = keyed(password);
        let mut mac = keyed.clone();
        mac.update(&self.salt);
        mac.update(&1_u32.to_be_bytes());
        let last = mac.finalize().into_bytes().into();
        Salting { keyed, last, sum: last, left: self.iterations - 1 }
    }

    /// The last words, with what proves that we know the password, and what the server must then prove.
    pub fn answered(self, salted: &[u8; 32]) -> (String, Verification) {
        let client_key = mac(salted, b"Client Key");
        let signature = mac(&Sha256::digest(client_key).into(), self.said.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signed)| key ^ signed).collect();
        let words = format!("{},p={}", self.final_bare, BASE64_STANDARD.encode(proof));
        (words, Verification { server_key: mac(salted, b"Server Key"), said: self.said })
    }
}

/// The salted password in the making: PBKDF2 with HMAC-SHA-256 (RFC 8018), one block of it.
///
/// How long that takes is for the server to say, up to half a second for [`MOST_ITERATIONS`], so it is done in turns
/// between which other things can be done.
pub struct Salting {
    keyed: Hmac<Sha256>,
    last: [u8; 32],
    sum: [u8; 32],
    left: u32,
}

impl Salting {
    /// Works through at most `rounds` more iterations; gives the salted password when all are done.
    pub fn advance(&mut self, rounds: u32) -> Option<[u8; 32]> {
        let rounds = rounds.min(self.left);
        for _ in 0..rounds {
            let mut mac = self.keyed.clone();
            mac.update(&self.last);
            self.last = mac.finalize().into_bytes().into();
            self.sum.iter_mut().zip(self.last).for_each(|(sum, byte)| *sum ^= byte);
        }
        self.left -= rounds;
        (self.left == 0).then_some(self.sum)
    }
}

/// What a server proves that knows the password too.
pub struct Verification {
    server_key: [u8; 32],
    said: String,
}

impl Verification {
    /// Takes the server's last words.
    ///
    /// # Errors
    /// The server refuses, or does not know the password and is not the one it seems to be.
    pub fn verify(&self, server_final: &[u8]) -> Result<(), Malformed> {
        let Some(signature) = server_final.strip_prefix(b"v=") else {
            return Err(Malformed(format!("SCRAM failed: {}", quoted(server_final))));
        };
        let signature = signature.split(|byte| *byte == b',').next().unwrap_or_default();
        let signature = BASE64_STANDARD.decode(signature).unwrap_or_default();
        let mut mac = keyed(&self.server_key);
        mac.update(self.said.as_bytes());
        let known = mac.verify_slice(&signature).is_ok();
        known.then_some(()).ok_or_else(|| Malformed("it does not know the password: it is an impostor".to_owned()))
    }
}

fn mac(key: &[u8; 32], said: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key);
    mac.update(said);
    mac.finalize().into_bytes().into()
}

/// HMAC with a key of any length; what is longer than a block is hashed first (RFC 2104, 2).
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    let digest = Sha256::digest(key);
    let key = if key.len() > block.len() { digest.as_slice() } else { key };
    block[..key.len()].copy_from_slice(key);
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn challenged(server_first: &str) -> Result<Challenge, Malformed> {
        Exchange::new("user", NONCE).challenged(server_first.as_bytes())
    }

    /// The exchange of RFC 7677, 3.
    #[test]
    fn the_exchange_of_the_rfc() {
        assert_eq!(Exchange::new("user", NONCE).first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = challenged(SERVER_FIRST).unwrap();
        let mut salting = challenge.salting(b"pencil");
        assert_eq!(salting.advance(4094), None);
        let (words, verification) = challenge.answered(&salting.advance(7).unwrap());
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(words, expected);
        verification.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        for impostor in ["v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "v=", "v=6rriTRBi23WpRQ==", "v=?"] {
            assert!(verification.verify(impostor.as_bytes()).unwrap_err().0.contains("impostor"), "{impostor}");
        }
        assert_eq!(verification.verify(b"e=other-error").unwrap_err().0, "SCRAM failed: `e=other-error`");
    }

    /// RFC 4231: the first case, and the sixth, whose key is longer than a block.
    #[test]
    fn signatures_are_hmac() {
        let signed = |key: &[u8], said: &[u8]| {
            let mut mac = keyed(key);
            mac.update(said);
            mac.finalize().into_bytes()[..4].to_vec()
        };
        assert_eq!(signed(&[0x0b; 20], b"Hi There"), [0xb0, 0x34, 0x4c, 0x61]);
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(signed(&[0xaa; 131], long), [0x60, 0xe4, 0x31, 0x59]);
    }

    #[test]
    fn one_iteration_is_enough_and_a_million_the_most() {
        let first = |iterations: &str| SERVER_FIRST.replace("4096", iterations);
        assert!(challenged(&first("1")).unwrap().salting(b"pencil").advance(0).is_some());
        assert!(challenged(&first("1000000")).is_ok());
        for wrong in ["0", "1000001", "-1", "99999999999999999999", "", "x"] {
            assert!(challenged(&first(wrong)).unwrap_err().0.contains("iterations"), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_answer_us_is_refused() {
        let theirs = [
            "",
            "r=",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=somebodyelse,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqX1,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqO1,s=?,i=1",
            "r=rOprNGfwEbeRWgbNEkqO1,s=W22ZaJ0SNY7soEsUEjb6gQ==",
            "m=x,r=rOprNGfwEbeRWgbNEkqO1,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
        ];
        for first in theirs {
            assert!(challenged(first).is_err(), "{first}");
        }
        assert!(Exchange::new("", NONCE).challenged(&[0xff, 0xfe]).is_err());
        let extended = challenged(&format!("{SERVER_FIRST},x=later"));
        assert!(extended.is_ok(), "what may be passed over is passed over");
    }

    #[test]
    fn a_name_is_escaped() {
        assert_eq!(Exchange::new("a=b,c", "x").first(), "n,,n=a=3Db=2Cc,r=x");
    }
}
