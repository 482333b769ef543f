//! The listening sockets: they belong to the process, not to a configuration.
//!
//! A new configuration keeps those it names again, also under another listener's name, and has the others bound
//! before it takes effect. Those it no longer names let nobody new in, are emptied, and close. Another process may take
//! them over as they are ([`super::inheritance`]): nothing is bound anew, and no queue is lost.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::inheritance::{Inherited, spread, tune};
use super::worker::Arrival;
use super::{AcceptorGuard, Acceptors};
use crate::admission::Gate;
use crate::config::plan::{Bind, BindAddress, Listener, Plan};
use crate::drain::Lifecycle;
use crate::listener::{Acceptor, Fate, ListenerLive, Orders};
use crate::net::{self, Bound, BoundSocket, Sharing};

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

/// One address, with a socket on every worker.
#[derive(Debug)]
struct Post {
    /// Whose it is.
    listener: Arc<str>,
    configured: BindAddress,
    /// Port 0 has become a port.
    real: BindAddress,
    orders: watch::Sender<Orders>,
    /// What the workers have, once more, for a process that takes over: of a unix socket one.
    spares: Vec<BoundSocket>,
    /// How many the workers have.
    served: usize,
    /// The service manager has them too.
    foreign: bool,
}

/// The addresses of a configuration, all of them to be had.
#[derive(Debug)]
pub(super) struct Places(Vec<Place>);

#[derive(Debug)]
struct Place {
    listener: Arc<str>,
    configured: BindAddress,
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    /// One that is there, by its number.
    Kept(usize, BindAddress),
    /// One that was bound just now.
    Fresh(Fresh),
    /// One that another process has bound.
    Inherited(usize, Held),
}

/// Sockets that were bound just now; a unix socket's file goes with them unless they are taken.
#[derive(Debug)]
struct Fresh(Option<Held>);

