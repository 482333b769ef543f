//! The client: one thread, cheap on purpose.

mod askers;
mod churn;
pub mod plain;
mod tally;
mod tls;

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustls::ClientConfig;

use tally::Count;
pub use tally::Tally;

/// Whoever says nothing for so long is not going to.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a proxy listens, and how it is spoken to there.
#[derive(Clone)]
pub struct Target {
    /// Sessions are spread over them.
    pub addresses: Vec<SocketAddr>,
    pub tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Sends a few megabytes of noise there and back, and compares.
    pub fn verify(&self) -> Result<(), String> {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(8 << 20).collect();
        let heard = match &self.tls {
            None => plain::echo(self.first(), &noise),
            Some(config) => tls::echo(self.first(), config, &noise),
        };
        match heard.map_err(|error| format!("bytes are missing: {error}"))? == noise {
            true => Ok(()),
            false => Err("bytes were altered".into()),
        }
    }

    /// Takes bytes on one connection for so long; says how many came a second.
    pub fn download(&self, span: Duration) -> io::Result<f64> {
        match &self.tls {
            None => plain::download(self.first(), span),
            Some(config) => tls::download(self.first(), config, span),
        }
    }

    /// The other way.
    pub fn upload(&self, span: Duration) -> io::Result<f64> {
        match &self.tls {
            None => plain::upload(self.first(), span),
            Some(config) => tls::upload(self.first(), config, span),
        }
    }

    /// Opens so many sessions that each ask for so many bytes, and ask again as soon as the answer is there, for so long.
    /// Once they are open and have warmed up, `counting` is called.
    pub fn ask(&self, sessions: usize, size: usize, span: Duration, counting: impl FnOnce()) -> io::Result<Tally> {
        let tally = match &self.tls {
            None => plain::askers(&self.addresses, sessions, size)?.run(span, counting),
            Some(config) => tls::askers(&self.addresses, config, sessions, size)?.run(span, counting),
        }?;
        tally.of_something()
    }

    /// Connects, asks once for 64 bytes and closes, with some at once, for so long.
    pub fn connects(&self, span: Duration) -> io::Result<Tally> {
        let tally = match &self.tls {
            None => plain::connects(&self.addresses, 32, span),
            Some(config) => tls::connects(&self.addresses, config, 16, span),
        }?;
        tally.of_something()
    }

    /// Opens so many connections, of which each has asked once and waits at most so long for the answer.
    pub fn hold(&self, connections: usize, patience: Duration) -> io::Result<Vec<Box<dyn Any>>> {
        let one = |nth: usize| -> io::Result<Box<dyn Any>> {
            let to = self.addresses[nth % self.addresses.len()];
            Ok(match &self.tls {
                None => Box::new(plain::hold(to, patience)?),
                Some(config) => Box::new(tls::hold(to, config, patience)?),
            })
        };
        (0..connections).map(one).collect()
    }

    fn first(&self) -> SocketAddr {
        self.addresses[0]
    }
}

/// Connects; neither that nor a read or a write waits for longer than `patience`.
fn dial(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::from(socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?);
    crate::backend::unpaced(&stream)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(patience))?;
    // Of a connect as well.
    stream.set_write_timeout(Some(patience))?;
    connect(&stream, &to)?;
    Ok(stream)
}

/// Waits for events, a tenth of a second at most: whoever waits looks at the clock too.
fn wait(poll: &OwnedFd, events: &mut Vec<epoll::Event>) -> io::Result<()> {
    events.clear();
    let soon = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    match epoll::wait(poll, spare_capacity(events), Some(&soon)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
