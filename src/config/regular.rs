//! Files that a configuration names, read so that nothing there can hold up the reader: a FIFO whose writer never comes would
//! keep a reload, and every other one after it, waiting for ever.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// No token is longer, bytes: a request's header has no room for it.
const LONGEST_TOKEN: u64 = 64 * 1024;

/// What the file at `path` begins with, `most` bytes at most.
///
/// # Errors
/// It cannot be read, or is no regular file.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The token in the file at `path`: what it holds, without surrounding white space.
///
/// # Errors
/// It cannot be read, holds nothing, or is longer than any token.
pub fn read_token(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |message| Err(io::Error::new(io::ErrorKind::InvalidData, message));
    let content = read_regular(path, LONGEST_TOKEN + 1)?;
    match content.trim_ascii() {
        [] => invalid("the file is empty; it must hold the token"),
        _ if content.len() as u64 > LONGEST_TOKEN => invalid("the file is longer than any token"),
        token => Ok(token.to_vec()),
    }
}

/// Opens it without waiting: for a regular file that makes no difference, and a FIFO opens at once.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        // A socket, or a device that nobody serves.
        Some(Errno::NXIO) => not_regular(),
        _ => error,
    })?;
    let kind = file.metadata()?.file_type();
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => Ok(file),
        (_, true) => Err(Errno::ISDIR.into()),
        _ => Err(not_regular()),
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[test]
    fn only_what_is_there_at_once_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink(at("fifo"), at("link")).unwrap();
        for path in [at("fifo"), at("socket"), at("link"), "/dev/null".into()] {
            let error = read_regular(&path, 10).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file", "{}", path.display());
        }
        assert_eq!(read_regular(dir.path(), 10).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read_regular(&at("missing"), 10).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(at("file"), "0123456789x").unwrap();
        assert_eq!(read_regular(&at("file"), 10).unwrap(), b"0123456789");
    }

    #[test]
    fn a_token_is_something() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        for (text, token) in [("secret", "secret"), (" \n a b\r\n", "a b")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_token(&file).unwrap(), token.as_bytes());
        }
        for text in ["", " \n\t", &"x".repeat(70_000)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_token(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
