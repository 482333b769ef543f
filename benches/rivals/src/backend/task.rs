//! What one connection was told to do, and how far that is.

use super::Over;
use crate::order::{ORDER, Order};

#[derive(Debug, Default)]
pub struct Task {
    pub order: Option<Order>,
    head: Vec<u8>,
    /// Bytes of the request that came so far.
    came: u64,
    /// Bytes that are to be sent.
    pub due: u64,
}

impl Task {
    /// Bytes of the order that have not come.
    pub fn wants(&self) -> usize {
        ORDER - self.head.len()
    }

    /// Takes bytes of the order.
    pub fn told(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.head.extend_from_slice(bytes);
        let Ok(head) = <[u8; ORDER]>::try_from(&self.head[..]) else { return Ok(()) };
        let order = Order::read(head).ok_or(Over)?;
        self.order = Some(order);
        if let Order::Send(bytes) = order {
            self.due = bytes;
        }
        Ok(())
    }

    /// So many bytes came after the order.
    pub fn came(&mut self, read: u64) {
        match self.order {
            Some(Order::Take(bytes)) => {
                self.came += read;
                if self.came >= bytes {
                    self.due = 1;
                }
            }
            Some(Order::Answer(size)) => {
                self.came += read;
                while size > 0 && self.came >= size {
                    self.came -= size;
                    self.due += size;
                }
            }
            _ => {}
        }
    }
}
