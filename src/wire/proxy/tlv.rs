//! What version 2 may say besides addresses: fields of a type, a length and a value (2.2).

use std::fmt;

use super::UnixPath;

/// `PP2_TYPE_UNIQUE_ID`: names the connection over several proxies; at most 128 bytes (2.2.5).
pub const UNIQUE_ID: u8 = 0x05;
/// `PP2_TYPE_CRC32C`: a checksum of the header (2.2.3).
pub(super) const CRC32C: u8 = 0x03;
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

    /// As they travel.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
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
