//! What the probe makes of servers that say what no real one would say on demand.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::super::build;
use super::super::fixture::tcp_pair;
use super::super::rig::{Server, fails, told, told_privately};
use crate::config::plan::{self, Login, Role};
use crate::health::ProbeError;
use crate::metrics::ProbeResult;

fn message(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [&[kind], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

/// What comes after a login, of a server as old as this: before 14 it does not say whether it is in recovery.
fn welcome(in_hot_standby: Option<&str>) -> Vec<u8> {
    let said = in_hot_standby.map(|said| message(b'S', format!("in_hot_standby\0{said}\0")));
    [message(b'R', b"\0\0\0\0"), said.unwrap_or_default(), message(b'K', b"12345678"), message(b'Z', b"I")].concat()
}

fn row(text: &str) -> Vec<u8> {
    let row = [b"\0\x01\0\0\0", &[text.len() as u8][..], text.as_bytes()].concat();
    [message(b'T', b"\0\0"), message(b'D', row), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat()
}

const STARTUP: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0u\0application_name\0peerway\0\0";
const QUESTION: &[u8] = b"Q\0\0\0\x2aSELECT pg_catalog.pg_is_in_recovery()\0";
const GOODBYE: &[u8] = b"X\0\0\0\x04";

fn login(role: Option<Role>) -> plan::Probe {
    plan::Probe::Postgres(Arc::new(Login { role, user: Some("u".into()), ..Login::default() }))
}

fn with_password(file: PathBuf) -> plan::Probe {
    let login = Login { user: Some("u".into()), password_file: Some(file), ..Login::default() };
    plan::Probe::Postgres(Arc::new(login))
}

/// A folder with a password in it.
fn password() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    (dir, file)
}

#[tokio::test]
async fn without_a_user_any_postgresql_will_do() {
    let recognise = || plan::Probe::Postgres(Arc::default());
    let says = |answer: Vec<u8>| {
        told(recognise(), |mut server| async move {
            server.hears(b"\0\0\0\x08\x04\xd2\x16\x30").await;
            server.says(answer).await;
            server.hears_the_end().await;
        })
    };
    says(b"N".to_vec()).await.unwrap();
    says(b"G".to_vec()).await.unwrap();
    // One of before 12, which does not know the question.
    says(message(b'E', b"SFATAL\0C0A000\0Munsupported frontend protocol 1234.5680\0\0")).await.unwrap();
    fails(says(b"Ecould not fork\n\0".to_vec()).await, ProbeResult::Unexpected, "`could not fork`");
    fails(says(b"HTTP/1.1 400 Bad Request".to_vec()).await, ProbeResult::Unexpected, "not PostgreSQL: `HTTP");
    let silent = told(recognise(), |mut server| async move { drop(server.hears_something().await) }).await;
    fails(silent, ProbeResult::Unexpected, "closed the connection");
}

/// PostgreSQL takes no request about encryption where there is some: it says so, and logs it.
#[tokio::test]
async fn inside_tls_nothing_is_asked() {
    let (mut line, theirs) = tcp_pair().await;
    let client = crate::tls::Client::unverified().unwrap();
    let acceptor = crate::tls::fixture::server(&[&rustls::version::TLS13], &[]);
    let (secured, accepted) = tokio::join!(line.secure(&client, "x"), acceptor.accept(theirs));
    secured.unwrap();
    let mut accepted = accepted.unwrap();
    let probe = build(&plan::Probe::Postgres(Arc::default()));
    // One that asks would wait for an answer.
    timeout(Duration::from_secs(5), probe.check(&mut line)).await.unwrap().unwrap();
    let mut said = Vec::new();
    tokio::join!(line.hang_up(), accepted.read_to_end(&mut said)).1.unwrap();
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_server_that_cannot_says_why_and_is_not_told_goodbye() {
    let starting = told(login(None), |mut server| async move {
        server.hears(STARTUP).await;
        server.says(message(b'E', b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0")).await;
        server.hears_the_end().await;
    });
    fails(starting.await, ProbeResult::Unexpected, "`FATAL 57P03: the database system is starting up`");
    let full = told(login(None), |mut server| async move {
        server.hears(STARTUP).await;
        server.says(message(b'R', b"\0\0\0\0")).await;
        server.says(message(b'E', b"SFATAL\0C53300\0Msorry, too many clients already\0\0")).await;
        server.hears(GOODBYE).await;
    });
    fails(full.await, ProbeResult::Unexpected, "too many clients");
}

async fn says_unasked(role: Role, in_hot_standby: &'static str) -> Result<(), ProbeError> {
    let story = async move |mut server: Server| {
        server.hears(STARTUP).await;
        server.says(welcome(Some(in_hot_standby))).await;
        server.hears(GOODBYE).await;
        server.hears_the_end().await;
    };
    told(login(Some(role)), story).await
}

async fn says_when_asked(role: Role, answer: Vec<u8>) -> Result<(), ProbeError> {
    let story = async move |mut server: Server| {
        server.hears(STARTUP).await;
        server.says(welcome(None)).await;
        server.hears(QUESTION).await;
        server.says(answer).await;
        server.hears(GOODBYE).await;
    };
    told(login(Some(role)), story).await
}

#[tokio::test]
async fn the_role_is_what_it_says_unasked_or_else_asked() {
    let unexpected = ProbeResult::Unexpected;
    says_unasked(Role::Primary, "off").await.unwrap();
    says_unasked(Role::Replica, "on").await.unwrap();
    fails(says_unasked(Role::Primary, "on").await, unexpected, "it is a replica");
    fails(says_unasked(Role::Replica, "off").await, unexpected, "it is a primary");
    says_when_asked(Role::Primary, row("f")).await.unwrap();
    says_when_asked(Role::Replica, row("t")).await.unwrap();
    fails(says_when_asked(Role::Primary, row("t")).await, unexpected, "it is a replica");
    fails(says_when_asked(Role::Primary, row("x")).await, unexpected, "does not say");
    fails(says_when_asked(Role::Primary, message(b'Z', b"I")).await, unexpected, "does not say");
    let error = message(b'E', b"SERROR\0C42501\0Mpermission denied\0\0");
    fails(says_when_asked(Role::Primary, error).await, unexpected, "`ERROR 42501: permission denied`");
}

#[tokio::test]
async fn a_password_is_said_in_clear_only_where_nobody_else_hears_it() {
    let (_dir, file) = password();
    let open = told(with_password(file.clone()), |mut server| async move {
        server.hears(STARTUP).await;
        server.says(message(b'R', b"\0\0\0\x03")).await;
        server.hears_the_end().await;
    });
    fails(open.await, ProbeResult::Unexpected, "not encrypted");
    let private = told_privately(with_password(file), |mut server| async move {
        server.hears(STARTUP).await;
        server.says(message(b'R', b"\0\0\0\x03")).await;
        server.hears(b"p\0\0\0\x0bsecret\0").await;
        server.says(welcome(None)).await;
        server.hears(GOODBYE).await;
    });
    private.await.unwrap();
}

#[tokio::test]
async fn a_password_that_is_not_there_is_our_own_fault() {
    let asks = async |mut server: Server| {
        server.hears(STARTUP).await;
        server.says(message(b'R', b"\0\0\0\x05salt")).await;
        server.hears_the_end().await;
    };
    fails(told(login(None), asks).await, ProbeResult::Local, "there is no `password_file`");
    let gone = told(with_password("/nowhere/password".into()), asks).await;
    fails(gone, ProbeResult::Local, "cannot read /nowhere/password");
}

/// A server that asks by SCRAM, and how far it gets with us.
async fn scram(first: &'static str, then: &'static [u8]) -> Result<(), ProbeError> {
    let (_dir, file) = password();
    let story = async move |mut server: Server| {
        server.hears(STARTUP).await;
        server.says(message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).await;
        let said = String::from_utf8(server.hears_something().await).unwrap();
        let nonce = said.rsplit_once("n,,n=,r=").unwrap().1.to_owned();
        assert_eq!(nonce.len(), 32);
        let words = first.replace("OURS", &nonce);
        server.says(message(b'R', [b"\0\0\0\x0b", words.as_bytes()].concat())).await;
        if then.is_empty() {
            return server.hears_the_end().await;
        }
        assert!(server.hears_something().await.starts_with(b"p\0\0\0"));
        server.says(then).await;
        server.hears_the_end().await;
    };
    told(with_password(file), story).await
}

#[tokio::test]
async fn an_impostor_does_not_get_away_with_scram() {
    let unexpected = ProbeResult::Unexpected;
    let impostor = b"R\0\0\0\x36\0\0\0\x0cv=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    fails(scram("r=OURSx,s=c2FsdA==,i=4096", impostor).await, unexpected, "impostor");
    // One that forgets to prove anything.
    fails(scram("r=OURSx,s=c2FsdA==,i=4096", b"R\0\0\0\x08\0\0\0\0").await, unexpected, "breaks off");
    fails(scram("r=theirs,s=c2FsdA==,i=4096", b"").await, unexpected, "somebody else");
    fails(scram("r=OURSx,s=c2FsdA==,i=2000000000", b"").await, unexpected, "iterations");
    let other = told(with_password(password().1), |mut server| async move {
        server.hears(STARTUP).await;
        server.says(message(b'R', b"\0\0\0\x0aSCRAM-SHA-512\0\0")).await;
        server.hears_the_end().await;
    });
    fails(other.await, unexpected, "it knows no SCRAM-SHA-256");
}

#[tokio::test]
async fn who_talks_without_an_end_is_not_listened_to() {
    let chatter = told(login(None), |mut server| async move {
        server.hears(STARTUP).await;
        server.says(message(b'N', b"SNOTICE\0Mhear\0\0").repeat(5000)).await;
        drop(server);
    });
    fails(chatter.await, ProbeResult::Unexpected, "more than 500 messages");
    let gssapi = told(login(None), |mut server| async move {
        server.hears(STARTUP).await;
        server.says(message(b'R', b"\0\0\0\x07")).await;
        server.hears_the_end().await;
    });
    fails(gssapi.await, ProbeResult::Unexpected, "GSSAPI");
}
