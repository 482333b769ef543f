//! Where a sink's thread writes, and what it makes of failing writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::Target;

/// A write of no more than this to a pipe is one piece, also beside other writers (POSIX `PIPE_BUF`).
const PIECE: usize = 4096;

/// An open target.
#[derive(Debug)]
pub(super) struct Output {
    target: Target,
    file: Option<File>,
    /// The rest of a line whose beginning was written before an error. It goes first when writing
    /// works again, so that no line is ever glued to a piece of another.
    rest: Vec<u8>,
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) error: io::Error,
}

impl Output {
    pub(super) fn open(target: Target) -> io::Result<Self> {
        let file = match &target {
            Target::File(path) => Some(open_file(path)?),
            Target::Stdout | Target::Stderr => None,
        };
        Ok(Self { target, file, rest: Vec::new() })
    }

    /// The target as messages name it.
    pub(super) fn name(&self) -> String {
        match &self.target {
            Target::Stdout => "stdout".into(),
            Target::Stderr => "stderr".into(),
            Target::File(path) => path.display().to_string(),
        }
    }

    /// Opens a file again; keeps the old one if that fails. Gives the number of lines that are lost
    /// with the old one: the one whose rest was still to be written there.
    pub(super) fn reopen(&mut self) -> u64 {
        let Target::File(path) = &self.target else { return 0 };
        match open_file(path) {
            Ok(file) => {
                self.file = Some(file);
                tracing::info!(sink = %self.name(), "log file opened again");
                count(&std::mem::take(&mut self.rest))
            }
            Err(error) => {
                tracing::warn!(sink = %self.name(), %error, "cannot open the log file again; still writing to the old one");
                0
            }
        }
    }

    /// Writes whole lines. On an error the lines that were not begun are lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Lost> {
        let rest = std::mem::take(&mut self.rest);
        if let Err((written, error)) = self.put(&rest) {
            self.rest = rest[written..].to_vec();
            return Err(Lost { lines: count(lines), error });
        }
        let mut at = 0;
        while at < lines.len() {
            let piece = self.piece(&lines[at..]);
            if let Err((written, error)) = self.put(piece) {
                return Err(self.interrupted(&lines[at..], written, error));
            }
            at += piece.len();
        }
        Ok(())
    }

    /// Keeps the rest of a line that was begun, and counts those that were not.
    fn interrupted(&mut self, lines: &[u8], written: usize, error: io::Error) -> Lost {
        let begun = written > 0 && lines[written - 1] != b'\n';
        let mut left = &lines[written..];
        if begun {
            let end = left.iter().position(|byte| *byte == b'\n').map_or(left.len(), |newline| newline + 1);
            self.rest = left[..end].to_vec();
            left = &left[end..];
        }
        Lost { lines: count(left), error }
    }

    /// As many whole lines as go out in one piece: all for a file, which appends in one piece anyway.
    fn piece<'a>(&self, lines: &'a [u8]) -> &'a [u8] {
        if self.file.is_some() || lines.len() <= PIECE {
            return lines;
        }
        let newline = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
        let end = newline(&lines[..PIECE]).or_else(|| lines.iter().position(|byte| *byte == b'\n'));
        end.map_or(lines, |newline| &lines[..=newline])
    }

    /// Writes all of `bytes`, waiting where that helps, or says how much went out before the error.
    fn put(&self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::write(self.fd(), &bytes[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(Errno::INTR) => {}
                // Someone made the pipe or terminal non-blocking: wait as a blocking write would.
                Err(Errno::AGAIN) => self.wait().map_err(|error| (written, error))?,
                Err(error) => return Err((written, error.into())),
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        match poll(&mut [PollFd::from_borrowed_fd(self.fd(), PollFlags::OUT)], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match (&self.file, &self.target) {
            (Some(file), _) => file.as_fd(),
            (None, Target::Stdout) => rustix::stdio::stdout(),
            (None, _) => rustix::stdio::stderr(),
        }
    }
}

/// Non-blocking, so that a FIFO without a reader is an error at once and not a start that hangs.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let opened = OpenOptions::new().append(true).create(true).custom_flags(flags.bits().cast_signed()).open(path);
    opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use super::*;

    fn output(target: Target) -> Output {
        Output { target, file: None, rest: Vec::new() }
    }

    #[test]
    fn a_line_that_was_begun_is_finished_before_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut output = Output::open(Target::File(path.clone())).unwrap();
        let lines = b"first\nsecond\nthird\n";
        let lost = output.interrupted(lines, 9, io::ErrorKind::StorageFull.into());
        assert_eq!(lost.lines, 1, "the third; the second is only delayed");
        output.write(b"fourth\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"ond\nfourth\n");
        output.interrupted(lines, 9, io::ErrorKind::StorageFull.into());
        assert_eq!((output.reopen(), output.reopen()), (1, 0), "the second stays torn in the old file");
        assert_eq!(output.interrupted(lines, 6, io::ErrorKind::StorageFull.into()).lines, 2);
        assert!(output.rest.is_empty());
    }

    #[test]
    fn pipes_get_whole_lines_in_pieces() {
        let output = output(Target::Stdout);
        let lines: Vec<u8> = (0..100).flat_map(|_| [b"y".repeat(99).as_slice(), b"\n"].concat()).collect();
        assert_eq!(output.piece(&lines).len(), 4000);
        let long = [b"z".repeat(9000).as_slice(), b"\nshort\n"].concat();
        assert_eq!(output.piece(&long).len(), 9001);
    }
}
