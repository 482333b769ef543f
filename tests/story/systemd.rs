//! The service manager's side of a process: what it is told, in which order, and the sockets it gives and keeps.

mod store;

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;

use crate::support::{Backend, PATIENCE, Proxy, Setup, TOP, send_across};

/// Stands for the manager.
struct Manager {
    socket: UnixDatagram,
}

/// One message, and the descriptors that came with it.
struct Message {
    words: String,
    descriptors: Vec<OwnedFd>,
}

impl Manager {
    fn new(dir: &Path) -> Self {
        let socket = UnixDatagram::bind(dir.join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// The next message.
    #[track_caller]
    fn next(&self) -> Message {
        self.receive(RecvFlags::CMSG_CLOEXEC).unwrap_or_else(|error| panic!("the manager hears nothing: {error}"))
    }

    /// The same, if it is there already.
    fn try_next(&self) -> Option<Message> {
        self.receive(RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT).ok()
    }

    fn receive(&self, flags: RecvFlags) -> std::io::Result<Message> {
        let (mut room, mut bytes) = ([MaybeUninit::uninit(); cmsg_space!(ScmRights(64))], [0; 4096]);
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let got = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        Ok(Message { words: String::from_utf8(bytes[..got.bytes].to_vec()).unwrap(), descriptors })
    }

    /// The next message that begins so. Those of the watchdog may come at any time.
    #[track_caller]
    fn hears(&self, begin: &str) -> Message {
        let message = std::iter::repeat_with(|| self.next()).find(|message| message.words != "WATCHDOG=1").unwrap();
        assert!(message.words.starts_with(begin), "{begin} was due, heard {:?}", message.words);
        message
    }
}

fn file(backend: &Backend, more: &str) -> String {
    format!(
        "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:0\", pool: back{more} }}\n\
         pools:\n  back: {{ backends: [ \"{}\" ] }}\n",
        backend.address()
    )
}

fn watched(backend: &Backend) -> (Manager, Setup) {
    let setup = Setup::file(file(backend, ""));
    let manager = Manager::new(setup.dir());
    let path = setup.dir().join("notify");
    (manager, setup.variable("NOTIFY_SOCKET", path.display()))
}

#[test]
fn every_step_is_told_in_its_order() {
    let backend = Backend::new();
    let (manager, setup) = watched(&backend);
    let mut proxy = setup.start();
    manager.hears("READY=1\nSTATUS=serving");
    assert!(!manager.hears("FDSTORE=1\nFDNAME=stored-front").descriptors.is_empty());
    proxy.change_to(&file(&backend, ", timeouts: { idle: 9s }"));
    let reloading = manager.hears("RELOADING=1\nMONOTONIC_USEC=").words;
    let micros: u64 = reloading.lines().nth(1).unwrap().rsplit_once('=').unwrap().1.parse().unwrap();
    assert!(micros > 0);
    manager.hears("READY=1\nSTATUS=serving, generation 2");
    proxy.refuses("nonsense: 1\n");
    manager.hears("RELOADING=1");
    manager.hears("READY=1\nSTATUS=serving, generation 2");
    proxy.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    manager.hears("FDSTOREREMOVE=1\nFDNAME=stored-front");
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
}

#[test]
fn after_an_upgrade_the_new_process_is_the_main_one() {
    let backend = Backend::new();
    let (manager, setup) = watched(&backend);
    let mut proxy = setup.start();
    manager.hears("READY=1");
    manager.hears("FDSTORE=1");
    let (mut client, mut server) = proxy.session(&backend);
    let new = proxy.upgrade();
    manager.hears(&format!("MAINPID={new}\nREADY=1\n"));
    manager.hears("FDSTOREREMOVE=1\nFDNAME=stored-front");
    manager.hears("FDSTORE=1\nFDNAME=stored-front");
    // The old one has nothing to say any more.
    proxy.signal(Signal::TERM);
    send_across(&mut client, &mut server, 10);
    drop((client, server));
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    proxy.signal_to(new, Signal::TERM);
    manager.hears("STOPPING=1");
}

#[test]
fn the_watchdog_hears_of_a_process_only_while_its_workers_turn() {
    let backend = Backend::new();
    let setup = Setup::file(file(&backend, ""));
    let manager = Manager::new(setup.dir());
    let path = setup.dir().join("notify");
    let proxy = setup.variable("NOTIFY_SOCKET", path.display()).variable("WATCHDOG_USEC", 2_000_000).start();
    let start = Instant::now();
    let mut beats = 0;
    while beats < 4 {
        beats += usize::from(manager.next().words == "WATCHDOG=1");
    }
    assert!(start.elapsed() > Duration::from_secs(2), "four beats of a second each");
    // One worker stands still, the control thread does not.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", proxy.id())).unwrap();
    let named = |entry: &std::fs::DirEntry| std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
    assert!(tasks.filter_map(Result::ok).any(|entry| named(&entry).starts_with("worker-")));
}

/// Starts a proxy with these sockets, as systemd does: from descriptor 3 on.
fn with_sockets(setup: Setup, sockets: &[&OwnedFd], names: &str) -> Setup {
    let mut script = String::new();
    for (number, socket) in sockets.iter().enumerate() {
        fcntl_setfd(socket, FdFlags::empty()).unwrap();
        script += &format!("exec {}<&{}; ", number + 3, socket.as_raw_fd());
    }
    // Not the others of this test.
    script += &format!(
        "for fd in /proc/self/fd/*; do n=${{fd##*/}}; [ $n -lt {} ] || eval \"exec $n<&-\" 2>/dev/null; done; ",
        sockets.len() + 3
    );
    script += &format!("export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={names}; exec \"$@\"", sockets.len());
    setup.wrapped(&["bash", "-c", &script, "bash"])
}

#[test]
fn after_a_crash_the_queue_is_still_there() {
    let backend = Backend::new().echo();
    let yaml = format!(
        "{TOP}listeners:\n  front: {{ bind: \"127.0.0.1:{}\", pool: back }}\npools:\n  back: {{ backends: [ \"{}\" ] }}\n",
        crate::support::free_port(),
        backend.address()
    );
    let setup = Setup::file(yaml.clone());
    let manager = Manager::new(setup.dir());
    let path = setup.dir().join("notify");
    let proxy = setup.variable("NOTIFY_SOCKET", path.display()).start();
    manager.hears("READY=1");
    let mut kept = manager.hears("FDSTORE=1").descriptors;
    // High numbers, so that those from 3 on are free to be given.
    kept = kept.into_iter().map(|socket| rustix::io::fcntl_dupfd_cloexec(socket, 100).unwrap()).collect();
    proxy.signal(Signal::KILL);
    let to = proxy.address("front");
    drop(proxy);
    let mut client = crate::support::Peer::connect(to).seeded(7, 7);
    client.say(100);
    let names = vec!["stored-front"; kept.len()].join(":");
    let sockets: Vec<_> = kept.iter().collect();
    let proxy: Proxy = with_sockets(Setup::file(yaml), &sockets, &names).start();
    client.hear(100);
    assert_eq!(proxy.address("front"), to);
}

#[test]
fn a_given_socket_takes_the_place_of_the_bind_it_is_bound_to() {
    let backend = Backend::new().echo();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = rustix::io::fcntl_dupfd_cloexec(&listener, 100).unwrap();
    let yaml = |bind: &str| {
        format!(
            "{TOP}listeners:\n  front: {{ bind: \"{bind}\", pool: back }}\npools:\n  back: {{ backends: [ \"{}\" ] }}\n",
            backend.address()
        )
    };
    let wrong = with_sockets(Setup::file(yaml("127.0.0.1:1")), &[&socket], "front").fails();
    assert!(wrong.0 == Some(1) && wrong.1.contains("is bound to") && wrong.1.contains("127.0.0.1:1"), "{}", wrong.1);
    let unknown = with_sockets(Setup::file(yaml(&address.to_string())), &[&socket], "other").fails();
    assert!(unknown.0 == Some(1) && unknown.1.contains("\"other\""), "{}", unknown.1);

    let mut proxy = with_sockets(Setup::file(yaml(&address.to_string())), &[&socket], "front").start();
    let mut client = proxy.connect().seeded(7, 7);
    client.say(100);
    client.hear(100);
    client.finish();
    client.hear_end();
    let new = proxy.upgrade();
    assert_eq!(proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    // The manager listens on when the program has ended.
    proxy.signal_to(new, Signal::TERM);
    crate::support::is_gone(new);
    let mut client = crate::support::Peer::connect(address).seeded(8, 8);
    client.say(100);
    let _next = with_sockets(Setup::file(yaml(&address.to_string())), &[&socket], "front").start();
    client.hear(100);
}
