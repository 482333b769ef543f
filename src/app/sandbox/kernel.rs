//! What this kernel can keep a process from (landlock(7)), and having it do so.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::config::{Need, Needed};

/// One thing that a process can be kept from.
pub(super) struct Ability {
    /// In words, behind "cannot keep a process from".
    pub(super) what: &'static str,
    /// The first kernel that can.
    pub(super) since: &'static str,
    ask: fn(Ruleset) -> Result<Ruleset, RulesetError>,
}

impl Ability {
    /// Whether there is no sandbox at all without it.
    pub(super) fn is_basic(&self) -> bool {
        self.since == ABILITIES[0].since
    }
}

/// All of it. The first is what the others build on.
pub(super) const ABILITIES: [Ability; 4] = [
    Ability {
        what: "opening, making and removing files, and executing them",
        since: "5.13",
        ask: |rules| rules.handle_access(AccessFs::from_all(ABI::V1)),
    },
    // Besides, moving files between folders; a kernel that does not know that right allows it to nobody in a sandbox.
    Ability { what: "truncating files", since: "6.2", ask: |rules| rules.handle_access(AccessFs::from_all(ABI::V3)) },
    Ability { what: "steering devices", since: "6.10", ask: |rules| rules.handle_access(AccessFs::from_all(ABI::V5)) },
    Ability {
        what: "sending signals to other processes and connecting to abstract unix sockets",
        since: "6.12",
        ask: |rules| rules.scope(Scope::from_all(ABI::V6)),
    },
];

/// What this kernel cannot do of it.
pub(super) fn lacks() -> Vec<&'static Ability> {
    let can =
        |ability: &&Ability| (ability.ask)(Ruleset::default().set_compatibility(CompatLevel::HardRequirement)).is_ok();
    ABILITIES.iter().filter(|ability| !can(ability)).collect()
}

/// What came of it.
pub(super) struct Outcome {
    /// Everything that was asked for is in force; or something; or nothing.
    pub(super) enforced: Enforced,
    /// To be kept open for as long as the sandbox is to let them through.
    pub(super) pinned: Vec<OwnedFd>,
}

/// How much is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enforced {
    /// All of it.
    All,
    /// What this kernel can.
    Some,
    /// Nothing.
    Nothing,
}

/// Keeps this thread, and those that it will start, from all that this kernel can keep them from, but for what is `opened`.
/// There is no way back, also for programs that would be executed.
///
/// # Errors
/// In words: the kernel refuses.
pub(super) fn restrict(opened: &BTreeSet<Needed>, pin: &[&str]) -> Result<Outcome, String> {
    let refused = |error: RulesetError| format!("the kernel refuses it: {error}");
    let asked = ABILITIES.iter().try_fold(Ruleset::default(), |rules, ability| (ability.ask)(rules));
    let mut rules = asked.and_then(Ruleset::create).map_err(refused)?;
    for Needed { path, need } in opened {
        // What cannot be opened now is not there, or is not for this process anyhow.
        let Ok(folder) = PathFd::new(path) else { continue };
        let rights = if path.is_dir() { rights(*need) } else { rights(*need) & AccessFs::from_file(ABI::V5) };
        rules = rules.add_rule(PathBeneath::new(folder, rights)).map_err(refused)?;
    }
    // The files of /proc are made anew when nobody has them open, and the new ones are not those that were opened.
    let pinned = pin.iter().filter_map(|path| std::fs::File::open(path).ok()).map(OwnedFd::from).collect();
    let status = rules.restrict_self().map_err(refused)?;
    let enforced = match status.ruleset {
        RulesetStatus::FullyEnforced => Enforced::All,
        RulesetStatus::PartiallyEnforced => Enforced::Some,
        RulesetStatus::NotEnforced => Enforced::Nothing,
    };
    Ok(Outcome { enforced, pinned })
}

fn rights(need: Need) -> BitFlags<AccessFs> {
    match need {
        Need::Read | Need::Names => AccessFs::ReadFile | AccessFs::ReadDir,
        Need::Append => AccessFs::WriteFile | AccessFs::MakeReg,
        Need::Keep => {
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate
        }
        Need::Listen => AccessFs::MakeSock | AccessFs::RemoveFile,
    }
}

