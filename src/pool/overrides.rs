//! What operators have said about backends by hand. It beats the configuration and outlives it, until it is taken back.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::read_regular;

/// What was said about one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Whether it gets sessions; `None` leaves that to the configuration and to health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
    /// Its share of new sessions, 1 to 65535; `None` leaves the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// When it was last said, seconds since 1970.
    pub at: u64,
    /// And so many nanoseconds, so that the same said twice in a second is twice.
    #[serde(default)]
    pub at_nanos: u32,
}

impl Override {
    /// When it was last said.
    pub fn said_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.at) + Duration::from_nanos(u64::from(self.at_nanos))
    }
}

/// What a backend is forced to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forced {
    /// No new sessions; those that live end spread over this time, or go on if there is none.
    Drain {
        /// Milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
    },
    /// It may get sessions also if the configuration disables it. Health still counts.
    Enable,
}

/// What is said about a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// Drain it, ending its sessions spread over this time if there is one.
    Drain(Option<Duration>),
    /// Let it have sessions.
    Enable,
    /// Give it this weight, 1 to 65535.
    Weight(u32),
    /// Forget all that was said.
    Nothing,
}

impl fmt::Display for Say {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drain(None) => f.write_str("drain"),
            Self::Drain(Some(within)) => write!(f, "drain within {within:?}"),
            Self::Enable => f.write_str("enable"),
            Self::Weight(weight) => write!(f, "weight {weight}"),
            Self::Nothing => f.write_str("release"),
        }
    }
}

/// All overrides of the process, by pool and backend; also of those the configuration does not have now.
#[derive(Debug, Default)]
pub struct Overrides {
    said: Mutex<Said>,
    /// Held by the one who changes `said`, also while the file is written: readers do not wait for a disk.
    changing: Mutex<()>,
    /// Where they outlive the process.
    file: Option<PathBuf>,
}

/// What was said, by pool and backend.
pub type Said = BTreeMap<String, BTreeMap<String, Override>>;

/// The state file as a whole.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    overrides: Said,
}

const VERSION: u32 = 1;
/// What a policy can reckon with.
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=65_535;
/// A state file is written by this program; one that is larger was not.
const LARGEST: u64 = 64 * 1024 * 1024;

