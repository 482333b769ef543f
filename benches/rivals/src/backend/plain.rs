//! In the clear: what it sends comes from memory by `sendfile`, what it takes it never sees.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};

use super::task::Task;
use super::{FILE, Over, file, turns};
use crate::order::Order;

struct Conn<'a> {
    socket: OwnedFd,
    task: Task,
    file: &'a OwnedFd,
}

pub fn serve(listeners: &[TcpListener]) {
    let file = file();
    turns::serve(listeners, |socket| {
        let _ = sockopt::set_tcp_nodelay(&socket, true);
        Ok(Conn { socket, task: Task::default(), file: &file })
    });
}

impl AsFd for Conn<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl turns::Conn for Conn<'_> {
    fn turn(&mut self, room: &mut [u8]) -> Result<Option<EventFlags>, Over> {
        let was_due = self.task.due > 0;
        self.read(room)?;
        self.send()?;
        let is_due = self.task.due > 0;
        let flags = if is_due { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok((was_due != is_due).then_some(flags))
    }
}

impl Conn<'_> {
    fn read(&mut self, room: &mut [u8]) -> Result<(), Over> {
        let wanted = match self.task.order {
            None => &mut room[..self.task.wants()],
            Some(Order::Answer(size)) => &mut room[..(size.max(1) as usize).min(64 * 1024)],
            Some(_) => room,
        };
        // The kernel throws away what nobody looks at.
        let discard = matches!(self.task.order, Some(Order::Take(_) | Order::Answer(_)));
        let flags = if discard { RecvFlags::TRUNC } else { RecvFlags::empty() };
        let read = match recv(&self.socket, &mut *wanted, flags) {
            Ok((_, 0)) => return Err(Over),
            Ok((_, read)) => read,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Over),
        };
        match self.task.order {
            None => self.task.told(&wanted[..read])?,
            Some(Order::Echo) => {
                let mut left = &wanted[..read];
                while !left.is_empty() {
                    match send(&self.socket, left, SendFlags::NOSIGNAL) {
                        Ok(sent) => left = &left[sent..],
                        // Only the check of bytes comes here, which listens.
                        Err(Errno::AGAIN) => std::thread::yield_now(),
                        Err(_) => return Err(Over),
                    }
                }
            }
            Some(_) => self.task.came(read as u64),
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Over> {
        let task = &mut self.task;
        while task.due > 0 {
            let small = task.due <= 64 * 1024 && matches!(task.order, Some(Order::Answer(_) | Order::Take(_)));
            let sent = match small {
                true => send(&self.socket, &ZEROES[..task.due as usize], SendFlags::NOSIGNAL),
                false => {
                    let mut from = 0;
                    sendfile(self.socket.as_fd(), self.file, Some(&mut from), task.due.min(FILE) as usize)
                }
            };
            match sent {
                Ok(sent) => task.due -= sent as u64,
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Over),
            }
            if task.due == 0 && matches!(task.order, Some(Order::Send(_))) {
                shutdown(&self.socket, Shutdown::Write)?;
            }
        }
        Ok(())
    }
}

static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];
