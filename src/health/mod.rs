//! Health: asking backends how they are, one file a probe, and judging by the answers and by real sessions.
//!
//! Who asks and who judges are apart: a [`Probe`] talks over one connected [`Line`] and says what it found; the
//! verdicts are pure state machines, a sample in, a transition out; [`Monitor`] keeps the schedule.
//!
//! A probe of one's own is one file here that implements [`Probe`], its keys in the table of keys, and one line in
//! [`build`].

mod ask;
#[cfg(test)]
mod fixture;
mod grpc;
mod http;
mod line;
mod monitor;
mod mysql;
pub mod outlier;
mod password;
mod postgres;
mod redis;
#[cfg(test)]
mod rig;
mod script;
mod tap;
mod tcp;
mod tls;
mod tracker;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::plan;
use crate::metrics::ProbeResult;

pub use ask::{Places, was_held_up};
pub use line::Line;
pub use monitor::{Monitor, Report, Schedule};
pub use tracker::{Standing, Tracker};

/// How HTTP servers see us.
const USER_AGENT_SENT: &str = concat!("peerway/", env!("CARGO_PKG_VERSION"), " health probe");

/// A future that a probe returns; boxed, since which probe it is comes from the configuration.
pub type Checking<'a> = Pin<Box<dyn Future<Output = Result<(), ProbeError>> + Send + 'a>>;

/// One way of asking a backend how it is.
///
/// The line is connected: source address, PROXY header and TLS as the pool has them are done, and whoever calls ends
/// it, in time and politely, whatever comes out. A probe says the protocol's goodbye, if there is one, before it
/// returns; also when it did not like the answer.
pub trait Probe: fmt::Debug + Send + Sync {
    /// Asks, and is content or says why not. Cancel safe: the caller drops it when its time is up.
    ///
    /// # Errors
    /// What was found instead, in words for an operator.
    fn check<'a>(&'a self, line: &'a mut Line) -> Checking<'a>;

    /// Whether a conversation whose time is up goes on to its end all the same, for as much time again, while the
    /// verdict is in already: for servers that count whoever leaves in the middle as an attacker.
    fn is_finished_late(&self) -> bool {
        false
    }
}

/// Why a backend is not well, or could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeError {
    /// As counted.
    pub result: ProbeResult,
    /// In words. What the backend said is escaped and cut in it.
    pub words: String,
}

impl ProbeError {
    /// The backend answered something else than it should.
    pub fn unexpected(words: impl Into<String>) -> Self {
        Self { result: ProbeResult::Unexpected, words: words.into() }
    }

    /// This machine could not ask; the backend is not to blame.
    pub fn local(words: impl Into<String>) -> Self {
        Self { result: ProbeResult::Local, words: words.into() }
    }
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl From<crate::wire::Malformed> for ProbeError {
    fn from(malformed: crate::wire::Malformed) -> Self {
        Self::unexpected(malformed.0)
    }
}

/// Makes the probe that the configuration asks for.
pub fn build(spec: &plan::Probe) -> Box<dyn Probe> {
    match spec {
        plan::Probe::Tcp => Box::new(tcp::Tcp),
        plan::Probe::Tls => over_tls(|client| Box::new(tls::Tls(client))),
        plan::Probe::Script(steps) => Box::new(script::Script(steps.clone())),
        plan::Probe::Http(http) if http.tls => over_tls(|client| Box::new(http::Http::new(http.clone(), Some(client)))),
        plan::Probe::Http(http) => Box::new(http::Http::new(http.clone(), None)),
        plan::Probe::Grpc(service) => Box::new(grpc::Grpc(service.clone())),
        plan::Probe::Postgres(login) => Box::new(postgres::Postgres(Arc::clone(login))),
        plan::Probe::Mysql(login) => Box::new(mysql::Mysql(Arc::clone(login))),
        plan::Probe::Redis(login) => Box::new(redis::Redis(Arc::clone(login))),
    }
}

/// A probe that speaks TLS of its own accord: health is asked, not trust.
fn over_tls(probe: impl FnOnce(crate::tls::Client) -> Box<dyn Probe>) -> Box<dyn Probe> {
    match crate::tls::Client::unverified() {
        Ok(client) => probe(client),
        Err(error) => Box::new(Missing(format!("TLS cannot be spoken: {error}"))),
    }
}

/// Stands for a probe that cannot be had, and says why.
#[derive(Debug)]
struct Missing(String);

impl Probe for Missing {
    fn check<'a>(&'a self, _: &'a mut Line) -> Checking<'a> {
        Box::pin(async move { Err(ProbeError::local(self.0.clone())) })
    }
}
