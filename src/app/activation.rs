//! Sockets that the service manager gives, by name: which listener or endpoint each is for.

use super::endpoints::listens;
use super::inheritance::Inherited;
use super::sockets::is_same;
use super::systemd::Given;
use super::upgrade::{EndpointOffer, Estate};
use crate::config::plan::{BindAddress, Listener, Plan};
use crate::net::BoundSocket;

/// What is given to a process of this configuration, as if another process had left it.
///
/// A name is that of a listener, or `admin`, or `metrics`; the socket takes the place of that one's bind of the same
/// address. Sockets that this program has left before a crash may be about what is no longer there; those are closed.
///
/// # Errors
/// In words: a socket that is for nobody.
pub(super) fn estate(plan: &Plan, given: Vec<Given>) -> Result<Estate, String> {
    let mut estate = Estate::default();
    for Given { name, inherited, stored } in given {
        if stored {
            estate.stored.insert(inherited.listener.clone());
        }
        let listener = plan.listeners.iter().find(|listener| *listener.name == *name);
        let placed = match (listener, &*name) {
            (Some(listener), _) => for_listener(listener, &inherited).map(|()| estate.addresses.push(inherited)),
            (None, "admin" | "metrics") if !stored => {
                for_endpoint(plan, &name, inherited).map(|offer| estate.endpoints.push(offer))
            }
            (None, _) => Err(format!("there is a socket for {name:?}, and no listener of that name")),
        };
        match placed {
            Err(why) if stored => tracing::warn!(why, "a socket from before the last end of this program is closed"),
            placed => placed?,
        }
    }
    Ok(estate)
}

fn for_listener(listener: &Listener, given: &Inherited) -> Result<(), String> {
    let same = |bind: &BindAddress| is_same(bind, listener, &given.listener, &given.configured, &given.real);
    if listener.bind.iter().any(|bind| same(&bind.address)) {
        return Ok(());
    }
    let binds: Vec<_> = listener.bind.iter().map(|bind| bind.address.to_string()).collect();
    let (name, real, binds) = (&listener.name, &given.real, binds.join(", "));
    Err(format!("the socket for listener {name:?} is bound to {real}, and the listener binds {binds}"))
}

fn for_endpoint(plan: &Plan, name: &str, given: Inherited) -> Result<(EndpointOffer, BoundSocket), String> {
    let configured =
        listens(plan, name).ok_or_else(|| format!("there is a socket for {name:?}, and no {name}.listen"))?;
    let real = given.real.to_string();
    if real != configured {
        return Err(format!("the socket for {name:?} is bound to {real}, and {name}.listen is {configured}"));
    }
    let socket = given.sockets.into_iter().next().ok_or_else(|| format!("no socket for {name:?}"))?;
    Ok((EndpointOffer { name: name.to_owned(), configured, foreign: true }, socket))
}
