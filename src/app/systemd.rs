//! The service manager: what it is told (sd_notify(3)), and the sockets it gives (sd_listen_fds(3)) and keeps.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::cmsg_space;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::time::{ClockId, clock_gettime};

use super::inheritance::Inherited;
use crate::config::plan::BindAddress;
use crate::net::{BoundSocket, SocketFile, inherited_descriptors};

/// Before the name of a listener: sockets that this program has left with the manager, for the case of a crash.
const STORED: &str = "stored-";
/// Descriptors of one message. The kernel takes up to 253.
const BATCH: usize = 64;
/// The longest name that the manager takes for a descriptor.
const LONGEST_NAME: usize = 255;

/// Who started this process and wants to know how it is; or nobody.
#[derive(Debug, Default)]
pub(super) struct Manager {
    socket: Option<UnixDatagram>,
    /// Another process speaks to it now.
    silent: AtomicBool,
}

/// A socket that the manager gives, as it names it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) inherited: Inherited,
    /// One of ours, from before a crash. It may be about a listener that is no longer there.
    pub(super) stored: bool,
}

impl Manager {
    /// As the environment says.
    pub(super) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(path.as_bytes()).ok());
        Self { socket, silent: AtomicBool::new(false) }
    }

    /// Whether there is one.
    pub(super) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Tells it something: lines of `NAME=value`.
    pub(super) fn say(&self, words: &str) {
        self.send(words, &[]);
    }

    /// Everything works. `status` is for people.
    pub(super) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// A change has begun; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration"));
    }

    /// The end has begun.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// This process is the one to watch from now on.
    pub(super) fn taken_over(&self) {
        self.say(&format!("MAINPID={}\nREADY=1\nSTATUS=serving, after an upgrade", std::process::id()));
    }

    /// Another process speaks to the manager from now on.
    pub(super) fn fall_silent(&self) {
        self.silent.store(true, Relaxed);
    }

    /// Leaves sockets of a listener with it: it gives them to the process that it starts after a crash, and their queues
    /// with them.
    pub(super) fn keep(&self, listener: &str, sockets: &[BorrowedFd<'_>]) {
        if let Some(name) = stored_name(listener) {
            sockets.chunks(BATCH).for_each(|batch| self.send(&format!("FDSTORE=1\nFDNAME={name}"), batch));
        }
    }

    /// Has it let go of them.
    pub(super) fn forget(&self, listener: &str) {
        if let Some(name) = stored_name(listener) {
            self.say(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
        }
    }

    fn send(&self, words: &str, descriptors: &[BorrowedFd<'_>]) {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.silent.load(Relaxed)) else { return };
        let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if let Err(error) = sendmsg(socket, &[IoSlice::new(words.as_bytes())], &mut control, flags) {
            tracing::warn!(%error, "the service manager does not listen");
        }
    }
}

/// A path, or with `@` before it a name that is in no file system.
fn connect(name: &[u8]) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    let address = match name {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name)?,
        path => SocketAddr::from_pathname(std::ffi::OsString::from_vec(path.to_vec()))?,
    };
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// The name under which sockets of a listener are left, if the manager takes it.
fn stored_name(listener: &str) -> Option<String> {
    let name = format!("{STORED}{listener}");
    let fits = |c: char| c.is_ascii_graphic() && c != ':';
    (name.len() <= LONGEST_NAME && name.chars().all(fits)).then_some(name)
}

/// The sockets that the manager has given to this process, by name; each once. To be called once, before anything else
/// is opened.
///
/// # Errors
/// In words: what was given is no socket that listens.
pub(super) fn given_sockets() -> Result<Vec<Given>, String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("LISTEN_PID").parse() != Ok(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = variable("LISTEN_FDS").parse().map_err(|_| "LISTEN_FDS is not a number".to_owned())?;
    let names = variable("LISTEN_FDNAMES");
    let mut names = names.split(':');
    let descriptors = inherited_descriptors(count).map_err(|error| format!("LISTEN_FDS is {count}: {error}"))?;
    let mut given: Vec<Given> = Vec::new();
    for (number, descriptor) in descriptors.into_iter().enumerate() {
        let name = names.next().unwrap_or_default();
        let (socket, real) = BoundSocket::inherited(descriptor)
            .map_err(|error| format!("the {}th socket of LISTEN_FDS, {name:?}: {error}", number + 1))?;
        let stored = name.strip_prefix(STORED);
        let name = stored.unwrap_or(name).to_owned();
        let same = |other: &&mut Given| other.name == name && other.inherited.real == real;
        // The members of one address's group come one by one.
        match given.iter_mut().find(same) {
            Some(other) => other.inherited.sockets.push(socket),
            None => {
                let listener = Arc::from(name.as_str());
                let foreign = stored.is_none();
                let (configured, sockets) = (real.clone(), vec![socket]);
                let file = match &real {
                    BindAddress::Unix(path, _) if !foreign => SocketFile::at(path),
                    BindAddress::Unix(..) | BindAddress::Ip(_) => None,
                };
                let inherited = Inherited { number, listener, configured, real, sockets, foreign, file };
                given.push(Given { name, inherited, stored: stored.is_some() });
            }
        }
    }
    Ok(given)
}

/// What is left with the manager, so that it follows what is listened on.
#[derive(Debug)]
pub(super) struct Store {
    left: Vec<(Arc<str>, String)>,
    /// Listeners of whose sockets a process before this one has left some.
    before: BTreeSet<Arc<str>>,
}

/// A change of what is left with the manager.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    forget: BTreeSet<Arc<str>>,
    keep: BTreeSet<Arc<str>>,
}

