//! Fields of a message that is all there, taken off its front.

/// What is left of the message. Every method gives `None` when that is too short for what is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The bytes up to the next zero, which is taken as well.
    pub(super) fn until_nul(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// The next two bytes as a number, the high one first.
    pub(super) fn number(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The bytes behind the next one, which counts them.
    pub(super) fn prefixed_8(&mut self) -> Option<Self> {
        let count = self.byte()?;
        self.take(count.into()).map(Self)
    }

    /// The bytes behind the next two, which count them.
    pub(super) fn prefixed_16(&mut self) -> Option<Self> {
        let count = self.number()?;
        self.take(count.into()).map(Self)
    }
}
