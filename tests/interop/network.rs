//! Networks that a test makes, so that the network of the machine is left alone; they go with the processes that hold
//! them.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::{program, run};

/// A network namespace, for as long as this lives.
pub(crate) struct Network(Child);

impl Network {
    /// With nothing in it but a loopback.
    pub(crate) fn new() -> Self {
        let mut holder = program("unshare");
        // Says a line when it is there, and ends with the pipe it reads: also when this test is killed.
        holder.args(["--net", "sh", "-c", "ip link set lo up && echo there && exec cat"]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 6];
        let there = holder.stdout.as_mut().unwrap().read_exact(&mut said);
        assert!(there.is_ok() && &said == b"there\n", "network namespaces need root");
        Self(holder)
    }

    /// The process that holds it.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Does something there, on a thread of its own. What the thread starts is there too.
    pub(crate) fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                what()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// `ip WORDS` there.
    pub(crate) fn ip(&self, words: &str) {
        self.run(|| run(program("ip").args(words.split(' '))));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
