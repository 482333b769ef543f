//! Ending the sessions of a backend that is down, drained or gone, at the pace that was ordered.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::{Ledger, Record};
use crate::backend::{Backend, BackendId};
use crate::config::plan::OnChange;
use crate::drain::due;
use crate::metrics::Cause;
use crate::pool::Order;

/// Between looks at who is left. A session that was still being connected when the order came is met at the next one.
const LOOK: Duration = Duration::from_millis(100);

/// An order that stands.
#[derive(Debug)]
struct Standing {
    /// Not held: a backend that is gone takes its order with it.
    backend: Weak<Backend>,
    how: OnChange,
    cause: Cause,
    since: Instant,
    ended: usize,
}

/// Obeys orders for as long as there is someone to give them.
///
/// An order stands until there is another one about the backend: sessions that reach it later, such as those that
/// were being connected, end too.
pub async fn evict(ledger: Arc<Ledger>, mut orders: UnboundedReceiver<Order>) {
    let mut standing: BTreeMap<BackendId, Standing> = BTreeMap::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => take(&ledger, &mut standing, order),
                None => return,
            },
            _ = looks.tick(), if !standing.is_empty() => {
                standing.retain(|_, order| order.backend.strong_count() > 0);
                standing.values_mut().for_each(|order| obey(&ledger, order));
            }
        }
    }
}

fn take(ledger: &Ledger, standing: &mut BTreeMap<BackendId, Standing>, order: Order) {
    let Order { backend, how, cause } = order;
    if how == OnChange::Keep {
        standing.remove(&backend.id);
        return;
    }
    let mut order = Standing { backend: Arc::downgrade(&backend), how, cause, since: Instant::now(), ended: 0 };
    obey(ledger, &mut order);
    standing.insert(backend.id, order);
}

/// Ends those of a backend's sessions whose time has come.
fn obey(ledger: &Ledger, order: &mut Standing) {
    let Some(backend) = order.backend.upgrade().filter(|backend| backend.active() > 0) else { return };
    let mut left = ledger.list(None, usize::MAX, |record| is_of(record, &backend));
    let count = match order.how {
        OnChange::Keep => 0,
        OnChange::Reset => left.len(),
        OnChange::Drain(span) => {
            due(order.ended + left.len(), order.since.elapsed(), span).saturating_sub(order.ended).min(left.len())
        }
    };
    left.sort_unstable_by_key(|record| std::cmp::Reverse(record.idle_for()));
    left.iter().take(count).for_each(|record| record.stop.ask(order.cause));
    order.ended += count;
}

fn is_of(record: &Record, backend: &Backend) -> bool {
    record.progress().backend.as_ref().is_some_and(|of| of.id == backend.id)
}
