//! Every metric: its name, help text, labels, the cells it is counted in, and the page that shows it.

pub mod cells;
mod counts;
pub mod families;
mod format;
pub mod labels;
mod page;
mod reloads;

pub use cells::{Closed, Counter, DURATION_BOUNDS, Histogram, LATENCY_BOUNDS, Lane, Lanes, RouteCells, Seconds};
pub use counts::{Counts, Known, Number};
pub use format::Format;
pub use labels::{
    AcceptError, BackendState, BusyPoll, Cause, ConnectFailure, Direction, Engine, HandshakeResult, Phase, ProbeResult,
    Refused, ReloadResult, Side, Unavailable,
};
pub use page::{Labels, Page, Samples};
pub use reloads::Reloads;
