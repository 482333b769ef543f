//! Records on their way out, and the memory that they are in.

use std::io;

/// Records that are made and not sent: some of the bytes of its memory, which may be lent.
#[derive(Default)]
pub(super) struct Outgoing {
    /// All of it has been written to once, so that to make room is no work.
    memory: Vec<u8>,
    /// What is to be sent begins here …
    begin: usize,
    /// … and ends here.
    end: usize,
    /// It may wait until there is more to send.
    patient: bool,
}

impl Outgoing {
    /// How many bytes are to be sent.
    pub(super) fn len(&self) -> usize {
        self.end - self.begin
    }

    /// Whether something is to be sent now.
    pub(super) fn is_pressing(&self) -> bool {
        self.len() > 0 && !self.patient
    }

    /// Lets what there is wait for what comes next.
    pub(super) fn wait(&mut self) {
        self.patient = true;
    }

    /// Room for at least `size` bytes behind those that are to be sent.
    pub(super) fn room(&mut self, size: usize) -> &mut [u8] {
        reserve(&mut self.memory, self.end + size);
        &mut self.memory[self.end..]
    }

    /// So many bytes of that room are to be sent now, and with them what could wait.
    pub(super) fn made(&mut self, bytes: usize) {
        self.end += bytes;
        self.patient &= bytes == 0;
    }

    /// Goes on in memory that is lent, until [`Outgoing::give_back`].
    pub(super) fn borrow(&mut self, lent: &mut Vec<u8>) {
        let waiting = &self.memory[self.begin..self.end];
        reserve(lent, waiting.len());
        lent[..waiting.len()].copy_from_slice(waiting);
        (self.begin, self.end) = (0, waiting.len());
        std::mem::swap(&mut self.memory, lent);
    }

    /// Gives the memory back that was lent; what is left to send is kept in memory that is just as large.
    pub(super) fn give_back(&mut self, lent: &mut Vec<u8>) {
        let left = self.memory[self.begin..self.end].to_vec();
        (self.begin, self.end) = (0, left.len());
        *lent = std::mem::replace(&mut self.memory, left);
    }

    /// Sends what does not wait, until all is gone or `send` fails. With nothing left it holds no memory.
    pub(super) fn flush(&mut self, mut send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        if self.patient {
            return Ok(());
        }
        while self.begin < self.end {
            self.begin += send(&self.memory[self.begin..self.end])?;
        }
        (self.begin, self.end) = (0, 0);
        Ok(())
    }

    /// Holds no memory while there is nothing to send.
    pub(super) fn tidy(&mut self) {
        if self.len() == 0 {
            self.memory = Vec::new();
        }
    }
}

/// Makes `memory` at least so large.
fn reserve(memory: &mut Vec<u8>, size: usize) {
    if memory.len() < size {
        memory.resize(size, 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn make(outgoing: &mut Outgoing, bytes: &[u8]) {
        outgoing.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        outgoing.made(bytes.len());
    }

    /// Takes so many bytes, and then no more.
    fn send<'a>(taken: &'a mut Vec<u8>, mut room: usize) -> impl FnMut(&[u8]) -> io::Result<usize> + 'a {
        move |bytes| {
            let fits = bytes.len().min(room);
            if fits == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            room -= fits;
            taken.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }
    }

    #[test]
    fn what_is_left_of_lent_memory_is_kept_and_no_more() {
        let (mut outgoing, mut lent, mut taken) = (Outgoing::default(), vec![0; 1000], Vec::new());
        outgoing.borrow(&mut lent);
        make(&mut outgoing, b"abcdef");
        assert_eq!(outgoing.flush(send(&mut taken, 4)).unwrap_err().kind(), ErrorKind::WouldBlock);
        outgoing.give_back(&mut lent);
        assert_eq!((lent.len(), outgoing.memory.capacity(), outgoing.len()), (1000, 2, 2));
        make(&mut outgoing, b"gh");
        outgoing.flush(send(&mut taken, 9)).unwrap();
        outgoing.tidy();
        assert_eq!((taken.as_slice(), outgoing.memory.capacity()), (&b"abcdefgh"[..], 0));
        outgoing.borrow(&mut lent);
        make(&mut outgoing, b"ij");
        outgoing.flush(send(&mut taken, 9)).unwrap();
        outgoing.give_back(&mut lent);
        assert_eq!((taken.as_slice(), outgoing.memory.capacity()), (&b"abcdefghij"[..], 0));
    }

    #[test]
    fn what_may_wait_goes_before_what_may_not() {
        let (mut outgoing, mut lent, mut taken) = (Outgoing::default(), Vec::new(), Vec::new());
        make(&mut outgoing, b"first");
        outgoing.wait();
        outgoing.flush(send(&mut taken, 99)).unwrap();
        outgoing.tidy();
        assert!(!outgoing.is_pressing() && outgoing.len() == 5 && taken.is_empty());
        outgoing.borrow(&mut lent);
        make(&mut outgoing, b" and then");
        assert!(outgoing.is_pressing());
        outgoing.flush(send(&mut taken, 99)).unwrap();
        outgoing.give_back(&mut lent);
        assert_eq!((taken.as_slice(), lent.len()), (&b"first and then"[..], 14));
    }
}
