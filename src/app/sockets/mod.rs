//! The listening sockets: they belong to the process, not to a configuration.
//!
//! A new configuration keeps those it names again, also under another listener's name, and has the others bound
//! before it takes effect. Those it no longer names let nobody new in, are emptied, and close. Another process may take
//! them over as they are ([`super::inheritance`]): nothing is bound anew, and no queue is lost.

mod place;
mod post;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Acceptors;
use super::inheritance::{Inherited, tune};
use super::worker::Arrival;
use crate::admission::Gate;
use crate::config::plan::{Bind, BindAddress, Listener, Plan};
use crate::drain::Lifecycle;
use crate::listener::{Fate, ListenerLive, Orders};
use crate::net::{self, BoundSocket, Sharing, SocketFile};

pub(super) use place::Places;
pub(super) use post::is_same;

use place::{Fresh, Held, Hold, Place, set_transparent};
use post::{Post, overlap};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<Posts>);

#[derive(Debug, Default)]
struct Posts {
    open: Vec<Post>,
    closing: Vec<Post>,
    /// Of another process, and not claimed yet.
    inherited: Vec<Inherited>,
}

/// Where the sockets of an address come from.
enum Origin {
    /// They are there, at the post of this number.
    Kept(usize),
    /// Another process has bound them.
    Inherited(Inherited),
    /// They are to be bound.
    Nowhere,
}

/// Addresses that could not be bound: each with its place in the configuration.
pub(super) type Failed = Vec<(String, io::Error)>;

impl Sockets {
    /// Finds or binds every address of `plan`. Nothing is served yet, and dropping the places gives up what is new.
    ///
    /// # Errors
    /// All addresses that cannot be had.
    pub(super) fn claim(&self, plan: &Plan, workers: usize) -> Result<Places, Failed> {
        let mut posts = self.lock();
        // What is closed by now is ours no more.
        posts.closing.retain(|post| post.orders.receiver_count() > 0);
        let mut taken = vec![false; posts.open.len()];
        let all = || plan.listeners.iter().flat_map(|listener| listener.bind.iter().map(move |bind| (listener, bind)));
        // Those that are there first: an address that stays must not look taken to another of the same port.
        let kept: Vec<_> = all().map(|(listener, bind)| posts.keep(listener, &bind.address, &mut taken)).collect();
        let origins = all().zip(kept).map(|((listener, bind), kept)| posts.origin(listener, &bind.address, kept));
        let origins: Vec<_> = origins.collect();
        let (mut found, mut failed) = (Vec::with_capacity(origins.len()), Failed::new());
        for ((listener, bind), origin) in all().zip(origins) {
            let (name, configured) = (&listener.name, bind.address.clone());
            match posts.hold(listener, bind, origin, workers, &found) {
                Ok(hold) => found.push(Place { listener: name.clone(), configured, hold }),
                Err(error) => failed.push((format!("listeners.{name}: {configured}"), error)),
            }
        }
        // Listening comes last: a client that got in would be reset if this were given up.
        if failed.is_empty() {
            failed.extend(all().zip(&found).filter_map(|((listener, _), place)| place.ready(listener).err()));
        }
        if failed.is_empty() { Ok(Places(found)) } else { Err(failed) }
    }

    /// Serves these places and no others. Gives each worker its new sockets, and where everything new listens.
    pub(super) fn serve(&self, places: Places, with: &Serving<'_>) -> Served {
        let mut posts = self.lock();
        let mut before: Vec<Option<Post>> = std::mem::take(&mut posts.open).into_iter().map(Some).collect();
        let mut served = Served { arrivals: (0..with.workers).map(|_| Vec::new()).collect(), announced: Vec::new() };
        let listeners: HashMap<&str, _> = with.listeners.iter().map(|of| (&*of.0.name, of)).collect();
        for Place { listener, configured, hold } in places.0 {
            let Some((settings, live)) = listeners.get(&*listener) else { continue };
            let orders = Orders { listener: live.clone(), tcp: settings.tcp, fate: Fate::Open };
            let post = match hold {
                Hold::Kept(index, _) => {
                    before[index].take().map(|post| post.follow(&listener, configured, orders, &mut served))
                }
                Hold::Fresh(mut fresh) => {
                    fresh.0.take().map(|held| Post::open(listener, configured, held, orders, with, &mut served))
                }
                Hold::Inherited(_, held) => {
                    tune(&held.spares, &listener, &orders.tcp);
                    Some(Post::open(listener, configured, held, orders, with, &mut served))
                }
            };
            posts.open.extend(post);
        }
        before.iter_mut().flatten().for_each(Post::close);
        posts.closing.extend(before.into_iter().flatten());
        served
    }

