//! Connections that each ask once, some at once: whoever is over is followed by the next one.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::{Tally, wait};

/// A connection that asks once.
pub trait Once: AsFd {
    /// Does what can be done now. What went well is noted in `tally`.
    fn step(&mut self, tally: &mut Tally) -> io::Result<Step>;

    /// Whether it has its answer: once it has, it does not matter how the other side says goodbye.
    fn is_answered(&self) -> bool;
}

/// How far one is.
pub enum Step {
    /// It is connected: it waits to read from now on.
    Connected,
    /// It waits for what it waited for.
    Waits,
    /// It has ended as it should.
    Over,
}

/// Has so many at once connect, for so long; `open` begins to connect another one.
pub fn churn<C: Once>(at_once: usize, span: Duration, mut open: impl FnMut() -> io::Result<C>) -> io::Result<Tally> {
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut next = |slot: usize| -> io::Result<C> {
        let conn = open()?;
        epoll::add(&poll, &conn, EventData::new_u64(slot as u64), EventFlags::OUT)?;
        Ok(conn)
    };
    let mut conns = (0..at_once).map(&mut next).collect::<io::Result<Vec<_>>>()?;
    let mut tally = Tally::default();
    let mut events = Vec::with_capacity(256);
    let began = Instant::now();
    while began.elapsed() < span {
        wait(&poll, &mut events)?;
        for event in &events {
            let slot = event.data.u64() as usize;
            let conn = &mut conns[slot];
            match conn.step(&mut tally) {
                Ok(Step::Connected) => {
                    epoll::modify(&poll, &*conn, EventData::new_u64(slot as u64), EventFlags::IN)?;
                    continue;
                }
                Ok(Step::Waits) => continue,
                Ok(Step::Over) => {}
                Err(_) => tally.failed += u64::from(!conn.is_answered()),
            }
            *conn = next(slot)?;
        }
    }
    tally.span = began.elapsed();
    Ok(tally)
}
