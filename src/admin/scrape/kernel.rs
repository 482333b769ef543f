//! What the kernel says about this process.

use procfs::process::Process as Entry;
use rustix::process::{Resource, getrlimit};

use crate::metrics::Page;
use crate::metrics::families as f;

/// What of it never changes, read once.
#[derive(Debug)]
pub struct Process {
    /// Unix time, seconds.
    started: f64,
    ticks: f64,
    page_size: u64,
}

impl Default for Process {
    fn default() -> Self {
        let ticks = procfs::ticks_per_second() as f64;
        let since_boot = Entry::myself().and_then(|entry| entry.stat()).map_or(0.0, |stat| stat.starttime as f64);
        let boot = procfs::boot_time_secs().unwrap_or(0) as f64;
        Self { started: boot + since_boot / ticks, ticks, page_size: procfs::page_size() }
    }
}

impl Process {
    /// Writes the standard `process_*` metrics; those that cannot be read are left out.
    pub(super) fn write(&self, page: &mut Page) {
        if let Ok(stat) = Entry::myself().and_then(|entry| entry.stat()) {
            page.single(f::PROCESS_CPU, (stat.utime + stat.stime) as f64 / self.ticks);
            page.single(f::PROCESS_VIRTUAL, stat.vsize);
            page.single(f::PROCESS_RESIDENT, stat.rss * self.page_size);
            page.single(f::PROCESS_THREADS, stat.num_threads);
        }
        page.single(f::PROCESS_OPEN_FDS, open_descriptors());
        let limit = getrlimit(Resource::Nofile).current;
        page.single(f::PROCESS_MAX_FDS, limit.unwrap_or(u64::MAX));
        page.single(f::PROCESS_START, self.started);
    }
}

/// Since Linux 6.2 the folder's size is the number of descriptors; before, they have to be counted.
fn open_descriptors() -> u64 {
    const FOLDER: &str = "/proc/self/fd";
    match std::fs::metadata(FOLDER).map(|folder| folder.len()) {
        Ok(count @ 1..) => count,
        _ => std::fs::read_dir(FOLDER).map_or(0, |entries| entries.count().saturating_sub(1) as u64),
    }
}
