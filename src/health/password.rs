//! The password of a probe.

use std::io;
use std::path::Path;

use super::ProbeError;
use crate::config::read_regular;

/// No password is longer, bytes; what else a file holds is not read.
const LONGEST: u64 = 4096;

/// The first line of the file, without its end; empty without a file. Read anew each time, since files change.
///
/// # Errors
/// The file cannot be read. The backend is not to blame.
pub(super) fn read(file: Option<&Path>) -> Result<Vec<u8>, ProbeError> {
    let Some(file) = file else { return Ok(Vec::new()) };
    first_line(file).map_err(|error| ProbeError::local(format!("cannot read {}: {error}", file.display())))
}

fn first_line(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = read_regular(file, LONGEST)?;
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    bytes.truncate(end.unwrap_or(bytes.len()));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::metrics::ProbeResult;

    #[test]
    fn it_is_the_first_line_of_what_the_file_holds_now() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        assert_eq!(read(None).unwrap(), b"");
        for (text, password) in [("a b \nc\n", "a b "), ("x\r\ny", "x"), ("no end", "no end"), ("", ""), ("\n", "")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(Some(&file)).unwrap(), password.as_bytes());
        }
        std::fs::write(&file, [b'x'; 10_000]).unwrap();
        assert_eq!(read(Some(&file)).unwrap().len(), 4096);
        std::fs::remove_file(&file).unwrap();
        let error = read(Some(&file)).unwrap_err();
        assert_eq!(error.result, ProbeResult::Local);
        assert!(error.words.contains(file.to_str().unwrap()), "{error}");
    }
}
