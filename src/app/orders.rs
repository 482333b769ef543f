//! Orders about sessions of backends, on their way from pools to those who obey: this process and the older ones.

use std::collections::BTreeMap;
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

/// Tells the older processes. Of several orders about one backend only the last one counts: what was found at the start,
/// before all was known, must not end sessions there.
async fn tell(mut orders: UnboundedReceiver<Order>, elders: Arc<Elders>) {
    let mut some = Vec::new();
    while orders.recv_many(&mut some, usize::MAX).await > 0 {
        let last: BTreeMap<_, _> = some.drain(..).map(|order| (order.backend.id, order)).collect();
        if elders.ids().is_empty() {
            continue;
        }
        let last: Vec<Order> = last.into_values().collect();
        for part in last.chunks(MOST) {
            elders.obey(part).await;
        }
    }
}
