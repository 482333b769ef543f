//! How fast a socket sends: its congestion control.
//!
//! BBR spreads packets over time, with a timer of the kernel between them. On the loopback, where nothing is congested,
//! that costs a stream a third of its CPU time and a fifth of its throughput: see `benches/README.md`.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_congestion, tcp_congestion};
use socket2::{Domain, SockRef, Socket, Type};

use crate::config::plan::{Congestion, CongestionName};

/// The algorithm that this machine's sockets begin with.
#[derive(Debug, Clone, Copy)]
pub struct SystemCongestion(Option<CongestionName>);

/// Every kernel has it, and lets everyone use it, unless sysctl `net.ipv4.tcp_allowed_congestion_control` says otherwise.
const UNPACED: &str = "reno";

impl SystemCongestion {
    /// Asks the kernel. What is dialled goes by one answer for as long as the process lives.
    pub fn ask() -> Self {
        let name = fresh_socket().and_then(|socket| Ok(tcp_congestion(socket)?));
        Self(name.ok().and_then(|name| CongestionName::new(&name)))
    }

    /// Makes a socket that is not connected yet send as is wanted of it; its peer will be at `to`.
    ///
    /// # Errors
    /// The kernel does not offer the algorithm that is named, or not to this process.
    pub fn set(self, socket: &impl AsFd, wanted: Congestion, to: IpAddr) -> io::Result<()> {
        match wanted {
            Congestion::System => Ok(()),
            Congestion::Auto if !self.paces() || !is_loopback(to) => Ok(()),
            // A wish: who may not sends as the machine does.
            Congestion::Auto => {
                let _ = set_tcp_congestion(socket, UNPACED);
                Ok(())
            }
            Congestion::Named(name) => set(socket, &name),
        }
    }

    fn paces(self) -> bool {
        self.0.is_some_and(|name| name.as_str().starts_with("bbr"))
    }
}

/// Makes what a socket accepts send as is wanted; where it is bound says where clients are. (What is accepted already
/// stays as it is: pacing, once begun, does not end. So of a socket that is bound to no address in particular nothing can
/// be known in time.)
///
/// # Errors
/// The kernel does not offer the algorithm that is named, or not to this process.
pub(super) fn set_accepted(listener: &impl AsFd, wanted: Congestion) -> io::Result<()> {
    let Some(at) = SockRef::from(listener).local_addr()?.as_socket() else { return Ok(()) };
    let system = SystemCongestion::ask();
    // It may have been another's before. This too is no more than a wish.
    if let Some(name) = system.0
        && tcp_congestion(listener).is_ok_and(|now| now != name.as_str())
    {
        let _ = set(listener, &name);
    }
    system.set(listener, wanted, at.ip())
}

/// Whether this process may use an algorithm.
///
/// # Errors
/// It may not, or the kernel does not offer it; with the remedy.
pub fn check_congestion(name: &CongestionName) -> io::Result<()> {
    set(&fresh_socket()?, name)
}

fn set(socket: &impl AsFd, name: &CongestionName) -> io::Result<()> {
    let name = name.as_str();
    set_tcp_congestion(socket, name).map_err(|error| match error {
        Errno::NOENT => io::Error::other(format!(
            "this kernel offers no congestion control `{name}`; sysctl net.ipv4.tcp_available_congestion_control lists \
             those it has, and its module, such as tcp_{name}, may have to be loaded"
        )),
        Errno::PERM => io::Error::other(format!(
            "the congestion control `{name}` is not for everyone; add it to sysctl \
             net.ipv4.tcp_allowed_congestion_control, or give this process CAP_NET_ADMIN"
        )),
        error => error.into(),
    })
}

fn fresh_socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, None).or_else(|_| Socket::new(Domain::IPV6, Type::STREAM, None))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Congestion {
        Congestion::Named(CongestionName::new(name).expect("a name"))
    }

    fn system(name: &str) -> SystemCongestion {
        SystemCongestion(CongestionName::new(name))
    }

    /// What a new socket to `to` has after all.
    fn has(system: SystemCongestion, wanted: Congestion, to: &str) -> String {
        let socket = fresh_socket().expect("a socket");
        set_tcp_congestion(&socket, other()).expect("allowed to everyone");
        system.set(&socket, wanted, to.parse().expect("an address")).expect("offered");
        tcp_congestion(&socket).expect("a TCP socket")
    }

    /// An algorithm that is not [`UNPACED`], so that it shows when that was set; there is one on all but bare kernels.
    fn other() -> &'static str {
        let socket = fresh_socket().expect("a socket");
        ["cubic", "bbr"].into_iter().find(|name| set_tcp_congestion(&socket, name).is_ok()).unwrap_or(UNPACED)
    }

    #[test]
    fn only_the_loopback_is_not_paced() {
        for to in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(has(system("bbr"), Congestion::Auto, to), UNPACED, "{to}");
            assert_eq!(has(system("cubic"), Congestion::Auto, to), other(), "what does not pace stays");
            assert_eq!(has(system("bbr"), Congestion::System, to), other(), "as it was told");
        }
        for to in ["10.0.0.1", "128.0.0.1", "2001:db8::1", "0.0.0.0", "::"] {
            assert_eq!(has(system("bbr"), Congestion::Auto, to), other(), "{to}");
        }
        assert_eq!(has(system("bbr"), named(UNPACED), "10.0.0.1"), UNPACED);
    }

    #[test]
    fn what_is_accepted_sends_like_its_listener_and_a_change_can_be_undone() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let accepted = |wanted| {
            set_accepted(&listener, wanted).expect("offered");
            let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
            let (accepted, _) = listener.accept().expect("a client");
            drop(client);
            tcp_congestion(accepted).expect("a TCP socket")
        };
        let own = tcp_congestion(fresh_socket().expect("a socket")).expect("a TCP socket");
        assert_eq!(accepted(named(UNPACED)), UNPACED);
        assert_eq!(accepted(Congestion::System), own);
        let unpaced = if own.starts_with("bbr") { UNPACED } else { &own };
        assert_eq!(accepted(Congestion::Auto), unpaced);
    }

    #[test]
    fn what_the_kernel_lacks_is_said_with_the_remedy() {
        let missing = check_congestion(&CongestionName::new("no_such_thing").expect("a name"));
        let words = missing.expect_err("nobody has it").to_string();
        assert!(words.contains("no_such_thing") && words.contains("tcp_available_congestion_control"), "{words}");
        assert!(check_congestion(&CongestionName::new(UNPACED).expect("a name")).is_ok());
    }
}