#[cfg(test)]
mod tests {
    //! A sandbox is a thread's: each test enters one on a thread of its own, and the kernel here must know Landlock.
    #![allow(clippy::unwrap_used)]

    use std::fs::{self, File, OpenOptions};
    use std::io::{self, ErrorKind};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::process::Command;
    use std::thread;

    use super::*;

    /// Does `work` in a sandbox that has this open.
    fn inside(opened: &[(&Path, Need)], work: impl FnOnce() + Send) {
        let opened: BTreeSet<Needed> =
            opened.iter().map(|(path, need)| Needed { path: (*path).to_owned(), need: *need }).collect();
        thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(restrict(&opened, &[]).unwrap().enforced, Enforced::All);
                work();
            });
        });
    }

    fn is_refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn this_kernel_can_do_all_of_it() {
        assert!(lacks().is_empty());
    }

    #[test]
    fn what_is_not_opened_can_be_neither_read_nor_written() {
        let dir = tempfile::tempdir().unwrap();
        let (open, closed) = (dir.path().join("open"), dir.path().join("closed"));
        [&open, &closed].iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        [&open, &closed].iter().for_each(|folder| fs::write(folder.join("a"), "a").unwrap());
        inside(&[(&open, Need::Read)], || {
            assert_eq!(fs::read_to_string(open.join("a")).unwrap(), "a");
            assert_eq!(fs::read_dir(&open).unwrap().count(), 1);
            assert!(is_refused(fs::read(closed.join("a"))) && is_refused(fs::read_dir(&closed)));
            assert!(is_refused(fs::write(open.join("a"), "")) && is_refused(fs::remove_file(open.join("a"))));
            assert!(is_refused(File::create(open.join("b"))) && is_refused(fs::create_dir(open.join("c"))));
            // A thread that is started in it is in it.
            assert!(thread::spawn(move || is_refused(fs::read(closed.join("a")))).join().unwrap());
        });
    }

    #[test]
    fn nothing_can_be_executed_not_even_what_can_be_read() {
        assert!(Command::new("/bin/true").status().unwrap().success());
        inside(&[(Path::new("/usr"), Need::Read)], || {
            assert!(fs::read("/usr/bin/true").is_ok());
            assert!(is_refused(Command::new("/usr/bin/true").status()));
        });
    }

    #[test]
    fn logs_state_and_sockets_can_be_had_where_they_are_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        ["log", "state", "run"].iter().for_each(|folder| fs::create_dir(at(folder)).unwrap());
        let append = |path| OpenOptions::new().append(true).create(true).open(path);
        inside(&[(&at("log"), Need::Append), (&at("state"), Need::Keep), (&at("run"), Need::Listen)], || {
            append(at("log/a")).unwrap();
            append(at("log/a")).unwrap();
            assert!(is_refused(fs::read(at("log/a"))) && is_refused(fs::remove_file(at("log/a"))));
            fs::write(at("state/new"), "1").unwrap();
            fs::rename(at("state/new"), at("state/s")).unwrap();
            fs::write(at("state/new"), "2").unwrap();
            fs::rename(at("state/new"), at("state/s")).unwrap();
            assert_eq!(fs::read_to_string(at("state/s")).unwrap(), "2");
            for _ in 0..2 {
                drop(UnixListener::bind(at("run/x.sock")).unwrap());
                fs::remove_file(at("run/x.sock")).unwrap();
            }
            assert!(is_refused(File::create(at("run/file"))) && is_refused(UnixListener::bind(at("log/x.sock"))));
            assert!(fs::rename(at("state/s"), at("log/s")).is_err());
            TcpListener::bind("127.0.0.1:0").unwrap();
        });
    }

    #[test]
    fn nobody_outside_is_sent_a_signal() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let id = rustix::process::Pid::from_child(&child);
        inside(&[], || {
            let sent = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            assert_eq!(sent, Err(rustix::io::Errno::PERM));
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
