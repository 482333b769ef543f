//! What a client of PostgreSQL says first, as far as that tells what comes next.

use super::super::{Malformed, quoted};

/// Asks whether the connection is to be encrypted by TLS; the answer is one byte, see [`answer`]. A length, and in place
/// of a protocol's version one that cannot be: 1234.5679.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// Answers such a request: yes, and the client's next byte is the first of its TLS.
pub const WILLING: u8 = b'S';
/// Answers such a request: no, and the client may ask for something else or go on in the clear.
pub const UNWILLING: u8 = b'N';
/// Servers take no longer first message (`MAX_STARTUP_PACKET_LENGTH`), bytes.
const LONGEST: u32 = 10_000;
/// What a client says instead of a version when it wants another session's query ended: 1234.5678.
const CANCEL: [u8; 4] = [0x04, 0xd2, 0x16, 0x2e];
/// The type of a TLS record that begins a handshake.
const HANDSHAKE: u8 = 22;

/// The kind of a client's first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// [`SSL_REQUEST`].
    Tls,
    /// [`super::GSSENC_REQUEST`].
    Gss,
    /// The beginning of a session in the clear.
    Clear,
    /// The wish to end another session's query, in a message of so many bytes, of which 8 are there. Nothing follows it:
    /// servers close the connection without a word. Clients before PostgreSQL 17 say it in the clear whatever the session
    /// itself is inside.
    Cancel(usize),
    /// TLS without having asked, as clients since PostgreSQL 17 may (`sslnegotiation=direct`).
    Direct,
}

/// What the bytes begin with that have come so far; None while more are needed, of which there are fewer than 8 then.
///
/// # Errors
/// No client of PostgreSQL begins so.
pub fn opening(bytes: &[u8]) -> Result<Option<Opening>, Malformed> {
    let strange = || Malformed(format!("not PostgreSQL: {}", quoted(&bytes[..bytes.len().min(8)])));
    if bytes.first() == Some(&HANDSHAKE) {
        return Ok(Some(Opening::Direct));
    }
    // The length is far below 64 KiB.
    if bytes.iter().take(2).any(|byte| *byte != 0) {
        return Err(strange());
    }
    let Some(request) = bytes.first_chunk::<8>() else { return Ok(None) };
    let [a, b, c, d, w, x, y, z] = *request;
    let length = u32::from_be_bytes([a, b, c, d]);
    match [w, x, y, z] {
        _ if *request == SSL_REQUEST => Ok(Some(Opening::Tls)),
        _ if *request == super::GSSENC_REQUEST => Ok(Some(Opening::Gss)),
        CANCEL if (16..=LONGEST).contains(&length) => Ok(Some(Opening::Cancel(length as usize))),
        [0, 2 | 3, _, _] if (9..=LONGEST).contains(&length) => Ok(Some(Opening::Clear)),
        _ => Err(strange()),
    }
}

/// A server's answer to [`SSL_REQUEST`]: whether it is willing.
///
/// # Errors
/// It is none: an error message of a server that could not even start, or something else.
pub fn answer(byte: u8) -> Result<bool, Malformed> {
    match byte {
        WILLING => Ok(true),
        UNWILLING => Ok(false),
        other => Err(Malformed(format!("no answer to a request for TLS: {}", quoted(&[other])))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use proptest::prelude::*;

    use super::super::{GSSENC_REQUEST, startup};
    use super::*;

    #[test]
    fn every_client_is_known_by_its_first_bytes() {
        let cancel = [&[0, 0, 0, 16][..], &CANCEL, &[1; 8]].concat();
        // As PostgreSQL 18 has them: a version newer than 3.0, and a longer key.
        let newer = [&[0, 0, 0, 9, 0, 3, 0, 2][..], b"\0"].concat();
        let longer = [&[0, 0, 1, 12][..], &CANCEL, &[1; 260]].concat();
        for (bytes, kind) in [
            (SSL_REQUEST.to_vec(), Opening::Tls),
            (GSSENC_REQUEST.to_vec(), Opening::Gss),
            (startup("me", None), Opening::Clear),
            (newer, Opening::Clear),
            (cancel, Opening::Cancel(16)),
            (longer, Opening::Cancel(268)),
            (vec![22, 3, 1], Opening::Direct),
        ] {
            assert_eq!(opening(&bytes), Ok(Some(kind)), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_not_postgres_is_known_to_be_none() {
        for bytes in
            [&b"GET / HTTP"[..], b"\x15", b"\0\x01", &[0, 0, 0, 8, 0, 3, 0, 0], &[0, 0, 0, 9, 4, 0xd2, 0x16, 0x2f]]
        {
            assert!(opening(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(opening(&[0, 0, 0x27, 0x11, 0, 3, 0, 0]).map_err(|_| ()), Err(()), "longer than servers take");
        assert_eq!([b'S', b'N'].map(|byte| answer(byte).unwrap()), [true, false]);
        assert!(answer(b'E').is_err() && answer(22).is_err());
    }

    proptest! {
        #[test]
        fn more_bytes_change_nothing(bytes in proptest::collection::vec(prop_oneof![Just(0), Just(3), any::<u8>()], 0..12)) {
            let whole = opening(&bytes);
            for end in 0..=bytes.len() {
                match opening(&bytes[..end]) {
                    Ok(None) => prop_assert!(end < 8),
                    Ok(kind) => prop_assert_eq!(Ok(kind), whole.clone()),
                    Err(_) => prop_assert!(whole.is_err()),
                }
            }
        }
    }
}
