//! Connections that each ask, and ask again as soon as the answer is there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::{Count, PATIENCE, Tally, wait};

/// A connection that asks.
pub trait Asker: AsFd {
    /// Sends a request.
    fn say(&mut self, request: &[u8]) -> io::Result<()>;

    /// Takes what has come, if need be into `room`; how many bytes. Its end is an error.
    fn hear(&mut self, room: &mut [u8]) -> io::Result<usize>;
}

/// Some of them.
pub struct Askers<A> {
    poll: OwnedFd,
    askers: Vec<Asking<A>>,
    request: Vec<u8>,
}

/// One, and how far it is.
struct Asking<A> {
    asker: A,
    since: Instant,
    came: usize,
    answered: bool,
}

impl<A: Asker> Askers<A> {
    /// So many, which ask for answers of `size`; `open` says how the one of this number is opened, and ordered to answer.
    pub fn open(count: usize, size: usize, open: impl FnMut(usize) -> io::Result<A>) -> io::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut askers = Vec::new();
        for (index, asker) in (0..count).map(open).enumerate() {
            let asker = asker?;
            epoll::add(&poll, &asker, EventData::new_u64(index as u64), EventFlags::IN)?;
            askers.push(Asking { asker, since: Instant::now(), came: 0, answered: false });
        }
        Ok(Self { poll, askers, request: vec![0; size] })
    }

    /// Asks for so long once all are warm; then `counting` is called.
    pub fn run(mut self, span: Duration, counting: impl FnOnce()) -> io::Result<Tally> {
        let mut count = Count::new(self.askers.len(), span, counting);
        let mut events = Vec::with_capacity(256);
        let mut room = vec![0; 64 * 1024];
        self.ask_all()?;
        while count.goes_on()? {
            wait(&self.poll, &mut events)?;
            for event in &events {
                let asking = &mut self.askers[event.data.u64() as usize];
                if asking.hears(self.request.len(), &mut room)? {
                    count.note(asking.since, !std::mem::replace(&mut asking.answered, true));
                    asking.asks(&self.request)?;
                }
            }
        }
        Ok(count.tally)
    }

    /// All ask at once and wait for each other, so often: exactly as many round trips as that makes.
    pub fn rounds(&mut self, rounds: usize) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut room = vec![0; 64 * 1024];
        for _ in 0..rounds {
            self.ask_all()?;
            let (began, mut left) = (Instant::now(), self.askers.len());
            while left > 0 {
                if began.elapsed() > PATIENCE {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                wait(&self.poll, &mut events)?;
                for event in &events {
                    let asking = &mut self.askers[event.data.u64() as usize];
                    left -= usize::from(asking.hears(self.request.len(), &mut room)?);
                }
            }
        }
        Ok(())
    }

    fn ask_all(&mut self) -> io::Result<()> {
        self.askers.iter_mut().try_for_each(|asking| asking.asks(&self.request))
    }
}

impl<A: Asker> Asking<A> {
    fn asks(&mut self, request: &[u8]) -> io::Result<()> {
        self.since = Instant::now();
        self.asker.say(request)
    }

    /// Whether that was the rest of an answer of this size.
    fn hears(&mut self, size: usize, room: &mut [u8]) -> io::Result<bool> {
        self.came += self.asker.hear(room)?;
        let whole = self.came >= size;
        if whole {
            self.came = 0;
        }
        Ok(whole)
    }
}
