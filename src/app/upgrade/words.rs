//! What an old and a new process say to each other until the new one serves.
//!
//! The old one offers its sockets; the new one says which it takes, once nothing can fail any more; the old one lets it
//! go ahead, with all it knows; the new one says that it serves. Until then nothing has changed for the old one.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::admin::UpgradeView;
use crate::app::inheritance::Inherited;
use crate::config::plan::BindAddress;
use crate::metrics::Counts;
use crate::net::inherit::{FrameReader, FrameWriter};
use crate::net::{BoundSocket, FileId, SocketFile};
use crate::pool::{Said, Verdicts};
use crate::tls::HandedSecrets;

/// The form of these words. A process of another one is refused.
pub(super) const VERSION: u32 = 1;

/// Old to new, with descriptors: standard error, then the sockets of each address, then one of each endpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) version: u32,
    pub(super) addresses: Vec<Address>,
    pub(super) endpoints: Vec<EndpointOffer>,
}

/// One address that is listened on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Address {
    listener: String,
    configured: Place,
    real: Place,
    sockets: usize,
    #[serde(default)]
    foreign: bool,
    /// The file of a unix socket.
    #[serde(default)]
    file: Option<FileId>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    Ip(std::net::SocketAddr),
    Unix(std::path::PathBuf),
}

/// An admin or metrics endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::app) struct EndpointOffer {
    pub(in crate::app) name: String,
    /// Where it was to listen.
    pub(in crate::app) configured: String,
    /// The service manager has it, too.
    #[serde(default)]
    pub(in crate::app) foreign: bool,
}

/// New to old.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// Nothing can fail any more. It takes the addresses of these numbers.
    Ready { taken: Vec<usize> },
    /// It serves.
    Serving,
    /// It gives up, and why.
    Failed { detail: String },
}

/// Old to new, with descriptors: a socket to each of the older processes. It may go ahead.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::app) struct GoAhead {
    /// The upgrade, as it will have been.
    pub(in crate::app) upgrade: UpgradeView,
    /// What is known of backends, by pool.
    pub(in crate::app) verdicts: BTreeMap<String, Verdicts>,
    /// What operators have said.
    pub(in crate::app) overrides: Said,
    /// What tickets are made with, by listener, where no files have secrets for them.
    #[serde(default)]
    pub(in crate::app) tickets: BTreeMap<String, HandedSecrets>,
    /// Sessions have ids from here on.
    pub(in crate::app) next_id: u64,
    /// What processes that have ended had counted.
    pub(in crate::app) ended: Counts,
    /// Older processes: their ids and what they had counted.
    pub(in crate::app) elders: Vec<(u32, Counts)>,
    /// The old process's own id.
    pub(in crate::app) id: u32,
    /// What it has counted.
    pub(in crate::app) heard: Counts,
}

impl Address {
    pub(super) fn of(offered: &Inherited) -> Self {
        Self {
            listener: offered.listener.to_string(),
            configured: Place::of(&offered.configured),
            real: Place::of(&offered.real),
            sockets: offered.sockets.len(),
            foreign: offered.foreign,
            file: offered.file.as_ref().map(|file| file.id),
        }
    }

    /// What it is about, its sockets taken from `descriptors`; `None` if they are not what is said.
    pub(super) fn inherit(self, number: usize, descriptors: &mut impl Iterator<Item = OwnedFd>) -> Option<Inherited> {
        let socket = |descriptor| BoundSocket::inherited(descriptor).ok().map(|(socket, _)| socket);
        let sockets: Vec<_> = descriptors.take(self.sockets).map_while(socket).collect();
        let (configured, real) = (self.configured.address(), self.real.address());
        let listener = Arc::from(self.listener);
        let file = match &real {
            BindAddress::Ip(_) => None,
            BindAddress::Unix(path, _) => match self.file {
                Some(id) => Some(SocketFile { path: path.clone(), id }),
                // A process of an older version does not say it.
                None => SocketFile::at(path).filter(|_| !self.foreign),
            },
        };
        (sockets.len() == self.sockets).then_some(Inherited {
            number,
            listener,
            configured,
            real,
            sockets,
            foreign: self.foreign,
            file,
        })
    }
}

impl Place {
    fn of(address: &BindAddress) -> Self {
        match address {
            BindAddress::Ip(address) => Self::Ip(*address),
            BindAddress::Unix(path, _) => Self::Unix(path.clone()),
        }
    }

    fn address(self) -> BindAddress {
        match self {
            Self::Ip(address) => BindAddress::Ip(address),
            Self::Unix(path) => BindAddress::Unix(path, None),
        }
    }
}

/// Says something.
///
/// # Errors
/// In words: the other process is gone.
pub(super) async fn say(
    writes: &mut FrameWriter,
    words: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), String> {
    let bytes = serde_json::to_vec(words).map_err(|error| error.to_string())?;
    writes.send(&bytes, descriptors).await.map_err(|error| error.to_string())
}

/// Hears something, and its descriptors.
///
/// # Errors
/// In words: the other process is gone, or says something else.
pub(super) async fn hear<T: DeserializeOwned>(reads: &mut FrameReader) -> Result<(T, Vec<OwnedFd>), String> {
    let frame = reads.next().await.map_err(|error| error.to_string())?;
    let frame = frame.ok_or_else(|| "it is gone".to_owned())?;
    let words = serde_json::from_slice(&frame.bytes).map_err(|error| format!("it says something else: {error}"))?;
    Ok((words, frame.descriptors))
}
