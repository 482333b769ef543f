//! `starttls`, of listeners and of pools.

use super::super::hint::quote;
use super::super::keys::LISTENER;
use super::super::plan::{Listener, Pool, Starttls};
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
}
