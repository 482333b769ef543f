//! What a proxy is set up for: on which sides it speaks TLS, and how many it has of what.

/// On which sides a proxy speaks TLS 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    Off,
    /// It ends the client's.
    Client,
    /// It ends the client's, and speaks it with backends too.
    Both,
}

/// One setup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub tls: Tls,
    pub backends: usize,
    pub listeners: usize,
    pub workers: usize,
    /// Ours, and what `workers.busy_poll` is then; the others have nothing like it.
    pub busy_poll: Option<&'static str>,
    /// Seconds between probes of one backend.
    pub probe_secs: u32,
    /// Ours; the others do what they do by default, which is round robin everywhere.
    pub policy: &'static str,
}

/// One backend, one listener, one worker.
pub const PLAIN: Shape = Shape {
    tls: Tls::Off,
    backends: 1,
    listeners: 1,
    workers: 1,
    busy_poll: None,
    probe_secs: 2,
    policy: "round_robin",
};

/// Where growth starts. A thousand backends are probed seldom enough, and two as often, that probes are not what is seen.
pub const SMALL: Shape = Shape { backends: 2, probe_secs: 60, ..PLAIN };

impl Shape {
    /// In words.
    pub fn words(&self) -> String {
        let tls = match self.tls {
            Tls::Off => "in the clear",
            Tls::Client => "TLS 1.3 with clients (P-256, X25519, AES-128-GCM, nothing resumed)",
            Tls::Both => {
                "TLS 1.3 with clients and with backends, which are verified (P-256, X25519, AES-128-GCM, nothing resumed)"
            }
        };
        let busy_poll = self.busy_poll.map(|span| format!("; busy_poll {span} (Peerway's)")).unwrap_or_default();
        format!(
            "{tls}; {} backend(s), probed every {} s; {} listener(s); {} worker(s){busy_poll}; policy {}",
            self.backends, self.probe_secs, self.listeners, self.workers, self.policy
        )
    }
}
