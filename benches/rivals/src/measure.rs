//! What a process has used: CPU time by the scheduler's own count, and memory.

use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Where the proxy runs, alone.
pub const PROXY_CPU: usize = 0;
/// Where client and backend run.
pub const LOAD_CPU: usize = 1;

/// Keeps this thread, and those it starts, on one CPU.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("two CPUs");
}

/// A process and those it has started.
pub fn family(id: u32) -> Vec<u32> {
    let mut family = vec![id];
    let mut at = 0;
    while at < family.len() {
        let children = format!("/proc/{0}/task/{0}/children", family[at]);
        let children = fs::read_to_string(children).unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        at += 1;
    }
    family
}

/// CPU time that all threads of all these have used, in nanoseconds' resolution.
pub fn cpu(id: u32) -> Duration {
    let nanos = |id: u32| -> u64 {
        let Ok(threads) = fs::read_dir(format!("/proc/{id}/task")) else { return 0 };
        let of_thread = |entry: std::io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        };
        threads.filter_map(of_thread).sum()
    };
    Duration::from_nanos(family(id).into_iter().map(nanos).sum())
}

/// Memory that is theirs alone, bytes.
pub fn memory(id: u32) -> u64 {
    let private = |id: u32| -> u64 {
        let Ok(text) = fs::read_to_string(format!("/proc/{id}/smaps_rollup")) else { return 0 };
        let of = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
        let lines = text.lines().filter(|line| line.starts_with("Private_") && !line.contains("Hugetlb"));
        lines.filter_map(of).sum::<u64>() * 1024
    };
    family(id).into_iter().map(private).sum()
}

/// Resident memory, shared or not, bytes.
pub fn resident(id: u32) -> u64 {
    let rss = |id: u32| -> u64 {
        let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmRSS:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    family(id).into_iter().map(rss).sum()
}
