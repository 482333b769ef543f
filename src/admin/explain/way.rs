//! Which way a session that is only asked about would take through its listener's routes.

use std::net::SocketAddr;
use std::sync::Arc;

use super::super::answer::Refusal;
use super::super::query::Query;
use crate::intake::Facts;
use crate::net::Peer;
use crate::pool::Pool;
use crate::route::{Found, Lead, Listening, Shown};
use crate::wire::client_hello::host_name;

/// Where it would go.
pub(super) struct Way {
    /// The route, as the access log names it.
    pub(super) route: Option<String>,
    /// The pool, or why there is none.
    pub(super) to: Result<Arc<Pool>, String>,
    /// Pools that take turns, and their shares; `to` is the one with the largest.
    pub(super) split: Option<Vec<(String, u32)>>,
}

/// What the client would show.
pub(super) struct Guise {
    client: Peer,
    port: Option<u16>,
    facts: Facts,
    /// The first bytes of its stream, inside TLS that ends here if it does; none are known if this is empty.
    head: Vec<u8>,
}

impl Guise {
    /// What `sni`, `alpn`, `port` and `head` say of a session of `client` to `listening`; the port may be left out where there
    /// is one only.
    ///
    /// # Errors
    /// One of them cannot be.
    pub(super) fn new(
        query: &Query,
        client: Peer,
        local: Option<Peer>,
        listening: &Listening,
    ) -> Result<Self, Refusal> {
        let unfit = |name: &str| Refusal::bad(format!("sni must be a host name, and {name:?} is none"));
        let sni = query.get("sni").map(|name| host_name(name).ok_or_else(|| unfit(name))).transpose()?;
        let asked = query.get("port").map(str::parse::<u16>).transpose();
        let asked = asked.map_err(|_| Refusal::bad("port must be a number from 1 to 65535"))?;
        let bound = || match listening.bound.as_slice() {
            [only] => only.parse::<SocketAddr>().ok().map(|address| address.port()),
            _ => None,
        };
        let port = asked.or_else(|| local.and_then(|local| local.port())).or_else(bound);
        let alpn = query.all("alpn").map(|name| name.as_bytes().into()).collect();
        let head = query.get("head").unwrap_or_default().as_bytes().to_vec();
        Ok(Self { client, port, facts: Facts { sni: sni.map(Into::into), alpn, ..Facts::default() }, head })
    }

    /// The name it asks for.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.facts.sni.as_deref()
    }

    /// The way it takes now. Nothing comes of asking.
    pub(super) fn way(&self, listening: &Listening) -> Way {
        let Self { client, port, facts, head } = self;
        let shown = Shown { client: client.ip(), port: *port, facts: Some(facts), head, authority: None };
        let found = listening.routes.find(&shown);
        let route = match found {
            Found::Route(index) => Some(format!("routes[{index}]")),
            Found::Nowhere | Found::Undecided => None,
        };
        if let Some(shares) = listening.routes.divided(found) {
            let largest = shares.iter().max_by_key(|(_, share)| *share).map(|(pool, _)| Arc::clone(pool));
            let split = shares.iter().map(|(pool, share)| (pool.name.to_string(), *share)).collect();
            let to = largest.ok_or_else(|| "No pool has a share of its sessions.".to_owned());
            return Way { route, to, split: Some(split) };
        }
        let to = match (found, listening.routes.lead(found, self.client)) {
            (Found::Undecided, _) if self.head.is_empty() => {
                Err("A route depends on the first bytes that the client sends, and those are not known.".to_owned())
            }
            (Found::Undecided, _) => Err("A route depends on what follows these first bytes.".to_owned()),
            (_, Lead::Pool(pool)) => Ok(pool),
            (_, Lead::Reject) => Err("The route turns it away: it would be reset.".to_owned()),
            (_, Lead::Drop) => Err("The route turns it away in silence.".to_owned()),
            (_, Lead::Nowhere) => Err("No route takes it, and the listener has no pool for the rest.".to_owned()),
        };
        Way { route, to, split: None }
    }
}
