//! What version 2 may say besides addresses: fields of a type, a length and a value (2.2).

use std::fmt;

use super::super::{Malformed, fields};
use super::UnixPath;

/// `PP2_TYPE_ALPN`: the protocol that the client and the sender's TLS agreed on (2.2.1).
pub const ALPN: u8 = 0x01;
/// `PP2_TYPE_AUTHORITY`: the host name that the client asked for, as in SNI (2.2.2).
pub const AUTHORITY: u8 = 0x02;
/// `PP2_TYPE_UNIQUE_ID`: names the connection over several proxies; at most 128 bytes (2.2.5).
pub const UNIQUE_ID: u8 = 0x05;
/// `PP2_TYPE_CRC32C`: a checksum of the header (2.2.3).
pub(super) const CRC32C: u8 = 0x03;
/// `PP2_TYPE_SSL`: what the sender's TLS knows of the client, in fields of its own (2.2.6).
pub const SSL: u8 = 0x20;
/// In it: the version, the common name of the client's certificate, the cipher.
const SSL_VERSION: u8 = 0x21;
const SSL_COMMON_NAME: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
/// Its flags: there is TLS; a certificate was shown on this connection; one was shown in this session.
const OVER_SSL: u8 = 0x01;
const SHOWN_NOW: u8 = 0x02;
const SHOWN_ONCE: u8 = 0x04;
/// What the checksum takes up: type, length, value.
pub(super) const CRC32C_FIELD: usize = 3 + 4;
/// The header's length is 16 bits and covers addresses, fields and checksum.
const MOST: usize = u16::MAX as usize - 2 * UnixPath::LENGTH - CRC32C_FIELD;

/// Fields in the order they were added, as they travel. They fit into any header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tlvs(Vec<u8>);

impl Tlvs {
    /// Adds a field. The checksum is none of them: the writer adds it, as only it can.
    ///
    /// # Errors
    /// There is no room for it in a header; nothing was added.
    pub fn push(&mut self, kind: u8, value: &[u8]) -> Result<(), TooLong> {
        let length = u16::try_from(value.len()).map_err(|_| TooLong)?;
        if self.0.len() + 3 + value.len() > MOST {
            return Err(TooLong);
        }
        self.0.push(kind);
        self.0.extend(length.to_be_bytes());
        self.0.extend(value);
        Ok(())
    }

    /// The first field of this kind. Of what a peer sent, only those are there that logs or backends are told.
    pub fn get(&self, kind: u8) -> Option<&[u8]> {
        // What `push` has put together always comes apart again.
        Fields(&self.0).map_while(Result::ok).find(|field| field.kind == kind).map(|field| field.value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they travel.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the field about TLS tells (2.2.6), in the names of OpenSSL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssl<'a> {
    /// Such as `TLSv1.3`.
    pub version: &'a str,
    /// Such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
    /// Whether the client has shown a certificate, which was verified.
    pub verified: bool,
    /// Whether that was in an earlier connection, of which this one goes on with the session.
    pub resumed: bool,
    /// The common name in it. One that is longer than any real one is left out.
    pub common_name: Option<&'a str>,
}

impl Ssl<'_> {
    /// The value of the field.
    pub fn value(&self) -> Vec<u8> {
        const LONGEST_NAME: usize = 255;
        let shown = match (self.verified, self.resumed) {
            (false, _) => 0,
            (true, true) => SHOWN_ONCE,
            (true, false) => SHOWN_ONCE | SHOWN_NOW,
        };
        let mut inside = Tlvs::default();
        let name = self.common_name.filter(|name| name.len() <= LONGEST_NAME);
        let fields = [(SSL_VERSION, Some(self.version)), (SSL_COMMON_NAME, name), (SSL_CIPHER, Some(self.cipher))];
        for (kind, value) in fields {
            // Each of 255 bytes at most.
            let _ = value.map(|value| inside.push(kind, value.as_bytes()));
        }
        // Zero is for a certificate that was verified, and for nothing else.
        let result = u32::from(!self.verified).to_be_bytes();
        [&[OVER_SSL | shown], &result[..], inside.as_bytes()].concat()
    }
}

/// A field for which a header has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fields of a PROXY header may take up {MOST} bytes")
    }
}

impl std::error::Error for TooLong {}

/// Kinds of fields that are of use to a session, each with the most bytes that are kept of one. Sessions hold them for
/// as long as they live, so one that is longer than any real value is left out.
pub(super) const KEPT: [(u8, usize); 4] = [(ALPN, 255), (AUTHORITY, 255), (UNIQUE_ID, 128), (SSL, 1024)];

/// The fields of `header` that are kept, the first of each kind; `fields` are all of them, as they travel.
///
/// # Errors
/// They do not end exactly where the header does, those inside the field about TLS do not either, or the checksum, if
/// there is one, is wrong.
pub(super) fn kept(header: &[u8], fields: &[u8]) -> Result<Tlvs, Malformed> {
    let mut kept = Tlvs::default();
    let end = header.len();
    let mut at = end - fields.len();
    for field in Fields(fields) {
        let Field { kind, value } = field?;
        at += 3 + value.len();
        match kind {
            CRC32C => verify(header, at, value)?,
            SSL => inside(value)?,
            _ => {}
        }
        if KEPT.iter().any(|(of, most)| *of == kind && value.len() <= *most) && kept.get(kind).is_none() {
            // A header that was read is far shorter than one that could be written.
            let _ = kept.push(kind, value);
        }
    }
    kept.0.shrink_to_fit();
    Ok(kept)
}

/// Checks the checksum that ends at `end`: it is taken over the header with zeros in its own place (2.2.3).
fn verify(header: &[u8], end: usize, value: &[u8]) -> Result<(), Malformed> {
    let Ok(sum) = <[u8; 4]>::try_from(value) else {
        return Err(Malformed(format!("a checksum of {} bytes in a PROXY header", value.len())));
    };
    let before = crc32c::crc32c(&header[..end - sum.len()]);
    let zeroed = crc32c::crc32c_append(before, &[0; 4]);
    if crc32c::crc32c_append(zeroed, &header[end..]) == u32::from_be_bytes(sum) {
        Ok(())
    } else {
        Err(Malformed("the checksum of a PROXY header is wrong".to_owned()))
    }
}

/// Checks the fields inside the one about TLS, which stand behind one byte of flags and four of a result (2.2.6).
fn inside(value: &[u8]) -> Result<(), Malformed> {
    let short = || Malformed(format!("a field of {} bytes about TLS in a PROXY header", value.len()));
    Fields(value.get(5..).ok_or_else(short)?).try_for_each(|field| field.map(drop))
}

/// One field.
struct Field<'a> {
    kind: u8,
    value: &'a [u8],
}

/// The fields in some bytes, and an error last if those end in the midst of one.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut left = fields::Fields(self.0);
        let field = Field::read(&mut left);
        self.0 = if field.is_some() { left.0 } else { &[] };
        Some(field.ok_or_else(|| Malformed("a PROXY header ends in the midst of a field".to_owned())))
    }
}

impl<'a> Field<'a> {
    /// The first of what is left.
    fn read(left: &mut fields::Fields<'a>) -> Option<Self> {
        Some(Self { kind: left.byte()?, value: left.prefixed_16()?.0 })
    }
}
