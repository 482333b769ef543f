//! Every metric: its name, help text, labels, and the cells it is counted in.

pub mod cells;
pub mod labels;

pub use cells::{Closed, Counter, DURATION_BOUNDS, Histogram, LATENCY_BOUNDS, Lane, Lanes, RouteCells, Seconds};
pub use labels::{
    AcceptError, BackendState, Cause, ConnectFailure, Direction, Engine, Phase, Refused, Side, Unavailable,
};
