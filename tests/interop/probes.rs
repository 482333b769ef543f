//! Probes that are asked by hand, as the monitor asks them.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use peerway::config::plan::{Login, Probe, Role};
use peerway::health::{Line, ProbeError, build};
use peerway::metrics::ProbeResult;
use peerway::net::{Stream, arm_reset};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;

use crate::support::PATIENCE;

/// What the probe finds at this port of 127.0.0.1.
pub(crate) fn at_port(port: u16, probe: &Probe) -> Result<(), ProbeError> {
    from([127, 0, 0, 1].into(), port, probe)
}

/// The same, from another address of this machine.
pub(crate) fn from(source: IpAddr, port: u16, probe: &Probe) -> Result<(), ProbeError> {
    now(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        arm_reset(&stream).unwrap();
        check(Stream::try_from(stream).unwrap(), probe).await
    })
}

/// What it finds at a unix socket.
pub(crate) fn at_path(path: &Path, probe: &Probe) -> Result<(), ProbeError> {
    now(async { check(Stream::try_from(UnixStream::connect(path).await.unwrap()).unwrap(), probe).await })
}

fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn check(stream: Stream, probe: &Probe) -> Result<(), ProbeError> {
    let mut line = Line::new(stream, "test".to_owned());
    let found = timeout(PATIENCE, build(probe).check(&mut line)).await.expect("an answer");
    line.hang_up().await;
    found
}

/// A login as `user` with the password in `dir/password`, if there is one.
pub(crate) fn login(user: &str, dir: &Path, password: Option<&str>) -> Login {
    let file = dir.join(format!("password of {user}"));
    password.inspect(|password| fs::write(&file, format!("{password}\n")).unwrap());
    Login { user: Some(user.into()), password_file: password.map(|_| file), ..Login::default() }
}

/// The same login, content with that role alone.
pub(crate) fn in_role(login: &Login, role: Role) -> Login {
    Login { role: Some(role), ..login.clone() }
}

/// A primary and a replica, each at its port and with the probe that is content with it, are told apart, however often.
#[track_caller]
pub(crate) fn tells_apart(primary: (u16, &Probe), replica: (u16, &Probe)) {
    for _ in 0..10 {
        at_port(primary.0, primary.1).unwrap();
        at_port(replica.0, replica.1).unwrap();
        fails(at_port(primary.0, replica.1), "it is a primary, not a replica");
        fails(at_port(replica.0, primary.1), "it is a replica, not the primary");
    }
}

/// It must not be well, and say this.
#[track_caller]
pub(crate) fn fails(found: Result<(), ProbeError>, words: &str) {
    let error = found.unwrap_err();
    assert!(error.result == ProbeResult::Unexpected && error.words.contains(words), "{error:?}");
}