/// The sockets of an address: for the workers, and those to be handed on some day.
#[derive(Debug)]
struct Held {
    address: BindAddress,
    sockets: Vec<BoundSocket>,
    spares: Vec<BoundSocket>,
    foreign: bool,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(Held { address: BindAddress::Unix(path, _), .. }) = &self.0 {
            // Gone already, perhaps; there is nothing more to do about it.
            let _ = std::fs::remove_file(path);
        }
    }
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
        let mut taken = vec![false; posts.open.len()];
        let mut places = Vec::new();
        let mut failed = Failed::new();
        let all = plan.listeners.iter().flat_map(|listener| listener.bind.iter().map(move |bind| (listener, bind)));
        // Those that are there first: an address that stays must not look taken to another of the same port.
        for (listener, bind) in all {
            let kept = posts.find(listener, &bind.address, &taken);
            kept.into_iter().for_each(|index| taken[index] = true);
            places.push((listener, bind.clone(), kept));
        }
        let mut found = Vec::with_capacity(places.len());
        let mut given: Vec<Option<Inherited>> = Vec::with_capacity(places.len());
        for (listener, bind, kept) in &places {
            given.push(if kept.is_none() { posts.take_inherited(listener, &bind.address) } else { None });
        }
        let mut given = given.into_iter();
        for (listener, bind, kept) in places {
            let hold = match (kept, given.next().flatten()) {
                (Some(index), _) => {
                    let post = &posts.open[index];
                    set_transparent(&post.spares, &bind).map(|()| Hold::Kept(index, post.real.clone()))
                }
                (None, Some(inherited)) => {
                    set_transparent(&inherited.sockets, &bind).and_then(|()| Held::of_inherited(inherited, workers))
                }
                (None, None) => posts.bind(listener, &bind, workers),
            };
            let configured = bind.address;
            match hold {
                Ok(hold) => found.push(Place { listener: listener.name.clone(), configured, hold }),
                Err(error) => failed.push((format!("listeners.{}: {configured}", listener.name), error)),
            }
        }
        // Listening comes last: a client that got in would be reset if this were given up.
        if failed.is_empty() {
            failed.extend(found.iter().filter_map(|place| place.ready(plan).err()));
        }
        if failed.is_empty() { Ok(Places(found)) } else { Err(failed) }
    }

    /// Serves these places and no others. Gives each worker its new sockets, and where everything new listens.
    pub(super) fn serve(&self, places: Places, with: &Serving<'_>) -> Served {
        let mut posts = self.lock();
        let mut before: Vec<Option<Post>> = std::mem::take(&mut posts.open).into_iter().map(Some).collect();
        let mut served = Served { arrivals: (0..with.workers).map(|_| Vec::new()).collect(), announced: Vec::new() };
        for Place { listener, configured, hold } in places.0 {
            let Some(orders) = with.orders(&listener) else { continue };
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
            Ok(Inherited { number, listener, configured, real, sockets, foreign: post.foreign })
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

    /// The files of unix sockets.
    pub(super) fn unix_paths(&self) -> Vec<PathBuf> {
        let paths = |post: &Post| match &post.real {
            BindAddress::Unix(path, _) if !post.foreign => Some(path.clone()),
            BindAddress::Unix(..) | BindAddress::Ip(_) => None,
        };
        self.lock().open.iter().filter_map(paths).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Posts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Sockets that are new to this process.
    pub(super) fn fresh(&self) -> usize {
        let fresh = |place: &Place| match &place.hold {
            Hold::Fresh(Fresh(Some(held))) => held.sockets.len() + held.spares.len(),
            Hold::Inherited(_, held) => held.sockets.len() + held.spares.len(),
            Hold::Fresh(_) | Hold::Kept(..) => 0,
        };
        self.0.iter().map(fresh).sum()
    }

    /// The numbers of those that were inherited.
    pub(super) fn inherited(&self) -> Vec<usize> {
        let number = |place: &Place| match &place.hold {
            Hold::Inherited(number, _) => Some(*number),
            Hold::Fresh(_) | Hold::Kept(..) => None,
        };
        self.0.iter().filter_map(number).collect()
    }

    /// The real addresses of a listener, in the order of its file.
    pub(super) fn addresses(&self, listener: &str) -> Vec<String> {
        let of = self.0.iter().filter(|place| &*place.listener == listener);
        of.filter_map(|place| match &place.hold {
            Hold::Kept(_, real) => Some(real.to_string()),
            Hold::Fresh(fresh) => fresh.0.as_ref().map(|held| held.address.to_string()),
            Hold::Inherited(_, held) => Some(held.address.to_string()),
        })
        .collect()
    }
}

impl Posts {
    /// A post that is this address already. A port that the kernel chose stays with its listener.
    fn find(&self, listener: &Listener, address: &BindAddress, taken: &[bool]) -> Option<usize> {
        let same = |post: &Post| is_same(address, listener, &post.listener, &post.configured, &post.real);
        (0..self.open.len()).find(|index| !taken[*index] && same(&self.open[*index]))
    }

    /// The same of those that were inherited.
    fn take_inherited(&mut self, listener: &Listener, address: &BindAddress) -> Option<Inherited> {
        let same = |had: &Inherited| is_same(address, listener, &had.listener, &had.configured, &had.real);
        let index = self.inherited.iter().position(same)?;
        Some(self.inherited.remove(index))
    }

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

/// Whether sockets of a `listener_had` are what a listener wants to be bound to. A port that the kernel chose stays with
/// its listener.
pub(super) fn is_same(
    wanted: &BindAddress,
    listener: &Listener,
    listener_had: &str,
    configured: &BindAddress,
    real: &BindAddress,
) -> bool {
    match (wanted, configured) {
        (BindAddress::Unix(path, _), BindAddress::Unix(other, _)) => path == other,
        (BindAddress::Ip(wanted), BindAddress::Ip(had)) if wanted.port() == 0 => {
            wanted == had && *listener_had == *listener.name
        }
        (wanted, _) => wanted == real,
    }
}

impl Held {
    fn of_bound(bound: Bound) -> io::Result<Self> {
        let Bound { address, sockets } = bound;
        let is_one = matches!(address, BindAddress::Unix(..));
        let distinct = if is_one { &sockets[..sockets.len().min(1)] } else { &sockets[..] };
        match distinct.iter().map(BoundSocket::try_clone).collect() {
            Ok(spares) => Ok(Self { address, sockets, spares, foreign: false }),
            Err(error) => {
                drop(Fresh(Some(Self { address, sockets, spares: Vec::new(), foreign: false })));
                Err(error)
            }
        }
    }

    fn of_inherited(inherited: Inherited, workers: usize) -> io::Result<Hold> {
        let sockets = spread(&inherited.sockets, workers)?;
        Ok(Hold::Inherited(
            inherited.number,
            Self { address: inherited.real, sockets, spares: inherited.sockets, foreign: inherited.foreign },
        ))
    }
}

/// Has sockets that are bound already accept for addresses of others, or no longer.
fn set_transparent(sockets: &[BoundSocket], bind: &Bind) -> io::Result<()> {
    let mut tcp = sockets.iter().filter(|socket| matches!(socket, BoundSocket::Tcp(_)));
    tcp.try_for_each(|socket| net::set_transparent(socket, bind.transparent))
}

/// Whether one address takes in the other.
fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let wide = one.ip().is_unspecified() || other.ip().is_unspecified() || one.ip() == other.ip();
    wide && one.port() == other.port() && one.is_ipv4() == other.is_ipv4()
}

impl Place {
    /// Listens if it is new; if it is not, a unix socket's file may need other permissions.
    fn ready(&self, plan: &Plan) -> Result<(), (String, io::Error)> {
        let listener = plan.listeners.iter().find(|listener| listener.name == self.listener);
        let readied = match (&self.hold, &self.configured, listener) {
            (Hold::Fresh(Fresh(Some(held))), _, Some(listener)) => net::listen(&held.sockets, &listener.tcp),
            (Hold::Kept(..) | Hold::Inherited(..), BindAddress::Unix(path, Some(mode)), _) => {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode))
            }
            _ => Ok(()),
        };
        readied.map_err(|error| (format!("listeners.{}: {}", self.listener, self.configured), error))
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

impl Serving<'_> {
    fn orders(&self, name: &str) -> Option<Orders> {
        let (listener, live) = self.listeners.iter().find(|(listener, _)| &*listener.name == name)?;
        Some(Orders { listener: live.clone(), tcp: listener.tcp, fate: Fate::Open })
    }
}

/// What follows for the workers, and what is to be announced.
pub(super) struct Served {
    /// In the order of the workers.
    pub(super) arrivals: Vec<Vec<Arrival>>,
    /// Listener and real address.
    pub(super) announced: Vec<(Arc<str>, String)>,
}

impl Post {
    fn open(
        listener: Arc<str>,
        configured: BindAddress,
        held: Held,
        orders: Orders,
        with: &Serving<'_>,
        served: &mut Served,
    ) -> Self {
        let (orders, follow) = watch::channel(orders);
        let Held { address: real, sockets, spares, foreign } = held;
        let workers = served.arrivals.len().max(1);
        let count = sockets.len();
        // More sockets than workers: each has several.
        for (index, socket) in sockets.into_iter().enumerate() {
            let Some(arrivals) = served.arrivals.get_mut(index % workers) else { continue };
            let acceptor = Acceptor::new(follow.clone(), with.gate.clone(), with.life.clone());
            let running: AcceptorGuard = with.acceptors.enter();
            arrivals.push(Arrival { socket, acceptor, running });
        }
        served.announced.push((listener.clone(), real.to_string()));
        Self { listener, configured, real, orders, spares, served: count, foreign }
    }

    /// Goes on, perhaps for another listener.
    fn follow(mut self, listener: &Arc<str>, configured: BindAddress, orders: Orders, served: &mut Served) -> Self {
        if self.listener != *listener {
            served.announced.push((listener.clone(), self.real.to_string()));
        }
        self.orders.send_if_modified(|now| {
            let other = !Arc::ptr_eq(&now.listener, &orders.listener) || now.tcp != orders.tcp;
            *now = orders;
            other
        });
        self.listener = listener.clone();
        self.configured = configured;
        self
    }

    /// Has its sockets emptied and closed. The file of a unix socket goes first: while we listen nobody else can have
    /// taken its path.
    fn close(&mut self) {
        self.spares.clear();
        if self.foreign {
            // Who waits there waits for whomever the manager starts next.
            self.orders.send_modify(|orders| orders.fate = Fate::HandOver);
            return;
        }
        if let BindAddress::Unix(path, _) = &self.real {
            // Gone already, or not ours to remove: either way there is nothing to do about it.
            let _ = std::fs::remove_file(path);
        }
        self.orders.send_modify(|orders| orders.fate = Fate::Close);
    }
}
