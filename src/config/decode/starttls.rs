//! `starttls`, of listeners and of pools.

use super::super::error::Place;
use super::super::hint::quote;
use super::super::keys::{LISTENER, ROUTE};
use super::super::plan::{Listener, Pool, Probe, ProbeAt, Route, Starttls};
use super::super::section::{Section, word};
use super::Decoder;

impl<'a> Decoder<'a, '_> {
    /// `starttls` of a listener; absent and `off` are the same.
    pub(super) fn listener_starttls(&self, listener: &Section<'a>) -> Option<Starttls> {
        listener.given("starttls", word(&[("postgres", Starttls::Postgres)]))
    }

    /// The same of a pool, where it means nothing without `tls`.
    pub(super) fn pool_starttls(&mut self, pool: &Section<'a>) -> Option<Starttls> {
        let found = pool.find("starttls").filter(|_| !pool.is_off("starttls"))?;
        if pool.find("tls").is_none() || pool.is_off("tls") {
            let message = "the backend would wait for TLS that nobody begins: add `tls`; for TLS of clients that is passed \
                           on, say `starttls` at the listener";
            self.report.error(found.at, &found.path, message);
        }
        pool.given("starttls", word(&[("postgres", Starttls::Postgres)]))
    }

    /// A client's TLS that is passed on cannot go inside TLS of ours.
    pub(super) fn check_starttls(&mut self, listeners: &[Listener], pools: &[Pool]) {
        let named = self.root.named("listeners", "listener", LISTENER);
        for (listener, (_, section)) in listeners.iter().zip(named) {
            if listener.starttls.is_none() || listener.tls.is_some() {
                continue;
            }
            let inside =
                pools.iter().find(|pool| pool.tls.is_some() && listener.pools().any(|name| *name == pool.name));
            if let (Some(pool), Some(found)) = (inside, section.find("starttls")) {
                let message = format!(
                    "without `tls` here the client's TLS is passed on, and the pool {} would wrap it in another: remove \
                     `tls` there, or add it here",
                    quote(&pool.name)
                );
                self.report.error(found.at, &found.path, message);
            }
        }
    }

    /// A client of MySQL says nothing before its server does. Whoever goes by a name that the client is to say first, and
    /// then to a pool that the probe shows to be MySQL in the clear, waits for ever.
    pub(super) fn check_names(&mut self, listeners: &[Listener], pools: &[Pool]) {
        let named = self.root.named("listeners", "listener", LISTENER);
        for (listener, (_, section)) in listeners.iter().zip(named) {
            let Some(first) = listener.routes.iter().position(waits_for_a_name) else { continue };
            let later = listener.routes[first..].iter().flat_map(|route| route.pools()).chain(&listener.pool);
            let mysql =
                later.filter_map(|name| pools.iter().find(|pool| pool.name == *name)).find(|pool| speaks_first(pool));
            let Some(mysql) = mysql.filter(|_| listener.tls.is_none()) else { continue };
            let Some((at, path)) = sni_place(&section, first) else { continue };
            let message = format!(
                "sessions would wait for a name that nobody says: the pool {} is MySQL, as its probe says, whose server \
                 speaks first, so that a backend must be chosen before a client says anything; route by address or port",
                quote(&mysql.name)
            );
            self.report.error(at, &path, message);
        }
    }
}

/// Whether its backends greet in the clear.
fn speaks_first(pool: &Pool) -> bool {
    matches!(pool.health.probe, Some(Probe::Mysql(_))) && pool.health.at == ProbeAt::Backend && pool.tls.is_none()
}

/// Whether it keeps sessions of any kind waiting for a name. One that also goes by what is known at once does so with those
/// alone that may be its own.
fn waits_for_a_name(route: &Route) -> bool {
    let when = &route.when;
    !when.sni.is_empty() && when.port.is_empty() && when.source.is_empty() && when.authority.is_empty()
}

/// The `sni` of a listener's route of this number.
fn sni_place(listener: &Section<'_>, number: usize) -> Option<(Place, String)> {
    let routes = listener.find("routes")?;
    let (item, path) = routes.node.items_at(&routes.path).nth(number)?;
    let sni = Section::new(ROUTE, &path, item.at).over(item, &path).section("match").find("sni")?;
    Some((sni.at, sni.path))
}
