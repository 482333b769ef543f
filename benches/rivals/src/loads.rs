//! The loads: what is asked of which setup. What each comes to is in `figures.rs`.

use crate::shape::{PLAIN, SMALL, Shape, Tls};

/// What client and backend do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Bytes from the backend to the client, one session.
    Down,
    /// Bytes from the client to the backend, one session.
    Up,
    /// Requests and answers of so many bytes on so many sessions that stay.
    Ask { sessions: usize, size: usize },
    /// A session for each request: 64 bytes, 64 back, close.
    Connect,
    /// Sessions on which nothing happens.
    Idle { sessions: usize },
}

/// One row of loads in the report.
#[derive(Debug, Clone)]
pub struct Load {
    pub name: String,
    /// For the table.
    pub title: String,
    /// Those of one panel are measured in turn, and shown together.
    pub panel: &'static str,
    pub shape: Shape,
    pub work: Work,
    /// The load whose cost this one's is compared with.
    pub base: Option<String>,
    /// The others do not have it.
    pub ours_only: bool,
}

impl Load {
    /// It takes long, and comes out the same each time.
    pub fn once(&self) -> bool {
        matches!(self.work, Work::Idle { .. })
    }

    fn new(panel: &'static str, name: &str, title: &str, shape: Shape, work: Work) -> Self {
        Self { name: name.into(), title: title.into(), panel, shape, work, base: None, ours_only: false }
    }

    fn beside(self, base: &str) -> Self {
        Self { base: Some(base.into()), ..self }
    }
}

/// Panels by name, with their titles, in the order in which they are run.
pub const PANELS: &[(&str, &str)] = &[
    ("bulk", "Bulk, one session"),
    ("ask", "Requests on sessions that stay"),
    ("connect", "A session for each request"),
    ("idle", "Idle sessions"),
    ("tls", "TLS 1.3 with clients"),
    ("tls-both", "TLS 1.3 with clients and with backends"),
    ("backends", "2 and 1 000 backends"),
    ("listeners", "1 and 500 listeners"),
    ("workers", "1 and 2 workers on one CPU"),
];

/// All of them.
pub fn all() -> Vec<Load> {
    let mut loads = vec![
        Load::new("bulk", "down", "bulk, from the backend to the client, one session", PLAIN, Work::Down),
        Load::new("bulk", "up", "bulk, from the client to the backend, one session", PLAIN, Work::Up),
    ];
    loads.extend(asks());
    loads.push(Load::new("connect", "connect", "connect, 64 B and 64 B back, close; 32 at once", PLAIN, Work::Connect));
    let idle = Work::Idle { sessions: 5000 };
    loads.push(Load::new("idle", "idle", "5 000 idle sessions", PLAIN, idle));
    loads.extend(secure("tls", "TLS", Tls::Client));
    loads.extend(secure("tls-both", "TLS on both sides", Tls::Both));
    loads.extend(backends());
    loads.extend(grown("listeners", [("1", SMALL), ("500", Shape { listeners: 500, ..SMALL })], "listener"));
    loads.extend(grown("workers", [("1", SMALL), ("2", Shape { workers: 2, ..SMALL })], "worker"));
    loads
}

/// From one session to as many as descriptors allow: two of each are in the proxy, and two in this program.
fn asks() -> Vec<Load> {
    let ask =
        |name: &str, title: &str, sessions, size| Load::new("ask", name, title, PLAIN, Work::Ask { sessions, size });
    let spinning = Shape { busy_poll: Some("50us"), ..PLAIN };
    vec![
        ask("rr1-64", "64 B and 64 B back, one session", 1, 64),
        // Beside the others as they are.
        Load {
            shape: spinning,
            ..ask("rr1-64-busy_poll", "64 B and 64 B back, one session; Peerway with busy_poll: 50us", 1, 64)
        },
        ask("rr64-64", "64 B and 64 B back, 64 sessions", 64, 64),
        ask("rr1-16k", "16 KiB and 16 KiB back, one session", 1, 16384),
        ask("rr64-16k", "16 KiB and 16 KiB back, 64 sessions", 64, 16384),
        ask("rr1000-64", "64 B and 64 B back, 1 000 sessions", 1000, 64).beside("rr64-64"),
        ask("rr4000-64", "64 B and 64 B back, 4 000 sessions", 4000, 64).beside("rr64-64"),
        ask("rr8000-64", "64 B and 64 B back, 8 000 sessions", 8000, 64).beside("rr64-64"),
    ]
}

fn secure(panel: &'static str, title: &str, tls: Tls) -> Vec<Load> {
    let load = |name: &str, what: &str, work| {
        Load::new(panel, &format!("{panel}-{name}"), &format!("{title}: {what}"), Shape { tls, ..PLAIN }, work)
    };
    vec![
        load("down", "bulk, from the backend to the client, one session", Work::Down),
        load("up", "bulk, from the client to the backend, one session", Work::Up),
        load("rr16", "64 B and 64 B back, 16 sessions", Work::Ask { sessions: 16, size: 64 }),
        load("connect", "full handshake, 64 B and 64 B back, close; 16 at once", Work::Connect),
    ]
}

/// The policies of ours.
pub const POLICIES: [&str; 9] =
    ["round_robin", "random", "least_connections", "p2c", "peak_ewma", "maglev", "rendezvous", "ring_hash", "first"];

/// Every policy of ours; the others' own one stands beside round robin.
fn backends() -> Vec<Load> {
    let of = |policy| {
        let small = Shape { policy, ..SMALL };
        let sizes = [(format!("{policy}-2"), small), (format!("{policy}-1000"), Shape { backends: 1000, ..small })];
        let sizes = sizes.each_ref().map(|(name, shape)| (name.as_str(), *shape));
        let mut loads = grown("backends", sizes, "");
        for load in &mut loads {
            let words = format!("{policy}, {} backends", if load.shape.backends == 2 { "2" } else { "1 000" });
            load.title = format!("{words}: {}", of_work(load.work));
            load.ours_only = policy != "round_robin";
        }
        loads
    };
    POLICIES.into_iter().flat_map(of).collect()
}

/// The same for little and for much.
fn grown(panel: &'static str, sizes: [(&str, Shape); 2], noun: &str) -> Vec<Load> {
    let mut loads = Vec::new();
    for (suffix, work) in [("rr64", Work::Ask { sessions: 64, size: 64 }), ("connect", Work::Connect)] {
        let name = |size: &str| format!("{panel}-{size}-{suffix}");
        for (size, shape) in sizes {
            let many = if size == "1" { "" } else { "s" };
            let load = Load::new(panel, &name(size), &format!("{size} {noun}{many}: {}", of_work(work)), shape, work);
            loads.push(if size == sizes[0].0 { load } else { load.beside(&name(sizes[0].0)) });
        }
    }
    loads
}

fn of_work(work: Work) -> &'static str {
    match work {
        Work::Connect => "connect, 64 B and 64 B back, close",
        _ => "64 B and 64 B back, 64 sessions",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_bases_exist() {
        let loads = all();
        let mut names: Vec<_> = loads.iter().map(|load| &load.name).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
        for load in &loads {
            assert!(PANELS.iter().any(|(panel, _)| *panel == load.panel), "{}", load.name);
            if let Some(base) = &load.base {
                let base = loads.iter().find(|other| other.name == *base).expect("its base is a load");
                assert_eq!((base.panel, base.ours_only), (load.panel, load.ours_only), "{}", load.name);
            }
        }
    }
}
