//! Every metric there is: name, type, labels, help text. What is not in this table is not exposed.

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts spans of seconds by size.
    Histogram,
    /// Always 1; what it says is in its labels. Its name ends in `_info`.
    Info,
}

/// One metric with all its label sets.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The whole name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Label names in the order in which they are written.
    pub labels: &'static [&'static str],
    /// What it tells, in a sentence.
    pub help: &'static str,
}

impl Family {
    /// The name without the suffix that its kind gives to samples.
    pub fn stem(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }

    /// The base unit, which is the end of the stem.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.stem().strip_suffix(unit).is_some_and(|s| s.ends_with('_')))
    }
}

/// Makes a constant of each line, and a list of all.
macro_rules! families {
    ($($id:ident $name:literal $kind:ident [$($label:literal)*] $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $id: &Family = &Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )+

        /// All metrics, in the order in which they are exposed.
        pub const ALL: &[&Family] = &[$($id),+];
    };
}

families! {
    BUILD_INFO "peerway_build_info" Info ["version"] "The version that runs; always 1.";
    CONFIG_GENERATION "peerway_config_generation" Gauge [] "Number of the configuration in force, counted from 1 since start.";
    CONFIG_RELOADS "peerway_config_reloads_total" Counter ["result"] "Attempts to reload the configuration, by result.";
    CONFIG_LAST_SUCCESS "peerway_config_last_reload_success" Gauge [] "Whether the last attempt to load the configuration succeeded.";
    CONFIG_LAST_TIMESTAMP "peerway_config_last_reload_timestamp_seconds" Gauge [] "When the configuration in force was loaded, Unix time.";
    CONFIG_DRIFT "peerway_config_drift" Gauge [] "Whether the configuration on disk differs from the one in force.";
    CONNECTIONS_LIMIT "peerway_connections_limit" Gauge [] "Sessions that the process serves at once at most.";
    PANICS "peerway_panics_total" Counter [] "Sessions that were ended by a defect of Peerway.";
    LOG_DROPPED "peerway_log_dropped_total" Counter ["log"] "Log lines that were lost because their sink was stuck or failed.";
    WORKER_CONNECTIONS "peerway_worker_connections" Gauge ["worker"] "Sessions that a worker thread serves now.";
    WORKER_BUSY "peerway_worker_busy_seconds_total" Counter ["worker"] "Time in which a worker thread had something to do; of the time that it looked for packets, as busy_poll has it, about a fifth.";
    WORKER_BUSY_POLL "peerway_worker_busy_poll_seconds_total" Counter ["worker" "result"] "Time in which a worker thread looked for packets instead of sleeping, as busy_poll has it: hit when some came, miss when none did.";

    UPGRADE_OLD_PROCESSES "peerway_upgrade_old_processes" Gauge [] "Processes before the last upgrades that still have sessions.";
    UPGRADE_OLD_SESSIONS "peerway_upgrade_old_sessions" Gauge [] "Sessions that live in them.";

    LISTENER_CONNECTIONS "peerway_listener_connections_total" Counter ["listener"] "Connections accepted; refused, closed and active ones add up to it.";
    LISTENER_ACTIVE "peerway_listener_active_connections" Gauge ["listener"] "Sessions that live now.";
    LISTENER_LIMIT "peerway_listener_connections_limit" Gauge ["listener"] "Sessions that the listener serves at once at most: its own limit, or the process's if that is lower.";
    LISTENER_REFUSED "peerway_listener_refused_total" Counter ["listener" "reason"] "Connections refused at a gate, by reason.";
    LISTENER_ACCEPT_ERRORS "peerway_listener_accept_errors_total" Counter ["listener" "class"] "Calls of accept that failed, by class.";
    ACCEPT_PAUSED "peerway_accept_paused_seconds_total" Counter [] "Time not accepting for want of descriptors, memory or places, over all workers.";

    SESSIONS_CLOSED "peerway_sessions_closed_total" Counter ["listener" "pool" "cause" "side" "phase"] "Sessions that ended: why, by whom, and where they were then.";
    SESSION_DURATION "peerway_session_duration_seconds" Histogram ["listener"] "How long sessions lasted, from accept to their end.";
    SESSION_BYTES "peerway_session_bytes_total" Counter ["listener" "pool" "direction"] "Payload passed on, up to the backend or down to the client.";
    RELAY_BYTES "peerway_relay_bytes_total" Counter ["engine"] "Payload passed on, by what moved it.";

    POOL_CONNECT "peerway_pool_connect_duration_seconds" Histogram ["pool"] "Time of each successful attempt to connect to a backend.";
    POOL_FIRST_BYTE "peerway_pool_first_byte_seconds" Histogram ["pool"] "From the client's first byte, or from connect when the backend speaks first, to the backend's first byte.";
    POOL_QUEUE_LENGTH "peerway_pool_queue_length" Gauge ["pool"] "Sessions that wait for a backend.";
    POOL_UNAVAILABLE "peerway_pool_unavailable_total" Counter ["pool" "reason"] "Times that the pool had no backend to offer, by reason.";
    POOL_RETRIES "peerway_pool_retries_total" Counter ["pool"] "Attempts to connect after a session's first one.";
    POOL_HEDGES "peerway_pool_hedges_total" Counter ["pool" "result"] "Second attempts raced against a slow first one: won connected first, lost did not.";
    POOL_QUEUE_WAIT "peerway_pool_queue_wait_seconds" Histogram ["pool"] "How long sessions waited in the queue, those that gave up included.";
    POOL_HASH_DISPLACED "peerway_pool_hash_displaced_total" Counter ["pool"] "Sessions whose key belongs to a usable backend that was full or had its bounded load.";
    POOL_FAIL_OPEN "peerway_pool_fail_open" Gauge ["pool"] "Whether so few backends are up that all are used.";

    BACKEND_CONNECTIONS "peerway_backend_connections_total" Counter ["pool" "backend"] "Connections established to the backend.";
    BACKEND_ACTIVE "peerway_backend_active_connections" Gauge ["pool" "backend"] "Sessions that hold the backend now, those still connecting included.";
    BACKEND_BYTES "peerway_backend_bytes_total" Counter ["pool" "backend" "direction"] "Payload passed on to and from the backend.";
    BACKEND_CONNECT_SECONDS "peerway_backend_connect_seconds_total" Counter ["pool" "backend"] "Time spent establishing those connections.";
    BACKEND_FIRST_BYTE_SECONDS "peerway_backend_first_byte_seconds_total" Counter ["pool" "backend"] "Time spent waiting for the backend's first bytes.";
    BACKEND_CONNECT_FAILURES "peerway_backend_connect_failures_total" Counter ["pool" "backend" "reason"] "Attempts to connect that failed, by reason.";
    BACKEND_UP "peerway_backend_up" Gauge ["pool" "backend"] "Whether the backend gets new sessions.";
    BACKEND_STATE "peerway_backend_state" Gauge ["pool" "backend" "state"] "The backend's state: 1 for the one it is in, 0 for the others.";
    BACKEND_WEIGHT "peerway_backend_weight" Gauge ["pool" "backend"] "The backend's share of new sessions relative to the others of its pool.";
    BACKEND_CONNECT "peerway_backend_connect_duration_seconds" Histogram ["pool" "backend"] "Time of each successful attempt to connect to the backend.";

    BACKEND_TRANSITIONS "peerway_backend_transitions_total" Counter ["pool" "backend" "to"] "Changes of the backend's state, by the state it went to.";
    BACKEND_EJECTIONS "peerway_backend_ejections_total" Counter ["pool" "backend"] "Times that the backend was ejected for what sessions showed.";
    BACKEND_PROBES "peerway_backend_probes_total" Counter ["pool" "backend" "result"] "Probes of the backend, by result.";
    BACKEND_PROBE_SECONDS "peerway_backend_probe_duration_seconds" Gauge ["pool" "backend"] "How long the last probe of the backend took.";

    TLS_HANDSHAKES "peerway_tls_handshakes_total" Counter ["listener" "result"] "TLS handshakes that clients began, by how they ended.";
    TLS_EXPIRY "peerway_tls_certificate_expiry_timestamp_seconds" Gauge ["owner" "file"] "When the first certificate of the chain in a file ends, Unix time.";
    TLS_CURRENT "peerway_tls_files_current" Gauge ["owner"] "Whether the files of TLS are in use as they are on disk; 0 means that they cannot be used, and that what they held before is.";

    DISCOVERY_SUCCESS "peerway_discovery_last_success_timestamp_seconds" Gauge ["pool"] "When a host name of the pool was last resolved, Unix time; 0 is never.";
    DISCOVERY_ERRORS "peerway_discovery_errors_total" Counter ["pool" "class"] "Attempts to resolve a host name of the pool that failed, by class.";

    PROCESS_CPU "process_cpu_seconds_total" Counter [] "Processor time of the process, user and system.";
    PROCESS_OPEN_FDS "process_open_fds" Gauge [] "Descriptors that are open.";
    PROCESS_MAX_FDS "process_max_fds" Gauge [] "Descriptors that may be open.";
    PROCESS_VIRTUAL "process_virtual_memory_bytes" Gauge [] "Virtual memory.";
    PROCESS_RESIDENT "process_resident_memory_bytes" Gauge [] "Resident memory.";
    PROCESS_THREADS "process_threads" Gauge [] "Threads of the process.";
    PROCESS_START "process_start_time_seconds" Gauge [] "When the process started, Unix time.";
}

/// Gauges that number things that live. Over several processes they add up; all others are one process's own.
pub const LIVING: &[&Family] = &[WORKER_CONNECTIONS, LISTENER_ACTIVE, POOL_QUEUE_LENGTH, BACKEND_ACTIVE];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_rules_of_their_kind() {
        let mut seen = BTreeSet::new();
        for family in ALL {
            assert!(seen.insert(family.stem()), "{} twice", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
            assert_eq!(family.name.ends_with("_info"), family.kind == Kind::Info, "{}", family.name);
            assert!(family.name.starts_with("peerway_") || family.name.starts_with("process_"), "{}", family.name);
            assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\', '"']), "{}", family.name);
            assert!(family.kind != Kind::Histogram || family.unit() == Some("seconds"), "{}", family.name);
        }
    }
}
