//! What client and backend say to each other: a client's first nine bytes say what it wants.

/// A letter and a number.
pub const ORDER: usize = 9;

/// What a client wants of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Send so many bytes, and then finish.
    Send(u64),
    /// Take so many bytes, and then say one.
    Take(u64),
    /// Answer every so many bytes with as many.
    Answer(u64),
    /// Send everything back.
    Echo,
}

impl Order {
    pub fn bytes(self) -> [u8; ORDER] {
        let (letter, number) = match self {
            Self::Send(number) => (b'S', number),
            Self::Take(number) => (b'T', number),
            Self::Answer(number) => (b'A', number),
            Self::Echo => (b'E', 0),
        };
        let mut bytes = [letter; ORDER];
        bytes[1..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    pub fn read(bytes: [u8; ORDER]) -> Option<Self> {
        let number = u64::from_be_bytes(bytes[1..].try_into().ok()?);
        Some(match bytes[0] {
            b'S' => Self::Send(number),
            b'T' => Self::Take(number),
            b'A' => Self::Answer(number),
            b'E' => Self::Echo,
            _ => return None,
        })
    }
}
