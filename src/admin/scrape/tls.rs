//! What TLS counts, and when certificates end.

use super::reading::OfListener;
use crate::admin::State;
use crate::metrics::families as f;
use crate::metrics::{HandshakeResult, Labels, Page};

/// Only of what speaks TLS.
pub(super) fn of_tls(page: &mut Page, state: &State, listeners: &[OfListener<'_>]) {
    let with_tls: Vec<_> = listeners.iter().filter(|listener| listener.live.tls.server().is_some()).collect();
    let mut handshakes = page.family(f::TLS_HANDSHAKES);
    for listener in &with_tls {
        for result in HandshakeResult::ALL {
            handshakes.sample(&listener.labels, &[result.as_str()], listener.live.tls.ended(*result));
        }
    }
    let of_listeners = with_tls.iter().filter_map(|listener| {
        let tls = &listener.live.tls;
        Some((format!("listener/{}", listener.live.name), tls.server()?.expiries().to_vec(), tls.is_current()))
    });
    let admin = &state.admin_tls;
    let of_admin = admin.server().map(|server| ("admin".to_owned(), server.expiries().to_vec(), admin.is_current()));
    let live = state.live.load();
    let of_pools = live.pools.values().filter_map(|pool| {
        Some((format!("pool/{}", pool.name), pool.tls.client()?.expiries().to_vec(), pool.tls.is_current()))
    });
    let owners: Vec<_> = of_listeners.chain(of_admin).chain(of_pools).collect();
    let none = Labels::default();
    let mut expiries = page.family(f::TLS_EXPIRY);
    for (owner, of_owner, _) in &owners {
        for expiry in of_owner {
            expiries.sample(&none, &[owner, &expiry.file.display().to_string()], expiry.not_after);
        }
    }
    let mut current = page.family(f::TLS_CURRENT);
    for (owner, _, is_current) in &owners {
        current.sample(&none, &[owner], u8::from(*is_current));
    }
}
