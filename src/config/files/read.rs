//! Bytes from disk.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::super::regular::open_regular;

/// No configuration is this long; a device or a log named by mistake is.
const LONGEST: u64 = 64 << 20;

/// What is done with a file that is none, such as a FIFO or a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Streams {
    /// It is read to its end, whenever that comes.
    Read,
    /// It is an error: nothing may wait for it.
    Refused,
}

/// Why a file gave no text.
pub(super) enum Unreadable {
    /// The place of the first byte that is not UTF-8.
    NotUtf8 {
        line: u32,
        column: u32,
    },
    Other(String),
}

/// The whole of a file as text.
pub(super) fn text(path: &Path, streams: Streams) -> Result<String, Unreadable> {
    let failed = |error: std::io::Error| {
        Unreadable::Other(match error.kind() {
            ErrorKind::IsADirectory => "is a folder, not a file".to_owned(),
            _ => format!("cannot be read: {error}"),
        })
    };
    let opened = match streams {
        Streams::Read => File::open(path),
        Streams::Refused => open_regular(path),
    };
    let file = opened.map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long from one that just fits.
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Unreadable::Other(format!("longer than {} MiB, which no configuration is", LONGEST >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let clip = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Unreadable::NotUtf8 { line: clip(line), column: clip(column) }
    })
}

/// The `*.yaml` and `*.yml` files of a folder, sorted by name.
pub(super) fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