impl Store {
    /// Nothing is left by this process yet; one `before` it has left sockets of these listeners.
    pub(super) fn new(before: BTreeSet<Arc<str>>) -> Self {
        Self { left: Vec::new(), before }
    }

    /// Leaves what is new with the manager, and takes back what is no longer listened on.
    pub(super) fn follow(&mut self, manager: &Manager, offered: &[Inherited]) {
        let ours = || offered.iter().filter(|address| !address.foreign);
        let Step { forget, keep } =
            self.step(ours().map(|address| (address.listener.clone(), address.real.to_string())).collect());
        // All of this first: the manager passes over a socket that it has already, also if it has it under the name of
        // another listener, with which it would go then.
        forget.iter().for_each(|name| manager.forget(name));
        for name in keep {
            let sockets = ours().filter(|address| address.listener == name).flat_map(|address| &address.sockets);
            manager.keep(&name, &sockets.map(AsFd::as_fd).collect::<Vec<_>>());
        }
    }

    /// What changes when these addresses are listened on, each with its listener.
    fn step(&mut self, now: Vec<(Arc<str>, String)>) -> Step {
        let of = |all: &[(Arc<str>, String)], name: &Arc<str>| {
            all.iter().filter(|(listener, _)| listener == name).cloned().collect::<Vec<_>>()
        };
        let names = |all: &[(Arc<str>, String)]| all.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
        let left = std::mem::replace(&mut self.left, now);
        let (had, has) = (names(&left), names(&self.left));
        let changed = |name: &&Arc<str>| of(&left, name) != of(&self.left, name);
        Step {
            forget: had.iter().filter(changed).cloned().chain(std::mem::take(&mut self.before)).collect(),
            keep: has.iter().filter(changed).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_manager_would_refuse_are_not_sent() {
        assert_eq!(stored_name("web").as_deref(), Some("stored-web"));
        assert_eq!(stored_name("a:b").or(stored_name("a b")).or(stored_name("a\nb")), None);
        assert_eq!(stored_name(&"x".repeat(300)), None);
    }

    fn step(store: &mut Store, now: &[(&str, &str)]) -> (String, String) {
        let now = now.iter().map(|(name, address)| (Arc::from(*name), (*address).to_owned())).collect();
        let Step { forget, keep } = store.step(now);
        let text = |names: BTreeSet<Arc<str>>| names.iter().map(|name| &**name).collect::<Vec<_>>().join(" ");
        (text(forget), text(keep))
    }

    #[test]
    fn what_is_left_with_the_manager_follows_the_listeners() {
        let mut store = Store::new(BTreeSet::new());
        let told = |forget: &str, keep: &str| (forget.to_owned(), keep.to_owned());
        assert_eq!(step(&mut store, &[("a", "1"), ("b", "2"), ("b", "3")]), told("", "a b"));
        assert_eq!(step(&mut store, &[("a", "1"), ("b", "2"), ("b", "3")]), told("", ""));
        assert_eq!(step(&mut store, &[("a", "1"), ("b", "2")]), told("b", "b"), "one of two addresses");
        assert_eq!(step(&mut store, &[("a", "1"), ("0", "2")]), told("b", "0"), "another name");
        assert_eq!(step(&mut store, &[("0", "1"), ("a", "2")]), told("0 a", "0 a"), "exchanged");
        assert_eq!(step(&mut store, &[]), told("0 a", ""));
    }

    #[test]
    fn what_a_process_before_has_left_is_taken_back() {
        let mut store = Store::new(["a", "gone"].map(Arc::from).into());
        assert_eq!(step(&mut store, &[("a", "1"), ("b", "2")]), ("a gone".into(), "a b".into()));
        assert_eq!(step(&mut store, &[("a", "1"), ("b", "2")]), (String::new(), String::new()));
    }
}
