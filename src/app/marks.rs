//! What tells, without reading them, that files and folders are as they were.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A file that was changed more recently than this when its mark was made may be changed again without that showing: file
/// systems keep times to two seconds at worst, and a server of files may have a clock of its own.
const SETTLED: Duration = Duration::from_secs(5);

/// The marks of some files and folders, those that are not there included.
#[derive(Debug)]
pub(super) struct Marks(Vec<(PathBuf, Option<Mark>)>);

/// Of what a path leads to, links followed. A folder's times change with the names in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the content's last change, and of any.
    times: [(i64, i64); 2],
}

impl Marks {
    /// As they are now.
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), Mark::of(path))).collect())
    }

    /// Whether all are as they were.
    pub(super) fn hold(&self) -> bool {
        self.0.iter().all(|(path, mark)| Mark::of(path) == *mark)
    }

    /// Whether a change from `now` on is sure to show.
    pub(super) fn are_settled(&self, now: SystemTime) -> bool {
        let Ok(now) = now.duration_since(SystemTime::UNIX_EPOCH) else { return false };
        let limit = now.saturating_sub(SETTLED).as_secs() as i64;
        self.0.iter().filter_map(|(_, mark)| mark.as_ref()).all(|mark| mark.times.iter().all(|(secs, _)| *secs < limit))
    }
}

impl Mark {
    fn of(path: &PathBuf) -> Option<Self> {
        let facts = fs::metadata(path).ok()?;
        Some(Self {
            device: facts.dev(),
            inode: facts.ino(),
            size: facts.size(),
            times: [(facts.mtime(), facts.mtime_nsec()), (facts.ctime(), facts.ctime_nsec())],
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn change(path: &Path, change: impl Fn(&Path)) {
        let mark = Marks::of([&path.to_owned()]);
        assert!(mark.hold());
        // Until the file system's clock has moved on.
        let shows = (0..500).any(|_| {
            change(path);
            std::thread::sleep(Duration::from_millis(10));
            !mark.hold()
        });
        assert!(shows, "{}", path.display());
    }

    #[test]
    fn every_change_shows() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "one").unwrap();
        change(&at("a"), |path| fs::write(path, "two").unwrap());
        change(&at("b"), |path| fs::write(path, "new").unwrap());
        change(&at("a"), |path| {
            let times = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
            fs::write(path, "ten").unwrap();
            fs::File::options().write(true).open(path).unwrap().set_times(times).unwrap();
        });
        fs::create_dir_all(at("1")).unwrap();
        fs::create_dir_all(at("2")).unwrap();
        fs::write(at("1/c"), "x").unwrap();
        fs::write(at("2/c"), "x").unwrap();
        symlink("1", at("data")).unwrap();
        change(&at("data/c"), |_| {
            fs::remove_file(at("data")).unwrap();
            symlink("2", at("data")).unwrap();
        });
        change(&at("1"), |path| fs::write(path.join("d"), "x").unwrap());
        change(&at("a"), |path| drop(fs::remove_file(path)));
    }

    #[test]
    fn what_has_changed_just_now_may_change_again_unseen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "one").unwrap();
        let (marks, now) = (Marks::of([&file]), SystemTime::now());
        assert!(!marks.are_settled(now) && !marks.are_settled(now - Duration::from_secs(3600)));
        assert!(marks.are_settled(now + SETTLED + Duration::from_secs(2)));
        assert!(Marks::of([&dir.path().join("missing")]).are_settled(now));
    }
}
