//! Formats of bytes on the wire: bytes in, values out, and the other way round. No I/O.

pub mod proxy;
