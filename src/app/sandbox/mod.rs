//! The sandbox: before it has more than one thread the process gives up, for itself and every thread to come, what its
//! configuration does not need of the file system, and executing anything at all.
//!
//! It is entered before anything is bound, since a thread that runs already would stay outside. Nothing that binding takes
//! is given up: where sockets connect to and listen is left alone, as a reload may say anything about it. Other programs,
//! which is the next process of an upgrade, are started by a helper that was left outside ([`super::upgrade`]).

mod folders;
mod kernel;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use crate::config::plan::Sandbox;
use crate::config::{Loaded, Need, Needed, Reach};
use kernel::{Ability, Enforced, Outcome};

/// What this process is kept from, once it is.
#[derive(Debug, Default)]
pub(super) struct Walls {
    /// What of the file system it can still reach.
    pub(super) reach: Reach,
    opened: BTreeSet<Needed>,
    /// What it is not kept from, though it was asked for.
    gaps: Vec<String>,
    _pinned: Vec<OwnedFd>,
}

/// Enters the sandbox that the configuration asks for, if it asks for one. To be called by the only thread there is.
///
/// # Errors
/// In words, with the remedy: `strict`, and the kernel cannot do all of it; or it does not want to.
pub(super) fn enter(loaded: &Loaded) -> Result<Option<Walls>, String> {
    let mode = loaded.plan.sandbox;
    if mode == Sandbox::Off {
        return Ok(None);
    }
    let gaps = judge(mode, &kernel::lacks(), threads())?;
    let opened = folders::opened(&loaded.needs);
    let Outcome { enforced, pinned } = kernel::restrict(&opened, folders::PROCESS)?;
    let reach = match enforced {
        Enforced::Nothing => Reach::default(),
        Enforced::All | Enforced::Some => Reach::of(&opened),
    };
    match (mode, enforced) {
        (Sandbox::Strict, Enforced::Some | Enforced::Nothing) => Err("the kernel has not done all of it".into()),
        _ => Ok(Some(Walls { reach, opened, gaps, _pinned: pinned })),
    }
}

impl Walls {
    /// Says in the log what is open, and what should be closed and is not.
    pub(super) fn tell(&self) {
        let list = |needs: &[Need]| {
            let of = self.opened.iter().filter(|opened| needs.contains(&opened.need));
            of.map(|opened| opened.path.display().to_string()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let reads = list(&[Need::Read, Need::Names, Need::Keep]).join(" ");
        let writes = list(&[Need::Append, Need::Keep, Need::Listen]).join(" ");
        tracing::info!(reads, writes, "sandbox: only these files and folders, and what is below, can be reached");
        self.gaps.iter().for_each(|gap| tracing::warn!("sandbox: {gap}"));
    }
}

/// What the sandbox does not do here, each in words; none if it does all that was asked for.
fn judge(mode: Sandbox, lacks: &[&Ability], threads: usize) -> Result<Vec<String>, String> {
    let lack = |ability: &&Ability| {
        format!("this kernel cannot keep a process from {} (Linux {} can)", ability.what, ability.since)
    };
    let mut gaps: Vec<String> = lacks.iter().map(lack).collect();
    if lacks.iter().any(|ability| ability.is_basic()) {
        gaps = vec![
            "this kernel has no Landlock (it came with Linux 5.13), or `landlock` is not among those that its parameter \
             `lsm=` names: nothing is closed"
                .into(),
        ];
    }
    if threads != 1 {
        gaps.push(format!("{} threads that a library has started before stay outside", threads.saturating_sub(1)));
    }
    match mode {
        Sandbox::Strict if !gaps.is_empty() => {
            Err(format!("{}; `sandbox: on` does what can be done", gaps.join("; and ")))
        }
        _ => Ok(gaps),
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn strict_is_all_or_nothing_and_on_is_what_can_be_had() {
        let all: Vec<&Ability> = kernel::ABILITIES.iter().collect();
        for mode in [Sandbox::On, Sandbox::Strict] {
            assert_eq!(judge(mode, &[], 1), Ok(Vec::new()));
        }
        let new = &all[2..];
        assert_eq!(judge(Sandbox::On, new, 1).unwrap().len(), 2);
        let why = judge(Sandbox::Strict, new, 1).unwrap_err();
        assert!(why.contains("(Linux 6.10 can); and ") && why.contains("Linux 6.12"), "{why}");
        assert!(why.ends_with("`sandbox: on` does what can be done"), "{why}");
    }

    #[test]
    fn a_kernel_without_landlock_closes_nothing_and_says_so_once() {
        let all: Vec<&Ability> = kernel::ABILITIES.iter().collect();
        let gaps = judge(Sandbox::On, &all, 1).unwrap();
        assert!(gaps.len() == 1 && gaps[0].contains("lsm="), "{gaps:?}");
        assert!(judge(Sandbox::Strict, &all, 1).unwrap_err().contains("Linux 5.13"));
    }

    #[test]
    fn a_thread_that_is_there_already_would_stay_outside() {
        assert!(judge(Sandbox::On, &[], 3).unwrap()[0].starts_with("2 threads"));
        assert!(judge(Sandbox::Strict, &[], 2).is_err());
        // Who cannot count them cannot know.
        assert!(judge(Sandbox::Strict, &[], 0).is_err());
    }
}
