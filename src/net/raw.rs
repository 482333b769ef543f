//! What no safe wrapper knows of sockets, and descriptors that are known by number only.
#![allow(unsafe_code, reason = "setsockopt and ioctl without a wrapper, and descriptors that are known by number only")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

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

/// Bytes written to a socket that its peer has not acknowledged, or for a unix socket not read, yet.
pub(super) fn unacknowledged(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the kernel writes one int, to `bytes`, which
    // lives until the call returns. (The name is a terminal's; sockets call the same number SIOCOUTQ.)
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { Ok(usize::try_from(bytes).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// The descriptors that whoever started this process has left open for it, from 3 on, as sd_listen_fds(3) has it. They
/// are to be taken once, before the process opens anything else.
///
/// # Errors
/// One of them is not open; none is taken then.
pub fn inherited_descriptors(count: usize) -> io::Result<Vec<OwnedFd>> {
    const FIRST: RawFd = 3;
    const MOST: usize = 1 << 16;
    let last = FIRST + i32::try_from(count.min(MOST)).unwrap_or(0);
    for number in FIRST..last {
        // SAFETY: F_GETFD takes no pointer and changes nothing; for a number that is not open it fails.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: each of these numbers is open, as was just seen, and nobody else owns it: the caller takes them once,
    // before this process has opened anything, so that they are what it was started with.
    Ok((FIRST..last).map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}