    /// Takes in sockets of another process; [`Self::claim`] finds them.
    pub(super) fn inherit(&self, inherited: Vec<Inherited>) {
        self.lock().inherited = inherited;
    }

    /// Lets go of those that nobody has claimed; gives them.
    pub(super) fn unclaimed(&self) -> Vec<Inherited> {
        std::mem::take(&mut self.lock().inherited)
    }

    /// All that are open, once more, for another process.
    ///
    /// # Errors
    /// Descriptors are short.
    pub(super) fn offer(&self) -> io::Result<Vec<Inherited>> {
        let offer = |(number, post): (usize, &Post)| {
            let sockets = post.spares.iter().map(BoundSocket::try_clone).collect::<io::Result<_>>()?;
            let (listener, configured, real) = (post.listener.clone(), post.configured.clone(), post.real.clone());
            let (foreign, file) = (post.foreign, post.file.clone());
            Ok(Inherited { number, listener, configured, real, sockets, foreign, file })
        };
        self.lock().open.iter().enumerate().map(offer).collect()
    }

    /// Another process serves those of these numbers, as [`Self::offer`] gave them: lets go of them, with whoever waits
    /// in their queues. The others close as if a reload had removed them.
    pub(super) fn hand_over(&self, taken: &[usize]) {
        let mut posts = self.lock();
        for (number, mut post) in std::mem::take(&mut posts.open).into_iter().enumerate() {
            match taken.contains(&number) {
                true => post.orders.send_modify(|orders| orders.fate = Fate::HandOver),
                false => {
                    post.close();
                    posts.closing.push(post);
                }
            }
        }
    }

    /// Keeps none for another process any more, so that a socket closes when its workers have closed it. Those that the
    /// service manager has as well are left to it, with whoever waits there.
    pub(super) fn keep_none(&self) {
        for post in &mut self.lock().open {
            post.spares.clear();
            if post.foreign {
                post.orders.send_modify(|orders| orders.fate = Fate::HandOver);
            }
        }
    }

    /// Whether sockets that are closing still serve who waits in their queues for this listener.
    pub(super) fn is_closing(&self, listener: &str) -> bool {
        let mut posts = self.lock();
        posts.closing.retain(|post| post.orders.receiver_count() > 0);
        posts.closing.iter().any(|post| &*post.listener == listener)
    }

    /// How many descriptors they take.
    pub(super) fn count(&self) -> usize {
        self.lock().open.iter().map(|post| post.spares.len() + post.served).sum()
    }

    /// The listeners that have any.
    pub(super) fn listeners(&self) -> Vec<Arc<str>> {
        self.lock().open.iter().map(|post| post.listener.clone()).collect()
    }

