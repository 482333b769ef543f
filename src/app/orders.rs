//! Orders about sessions of backends, on their way from pools to those who obey: this process and the older ones.

use std::sync::Arc;

use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::admin::Elders;
use crate::metrics::Cause;
use crate::pool::{Order, Orders};

/// Orders in one message.
const MOST: usize = 256;

/// Passes all orders on, here at once, and to older processes as fast as they take them.
pub(super) async fn pass_on(mut orders: UnboundedReceiver<Order>, here: Orders, elders: Arc<Elders>) {
    let (there, told) = mpsc::unbounded_channel();
    tokio::spawn(tell(told, elders));
    while let Some(order) = orders.recv().await {
        // Of what is said by hand the older processes are told in words, and give their own orders.
        if order.cause != Cause::Killed {
            let _ = there.send(order.clone());
        }
        if here.send(order).is_err() {
            return;
        }
    }
}

async fn tell(mut orders: UnboundedReceiver<Order>, elders: Arc<Elders>) {
    let mut some = Vec::new();
    while orders.recv_many(&mut some, MOST).await > 0 {
        if !elders.ids().is_empty() {
            elders.obey(&some).await;
        }
        some.clear();
    }
}
