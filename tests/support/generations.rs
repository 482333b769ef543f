//! A proxy that is replaced by another process while it runs.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::process::end;
use super::{Proxy, eventually};

impl Proxy {
    /// Runs `peerway upgrade`, which must succeed; gives the process that serves now.
    #[track_caller]
    pub(crate) fn upgrade(&self) -> u32 {
        let (code, said, complained) = self.said(&["upgrade", "--json"]);
        assert_eq!(code, Some(0), "{said}{complained}{:#?}", self.log());
        let view: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(view["result"], "ok", "{view}");
        view["new_pid"].as_u64().unwrap() as u32
    }

    /// Runs `peerway upgrade`, which must fail with this exit code; gives what it says.
    #[track_caller]
    pub(crate) fn upgrade_fails(&self, exit: i32) -> String {
        let (code, said, complained) = self.said(&["upgrade"]);
        assert_eq!(code, Some(exit), "{said}{complained}");
        complained
    }

    /// All processes that were ready, in their order.
    pub(crate) fn generations(&self) -> Vec<u32> {
        let lines = self.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        lines.filter(|line| line["message"] == "ready").filter_map(|line| Some(line["pid"].as_u64()? as u32)).collect()
    }

    /// Ends the processes that came after the first one: those of them that are there. The newest may not have said
    /// anything yet, so they are looked for among all processes; and one that is on its way may start another.
    pub(super) fn end_heirs(&self) {
        let first = self.id();
        for _ in 0..10 {
            let heirs: Vec<u32> = processes().filter(|id| *id != first && self.is_ours(*id)).collect();
            if heirs.is_empty() {
                return;
            }
            heirs.into_iter().for_each(|id| end(id, Signal::KILL));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A process id may be another's by now.
    fn is_ours(&self, id: u32) -> bool {
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&*self.dir().to_string_lossy())
    }

    /// Sends a signal to one of its generations.
    #[track_caller]
    pub(crate) fn signal_to(&self, id: u32, signal: Signal) {
        assert!(self.is_ours(id), "{id} is gone");
        end(id, signal);
    }
}

/// The ids of all processes there are.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Waits until nothing is left of a process, not even a zombie.
#[track_caller]
pub(crate) fn is_gone(id: u32) {
    let left = || {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.lines().find(|line| line.starts_with("State:")).map(str::to_owned)
    };
    eventually(&format!("process {id} is gone"), || left().is_none().then_some(()));
}

/// What the descriptors of a process lead to.
pub(crate) fn open_files(id: u32) -> Vec<PathBuf> {
    let links = fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    links.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
}
