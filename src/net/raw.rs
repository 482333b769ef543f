//! The socket options that no safe wrapper knows.
#![allow(unsafe_code, reason = "setsockopt of options without a wrapper; the only unsafe code of this module tree")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

pub(super) const FAST_OPEN: libc::c_int = libc::TCP_FASTOPEN;
pub(super) const DEFER_ACCEPT: libc::c_int = libc::TCP_DEFER_ACCEPT;
pub(super) const BIND_ADDRESS_NO_PORT: libc::c_int = libc::IP_BIND_ADDRESS_NO_PORT;

/// Sets a TCP option that takes an unsigned number.
pub(super) fn set_tcp_option(socket: &impl AsFd, option: libc::c_int, value: u32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, option, value)
}

/// Sets an IP option that takes an unsigned number; IPv6 sockets take it too.
pub(super) fn set_ip_option(socket: &impl AsFd, option: libc::c_int, value: u32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, option, value)
}

fn set_option(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: u32) -> io::Result<()> {
    let length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the kernel reads
    // exactly `length` bytes from `value`, which lives until the call returns.
    let result =
        unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
