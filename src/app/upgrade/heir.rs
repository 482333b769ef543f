//! The new process's side: taking over from the process that started it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::words::{EndpointOffer, GoAhead, Offer, Reply, VERSION, hear, say};
use crate::admin::{Elders, GivenSocket, Handed};
use crate::app::inheritance::Inherited;
use crate::net::BoundSocket;
use crate::net::inherit::{FrameReader, FrameWriter, frames};

/// Set for a process that is to take over; its standard input is the socket to the old one.
pub(super) const MARK: &str = "PEERWAY_UPGRADE";
/// What the old process has to say comes by then, or it is stuck, or gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket to the old process.
#[derive(Debug)]
pub(in crate::app) struct Heir {
    reads: FrameReader,
    writes: FrameWriter,
}

/// What the old process offers.
#[derive(Debug, Default)]
pub(in crate::app) struct Estate {
    pub(in crate::app) addresses: Vec<Inherited>,
    pub(in crate::app) endpoints: Vec<(EndpointOffer, BoundSocket)>,
    /// Listeners of whose sockets some are with the service manager, if there is one.
    pub(in crate::app) stored: BTreeSet<Arc<str>>,
    /// Where messages go once this process speaks for itself.
    stderr: Option<OwnedFd>,
}

/// Whether this process was started to take over. Whatever else it was given, standard input is no longer there.
///
/// # Errors
/// It was, but standard input is no socket: someone has set the variable by hand.
pub(in crate::app) fn inherited_link() -> io::Result<Option<OwnedFd>> {
    if std::env::var_os(MARK).is_none() {
        return Ok(None);
    }
    let no_socket = |error| io::Error::other(format!("{MARK} is set: {error}"));
    inherited_socket().map(Some).map_err(no_socket)
}

/// The socket that this process was given as its standard input, in place of which it has none from now on.
///
/// # Errors
/// It is something else: nobody but another process of ours is meant to start this one so.
pub(super) fn inherited_socket() -> io::Result<OwnedFd> {
    let link = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    match rustix::net::sockopt::socket_domain(&link) {
        Ok(rustix::net::AddressFamily::UNIX) => Ok(link),
        _ => Err(io::Error::other("standard input is not the socket to another process")),
    }
}

impl Heir {
    /// Hears what the old process offers.
    ///
    /// # Errors
    /// In words: the old process is gone, or of a form that this one does not know.
    pub(in crate::app) async fn meet(link: OwnedFd) -> Result<(Self, Estate), String> {
        let (mut reads, mut writes) = frames(link).map_err(|error| error.to_string())?;
        let heard = timeout(PATIENCE, hear::<Offer>(&mut reads)).await;
        let (offer, descriptors) = heard.map_err(|_| "the old process offers nothing".to_owned())??;
        match Estate::new(offer, descriptors) {
            Ok(estate) => Ok((Self { reads, writes }, estate)),
            Err(detail) => {
                let _ = say(&mut writes, &Reply::Failed { detail: detail.clone() }, &[]).await;
                Err(detail)
            }
        }
    }

    /// Says that nothing can fail any more, and waits until the old process lets go of its endpoints. It takes the
    /// addresses of these numbers.
    ///
    /// # Errors
    /// In words: the old process has changed its mind, or is gone.
    pub(in crate::app) async fn ready(&mut self, taken: Vec<usize>) -> Result<Inheritance, String> {
        say(&mut self.writes, &Reply::Ready { taken }, &[]).await?;
        let heard = timeout(PATIENCE, hear::<GoAhead>(&mut self.reads)).await;
        let (go_ahead, links) = heard.map_err(|_| "the old process does not go ahead".to_owned())??;
        Ok(Inheritance { go_ahead, links })
    }

    /// Says that this process serves. What is counted in the older ones belongs to it from now on.
    pub(in crate::app) async fn serves(mut self, inheritance: Inheritance, elders: &Arc<Elders>) {
        if let Err(error) = say(&mut self.writes, &Reply::Serving, &[]).await {
            tracing::warn!(error, "the process before is gone already");
        }
        let Inheritance { go_ahead, links } = inheritance;
        elders.remember(&go_ahead.ended);
        for ((id, heard), link) in go_ahead.elders.into_iter().zip(links) {
            if let Err(error) = elders.adopt(Handed { id, heard, link }) {
                tracing::warn!(pid = id, %error, "an old process cannot be reached");
            }
        }
        elders.adopt_link(go_ahead.id, go_ahead.heard, self.reads, self.writes);
    }

    /// Tells the old process why this one gives up.
    pub(in crate::app) async fn fails(mut self, detail: String) {
        // It is gone, perhaps; what is said on standard error is left.
        let _ = timeout(PATIENCE, say(&mut self.writes, &Reply::Failed { detail }, &[])).await;
    }
}

/// All that the old process knows.
#[derive(Debug)]
pub(in crate::app) struct Inheritance {
    pub(in crate::app) go_ahead: GoAhead,
    links: Vec<OwnedFd>,
}

impl Estate {
    fn new(offer: Offer, descriptors: Vec<OwnedFd>) -> Result<Self, String> {
        if offer.version != VERSION {
            return Err(format!("the old process speaks form {} of an upgrade, this one {VERSION}", offer.version));
        }
        let short = || "the old process has not sent the sockets it speaks of".to_owned();
        let mut descriptors = descriptors.into_iter();
        let stderr = Some(descriptors.next().ok_or_else(short)?);
        let addresses = offer.addresses.into_iter().enumerate();
        let addresses = addresses.map(|(number, address)| address.inherit(number, &mut descriptors));
        let addresses = addresses.collect::<Option<Vec<_>>>().ok_or_else(short)?;
        let stored = addresses.iter().filter(|address| !address.foreign).map(|address| address.listener.clone());
        let stored = stored.collect();
        let endpoint = |endpoint: EndpointOffer| {
            let (socket, _) = BoundSocket::inherited(descriptors.next()?).ok()?;
            Some((endpoint, socket))
        };
        let endpoints = offer.endpoints.into_iter().map(endpoint).collect::<Option<Vec<_>>>().ok_or_else(short)?;
        Ok(Self { addresses, endpoints, stored, stderr })
    }

    /// Has messages go where the old process's go. Before, they are collected there, for the case that this one fails.
    pub(in crate::app) fn speak(&self) {
        if let Some(stderr) = &self.stderr
            && let Err(error) = rustix::stdio::dup2_stderr(stderr)
        {
            tracing::warn!(%error, "standard error stays that of the upgrade");
        }
    }

    /// The socket of an endpoint that is to listen where the old one was to.
    pub(in crate::app) fn endpoint(&mut self, name: &str, configured: &str) -> Option<GivenSocket> {
        let same = |(offer, _): &(EndpointOffer, BoundSocket)| offer.name == name && offer.configured == configured;
        let at = self.endpoints.iter().position(same)?;
        let (EndpointOffer { foreign, .. }, socket) = self.endpoints.remove(at);
        Some(GivenSocket { socket, foreign })
    }
}
