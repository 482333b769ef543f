//! Every label value of a fixed set, as enums: what can be counted is what can be named.

/// Makes an enum whose variants have one spelling each, shared by metrics, logs and the API.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// All values, in the order of their discriminants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The spelling used in metrics, logs and the API.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

labels! {
    /// Why a session ended. Each session has exactly one cause.
    Cause {
        /// Both ends of stream were seen and delivered; the side is who sent its FIN first.
        Finished = "finished",
        /// RST or another error on the client's socket, even after its FIN.
        ClientReset = "client_reset",
        /// RST or another error on the backend's socket, even after its FIN.
        BackendReset = "backend_reset",
        /// No byte in either direction for `timeouts.idle`.
        Idle = "idle",
        /// No byte for `timeouts.half_closed` in the direction still open.
        HalfClosedTimeout = "half_closed_timeout",
        /// `timeouts.session` since accept.
        SessionLimit = "session_limit",
        /// The handshake did not end in time, or the PROXY header did not come in time.
        HandshakeTimeout = "handshake_timeout",
        /// Routing needed bytes that did not decide in time.
        SniffUndecided = "sniff_undecided",
        /// The handshake failed.
        HandshakeFailed = "handshake_failed",
        /// No route took it.
        NoRoute = "no_route",
        /// A route's action refused it.
        Rejected = "rejected",
        /// The pool has no usable backend.
        NoBackend = "no_backend",
        /// The pool's queue was full.
        QueueFull = "queue_full",
        /// Waited in the pool's queue for too long.
        QueueTimeout = "queue_timeout",
        /// Every attempt to reach a backend failed.
        ConnectFailed = "connect_failed",
        /// The backend was marked down and `on_down` ended its sessions.
        BackendDown = "backend_down",
        /// The listener or backend was removed and `on_remove` ended its sessions.
        Removed = "removed",
        /// Ended by hand.
        Killed = "killed",
        /// The process stops.
        Shutdown = "shutdown",
        /// A defect of Peerway itself.
        Internal = "internal",
    }
}

labels! {
    /// Who brought the end about.
    Side {
        /// The peer that connected to the listener.
        Client = "client",
        /// The peer Peerway connected to.
        Backend = "backend",
        /// Peerway: timeouts, limits, drains, kills.
        Proxy = "proxy",
    }
}

labels! {
    /// Where a session was when its end was caused.
    Phase {
        /// Accepted; PROXY protocol, TLS, routing.
        Intake = "intake",
        /// Waiting for a backend below its limit.
        Queue = "queue",
        /// A backend is being dialled.
        Connect = "connect",
        /// Connected; no byte from the backend yet.
        FirstByte = "first_byte",
        /// The backend has sent bytes.
        Data = "data",
        /// At least one FIN was passed on.
        Closing = "closing",
    }
}

labels! {
    /// The way of a byte.
    Direction {
        /// Client to backend.
        Up = "up",
        /// Backend to client.
        Down = "down",
    }
}

labels! {
    /// What moved a byte.
    Engine {
        /// `read` into a buffer, `write` out of it.
        Copy = "copy",
        /// `splice(2)` through a pipe.
        Splice = "splice",
    }
}

labels! {
    /// Why a connection was refused at a gate.
    Refused {
        /// `max_connections` of the process.
        MaxConnectionsProcess = "max_connections_process",
        /// `admission.max_connections` of the listener.
        MaxConnectionsListener = "max_connections_listener",
        /// `admission.per_client.max_connections`.
        MaxConnectionsClient = "max_connections_client",
        /// `max_rate` of the process.
        RateProcess = "rate_process",
        /// `admission.max_rate` of the listener.
        RateListener = "rate_listener",
        /// `admission.per_client.rate`.
        RateClient = "rate_client",
        /// `admission.deny`, or not in `admission.allow`.
        Denied = "denied",
        /// A peer that is not in `accept_proxy.from`.
        ProxyUntrusted = "proxy_untrusted",
        /// What came instead of a PROXY header was none, or the stream ended in the midst of one.
        ProxyInvalid = "proxy_invalid",
    }
}

labels! {
    /// How a TLS handshake with a client ended. One that a client never began is none.
    HandshakeResult {
        /// Both sides agree.
        Ok = "ok",
        /// Not within `timeouts.handshake`.
        Timeout = "timeout",
        /// The client sent an alert: mostly it does not trust the certificate.
        Alert = "alert",
        /// The client's certificate is from nobody in `client_auth.ca`.
        UnknownCa = "unknown_ca",
        /// The client's certificate is out of date.
        Expired = "expired",
        /// The client's certificate was revoked, or no current list says that it was not.
        Revoked = "revoked",
        /// The client has shown no certificate, and must.
        NoCertificate = "no_certificate",
        /// Anything else: no TLS, no version or protocol in common, an end in the midst of it.
        Protocol = "protocol",
        /// Beyond `max_handshakes`.
        Overload = "overload",
    }
}

labels! {
    /// Classes of failing `accept`.
    AcceptError {
        /// Out of descriptors, of the process or of the system.
        Descriptors = "descriptors",
        /// Out of memory or of socket buffers.
        Memory = "memory",
        /// The connection died in the queue; not an error of ours.
        Aborted = "aborted",
        /// Anything else.
        Other = "other",
    }
}

labels! {
    /// Why an attempt to reach a backend failed.
    ConnectFailure {
        /// It answered with RST.
        Refused = "refused",
        /// No answer within `connect.timeout`.
        Timeout = "timeout",
        /// No route to it.
        Unreachable = "unreachable",
        /// Connected, then reset before it was used.
        Reset = "reset",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The PROXY header could not be sent.
        Proxy = "proxy",
        /// This machine had no port, descriptor or memory; the backend is not to blame.
        Local = "local",
        /// Its host name has no address.
        Dns = "dns",
    }
}

labels! {
    /// Why a pool could not serve a session.
    Unavailable {
        /// It has no backends.
        Empty = "empty",
        /// It has none that is usable.
        Down = "down",
        /// All usable ones are at `max_connections`.
        Full = "full",
        /// The retry budget is spent.
        Budget = "budget",
        /// `connect.deadline` passed.
        Deadline = "deadline",
    }
}

labels! {
    /// What a backend is to new sessions.
    BackendState {
        /// Gets sessions.
        Up = "up",
        /// Its probe fails, or its name has no address.
        Down = "down",
        /// Ejected for what real traffic showed.
        Ejected = "ejected",
        /// Drained by hand.
        Draining = "draining",
        /// `disabled: true`.
        Disabled = "disabled",
        /// Not probed yet.
        Unknown = "unknown",
    }
}

labels! {
    /// How a probe went.
    ProbeResult {
        /// As expected.
        Ok = "ok",
        /// It could not be connected.
        Refused = "refused",
        /// Not done within `health.timeout`.
        Timeout = "timeout",
        /// It answered something else, or closed.
        Unexpected = "unexpected",
        /// The TLS handshake failed.
        Tls = "tls",
        /// This machine could not ask; the backend is not to blame.
        Local = "local",
    }
}

labels! {
    /// How an attempt to reload the configuration ended.
    ReloadResult {
        /// In force.
        Ok = "ok",
        /// Not valid, or not possible without a restart; the one before stays.
        Rejected = "rejected",
        /// In force for a while, then taken back.
        RolledBack = "rolled_back",
    }
}

labels! {
    /// What came of looking for packets instead of sleeping.
    BusyPoll {
        /// Some came.
        Hit = "hit",
        /// None came for all of `workers.busy_poll`.
        Miss = "miss",
    }
}
