//! Sockets that are left with the manager: they follow the listeners, and are all there after a crash.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rustix::fs::fstat;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::Signal;
use socket2::SockRef;

use crate::support::{Peer, Proxy, Setup, TOP, eventually, free_port, is_gone};

use super::{Backend, Manager, with_sockets};

/// The manager's own collection.
struct Shelf {
    manager: Manager,
    kept: Vec<(String, OwnedFd)>,
}

impl Shelf {
    fn new(dir: &Path) -> Self {
        Self { manager: Manager::new(dir), kept: Vec::new() }
    }

    /// Obeys all that was said so far; gives what it was about, in order.
    fn obey(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(message) = self.manager.try_next() {
            let (word, rest) = message.words.split_once('\n').unwrap_or((&message.words, ""));
            let name = rest.strip_prefix("FDNAME=stored-").unwrap_or_default().to_owned();
            match word {
                "FDSTORE=1" => message.descriptors.into_iter().for_each(|socket| self.keep(&name, socket)),
                "FDSTOREREMOVE=1" => self.kept.retain(|(other, _)| *other != name),
                _ => continue,
            }
            said.push(format!("{} {name}", if word == "FDSTORE=1" { "keep" } else { "forget" }));
        }
        said
    }

    /// As systemd does it: a socket that is there already is passed over, whatever its name.
    fn keep(&mut self, name: &str, socket: OwnedFd) {
        let number = fstat(&socket).unwrap().st_ino;
        if self.kept.iter().all(|(_, other)| fstat(other).unwrap().st_ino != number) {
            // High numbers, so that those from 3 on are free to be given.
            self.kept.push((name.to_owned(), fcntl_dupfd_cloexec(socket, 100).unwrap()));
        }
    }

    /// The names there are, each with its addresses, in the order of the names.
    fn holds(&self) -> Vec<(String, SocketAddr)> {
        let address = |socket: &OwnedFd| SockRef::from(socket).local_addr().unwrap().as_socket().unwrap();
        let mut all: Vec<_> = self.kept.iter().map(|(name, socket)| (name.clone(), address(socket))).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Starts a proxy with all of it, as after a crash.
    fn starts(&self, setup: Setup) -> Proxy {
        let names: Vec<_> = self.kept.iter().map(|(name, _)| format!("stored-{name}")).collect();
        let sockets: Vec<_> = self.kept.iter().map(|(_, socket)| socket).collect();
        with_sockets(setup, &sockets, &names.join(":")).start()
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A file with these listeners, each at a port.
fn yaml(listeners: &[(&str, u16)], backend: SocketAddr) -> String {
    let lines: String = listeners
        .iter()
        .map(|(name, port)| format!("  {name}: {{ bind: '127.0.0.1:{port}', pool: back }}\n"))
        .collect();
    format!("{TOP}workers: {{ threads: 2 }}\nlisteners:\n{lines}pools:\n  back: {{ backends: [ \"{backend}\" ] }}\n")
}

fn held(listeners: &[(&str, u16)]) -> Vec<(String, SocketAddr)> {
    listeners.iter().map(|(name, port)| ((*name).to_owned(), at(*port))).collect()
}

/// A client that says something, to be answered when someone serves.
fn waits(port: u16) -> Peer {
    let mut client = Peer::connect(at(port)).seeded(7, 7);
    client.say(100);
    client
}

#[test]
fn they_follow_the_listeners_and_a_new_process_serves_them_after_a_crash() {
    let backend = Backend::new().echo();
    let [a, b, c, d] = [(); 4].map(|()| free_port());
    let setup = Setup::file(yaml(&[("m", a), ("t", b)], backend.address()));
    let mut shelf = Shelf::new(setup.dir());
    let path = setup.dir().join("notify").display().to_string();
    let mut proxy = setup.variable("NOTIFY_SOCKET", &path).start();
    eventually("what there is at the start", || {
        shelf.obey();
        (shelf.holds() == held(&[("m", a), ("t", b)])).then_some(())
    });
    type Step<'a> = (&'a [(&'a str, u16)], &'a [&'a str]);
    let steps: [Step<'_>; 6] = [
        (&[("m", a), ("n", c), ("t", b)], &["keep n"]),
        // Moved.
        (&[("m", d), ("n", c), ("t", b)], &["forget m", "keep m"]),
        // Another name for the same sockets, before and behind it in the order of names.
        (&[("a", b), ("m", d), ("n", c)], &["forget t", "keep a"]),
        (&[("m", d), ("n", c), ("z", b)], &["forget a", "keep z"]),
        // Exchanged.
        (&[("m", c), ("n", d), ("z", b)], &["forget m", "forget n", "keep m", "keep n"]),
        (&[("m", c), ("z", b)], &["forget n"]),
    ];
    for (listeners, said) in steps {
        proxy.change_to(&yaml(listeners, backend.address()));
        assert_eq!(shelf.obey(), said, "{listeners:?}");
        assert_eq!(shelf.holds(), held(listeners));
    }
    proxy.signal(Signal::KILL);
    proxy.exit_within(Duration::from_secs(10));
    let mut clients = [waits(c), waits(b)];
    // Meanwhile someone has taken one of them out of the file.
    let setup = Setup::file(yaml(&[("z", b)], backend.address())).variable("NOTIFY_SOCKET", &path);
    let next = shelf.starts(setup);
    clients[1].hear(100);
    eventually("what nobody wants any more is taken back", || {
        shelf.obey();
        (shelf.holds() == held(&[("z", b)])).then_some(())
    });
    waits(b).hear(100);
    // Not at once: what another test starts just now has copies of all our sockets until it becomes another program.
    eventually("nobody is left waiting for nobody", || {
        Peer::try_connect(at(c)).map(Peer::reset).is_err().then_some(())
    });
    drop(next);
}

#[test]
fn an_upgrade_takes_back_what_the_new_file_does_not_name() {
    let backend = Backend::new().echo();
    let [a, b] = [(); 2].map(|()| free_port());
    let setup = Setup::file(yaml(&[("gone", a), ("stays", b)], backend.address()));
    let mut shelf = Shelf::new(setup.dir());
    let path = setup.dir().join("notify").display().to_string();
    let proxy = setup.variable("NOTIFY_SOCKET", path).start();
    eventually("both are left", || {
        shelf.obey();
        (shelf.holds() == held(&[("gone", a), ("stays", b)])).then_some(())
    });
    proxy.write(&yaml(&[("stays", b)], backend.address()));
    proxy.upgrade();
    eventually("one is left", || {
        shelf.obey();
        (shelf.holds() == held(&[("stays", b)])).then_some(())
    });
    eventually("nobody listens", || Peer::try_connect(at(a)).map(Peer::reset).is_err().then_some(()));
    waits(b).hear(100);
}

#[test]
fn the_file_of_an_admin_socket_that_the_manager_gave_stays() {
    let backend = Backend::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let given = fcntl_dupfd_cloexec(UnixListener::bind(&path).unwrap(), 100).unwrap();
    let yaml = format!(
        "admin: {{ listen: \"unix:{}\" }}\nlisteners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back }}\n\
         pools:\n  back: {{ backends: [ \"{}\" ] }}\n",
        path.display(),
        backend.address()
    );
    let mut proxy = with_sockets(Setup::file(yaml), &[&given], "admin").start();
    let new = proxy.upgrade();
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    assert_eq!(proxy.admin().get("/healthz").status, 200);
    proxy.signal_to(new, Signal::TERM);
    is_gone(new);
    assert!(path.exists());
}
