//! Sockets: one stream type over TCP, unix and TLS, options, binding, and the truth about errors and ends.

mod address;
mod bind;
mod congestion;
mod handle;
mod incoming;
pub mod inherit;
mod keepalive;
mod options;
mod plain;
mod raw;
pub(crate) mod secured;
mod socket_file;
mod stream;

pub use address::{Address, Pair, Peer, Target};
pub use bind::{Bound, BoundSocket, Sharing, bind, listen, refuse_new_connections, reserve};
pub use congestion::{SystemCongestion, check_congestion};
pub use handle::Handle;
pub use incoming::{Arrived, Incoming};
pub use keepalive::{LASTING, urgent};
pub use options::{
    arm_reset, bind_source, check_transparent, delay_ack, lengthen_queue, prepare_stream, retune_listener,
    set_transparent,
};
pub(crate) use plain::errno;
pub use plain::{Family, Plain};
pub use raw::inherited_descriptors;
pub use secured::{Secured, Unsecured};
pub use socket_file::{FileId, SocketFile};
pub use stream::{Stream, unless_failed};