    /// The files of unix sockets, but those of the service manager.
    pub(super) fn files(&self) -> Vec<SocketFile> {
        self.lock().open.iter().filter(|post| !post.foreign).filter_map(|post| post.file.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Posts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Posts {
    /// A post that is this address already, and is not `taken`: from now on it is. A port that the kernel chose stays
    /// with its listener.
    fn keep(&self, listener: &Listener, address: &BindAddress, taken: &mut [bool]) -> Option<usize> {
        let same = |post: &Post| is_same(address, listener, &post.listener, &post.configured, &post.real);
        let index = (0..self.open.len()).find(|index| !taken[*index] && same(&self.open[*index]))?;
        taken[index] = true;
        Some(index)
    }

    /// Where the sockets of an address come from, of which `kept` is the post if there is one.
    fn origin(&mut self, listener: &Listener, address: &BindAddress, kept: Option<usize>) -> Origin {
        match kept {
            Some(index) => Origin::Kept(index),
            None => self.take_inherited(listener, address).map_or(Origin::Nowhere, Origin::Inherited),
        }
    }

    /// Those that were inherited of this address.
    fn take_inherited(&mut self, listener: &Listener, address: &BindAddress) -> Option<Inherited> {
        let same = |had: &Inherited| is_same(address, listener, &had.listener, &had.configured, &had.real);
        let index = self.inherited.iter().position(same)?;
        Some(self.inherited.remove(index))
    }

    /// The sockets of an address, which have what it asks for.
    fn hold(
        &self,
        listener: &Listener,
        bind: &Bind,
        origin: Origin,
        workers: usize,
        found: &[Place],
    ) -> io::Result<Hold> {
        match origin {
            Origin::Kept(index) => {
                let post = &self.open[index];
                set_transparent(&post.spares, bind)?;
                Ok(Hold::Kept(index, post.real.clone()))
            }
            Origin::Inherited(inherited) => {
                set_transparent(&inherited.sockets, bind)?;
                Held::of_inherited(inherited, workers)
            }
            Origin::Nowhere if self.has_file(&bind.address, found) => {
                Err(io::Error::new(io::ErrorKind::AddrInUse, "this process has bound the same socket already"))
            }
            Origin::Nowhere => self.bind(listener, bind, workers),
        }
    }

    /// Whether one of ours stands at the path of a unix socket, those `found` just now included. These do not listen yet:
    /// they refuse connections, and look as if nobody listened there any more.
    fn has_file(&self, address: &BindAddress, found: &[Place]) -> bool {
        let BindAddress::Unix(path, _) = address else { return false };
        let posts = self.open.iter().chain(&self.closing).filter_map(|post| post.file.as_ref());
        let inherited = self.inherited.iter().filter_map(|inherited| inherited.file.as_ref());
        let mut ours = posts.chain(inherited).chain(found.iter().filter_map(Place::fresh_file));
        SocketFile::at(path).is_some_and(|there| ours.any(|file| file.id == there.id))
    }

    /// New sockets.
    fn bind(&self, listener: &Listener, bind: &Bind, workers: usize) -> io::Result<Hold> {
        let ours = |real: &BindAddress| match (real, &bind.address) {
            (BindAddress::Ip(ours), BindAddress::Ip(wanted)) => overlap(ours, wanted),
            _ => false,
        };
        let posts = self.open.iter().chain(&self.closing).map(|post| &post.real);
        let all = posts.chain(self.inherited.iter().map(|inherited| &inherited.real));
        let sharing = if all.into_iter().any(ours) { Sharing::WithOurselves } else { Sharing::Alone };
        let bound = net::reserve(bind, workers, &listener.tcp, sharing)?;
        Ok(Hold::Fresh(Fresh(Some(Held::of_bound(bound)?))))
    }
}

/// What sockets are served with.
pub(super) struct Serving<'a> {
    pub(super) listeners: &'a [(Listener, Arc<ListenerLive>)],
    pub(super) gate: &'a Arc<Gate>,
    pub(super) life: &'a Arc<Lifecycle>,
    pub(super) acceptors: &'a Acceptors,
    pub(super) workers: usize,
}

/// What follows for the workers, and what is to be announced.
pub(super) struct Served {
    /// In the order of the workers.
    pub(super) arrivals: Vec<Vec<Arrival>>,
    /// Listener and real address.
    pub(super) announced: Vec<(Arc<str>, String)>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::balance::CATALOGUE;

    #[test]
    fn a_socket_that_does_not_listen_yet_is_not_taken_for_a_stale_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        let at = |name: &str| BindAddress::Unix(dir.path().join(name), None);
        let yaml = "listeners: { a: { bind: 'unix:a', pool: p }, b: { bind: 'unix:b', pool: p } }\npools: { p: { backends: [] } }";
        let mut plan = crate::config::parse("t.yaml", yaml, &CATALOGUE, &|_| None).unwrap();
        plan.listeners[0].bind[0].address = at("real/x");
        plan.listeners[1].bind[0].address = at("alias/x");
        // As if the link had come after the configuration was read.
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("alias")).unwrap();
        let failed = Sockets::default().claim(&plan, 1).map(drop).unwrap_err();
        assert_eq!(failed.len(), 1);
        assert!(failed[0].0.starts_with("listeners.b: "), "{failed:?}");
        assert_eq!(failed[0].1.kind(), io::ErrorKind::AddrInUse);
        assert!(!dir.path().join("real/x").exists(), "what was bound is given up");
    }
}
