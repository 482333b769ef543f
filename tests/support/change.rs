//! Changing the file of a running proxy, and asking it to read that again.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::admin::Answer;
use super::{PATIENCE, Proxy, binary};

/// The top of every file whose changes a test wants to see when it says so.
pub(crate) const TOP: &str = "admin: { listen: 127.0.0.1:0 }\nreload: { watch: false }\n";

impl Proxy {
    /// Its file.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir().join("peerway.yaml")
    }

    /// Replaces its file, whole.
    pub(crate) fn write(&self, yaml: &str) {
        let next = self.dir().join("next");
        std::fs::write(&next, yaml).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    /// Has it read its file again.
    #[track_caller]
    pub(crate) fn reload(&self) -> Answer {
        self.admin().ask("POST", "/api/v1/reload", "")
    }

    /// Has it take over this file, which it must.
    #[track_caller]
    pub(crate) fn change_to(&self, yaml: &str) -> Value {
        self.write(yaml);
        let answer = self.reload();
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Has it read this file, which it must refuse, and gives the reason.
    #[track_caller]
    pub(crate) fn refuses(&self, yaml: &str) -> String {
        self.write(yaml);
        let answer = self.reload();
        assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.body);
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["result"], "rejected", "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }

    /// `GET /api/v1/config`.
    #[track_caller]
    pub(crate) fn config(&self) -> Value {
        self.admin().json("/api/v1/config")
    }

    /// The configuration in force, counted.
    #[track_caller]
    pub(crate) fn generation(&self) -> u64 {
        self.config()["generation"].as_u64().unwrap()
    }

    /// Waits until another one than the `before`th configuration is in force.
    #[track_caller]
    pub(crate) fn generation_after(&self, before: u64) -> u64 {
        let start = Instant::now();
        loop {
            let now = self.generation();
            if now != before {
                return now;
            }
            assert!(start.elapsed() < PATIENCE, "still generation {before}: {:#?}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs `peerway` with these arguments against its admin endpoint.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let address = self.admin().address;
        Command::new(binary()).args(arguments).args(["--admin", &address]).current_dir(self.dir()).output().unwrap()
    }

    /// The same: exit code, standard output and standard error.
    pub(crate) fn said(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}