impl Overrides {
    /// What `file` holds; nothing if it is not there yet.
    ///
    /// # Errors
    /// It cannot be read, or holds something else. A drain that is silently forgotten would send sessions to a backend
    /// that someone is working on.
    pub fn load(file: Option<PathBuf>) -> io::Result<Self> {
        let Some(path) = &file else { return Ok(Self::default()) };
        let text = match std::fs::metadata(path) {
            Ok(about) if about.len() > LARGEST => {
                return Err(io::Error::other("it is larger than a state file can be"));
            }
            Ok(_) => String::from_utf8(read_regular(path, LARGEST)?).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { file, ..Self::default() }),
            Err(error) => return Err(error),
        };
        let state: State = serde_json::from_str(&text).map_err(|error| {
            io::Error::other(format!("not a state file ({error}); mend it, or remove it to forget all overrides"))
        })?;
        if state.version != VERSION {
            return Err(io::Error::other(format!("its version is {}, this program knows {VERSION}", state.version)));
        }
        let said = state.overrides.values().flat_map(|backends| backends.values());
        if let Some(weight) = said.filter_map(|over| over.weight).find(|weight| !WEIGHTS.contains(weight)) {
            return Err(io::Error::other(format!("a weight of {weight} is none: mend it, 1 to 65535")));
        }
        Ok(Self { said: Mutex::new(state.overrides), file, ..Self::default() })
    }

    /// What was said about a backend.
    pub fn of(&self, pool: &str, backend: &str) -> Option<Override> {
        self.lock().get(pool)?.get(backend).cloned()
    }

    /// Takes in what is said about a backend; says what it amounts to now.
    ///
    /// # Errors
    /// The state file cannot be written; then nothing has changed.
    pub fn say(&self, pool: &str, backend: &str, say: Say, now: SystemTime) -> io::Result<Option<Override>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.lock().clone();
        let of_pool = next.entry(pool.to_owned()).or_default();
        let mut over = of_pool.remove(backend).unwrap_or_default();
        match say {
            Say::Drain(within) => {
                over.forced = Some(Forced::Drain { within_ms: within.map(|span| span.as_millis() as u64) });
            }
            Say::Enable => over.forced = Some(Forced::Enable),
            Say::Weight(weight) => over.weight = Some(weight),
            Say::Nothing => over = Override::default(),
        }
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        (over.at, over.at_nanos) = (since.as_secs(), since.subsec_nanos());
        let result = (over.forced.is_some() || over.weight.is_some()).then_some(over);
        if let Some(over) = &result {
            of_pool.insert(backend.to_owned(), over.clone());
        }
        next.retain(|_, backends| !backends.is_empty());
        if let Some(path) = &self.file {
            store(path, &next)?;
        }
        *self.lock() = next;
        Ok(result)
    }

    /// Takes over what another process was told about a backend; nothing is written.
    pub fn adopt(&self, pool: &str, backend: &str, over: Option<Override>) {
        let mut said = self.lock();
        match over {
            Some(over) => drop(said.entry(pool.to_owned()).or_default().insert(backend.to_owned(), over)),
            None => drop(said.get_mut(pool).and_then(|backends| backends.remove(backend))),
        }
        said.retain(|_, backends| !backends.is_empty());
    }

    /// All of them, by pool and backend.
    pub fn all(&self) -> Said {
        self.lock().clone()
    }

    /// Takes over all of another process's, in place of those there are.
    ///
    /// # Errors
    /// They are there, but the state file that is to have them as well cannot be written.
    pub fn adopt_all(&self, all: Said) -> io::Result<()> {
        let mut said = self.lock();
        let differs = *said != all;
        *said = all;
        match &self.file {
            Some(path) if differs => store(path, &said),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes beside the file and swaps, so that a crash or a full disk leaves the one before.
fn store(path: &Path, overrides: &Said) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let text = serde_json::to_string_pretty(&State { version: VERSION, overrides: overrides.clone() })?;
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// All overrides, shared by keepers and the admin endpoint.
pub type SharedOverrides = Arc<Overrides>;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_said_adds_up_until_it_is_taken_back() {
        let overrides = Overrides::default();
        let say = |say| overrides.say("p", "b", say, at(7)).expect("no file");
        say(Say::Weight(5));
        let drained = Forced::Drain { within_ms: Some(60_000) };
        let both = Override { forced: Some(drained), weight: Some(5), at: 7, at_nanos: 0 };
        assert_eq!(say(Say::Drain(Some(Duration::from_secs(60)))), Some(both.clone()));
        assert_eq!(overrides.of("p", "b"), Some(both));
        assert_eq!(say(Say::Enable).and_then(|over| over.forced), Some(Forced::Enable));
        assert_eq!(overrides.of("p", "other").or(overrides.of("q", "b")), None);
        assert_eq!(say(Say::Nothing), None);
        assert_eq!(overrides.of("p", "b"), None);
    }

    #[test]
    fn the_same_said_twice_in_a_second_is_twice() {
        let overrides = Overrides::default();
        let say =
            |millis| overrides.say("p", "b", Say::Enable, at(7) + Duration::from_millis(millis)).expect("no file");
        let (first, second) = (say(100), say(200));
        assert_ne!(first, second);
        assert_eq!(second.map(|over| over.said_at()), Some(at(7) + Duration::from_millis(200)));
    }

    #[test]
    fn they_outlive_the_process_with_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        let overrides = Overrides::load(Some(path.clone())).expect("not there yet");
        overrides.say("p", "b", Say::Drain(None), at(1)).expect("written");
        overrides.say("p", "c", Say::Weight(9), at(2)).expect("written");
        overrides.say("p", "c", Say::Nothing, at(3)).expect("written");
        let again = Overrides::load(Some(path)).expect("valid");
        assert_eq!(again.of("p", "b"), overrides.of("p", "b"));
        assert!(again.of("p", "b").is_some() && again.of("p", "c").is_none());
    }

    #[test]
    fn a_file_that_is_something_else_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.json");
        const WEIGHTLESS: &str = r#"{"version":1,"overrides":{"p":{"b":{"weight":0,"at":1}}}}"#;
        for text in ["", "{", "[]", r#"{"version":2,"overrides":{}}"#, r#"{"version":1}"#, "\0", WEIGHTLESS] {
            std::fs::write(&path, text).expect("written");
            let error = Overrides::load(Some(path.clone())).expect_err(text);
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn when_it_cannot_be_written_nothing_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let overrides = Overrides::load(Some(folder.path().join("gone/state.json"))).expect("not there yet");
        assert!(overrides.say("p", "b", Say::Drain(None), at(1)).is_err());
        assert_eq!(overrides.of("p", "b"), None);
    }
}
