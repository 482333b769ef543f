//! Short texts of digits, put together without the machinery of `write!`, which costs several times as much: a line of
//! the access log is made of them, and every session has one.

/// The digits of each number below 100.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

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
    #[inline]
    pub fn push(&mut self, character: u8) {
        debug_assert!(matches!(character, b' '..=b'~') && !matches!(character, b'"' | b'\\'));
        if let Some(place) = self.bytes.get_mut(self.used) {
            *place = character;
            self.used += 1;
        }
    }

    /// Appends a number in decimal digits.
    pub fn decimal(&mut self, number: u64) {
        match number {
            0..1000 => self.small(number as usize),
            1000..10_000 => self.digits(number, 4),
            10_000..100_000 => self.digits(number, 5),
            _ => self.digits(number, number.ilog10() as usize + 1),
        }
    }

    /// Appends a number below 1000: nearly all are octets of addresses.
    #[inline]
    fn small(&mut self, number: usize) {
        if number >= 100 {
            self.push(b'0' + (number / 100) as u8);
        }
        let [tens, ones] = PAIRS[number % 100];
        if number >= 10 {
            self.push(tens);
        }
        self.push(ones);
    }

    /// Appends the last `width` decimal digits of a number, zeros in front.
    #[inline]
    pub fn digits(&mut self, mut number: u64, width: usize) {
        let mut places = self.room(width);
        // Two at a time, which halves the divisions.
        while let [before @ .., tens, ones] = places {
            [*tens, *ones] = PAIRS[(number % 100) as usize];
            number /= 100;
            places = before;
        }
        if let [one] = places {
            *one = b'0' + (number % 10) as u8;
        }
    }

    /// Appends a number in 16 hexadecimal digits.
    pub fn hexadecimal(&mut self, mut number: u64) {
        for place in self.room(16).iter_mut().rev() {
            *place = b"0123456789abcdef"[(number % 16) as usize];
            number /= 16;
        }
    }

    /// The places of so many characters more, or of those for which there is room.
    fn room(&mut self, width: usize) -> &mut [u8] {
        let from = self.used;
        self.used = (from + width).min(Self::ROOM);
        &mut self.bytes[from..self.used]
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
    fn every_octet_and_port_reads_as_it_is() {
        (0..110_000).for_each(|number| assert_eq!(text(|short| short.decimal(number)), number.to_string()));
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let full = text(|short| (0..100).for_each(|_| short.push(b'x')));
        assert_eq!(full.len(), Short::ROOM);
    }
}
