//! Addresses that a configuration is to be served at: all of them to be had, and none served yet.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use crate::app::inheritance::{Inherited, spread};
use crate::config::plan::{Bind, BindAddress, Listener};
use crate::net::{self, Bound, BoundSocket, SocketFile};

/// The addresses of a configuration, all of them to be had.
#[derive(Debug)]
pub(in crate::app) struct Places(pub(super) Vec<Place>);

impl Places {
    /// Sockets that are new to this process.
    pub(in crate::app) fn fresh(&self) -> usize {
        let fresh = |place: &Place| match &place.hold {
            Hold::Fresh(Fresh(Some(held))) => held.sockets.len() + held.spares.len(),
            Hold::Inherited(_, held) => held.sockets.len() + held.spares.len(),
            Hold::Fresh(_) | Hold::Kept(..) => 0,
        };
        self.0.iter().map(fresh).sum()
    }

    /// The numbers of those that were inherited.
    pub(in crate::app) fn inherited(&self) -> Vec<usize> {
        let number = |place: &Place| match &place.hold {
            Hold::Inherited(number, _) => Some(*number),
            Hold::Fresh(_) | Hold::Kept(..) => None,
        };
        self.0.iter().filter_map(number).collect()
    }

    /// The real addresses of each listener, in the order of its file.
    pub(in crate::app) fn addresses(&self) -> BTreeMap<Arc<str>, Vec<String>> {
        let mut addresses: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
        for place in &self.0 {
            let real = match &place.hold {
                Hold::Kept(_, real) => Some(real),
                Hold::Fresh(fresh) => fresh.0.as_ref().map(|held| &held.address),
                Hold::Inherited(_, held) => Some(&held.address),
            };
            addresses.entry(place.listener.clone()).or_default().extend(real.map(BindAddress::to_string));
        }
        addresses
    }
}

#[derive(Debug)]
pub(super) struct Place {
    pub(super) listener: Arc<str>,
    pub(super) configured: BindAddress,
    pub(super) hold: Hold,
}

impl Place {
    /// Listens for `listener` if it is new; if it is not, a unix socket's file may need other permissions.
    pub(super) fn ready(&self, listener: &Listener) -> Result<(), (String, io::Error)> {
        let readied = match (&self.hold, &self.configured) {
            (Hold::Fresh(Fresh(Some(held))), _) => net::listen(&held.sockets, &listener.tcp),
            (Hold::Kept(..) | Hold::Inherited(..), BindAddress::Unix(path, Some(mode))) => {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode))
            }
            _ => Ok(()),
        };
        readied.map_err(|error| (format!("listeners.{}: {}", self.listener, self.configured), error))
    }
}

impl Place {
    /// The file of its unix socket, if it was bound just now.
    pub(super) fn fresh_file(&self) -> Option<&SocketFile> {
        match &self.hold {
            Hold::Fresh(fresh) => fresh.0.as_ref()?.file.as_ref(),
            Hold::Kept(..) | Hold::Inherited(..) => None,
        }
    }
}

#[derive(Debug)]
pub(super) enum Hold {
    /// One that is there, by its number.
    Kept(usize, BindAddress),
    /// One that was bound just now.
    Fresh(Fresh),
    /// One that another process has bound.
    Inherited(usize, Held),
}

/// Sockets that were bound just now; a unix socket's file goes with them unless they are taken.
#[derive(Debug)]
pub(super) struct Fresh(pub(super) Option<Held>);

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(Held { file: Some(file), .. }) = &self.0 {
            file.remove();
        }
    }
}

/// The sockets of an address: for the workers, and those to be handed on some day.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) address: BindAddress,
    pub(super) sockets: Vec<BoundSocket>,
    pub(super) spares: Vec<BoundSocket>,
    pub(super) foreign: bool,
    /// That of a unix socket.
    pub(super) file: Option<SocketFile>,
}

impl Held {
    pub(super) fn of_bound(bound: Bound) -> io::Result<Self> {
        let Bound { address, sockets, file } = bound;
        let is_one = matches!(address, BindAddress::Unix(..));
        let distinct = if is_one { &sockets[..sockets.len().min(1)] } else { &sockets[..] };
        match distinct.iter().map(BoundSocket::try_clone).collect() {
            Ok(spares) => Ok(Self { address, sockets, spares, foreign: false, file }),
            Err(error) => {
                drop(Fresh(Some(Self { address, sockets, spares: Vec::new(), foreign: false, file })));
                Err(error)
            }
        }
    }

    pub(super) fn of_inherited(inherited: Inherited, workers: usize) -> io::Result<Hold> {
        let sockets = spread(&inherited.sockets, workers)?;
        Ok(Hold::Inherited(
            inherited.number,
            Self {
                address: inherited.real,
                sockets,
                spares: inherited.sockets,
                foreign: inherited.foreign,
                file: inherited.file,
            },
        ))
    }
}

/// Has sockets that are bound already accept for addresses of others, or no longer.
pub(super) fn set_transparent(sockets: &[BoundSocket], bind: &Bind) -> io::Result<()> {
    let mut tcp = sockets.iter().filter(|socket| matches!(socket, BoundSocket::Tcp(_)));
    tcp.try_for_each(|socket| net::set_transparent(socket, bind.transparent))
}
