//! Logging in: who we are, and the proof of a password.
//!
//! `caching_sha2_password` was tried on constructed transcripts alone, `mysql_native_password` on real servers.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::super::fields::Fields;
use super::{Greeting, Nonce, Refusal, framed, refusal};
use crate::wire::{Malformed, quoted};

/// What a server must be able to do: protocol 4.1, nonces of 20 bytes, plugins.
pub(super) const NEEDED: u32 = 0x200 | 0x8000 | 0x8_0000;
/// UTF-8 in four bytes, `utf8mb4_general_ci`.
const CHARACTER_SET: u8 = 45;
/// Servers need not send us longer packets; bytes.
const LONGEST_PACKET: u32 = 1 << 24;

/// A way to show that one knows a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// By SHA-1; MariaDB's own, and MySQL's before 8.0.
    Native,
    /// By SHA-256; MySQL's since 8.0.
    CachingSha2,
}

impl Plugin {
    /// The plugin of this name, if it is one that is known here.
    pub fn named(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::CachingSha2].into_iter().find(|plugin| plugin.name().as_bytes() == name)
    }

    /// As servers call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
        }
    }

    /// The proof of `password`; empty for none, as all plugins have it.
    pub fn proof(self, password: &[u8], nonce: &Nonce) -> Vec<u8> {
        match self {
            _ if password.is_empty() => Vec::new(),
            Self::Native => native_scramble(password, nonce).to_vec(),
            Self::CachingSha2 => sha2_scramble(password, nonce).to_vec(),
        }
    }
}

/// `SHA1(password) XOR SHA1(nonce, SHA1(SHA1(password)))`: a server keeps the innermost and can undo the rest.
pub fn native_scramble(password: &[u8], nonce: &Nonce) -> [u8; 20] {
    let once = Sha1::digest(password);
    let mask = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(once)).finalize();
    std::array::from_fn(|at| once[at] ^ mask[at])
}

/// `SHA256(password) XOR SHA256(SHA256(SHA256(password)), nonce)`, which is not the order of the older one.
pub fn sha2_scramble(password: &[u8], nonce: &Nonce) -> [u8; 32] {
    let once = Sha256::digest(password);
    let mask = Sha256::new().chain_update(Sha256::digest(once)).chain_update(nonce).finalize();
    std::array::from_fn(|at| once[at] ^ mask[at])
}

/// Answers a greeting: who we are, and the proof that the server would like, or the oldest one if that is not known
/// here; a server that wants another then says so. Gives what it proved with, too.
///
/// `user` must have no zero byte; what follows one would be lost.
pub fn handshake_response(greeting: &Greeting, sequence: u8, user: &str, password: &[u8]) -> (Plugin, Vec<u8>) {
    let plugin = Plugin::named(&greeting.plugin).unwrap_or(Plugin::Native);
    let proof = plugin.proof(password, &greeting.nonce);
    let mut body = Vec::with_capacity(128);
    body.extend(NEEDED.to_le_bytes());
    body.extend(LONGEST_PACKET.to_le_bytes());
    body.push(CHARACTER_SET);
    body.extend([0; 23]);
    body.extend(user.bytes().take_while(|byte| *byte != 0));
    body.extend([0, proof.len() as u8]);
    body.extend(proof);
    body.extend(plugin.name().bytes());
    body.push(0);
    (plugin, framed(sequence, &body))
}

/// What a server says to a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Come in.
    Ok,
    /// It will not, or cannot.
    Refused(Refusal),
    /// Show it by this plugin instead.
    Switch {
        /// Its name.
        plugin: Vec<u8>,
        /// A new nonce, mostly with a zero behind it.
        data: Vec<u8>,
    },
    /// Show it as MySQL did before 4.1, which is as good as saying the password.
    SwitchToOldest,
    /// `caching_sha2_password`: the proof is good, the verdict follows.
    Proven,
    /// `caching_sha2_password`: it cannot tell from a proof; it needs the password itself, with a zero behind it.
    NeedsPassword,
}

/// An answer to a login.
///
/// # Errors
/// It is none.
pub fn login(body: &[u8]) -> Result<Login, Malformed> {
    let strange = || Malformed(format!("not an answer of MySQL to a login: {}", quoted(body)));
    Ok(match body {
        [0x00, ..] => Login::Ok,
        [0xff, ..] => Login::Refused(refusal(body)?),
        [0xfe] => Login::SwitchToOldest,
        [0xfe, switch @ ..] => {
            let mut fields = Fields(switch);
            let plugin = fields.until_nul().ok_or_else(strange)?.to_vec();
            Login::Switch { plugin, data: fields.0.to_vec() }
        }
        [0x01, 3] => Login::Proven,
        [0x01, 4] => Login::NeedsPassword,
        _ => return Err(strange()),
    })
}

/// Answers [`Login::Switch`] with the proof by that plugin.
///
/// # Errors
/// The plugin is not known here, or its nonce is cut short.
pub fn answer_to_switch(plugin: &[u8], data: &[u8], password: &[u8]) -> Result<(Plugin, Vec<u8>), Malformed> {
    let Some(known) = Plugin::named(plugin) else {
        return Err(Malformed(format!(
            "the account's plugin is {}, and probes know {} and {}",
            quoted(plugin),
            Plugin::Native.name(),
            Plugin::CachingSha2.name()
        )));
    };
    match data.first_chunk() {
        Some(nonce) => Ok((known, known.proof(password, nonce))),
        None => Err(Malformed(format!("a nonce that is cut short: {}", quoted(data)))),
    }
}
