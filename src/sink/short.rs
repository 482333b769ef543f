//! Short texts of digits, put together without the machinery of `write!`, which costs several times as much: a line of
//! the access log is made of them, and every session has one.

/// Text of at most [`Short::ROOM`] ASCII characters, none of which a log line has to escape; what is more is left out.
#[derive(Debug)]
pub struct Short {
    bytes: [u8; Self::ROOM],
    used: usize,
}

impl Short {
    /// More than a moment, an address of IPv4 with its port, or any number takes.
    pub const ROOM: usize = 32;

    /// No characters.
    #[allow(clippy::new_without_default, reason = "nobody needs a default one")]
    pub fn new() -> Self {
        Self { bytes: [0; Self::ROOM], used: 0 }
    }

    /// Appends a printable ASCII character, but neither a quote nor a backslash.
    pub fn push(&mut self, character: u8) {
        debug_assert!(matches!(character, b' '..=b'~') && !matches!(character, b'"' | b'\\'));
        if let Some(place) = self.bytes.get_mut(self.used) {
            *place = character;
            self.used += 1;
        }
    }

    /// Appends a number in decimal digits.
    pub fn decimal(&mut self, number: u64) {
        if number < 10 {
            return self.push(b'0' + number as u8);
        }
        self.digits(number, number.ilog10() as usize + 1);
    }

    /// Appends the last `width` decimal digits of a number, zeros in front.
    pub fn digits(&mut self, number: u64, width: usize) {
        self.places::<10>(number, width);
    }

    /// Appends a number in 16 hexadecimal digits.
    pub fn hexadecimal(&mut self, number: u64) {
        self.places::<16>(number, 16);
    }

    /// The base is known to the compiler, which divides by multiplying then.
    fn places<const BASE: u64>(&mut self, mut number: u64, width: usize) {
        let end = (self.used + width).min(Self::ROOM);
        for place in self.bytes[self.used..end].iter_mut().rev() {
            *place = b"0123456789abcdef"[(number % BASE) as usize];
            number /= BASE;
        }
        self.used = end;
    }

    /// The text's bytes, all ASCII.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // All that is put in is ASCII.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(fill: impl FnOnce(&mut Short)) -> String {
        let mut short = Short::new();
        fill(&mut short);
        short.as_str().to_owned()
    }

    proptest! {
        #[test]
        fn numbers_read_as_they_are(number: u64, shift in 0u32..64) {
            let number = number >> shift;
            prop_assert_eq!(text(|short| short.decimal(number)), number.to_string());
            prop_assert_eq!(text(|short| short.hexadecimal(number)), format!("{number:016x}"));
            prop_assert_eq!(text(|short| short.digits(number % 1_000_000, 6)), format!("{:06}", number % 1_000_000));
        }
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let full = text(|short| (0..100).for_each(|_| short.push(b'x')));
        assert_eq!(full.len(), Short::ROOM);
    }
}
