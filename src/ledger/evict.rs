//! Ending the sessions of a backend that is down, drained or gone, at the pace that was ordered.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::{Ledger, Record};
use crate::backend::{Backend, BackendId};
use crate::drain::Pace;
use crate::metrics::Cause;
use crate::pool::Order;

/// Between looks at who is left. A session that was still being connected when the order came is met at the next one.
const LOOK: Duration = Duration::from_millis(100);

/// An order that stands.
#[derive(Debug)]
struct Standing {
    /// Not held: a backend that is gone takes its order with it.
    backend: Weak<Backend>,
    pace: Pace,
    cause: Cause,
    spares_newcomers: bool,
    since: Instant,
}

type Orders = BTreeMap<BackendId, Standing>;

/// Obeys orders for as long as there is someone to give them.
///
/// An order stands until there is another one about the backend: sessions that reach it later, such as those that
/// were being connected, end too.
pub async fn evict(ledger: Arc<Ledger>, mut orders: UnboundedReceiver<Order>) {
    let mut standing = Orders::new();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => {
                    let id = order.backend.id;
                    take(&mut standing, order);
                    obey(&ledger, &mut standing, Some(id));
                }
                None => return,
            },
            _ = looks.tick(), if !standing.is_empty() => {
                standing.retain(|_, order| order.backend.strong_count() > 0);
                obey(&ledger, &mut standing, None);
            }
        }
    }
}

fn take(standing: &mut Orders, order: Order) {
    let Order { backend, how, cause, spares_newcomers, since } = order;
    let Some(span) = how.span() else {
        standing.remove(&backend.id);
        return;
    };
    let (id, backend, pace) = (backend.id, Arc::downgrade(&backend), Pace::over(span));
    standing.insert(id, Standing { backend, pace, cause, spares_newcomers, since });
}

/// Ends those sessions whose time has come: of `one` backend, or of all that there are orders about. All sessions are
/// looked through once, however many orders there are, and not at all while those backends have none.
fn obey(ledger: &Ledger, standing: &mut Orders, one: Option<BackendId>) {
    let has_some = |order: &Standing| order.backend.upgrade().is_some_and(|backend| backend.active() > 0);
    let concerned = |id: &BackendId| one.is_none_or(|one| one == *id);
    if !standing.iter().any(|(id, order)| concerned(id) && has_some(order)) {
        return;
    }
    let mut left: BTreeMap<BackendId, Vec<Arc<Record>>> = BTreeMap::new();
    for record in ledger.list(None, usize::MAX, |record| record.stop.asked().is_none()) {
        let id = record.progress().backend.as_ref().map(|backend| backend.id).filter(concerned);
        if let Some((id, order)) = id.and_then(|id| standing.get_key_value(&id))
            && !(order.spares_newcomers && record.started() > order.since)
        {
            left.entry(*id).or_default().push(record);
        }
    }
    for (id, left) in left {
        if let Some(order) = standing.get_mut(&id) {
            let due = order.pace.due(left.len(), order.since.elapsed());
            ledger.end_idlest(left, due, order.cause);
        }
    }
}
